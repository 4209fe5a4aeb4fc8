//! Traces of codes, where no grid of neighbours is seen: few numbers in each row or column, negative codes read as large ones.

use super::Axis;
use super::description::Description;
use super::view::View;
use ulpscope_floats::Floats;

/// Rows, or columns, that are looked at.
const LINES: usize = 48;

/// Elements of a line, at least, for one of its numbers: fewer say nothing of codes.
const EACH: usize = 4;

/// Elements of a line, at least.
const LEAST: usize = 64;

/// Signal-to-noise ratio from which on `b` is a coding of `a`.
const NEAR_DB: f64 = 10.0;

/// The share of a line's squares, less those of the constant, that may be left of codes read unsigned.
const LEFT: f64 = 0.05;

/// What the numbers of `b` say of how they were made of `a`, from which it is `sqnr_db` away.
pub(super) fn coded(
    a: &Floats,
    b: &Floats,
    rows: usize,
    columns: usize,
    sqnr_db: f64,
) -> Option<Description> {
    let (a, b) = (View::plain(a), View::plain(b));
    let axes = [Axis::Rows, Axis::Columns];
    let few = (sqnr_db > NEAR_DB)
        .then(|| {
            axes.into_iter().find_map(|axis| few(a, b, lines(axis, rows, columns)).map(|most| (axis, most)))
        })
        .flatten();
    if let Some((axis, numbers)) = few {
        return Some(Description::Coded { axis, numbers, sqnr_db });
    }
    unsigned(a, b, rows, columns)
}

/// Some lines: the elements of each.
fn lines(axis: Axis, rows: usize, columns: usize) -> Vec<Vec<usize>> {
    let (count, len) = if axis == Axis::Columns { (columns, rows) } else { (rows, columns) };
    let some = count.min(LINES);
    let element =
        |line: usize, i: usize| if axis == Axis::Columns { i * columns + line } else { line * columns + i };
    (0..some).map(|n| (0..len).map(|i| element(n * count / some, i)).collect()).collect()
}

/// The most numbers that a line of `b` has, if that is few, and those of `a` have many more.
fn few(a: View, b: View, lines: Vec<Vec<usize>>) -> Option<usize> {
    let distinct = |x: View, line: &[usize]| {
        let mut bits: Vec<u64> = line.iter().map(|&i| x.get(i).to_bits()).collect();
        bits.sort_unstable();
        bits.dedup();
        bits.len()
    };
    let mut most = 0;
    for line in &lines {
        let (ours, theirs) = (distinct(a, line), distinct(b, line));
        if line.len() < LEAST || theirs * EACH > line.len() || theirs * 2 > ours {
            return None;
        }
        most = most.max(theirs);
    }
    (most > 1).then_some(most)
}

/// Negative elements that are larger by a constant for each row: the codes of a signed format read as those of an unsigned one.
fn unsigned(a: View, b: View, rows: usize, columns: usize) -> Option<Description> {
    let mut raised = Vec::new();
    for line in lines(Axis::Rows, rows, columns) {
        let (mut below, mut sum, mut squares, mut kept, mut size) = (0.0, 0.0, 0.0, 0.0, 0.0);
        let largest = line.iter().map(|&i| a.get(i).abs()).fold(0.0, f64::max);
        for (x, y) in line.iter().map(|&i| (a.get(i), b.get(i))) {
            // A code of zero may be a small number of either sign.
            if x < -0.1 * largest {
                (below, sum, squares) = (below + 1.0, sum + (y - x), squares + (y - x).powi(2));
            } else if x > 0.1 * largest {
                kept += (y - x).powi(2);
            }
            size += x * x;
        }
        let mean = sum / below;
        let left = kept + squares - mean * sum;
        // Not a number either.
        if !(below >= 4.0 && left <= LEFT * size && mean > largest) {
            return None;
        }
        raised.push(mean / largest);
    }
    let by = raised.iter().sum::<f64>() / raised.len() as f64;
    (!raised.is_empty()).then_some(Description::Unsigned { by })
}
