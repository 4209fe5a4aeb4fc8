//! Rows, or columns, that have nothing to do with the original's, beside others that are near to
//! it: a shard that is missing in a model that was quantised besides.
//!
//! ```
//! use ulpscope_floats::Floats;
//! use ulpscope_relations::{Hints, describe};
//!
//! let a = Floats::from((0..2048).map(|i| (i as f32).sin()).collect::<Vec<_>>());
//! let noisy = |i: usize| a.get(i) as f32 + 0.02 * (i as f32 * 1.7).cos();
//! let b = Floats::from((0..2048).map(|i| if i / 32 == 9 { 0.0 } else { noisy(i) }).collect::<Vec<_>>());
//! let statement = describe(&a, &b, &[64, 32], &Hints::default()).to_string();
//! assert!(statement.ends_with(", except row 9, which are zero"), "{statement}");
//! ```

use rayon::prelude::*;
use ulpscope_floats::Floats;

use crate::place::Place;
use crate::relation::{Change, Zeros};
use crate::statement::{Description, Statement};
use crate::view::View;

/// Elements of a line, at least: fewer are like others by chance.
const LEAST: usize = 16;

/// Cosines up to which a line is another one, and from which on it is near.
const FAR: f64 = 0.5;
const NEAR: f64 = 0.8;

/// Rows of one parallel task.
const TASK: usize = 64;

/// Sums over the elements of a line: of `a²`, `a·b` and `b²`.
type Sums = [f64; 3];

/// What is seen of a line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Near,
    Zero,
    NotFinite,
    Far,
}

impl Seen {
    /// `None` between near and far.
    fn of([aa, ab, bb]: Sums) -> Option<Self> {
        let cosine = ab / (aa * bb).sqrt();
        Some(match () {
            () if aa == 0.0 => Seen::Near,
            () if bb == 0.0 => Seen::Zero,
            () if aa.is_finite() && !bb.is_finite() => Seen::NotFinite,
            () if cosine >= NEAR => Seen::Near,
            () if cosine <= FAR => Seen::Far,
            () => return None,
        })
    }
}

/// A matrix of which some lines are odd.
pub(crate) struct OutlierLines {
    lines: Vec<Seen>,
    by_row: bool,
    rows: usize,
    columns: usize,
}

impl OutlierLines {
    /// `b`, if a few of its rows or columns have nothing to do with those of `a`, and all others
    /// are near.
    pub(crate) fn of(a: &Floats, b: &Floats, rows: usize, columns: usize) -> Option<Self> {
        let (of_rows, of_columns) = sums(a, b, rows, columns);
        let (lines, by_row) = match outliers(&of_rows, columns) {
            Some(lines) => (lines, true),
            None => (outliers(&of_columns, rows)?, false),
        };
        Some(OutlierLines { lines, by_row, rows, columns })
    }

    /// Whether some are zero, or no numbers.
    pub(crate) fn lost(&self) -> bool {
        self.lines.iter().any(|seen| matches!(seen, Seen::Zero | Seen::NotFinite))
    }

    /// The lines that are near as `describe` describes them, and the others.
    pub(crate) fn described(
        &self,
        a: &Floats,
        b: &Floats,
        describe: impl Fn(&Floats, &Floats, &[usize]) -> Statement,
    ) -> Description {
        let (all, by_row, rows, columns) = (self.lines.len(), self.by_row, self.rows, self.columns);
        let of =
            |wanted: Seen| -> Vec<usize> { (0..all).filter(|&line| self.lines[line] == wanted).collect() };
        let parts = [
            (Seen::Zero, Change::Zero(Zeros::Place)),
            (Seen::NotFinite, Change::NotFinite),
            (Seen::Far, Change::Other),
        ];
        let parts: Vec<(Place, Change)> = (parts.into_iter())
            .filter_map(|(seen, change)| {
                let lines = of(seen);
                (!lines.is_empty()).then(|| (Place::of_lines(lines, all, by_row), change))
            })
            .collect();
        let kept = Place::of_lines(of(Seen::Near), all, by_row);
        let take = |x: &Floats| {
            let taken: Vec<f64> = kept.elements(rows, columns).map(|i| x.get(i)).collect();
            Floats::from(taken).cast(x.dtype())
        };
        let (x, y) = (take(a), take(b));
        let shape = if by_row { [x.len() / columns, columns] } else { [rows, x.len() / rows] };
        Description::Except { rest: Box::new(describe(&x, &y, &shape)), parts }
    }
}

