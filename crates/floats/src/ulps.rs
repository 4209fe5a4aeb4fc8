//! Units in the last place: how many representable numbers lie between two, and how far apart they
//! are.

use half::{bf16, f16};

use crate::DType;

mod sealed {
    pub trait Sealed {}
}

/// A number in one of the formats of [`DType`], known at compile time. Implemented for `f64`,
/// `f32`, [`bf16`] and [`struct@f16`] only.
pub trait Float: Copy + sealed::Sealed {
    /// The format.
    const DTYPE: DType;

    /// The number's rank among all numbers of its format: neighbours differ by 1, both zeros are 0.
    /// `None` for NaN; the infinities come right after the largest finite numbers.
    fn rank(self) -> Option<i64>;
}

macro_rules! float {
    ($($t:ty, $signed:ty, $dtype:ident);*) => {$(
        impl sealed::Sealed for $t {}
        impl Float for $t {
            const DTYPE: DType = DType::$dtype;

            fn rank(self) -> Option<i64> {
                // Bits order as sign and magnitude; integers do not.
                let bits = self.to_bits() as $signed;
                let magnitude = i64::from(bits & <$signed>::MAX);
                (!self.is_nan()).then_some(if bits < 0 { -magnitude } else { magnitude })
            }
        }
    )*};
}
float!(f64, i64, F64; f32, i32, F32; bf16, i16, Bf16; f16, i16, F16);

/// How many steps from one representable number to the next lead from `a` to `b`; `None` if either
/// is NaN.
///
/// It counts across zero (both zeros are the same place) and to infinity, which is one step beyond
/// the largest finite number. Near zero the numbers lie densely, so that a harmless difference may
/// count thousands: never report the largest distance alone.
///
/// ```
/// use ulpscope_floats::{bf16, ulp_distance};
///
/// assert_eq!(ulp_distance(bf16::from_f32(1.0), bf16::from_f32(1.0078125)), Some(1));
/// assert_eq!(ulp_distance(-f32::from_bits(1), f32::from_bits(2)), Some(3));
/// assert_eq!(ulp_distance(f32::NAN, 1.0), None);
/// ```
pub fn ulp_distance<T: Float>(a: T, b: T) -> Option<u64> {
    Some(a.rank()?.abs_diff(b.rank()?))
}

/// The gap between the numbers of `dtype` around `x`: from the largest one not above `|x|` to the
/// next.
///
/// Constant below the smallest normal number (the spacing of subnormals). At a power of two it is
/// the gap above. Infinite if `|x|` is not below the power of two that ends the finite range, NaN
/// for NaN.
///
/// ```
/// use ulpscope_floats::{DType, ulp};
///
/// assert_eq!(ulp(1.0, DType::Bf16), 1.0 / 128.0);
/// assert_eq!(ulp(-3.5, DType::F16), 1.0 / 512.0);
/// ```
pub fn ulp(x: f64, dtype: DType) -> f64 {
    if x.is_nan() {
        return f64::NAN;
    }
    if x.is_infinite() || exponent(x) > dtype.max_exponent() {
        return f64::INFINITY;
    }
    let spacing = exponent(x).max(dtype.min_exponent()) - (dtype.precision() as i32 - 1);
    power_of_two(spacing)
}

/// `floor(log2(|x|))` for a normal f64; f64's smallest exponent or less for zero and subnormals.
fn exponent(x: f64) -> i32 {
    ((x.to_bits() >> 52) & 0x7ff) as i32 - 1023
}

/// `2^e` for `-1074 <= e <= 1023`, from bits, because `exp2` need not be exact everywhere.
fn power_of_two(e: i32) -> f64 {
    f64::from_bits(if e < -1022 { 1 << (e + 1074) } else { ((e + 1023) as u64) << 52 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All non-NaN 16-bit numbers, sorted by value, are consecutive in rank.
    fn ranks_are_consecutive<T: Float + PartialOrd>(from_bits: impl Fn(u16) -> T, infinity: u16) {
        let negative = (0..=infinity).rev().map(|p| from_bits(0x8000 | p));
        let positive = (0..=infinity).map(&from_bits);
        let all: Vec<T> = negative.chain(positive).collect();
        for pair in all.windows(2) {
            let distance = u64::from(pair[0] < pair[1]); // 0 between the zeros
            assert_eq!(ulp_distance(pair[0], pair[1]), Some(distance));
            assert_eq!(ulp_distance(pair[1], pair[0]), Some(distance));
        }
        let ends = ulp_distance(all[0], all[all.len() - 1]);
        assert_eq!(ends, Some(2 * u64::from(infinity)));
        assert!((infinity + 1..0x8000).all(|p| from_bits(p).rank().is_none()));
    }

    #[test]
    fn every_16_bit_number_has_its_rank() {
        ranks_are_consecutive(bf16::from_bits, 0x7f80);
        ranks_are_consecutive(f16::from_bits, 0x7c00);
    }

    #[test]
    fn the_spacing_is_the_distance_to_the_next_number() {
        for pattern in 0..0x7f80u16 - 1 {
            let (x, next) = (bf16::from_bits(pattern).to_f64(), bf16::from_bits(pattern + 1).to_f64());
            assert_eq!(ulp(x, DType::Bf16), next - x);
            assert_eq!(ulp(-(x + (next - x) / 4.0), DType::Bf16), next - x);
        }
        for pattern in 0..0x7c00u16 - 1 {
            let (x, next) = (f16::from_bits(pattern).to_f64(), f16::from_bits(pattern + 1).to_f64());
            assert_eq!(ulp(x, DType::F16), next - x);
        }
    }

    #[test]
    fn the_ends_of_the_range() {
        assert_eq!(ulp(0.0, DType::F64), f64::from_bits(1));
        assert_eq!(ulp(f64::from_bits(1), DType::F64), f64::from_bits(1));
        assert_eq!(ulp(0.0, DType::F32), f64::from(f32::from_bits(1)));
        assert_eq!(ulp(65504.0, DType::F16), 32.0);
        assert_eq!(ulp(65536.0, DType::F16), f64::INFINITY);
        assert_eq!(ulp(f64::NEG_INFINITY, DType::F64), f64::INFINITY);
        assert!(ulp(f64::NAN, DType::F32).is_nan());
        assert_eq!(ulp_distance(f64::NEG_INFINITY, f64::INFINITY), Some(2 * 0x7ff0_0000_0000_0000));
        assert_eq!(ulp_distance(f32::MAX, f32::INFINITY), Some(1));
        assert_eq!(ulp_distance(0.0f32, -0.0), Some(0));
    }

    proptest! {
        #[test]
        fn f32_and_f64_step_by_one(x: f32, y: f64) {
            prop_assert_eq!(ulp_distance(x, x.next_up()), Some(u64::from(x != f32::INFINITY)));
            prop_assert_eq!(ulp_distance(y, y.next_up()), Some(u64::from(y != f64::INFINITY)));
            if x.abs() < f32::MAX {
                let next = f64::from(x.abs().next_up());
                prop_assert_eq!(ulp(f64::from(x), DType::F32), next - f64::from(x.abs()));
            }
            if y.abs() < f64::MAX {
                prop_assert_eq!(ulp(y, DType::F64), y.abs().next_up() - y.abs());
            }
        }
    }
}
