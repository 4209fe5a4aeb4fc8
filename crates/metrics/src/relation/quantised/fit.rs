//! Whether values on a grid are what it makes of the originals.

use rayon::prelude::*;
use ulpscope_floats::Floats;

use super::{Groups, Misfit, Operation};

/// Sums over all groups.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fit {
    /// Of the squares of `a`, and of `b - a`.
    signal: f64,
    noise: f64,
    /// Of the squares of what is left of `b - a` once each group has the best factor, or summand.
    scaled: f64,
    offset: f64,
    /// Elements of uniform grids, and those of them no farther from `a` than half a step.
    steps: usize,
    near: usize,
}

/// Groups of one task.
const TASK: usize = 256;

impl Fit {
    /// `steps` are those of the groups, 0 where they are not uniform.
    pub(super) fn of(
        a: &Floats,
        b: &Floats,
        groups: Groups,
        steps: &[f64],
        rows: usize,
        columns: usize,
    ) -> Fit {
        let of_task = |(task, steps): (usize, &[f64])| {
            let (mut x, mut y) = (Vec::new(), Vec::new());
            steps.iter().enumerate().fold(Fit::default(), |sum, (i, step)| {
                x.clear();
                y.clear();
                for (start, len) in groups.runs(task * TASK + i, rows, columns) {
                    let from = x.len();
                    x.resize(from + len, 0.0);
                    y.resize(from + len, 0.0);
                    a.read_f64(start, &mut x[from..]);
                    b.read_f64(start, &mut y[from..]);
                }
                sum.plus(&Fit::of_group(&x, &y, *step))
            })
        };
        // Summed up in the order of the groups, whichever thread was first.
        let tasks: Vec<Fit> = steps.par_chunks(TASK).enumerate().map(of_task).collect();
        tasks.iter().fold(Fit::default(), |sum, task| sum.plus(task))
    }

    fn of_group(a: &[f64], b: &[f64], step: f64) -> Fit {
        let n = a.len() as f64;
        let [mut aa, mut bb, mut ab, mut dd, mut d] = [0.0; 5];
        let mut near = 0;
        for (x, y) in a.iter().zip(b) {
            let apart = y - x;
            (aa, bb, ab, dd, d) = (aa + x * x, bb + y * y, ab + x * y, dd + apart * apart, d + apart);
            // A bf16 on a grid of eight bits is itself up to a quarter of a step off.
            near += usize::from(apart.abs() <= 0.75 * step);
        }
        // One constant takes up one of the group's dimensions.
        let free = n / (n - 1.0).max(1.0);
        let scaled = if bb > 0.0 { aa - ab * ab / bb } else { aa };
        Fit {
            signal: aa,
            noise: dd,
            scaled: free * scaled.max(0.0),
            offset: free * (dd - d * d / n).max(0.0),
            steps: if step > 0.0 { a.len() } else { 0 },
            near: if step > 0.0 { near } else { 0 },
        }
    }

    fn plus(self, other: &Fit) -> Fit {
        Fit {
            signal: self.signal + other.signal,
            noise: self.noise + other.noise,
            scaled: self.scaled + other.scaled,
            offset: self.offset + other.offset,
            steps: self.steps + other.steps,
            near: self.near + other.near,
        }
    }

    /// Whether nearly all numbers are the grid's nearest to the originals.
    pub(super) fn nearest(&self) -> bool {
        self.steps > 0 && self.near * 50 >= self.steps * 49
    }

    /// Whether more than half of the noise is of scales or zero points that do not fit.
    pub(super) fn misfit(&self) -> Option<Misfit> {
        let (by, left) = if self.scaled < self.offset {
            (Operation::Times, self.scaled)
        } else {
            (Operation::Plus, self.offset)
        };
        (left * 2.0 < self.noise).then(|| Misfit { by, sqnr_db: 10.0 * (self.signal / left).log10() })
    }
}
