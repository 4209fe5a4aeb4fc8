//! Softmax over rows.

use ulpscope_floats::Floats;

use crate::by_path::by_path;
use crate::element::{Element, expect, expect_rows, map_rows, with_element};
use crate::exp::exp_body;
use crate::output::narrow;
use crate::sum::sixteen_lanes;
use crate::{KernelError, Path};

/// `R(exp(x - max) · (1 / Σ))`, row by row: `softmax(x, dtype=float32)` in PyTorch on CPU, cast
/// back.
///
/// # Shapes
/// - `x`: `[rows, width]`, returns the same
///
/// # Precision
/// f32 with [`exp`](crate::exp()); the sum in sixteen lanes (element i joins lane i mod 16),
/// combined at distances 8, 4, 2, 1, or from the left if there are fewer than sixteen; its
/// reciprocal multiplied; one rounding to the format of x.
///
/// # Errors
/// If x is f64 or no whole number of rows.
pub fn softmax(x: &Floats, width: usize) -> Result<Floats<'static>, KernelError> {
    let path = Path::detect()?;
    expect_rows(x, width, "x")?;
    with_element!(x.dtype(), "x", T => {
        let x = expect::<T>(x, x.len(), "x")?;
        let y = map_rows(x.len(), width, |i, scratch, out| {
            T::read(&x[i * width..(i + 1) * width], scratch);
            softmax_row(path, scratch);
            narrow(path, scratch, out);
        });
        Ok(T::wrap(y))
    })
}

#[inline(always)]
fn softmax_row_body<const FMA: bool>(_: Path, row: &mut [f32]) {
    let max = max(row);
    exp_body::<FMA>(row, max);
    let inverse = 1.0 / sixteen_lanes(row);
    row.iter_mut().for_each(|x| *x *= inverse);
}
by_path!(
    /// The softmax of one row, unrounded.
    softmax_row(row: &mut [f32]) = softmax_row_body
);

#[inline(always)]
fn softmax_seen_body<const FMA: bool>(_: Path, row: &mut [f32], known: usize, width: usize) {
    let (vectors, beyond) = row.split_at_mut(known.next_multiple_of(16));
    beyond.fill(0.0);
    // Whole vectors: the exponential of -∞ is +0, which changes no sum.
    vectors[known..].fill(f32::NEG_INFINITY);
    let max = max(vectors);
    exp_body::<FMA>(vectors, max);
    let sum = sixteen_lanes(if width < 16 { &vectors[..known] } else { vectors });
    let inverse = 1.0 / sum;
    vectors.iter_mut().for_each(|x| *x *= inverse);
}
by_path!(
    /// The softmax, unrounded, of a row of `width` scores. All but the first `known` become +0.
    /// `row` holds those, filled up to whole vectors of sixteen.
    softmax_seen(row: &mut [f32], known: usize, width: usize) = softmax_seen_body
);

/// The largest number, NaN if there is one; of zeros of both signs, +0.
#[inline(always)]
pub(crate) fn max(row: &[f32]) -> f32 {
    // As integers, whose order the compiler knows to be one, and makes vector code of: below zero
    // it is turned round. Above infinity's magnitude are NaNs alone.
    const MAGNITUDE: i32 = 0x7fff_ffff;
    let key = |bits: i32| bits ^ ((bits >> 31) & MAGNITUDE);
    let (largest, magnitude) =
        row.iter().fold((key(f32::NEG_INFINITY.to_bits() as i32), 0), |(largest, magnitude), x| {
            let bits = x.to_bits() as i32;
            (key(bits).max(largest), magnitude.max(bits & MAGNITUDE))
        });
    if magnitude > f32::INFINITY.to_bits() as i32 { f32::NAN } else { f32::from_bits(key(largest) as u32) }
}

#[cfg(test)]
mod tests {
    use ulpscope_floats::DType;

    use super::*;

    #[test]
    fn rows_sum_to_one_and_follow_the_formula() {
        for width in [1, 3, 15, 16, 17, 40, 512] {
            let x: Vec<f32> = (0..3 * width).map(|i| (i as f32 * 1.7).sin() * 6.0).collect();
            for dtype in [DType::F32, DType::Bf16, DType::F16] {
                let x = Floats::from(x.clone()).cast(dtype);
                let y = softmax(&x, width).unwrap();
                for row in 0..3 {
                    let x: Vec<f64> = (0..width).map(|i| x.get(row * width + i)).collect();
                    let total: f64 = x.iter().map(|x| x.exp()).sum();
                    for (i, x) in x.iter().enumerate() {
                        let (got, want) = (y.get(row * width + i), x.exp() / total);
                        let allowed = want * (dtype.unit_roundoff() + 3e-6) + 3e-8;
                        assert!((got - want).abs() <= allowed, "{dtype} {width}: {got} is not {want}");
                    }
                }
            }
        }
    }

    #[test]
    fn masked_rows_are_uniform_and_nan_spreads() {
        let y = softmax(&Floats::from(vec![f32::MIN; 4]), 4).unwrap();
        assert_eq!(y, Floats::from(vec![0.25f32; 4]));
        let y = softmax(&Floats::from(vec![0.0, f32::NAN, 1.0]), 3).unwrap();
        assert!((0..3).all(|i| y.get(i).is_nan()));
    }
}
