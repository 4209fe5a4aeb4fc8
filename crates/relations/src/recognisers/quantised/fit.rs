//! Whether values on a grid are what it makes of the originals.

use rayon::prelude::*;
use ulpscope_floats::Floats;

use crate::grid::Misfit;
use crate::groups::Groups;
use crate::moments::Moments;
use crate::operation::Operation;
use crate::view::PIECE;

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
            steps.iter().enumerate().fold(Fit::default(), |sum, (i, step)| {
                sum.plus(&Fit::of_group(a, b, groups.runs(task * TASK + i, rows, columns), *step))
            })
        };
        // Summed up in the order of the groups, whichever thread was first.
        let tasks: Vec<Fit> = steps.par_chunks(TASK).enumerate().map(of_task).collect();
        tasks.iter().fold(Fit::default(), |sum, task| sum.plus(task))
    }

    fn of_group(a: &Floats, b: &Floats, runs: impl Iterator<Item = (usize, usize)>, step: f64) -> Fit {
        let (mut x, mut y) = ([0.0; PIECE], [0.0; PIECE]);
        let (mut moments, mut len, mut near) = (Moments::new(), 0, 0);
        for (start, run) in runs {
            for at in (0..run).step_by(PIECE) {
                let n = PIECE.min(run - at);
                a.read_f64(start + at, &mut x[..n]);
                b.read_f64(start + at, &mut y[..n]);
                moments.add(&x[..n], &y[..n]);
                // A bf16 on a grid of eight bits is itself up to a quarter of a step off.
                near += x[..n].iter().zip(&y[..n]).filter(|(x, y)| (*y - *x).abs() <= 0.75 * step).count();
                len += n;
            }
        }
        // One constant takes up one of the group's dimensions.
        let free = len as f64 / (len as f64 - 1.0).max(1.0);
        let uniform = step > 0.0;
        Fit {
            signal: moments.signal(),
            noise: moments.noise(),
            scaled: free * moments.unscaled(),
            offset: free * moments.unshifted(),
            steps: if uniform { len } else { 0 },
            near: if uniform { near } else { 0 },
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
