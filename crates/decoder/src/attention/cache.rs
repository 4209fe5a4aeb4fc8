//! The format in which keys and values are kept.

use burn::tensor::Tensor;
use ulpscope_kernels::bridge;

use crate::departure::Cache;
use crate::ops::{map, narrow, wide};

/// `x` rounded to the cache's format and back to its own, to nearest, ties to even.
pub(super) fn kept(x: Tensor<4>, variant: Option<Cache>) -> Tensor<4> {
    use ulpscope_floats::DType;
    let dtype = x.dtype();
    let Some(variant) = variant else { return x };
    let kept = match variant {
        Cache::Bf16 => narrow(x, bridge::burn_dtype(DType::Bf16)),
        Cache::F16 => narrow(wide(x), bridge::burn_dtype(DType::F16)),
        Cache::E4m3 => map(wide(x), |x| minifloat(x, 4, -6).clamp(-448.0, 448.0)),
        Cache::E5m2 => map(wide(x), |x| {
            let y = minifloat(x, 3, -14);
            if y.abs() > 57344.0 { y.signum() * f64::INFINITY } else { y }
        }),
    };
    narrow(wide(kept), dtype)
}

/// `x` with at most `digits` significant bits, and no bit below those of numbers with the least exponent.
fn minifloat(x: f64, digits: i32, least: i32) -> f64 {
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    // The exponent field of an f64 that is no subnormal, as no widened f32 is.
    let exponent = ((x.to_bits() >> 52) & 0x7ff) as i32 - 1023;
    let step = 2f64.powi(exponent.max(least) - (digits - 1));
    (x / step).round_ties_even() * step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bit_floats_have_their_values() {
        // Of e4m3: 1.0625 lies between 1 and 1.125, a tie; 2^-9 is the least subnormal.
        for (x, y) in [(1.0625, 1.0), (1.1875, 1.25), (465.0, 480.0), (0.001, 0.001953125), (-0.0009, -0.0)] {
            assert_eq!(minifloat(x, 4, -6), y, "{x}");
        }
        for (x, y) in [(1.125, 1.0), (1.375, 1.5), (1e-5, 1.52587890625e-5)] {
            assert_eq!(minifloat(x, 3, -14), y, "{x}");
        }
    }
}
