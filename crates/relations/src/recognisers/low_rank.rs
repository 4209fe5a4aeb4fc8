//! Differences, and tensors, of low rank: merged adapters, and truncated decompositions.
//!
//! ```
//! use ulpscope_floats::Floats;
//! use ulpscope_relations::{Hints, describe};
//!
//! let noise = |i: usize| ((i * i * 7919 % 65_537) as f32 / 32_768.0 - 1.0).powi(3);
//! let a = Floats::from((0..4096).map(noise).collect::<Vec<_>>());
//! let added = |i: usize| 0.1 * (i as f32 / 64.0).floor().sin() * ((i % 64) as f32).cos();
//! let b = Floats::from((0..4096).map(|i| noise(i) + added(i)).collect::<Vec<_>>());
//! let statement = describe(&a, &b, &[64, 64], &Hints::default()).to_string();
//! assert!(statement.starts_with("b = a plus a matrix of rank 1, SQNR "), "{statement}");
//! ```

use ulpscope_floats::{DType, Floats, ulp};

use crate::view::format;

/// Rows, and columns, that are looked at. A part of a matrix has no higher rank than all of it.
const SIDE: usize = 256;

/// The highest rank that is looked for, in parts of the smaller side: that of an update, and that
/// of a tensor, of which the original must have a higher one.
const OF_UPDATE: usize = 3;
const OF_TENSOR: usize = 2;

/// Share of the squares that may be left: what was added may itself have been rounded, to bf16.
const ROUNDED: f64 = 1e-4;

/// Share of the squares that rounding may make up for a rank to be seen at all.
const NOISE: f64 = 0.1;

/// The rank of `b - a`, if that is low but for the rounding of `b`; and whether only a part was
/// looked at.
pub(crate) fn of_difference(a: &Floats, b: &Floats, rows: usize, columns: usize) -> Option<(usize, bool)> {
    let format = format(b)?;
    let parts = |at: usize| (b.get(at) - a.get(at), rounding(b.get(at), format));
    rank(&parts, rows, columns, OF_UPDATE)
}

/// The rank of `b`, if that is low but for its rounding, and that of `a` is not.
pub(crate) fn of_second(a: &Floats, b: &Floats, rows: usize, columns: usize) -> Option<(usize, bool)> {
    let of = |x: &Floats| {
        let format = format(x)?;
        rank(&|at: usize| (x.get(at), rounding(x.get(at), format)), rows, columns, OF_TENSOR)
    };
    of(b).filter(|_| of(a).is_none())
}

/// The mean square of what rounding to a number changed; less would be rounded away where it is
/// added to `a`.
fn rounding(x: f64, format: DType) -> f64 {
    ulp(x, format).powi(2) / 3.0
}

