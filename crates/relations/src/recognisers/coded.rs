//! Traces of codes, where no grid of neighbours is seen: few numbers in each row or column,
//! negative codes read as large ones.

use rayon::prelude::*;
use ulpscope_floats::Floats;

use crate::moments::NEAR_DB;
use crate::rearrangement::Axis;
use crate::statement::Description;
use crate::view::View;

/// Rows, or columns, that are looked at before all are.
const TASTE: usize = 16;

/// Elements of a line, at least, for one of its numbers: fewer say nothing of codes.
const EACH: usize = 4;

/// Elements of a line, at least.
const LEAST: usize = 64;

/// The share of a row's squares, less those of the constant, that may be left of codes read
/// unsigned.
const LEFT: f64 = 0.05;

/// What the numbers of `b` say of how they were made of `a`, from which it is `sqnr_db` away.
pub(crate) fn coded(
    a: &Floats,
    b: &Floats,
    rows: usize,
    columns: usize,
    sqnr_db: f64,
) -> Option<Description> {
    let (a, b) = (View::plain(a), View::plain(b));
    let axes = [Axis::Rows, Axis::Columns].map(|axis| Lines { axis, rows, columns });
    if sqnr_db > NEAR_DB {
        let found = axes.iter().find_map(|lines| Some((lines.axis, few(a, b, lines)?)));
        return found.map(|(axis, numbers)| Description::Coded { axis, numbers, sqnr_db });
    }
    unsigned(a, b, &axes[0])
}

/// The rows of a matrix, or its columns.
struct Lines {
    axis: Axis,
    rows: usize,
    columns: usize,
}

impl Lines {
    /// How many there are, and how long they are.
    fn shape(&self) -> (usize, usize) {
        if self.axis == Axis::Columns { (self.columns, self.rows) } else { (self.rows, self.columns) }
    }

    fn of<'v>(&self, x: View<'v>, line: usize) -> impl Iterator<Item = f64> + use<'v> {
        let (start, step) =
            if self.axis == Axis::Columns { (line, self.columns) } else { (line * self.columns, 1) };
        (0..self.shape().1).map(move |i| x.get(start + i * step))
    }

    /// What `of` gives of every line; `None` as soon as it gives nothing. The first lines mostly
    /// settle it.
    fn all<T: Send>(&self, of: impl Fn(usize) -> Option<T> + Sync + Send) -> Option<Vec<T>> {
        let count = self.shape().0;
        let taste = count.min(TASTE);
        (0..taste).all(|n| of(n * count / taste).is_some()).then_some(())?;
        (0..count).into_par_iter().map(of).collect()
    }
}

/// The most numbers that a line of `b` has, if that is few, and those of `a` have many more.
fn few(a: View, b: View, lines: &Lines) -> Option<usize> {
    let distinct = |x: View, line: usize| {
        let mut bits: Vec<u64> = lines.of(x, line).map(f64::to_bits).collect();
        bits.sort_unstable();
        bits.dedup();
        bits.len()
    };
    let (_, len) = lines.shape();
    let one = |line: usize| {
        let theirs = distinct(b, line);
        (len >= LEAST && theirs * EACH <= len && theirs * 2 <= distinct(a, line)).then_some(theirs)
    };
    lines.all(one)?.into_iter().max().filter(|most| *most > 1)
}

/// Negative elements that are larger by a constant for each row: the codes of a signed format read
/// as those of an unsigned one.
fn unsigned(a: View, b: View, lines: &Lines) -> Option<Description> {
    let one = |line: usize| {
        let largest = lines.of(a, line).map(f64::abs).fold(0.0, f64::max);
        let (mut below, mut sum, mut squares, mut kept, mut size) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for (x, y) in lines.of(a, line).zip(lines.of(b, line)) {
            // A code of zero may be a small number of either sign.
            if x < -0.1 * largest {
                (below, sum, squares) = (below + 1.0, sum + (y - x), squares + (y - x).powi(2));
            } else if x > 0.1 * largest {
                kept += (y - x).powi(2);
            }
            size += x * x;
        }
        let mean = sum / below;
        // Of numbers that are none, neither holds.
        (below >= 4.0 && kept + squares - mean * sum <= LEFT * size && mean > largest)
            .then_some(mean / largest)
    };
    let raised = lines.all(one)?;
    let by = raised.iter().sum::<f64>() / raised.len() as f64;
    (!raised.is_empty()).then_some(Description::Unsigned { by })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{FORMATS, build, gaussian};

    const ROWS: usize = 48;
    const COLUMNS: usize = 256;

    fn found(a: &Floats, b: &Floats, sqnr_db: f64) -> Option<Description> {
        coded(a, b, ROWS, COLUMNS, sqnr_db)
    }

    #[test]
    fn groups_in_another_order_leave_few_numbers() {
        for dtype in FORMATS {
            let a = gaussian(ROWS * COLUMNS, 1).cast(dtype);
            // Every other column has the one scale of a row, the rest the other one.
            let b = build(&a, |i| {
                let step = [0.4, 0.55][i % 2] * (1.0 + (i / COLUMNS) as f64 / 97.0);
                (a.get(i) / step).round() * step
            });
            let Some(Description::Coded { axis: Axis::Rows, numbers, .. }) = found(&a, &b, 15.0) else {
                panic!("{dtype}");
            };
            assert!((10..=COLUMNS / 4).contains(&numbers), "{numbers}");
            let off = build(&b, |i| if i / COLUMNS == 40 { a.get(i) } else { b.get(i) });
            assert_eq!(found(&a, &off, 15.0), None);
        }
    }

    #[test]
    fn signed_codes_read_as_unsigned() {
        for dtype in FORMATS {
            let a = gaussian(ROWS * COLUMNS, 2).cast(dtype);
            let largest =
                |row: usize| (0..COLUMNS).map(|c| a.get(row * COLUMNS + c).abs()).fold(0.0, f64::max);
            let step: Vec<f64> = (0..ROWS).map(|row| largest(row) / 7.0).collect();
            let b = build(&a, |i| {
                let code = (a.get(i) / step[i / COLUMNS]).round();
                (if code < 0.0 { code + 16.0 } else { code }) * step[i / COLUMNS]
            });
            let Some(Description::Unsigned { by }) = found(&a, &b, -6.0) else { panic!("{dtype}") };
            assert!((by - 16.0 / 7.0).abs() < 0.1, "{by}");
            assert_eq!(found(&a, &gaussian(ROWS * COLUMNS, 3).cast(dtype), -3.0), None);
        }
    }
}