/// Sums by row and by column.
fn sums(a: &Floats, b: &Floats, rows: usize, columns: usize) -> (Vec<Sums>, Vec<Sums>) {
    let (a, b) = (View::plain(a), View::plain(b));
    let add = |sums: &mut Sums, x: f64, y: f64| {
        *sums = [sums[0] + x * x, sums[1] + x * y, sums[2] + y * y];
    };
    let part = |start: usize| {
        let end = rows.min(start + TASK);
        let (mut x, mut y) = (vec![0.0; columns], vec![0.0; columns]);
        let (mut of_rows, mut of_columns) = (Vec::with_capacity(end - start), vec![[0.0; 3]; columns]);
        for row in start..end {
            a.read(row * columns, &mut x);
            b.read(row * columns, &mut y);
            let mut own = [0.0; 3];
            for ((x, y), of_column) in x.iter().zip(&y).zip(&mut of_columns) {
                add(&mut own, *x, *y);
                add(of_column, *x, *y);
            }
            of_rows.push(own);
        }
        (of_rows, of_columns)
    };
    // Added up in the order of the rows, whichever thread was first.
    let parts: Vec<_> = (0..rows.div_ceil(TASK)).into_par_iter().map(|task| part(task * TASK)).collect();
    let mut of_columns = vec![[0.0; 3]; columns];
    for (_, columns) in &parts {
        for (sum, part) in of_columns.iter_mut().zip(columns) {
            (0..3).for_each(|i| sum[i] += part[i]);
        }
    }
    (parts.into_iter().flat_map(|(rows, _)| rows).collect(), of_columns)
}

/// What is seen of each line, of so many elements, if a few are odd and all others near.
fn outliers(lines: &[Sums], len: usize) -> Option<Vec<Seen>> {
    if len < LEAST || lines.len() < 4 {
        return None;
    }
    let seen: Vec<Seen> = lines.iter().map(|sums| Seen::of(*sums)).collect::<Option<_>>()?;
    let odd = seen.iter().filter(|seen| **seen != Seen::Near).count();
    (odd > 0 && odd * 2 <= lines.len()).then_some(seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{FORMATS, build, gaussian};
    use crate::{Hints, describe};

    const ROWS: usize = 64;
    const COLUMNS: usize = 96;

    fn said(a: &Floats, f: &dyn Fn(usize, usize, f64) -> f64) -> String {
        let noise = gaussian(ROWS * COLUMNS, 9);
        let noisy = |i: usize| a.get(i) + 0.03 * noise.get(i);
        let b = build(a, |i| f(i / COLUMNS, i % COLUMNS, noisy(i)));
        let said = describe(a, &b, &[ROWS, COLUMNS], &Hints::default()).to_string();
        said.replace(char::is_numeric, "#")
    }

    #[test]
    fn what_is_missing_under_noise_is_told_apart() {
        for dtype in FORMATS {
            let a = gaussian(ROWS * COLUMNS, 1).cast(dtype);
            let other = gaussian(ROWS * COLUMNS, 2);
            let noise = |found: &str| {
                assert!(found.starts_with("b = a plus noise, SQNR ##.# dB, #"), "{found}");
            };
            let zero = said(&a, &|r, _, x| if (8..24).contains(&r) { 0.0 } else { x });
            noise(&zero);
            assert!(zero.ends_with(", except rows # to ##, which are zero"), "{zero}");
            let nan = said(&a, &|r, c, x| match (r, c) {
                (5, _) => f64::NAN,
                (9.., _) | (..3, _) => x,
                (_, c) => other.get(r * COLUMNS + c),
            });
            noise(&nan);
            assert!(
                nan.contains(
                    ", except row #, which are not finite, and # of ## rows (#, #, #, #, #), which differ"
                ),
                "{nan}"
            );
            let columns = said(&a, &|_, c, x| if c % 10 == 3 { 0.0 } else { x });
            assert!(
                columns.ends_with(" columns (#, ##, ##, ##, ##, ##, ##, ##, …), which are zero"),
                "{columns}"
            );
            let none = said(&a, &|_, _, x| x);
            assert!(!none.contains("except"), "{none}");
        }
    }
}
