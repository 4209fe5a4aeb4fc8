//! Weights in another basis: the products of their rows, or of their columns, stay the same.

use ulpscope_floats::Floats;

use crate::rearrangement::Axis;

/// Rows, or columns, whose products are compared: some five hundred pairs.
const SOME: usize = 32;

/// Elements of each that are multiplied.
const LENGTH: usize = 1 << 14;

/// The side along which `b` is `a` rotated, if products across it are the same; and how far they
/// are apart at most, as a share of the lengths. Of unrelated numbers a third of the products would
/// be farther apart than is allowed.
pub(crate) fn rotated(a: &Floats, b: &Floats, rows: usize, columns: usize) -> Option<(Axis, f64)> {
    // A rotation mixes all columns of a row: its length stays as it is, and its angles with other
    // rows.
    let row = |x: &Floats, i: usize| (0..columns).map(|j| x.get(i * columns + j)).collect();
    let column = |x: &Floats, j: usize| (0..rows).map(|i| x.get(i * columns + j)).collect();
    let along = |axis: Axis, count: usize, width: usize, of: &dyn Fn(&Floats, usize) -> Vec<f64>| {
        // All of it must be there for its length to stay, and enough of them to tell.
        if !(8..=LENGTH).contains(&width) || count < 8 {
            return None;
        }
        let apart = farthest(a, b, count, of);
        (apart < 1.0 / (width as f64).sqrt()).then_some((axis, apart))
    };
    along(Axis::Columns, rows, columns, &row).or_else(|| along(Axis::Rows, columns, rows, &column))
}

/// How far the products of some vectors of `a` and of `b` are apart, as a share of their lengths;
/// infinite for what has none.
fn farthest(a: &Floats, b: &Floats, count: usize, of: &dyn Fn(&Floats, usize) -> Vec<f64>) -> f64 {
    let some = count.min(SOME);
    let vectors = |x: &Floats| -> Vec<Vec<f64>> { (0..some).map(|i| of(x, i * count / some)).collect() };
    let (ours, theirs) = (vectors(a), vectors(b));
    let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let lengths: Vec<f64> = ours.iter().map(|x| product(x, x).sqrt()).collect();
    let mut farthest = 0.0f64;
    for i in 0..some {
        for j in 0..=i {
            let apart = product(&ours[i], &ours[j]) - product(&theirs[i], &theirs[j]);
            let share = apart.abs() / (lengths[i] * lengths[j]);
            if !share.is_finite() {
                return f64::INFINITY;
            }
            farthest = farthest.max(share);
        }
        // Most vectors are farther apart than this at once.
        if farthest > 1.0 {
            break;
        }
    }
    farthest
}

#[cfg(test)]
mod tests {
    use ulpscope_floats::DType;

    use super::*;
    use crate::samples::{build, gaussian};

    const ROWS: usize = 64;
    const COLUMNS: usize = 128;

    /// The Walsh-Hadamard matrix's element, of length 1.
    fn hadamard(i: usize, j: usize, n: usize) -> f64 {
        let sign = if (i & j).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
        sign / (n as f64).sqrt()
    }

    #[test]
    fn rotations_of_either_side_are_seen() {
        let a = gaussian(ROWS * COLUMNS, 1).cast(DType::Bf16);
        let columns = build(&a, |at| {
            let (row, column) = (at / COLUMNS, at % COLUMNS);
            (0..COLUMNS).map(|k| a.get(row * COLUMNS + k) * hadamard(k, column, COLUMNS)).sum()
        });
        assert!(matches!(rotated(&a, &columns, ROWS, COLUMNS), Some((Axis::Columns, apart)) if apart < 0.01));
        let rows = build(&a, |at| {
            let (row, column) = (at / COLUMNS, at % COLUMNS);
            (0..ROWS).map(|k| a.get(k * COLUMNS + column) * hadamard(k, row, ROWS)).sum()
        });
        assert!(matches!(rotated(&a, &rows, ROWS, COLUMNS), Some((Axis::Rows, apart)) if apart < 0.01));
        for seed in 2..12 {
            assert_eq!(rotated(&a, &gaussian(ROWS * COLUMNS, seed), ROWS, COLUMNS), None);
        }
        let zero = build(&a, |_| 0.0);
        assert_eq!(rotated(&zero, &a, ROWS, COLUMNS), None);
        assert_eq!(rotated(&a, &zero, ROWS, COLUMNS), None);
    }
}