/// The rank of a matrix whose elements are known with the mean square of their error: how many rows
/// it takes to make all others of.
fn rank(
    element: &dyn Fn(usize) -> (f64, f64),
    rows: usize,
    columns: usize,
    part: usize,
) -> Option<(usize, bool)> {
    let (height, width) = (rows.min(SIDE), columns.min(SIDE));
    let mut noise = 0.0;
    let mut left = vec![vec![0.0; width]; height];
    for (i, row) in left.iter_mut().enumerate() {
        let start = i * rows / height * columns;
        for (j, x) in row.iter_mut().enumerate() {
            let (value, error) = element(start + j * columns / width);
            *x = value;
            noise += error;
        }
    }
    // Rows and columns of zeros make no rank: without them, the others have as high a one as they
    // can.
    let full_rows = left.iter().filter(|row| row.iter().any(|x| *x != 0.0)).count();
    let full_columns = (0..width).filter(|j| left.iter().any(|row| row[*j] != 0.0)).count();
    let most = full_rows.min(full_columns) / part;
    let squares = |row: &[f64]| row.iter().map(|x| x * x).sum::<f64>();
    let whole: f64 = left.iter().map(|row| squares(row)).sum();
    // Not a number either.
    if !(whole > 0.0 && whole.is_finite() && noise < NOISE * whole) {
        return None;
    }
    let enough = noise + ROUNDED * whole;
    for rank in 1..=most {
        // The row that the others make up least of is taken out of all.
        let sizes: Vec<f64> = left.iter().map(|row| squares(row)).collect();
        let largest = (0..height).max_by(|i, j| sizes[*i].total_cmp(&sizes[*j]))?;
        let length = sizes[largest].sqrt();
        let direction: Vec<f64> = left[largest].iter().map(|x| x / length).collect();
        let mut remaining = 0.0;
        for row in &mut left {
            let along: f64 = row.iter().zip(&direction).map(|(x, y)| x * y).sum();
            row.iter_mut().zip(&direction).for_each(|(x, y)| *x -= along * y);
            remaining += squares(row);
        }
        if remaining <= enough {
            return Some((rank, (height, width) != (rows, columns)));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{FORMATS, build, gaussian};

    const ROWS: usize = 96;
    const COLUMNS: usize = 640;

    /// A matrix of this rank, of numbers of about this size.
    fn low(rank: usize, size: f64, seed: u64) -> impl Fn(usize) -> f64 {
        let (left, right) = (gaussian(ROWS * rank, seed), gaussian(COLUMNS * rank, seed + 1));
        move |at: usize| {
            let (row, column) = (at / COLUMNS, at % COLUMNS);
            let terms = (0..rank).map(|i| left.get(row * rank + i) * right.get(column * rank + i));
            terms.sum::<f64>() * size / (rank as f64).sqrt()
        }
    }

    #[test]
    fn merged_adapters_and_cut_matrices() {
        for dtype in FORMATS {
            let a = gaussian(ROWS * COLUMNS, 1).cast(dtype);
            for rank in [1, 4, 16, 24] {
                let added = low(rank, 0.1, 5);
                let b = build(&a, |i| a.get(i) + added(i));
                assert_eq!(of_difference(&a, &b, ROWS, COLUMNS), Some((rank, true)), "{dtype}");
                assert_eq!(of_second(&a, &b, ROWS, COLUMNS), None);
                let cut = build(&a, low(2 * rank, 1.0, 7));
                assert_eq!(of_second(&a, &cut, ROWS, COLUMNS), Some((2 * rank, true)), "{dtype}");
            }
        }
    }

    #[test]
    fn noise_has_no_low_rank() {
        for dtype in FORMATS {
            let (a, noise) = (gaussian(ROWS * COLUMNS, 1).cast(dtype), gaussian(ROWS * COLUMNS, 2));
            for size in [1.0, 0.1, 1e-3] {
                let b = build(&a, |i| a.get(i) + size * noise.get(i));
                assert_eq!(of_difference(&a, &b, ROWS, COLUMNS), None);
            }
            assert_eq!(of_difference(&a, &a, ROWS, COLUMNS), None);
            assert_eq!(of_second(&a, &noise, ROWS, COLUMNS), None);
        }
        // Nor have rows that are zero, or were.
        let a = gaussian(ROWS * COLUMNS, 1);
        let emptied = build(&a, |i| if i / COLUMNS < ROWS / 3 { a.get(i) } else { 0.0 });
        assert_eq!(of_second(&a, &emptied, ROWS, COLUMNS), None);
        let few = build(&a, |i| if i / COLUMNS % 10 == 3 { 0.0 } else { a.get(i) });
        assert_eq!(of_difference(&a, &few, ROWS, COLUMNS), None);
        // What rounding hides has no rank that could be seen.
        let a = gaussian(ROWS * COLUMNS, 1).cast(DType::Bf16);
        let added = low(2, 1e-3, 9);
        let b = build(&a, |i| a.get(i) + added(i));
        assert_eq!(of_difference(&a, &b, ROWS, COLUMNS), None);
    }
}
