//! What the exponents of two runs of numbers prove about their products.

use bytemuck::Pod;
use ulpscope_floats::{DType, bf16, f16};

use crate::Path;

/// The smallest and the largest exponent among the finite numbers of a run that are not zero.
///
/// f32 holds the product of two 16-bit numbers exactly unless it is too small or too large. Where
/// the exponents rule that out, a product may be rounded on its own and added (`mul` and `add` have
/// the bits of a fused multiply-add); where they rule out subnormal numbers altogether,
/// instructions that flush those to zero may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    /// Biased exponent in f32, at least 1 (subnormal f32 numbers lie in the binade of 1).
    smallest: i32,
    /// Biased exponent in f32.
    largest: i32,
    /// Whether some number is subnormal in f32.
    subnormal: bool,
    /// Significant bits of the format.
    precision: i32,
}

/// Bias of f32's exponent.
const BIAS: i32 = 127;

impl Range {
    /// The range of `values`.
    #[inline(always)]
    pub(crate) fn of<T: Bits>(values: &[T]) -> Self {
        let [low, high] = T::extremes(values);
        let precision = T::DTYPE.precision() as i32;
        let exponent = |magnitude: u32| T::exponent(magnitude.min(T::INFINITY - 1)).max(1);
        let subnormal = low != 0 && low < T::SMALLEST_NORMAL && T::DTYPE != DType::F16;
        Range {
            smallest: if low == 0 { 255 } else { exponent(low) },
            largest: exponent(high),
            subnormal,
            precision,
        }
    }

    /// [`Range::of`], compiled for the path's instructions.
    pub(crate) fn on<T: Bits>(path: Path, values: &[T]) -> Self {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
        fn wide<T: Bits>(values: &[T]) -> Range {
            Range::of(values)
        }
        match path {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a path that a product runs on has been checked against the CPU.
            #[allow(unsafe_code)]
            Path::Avx512 | Path::Avx512Bf16 | Path::AmxBf16 => unsafe { wide(values) },
            _ => Range::of(values),
        }
    }

    /// The range of the numbers of both runs, which are of one format.
    pub(crate) fn join(self, other: Range) -> Range {
        debug_assert_eq!(self.precision, other.precision);
        Range {
            smallest: self.smallest.min(other.smallest),
            largest: self.largest.max(other.largest),
            subnormal: self.subnormal || other.subnormal,
            precision: self.precision,
        }
    }

    /// All finite numbers are below `2^bound`.
    pub(crate) fn bound(self) -> i32 {
        self.largest - BIAS + 1
    }

    /// The lowest bit that any of the numbers has set lies at or above `2^quantum`.
    fn quantum(self) -> i32 {
        self.smallest - BIAS - (self.precision - 1)
    }

    /// Whether every product of the two is a finite f32, exactly.
    pub(crate) fn exact_products(self, other: Range) -> bool {
        self.precision + other.precision <= 24
            && self.quantum() + other.quantum() >= -149
            // Each is below 2^(largest - BIAS + 1).
            && self.largest + other.largest - 2 * BIAS + 2 <= 128
    }

    /// Whether neither the numbers, nor their products, nor any sum of these can be subnormal.
    ///
    /// All products, hence all sums, are multiples of the product of the quanta; rounding keeps
    /// them so. What is not zero is then at least that.
    pub(crate) fn never_subnormal(self, other: Range) -> bool {
        !self.subnormal && !other.subnormal && self.quantum() + other.quantum() >= 1 - BIAS
    }
}

/// A storage format, seen as integers.
pub(crate) trait Bits: Pod {
    const DTYPE: DType;
    /// The magnitude of infinity.
    const INFINITY: u32;
    /// The magnitude of the smallest normal number.
    const SMALLEST_NORMAL: u32;

    /// The bits without the sign.
    fn magnitude(self) -> u32;

    /// The smallest magnitude that is not zero, 0 if there is none, and the largest that is finite.
    fn extremes(values: &[Self]) -> [u32; 2];

    /// The biased exponent that a number of this magnitude has in f32; subnormal numbers count as
    /// in their lowest binade, with all the bits below it.
    fn exponent(magnitude: u32) -> i32;
}

/// [`Bits::extremes`] on integers as wide as the format, because more of them fit into a vector.
macro_rules! extremes {
    ($bits:ty) => {
        #[inline(always)]
        fn extremes(values: &[Self]) -> [u32; 2] {
            // Magnitudes as integers order as the numbers do; zero wraps round to the far end.
            let (mut low, mut high) = (<$bits>::MAX, 0);
            for value in values {
                let magnitude = value.to_bits() & (<$bits>::MAX >> 1);
                low = low.min(magnitude.wrapping_sub(1));
                high = high.max(if magnitude < (<Self as Bits>::INFINITY as $bits) { magnitude } else { 0 });
            }
            [low.wrapping_add(1).into(), high.into()]
        }
    };
}

impl Bits for bf16 {
    const DTYPE: DType = DType::Bf16;
    const INFINITY: u32 = 0x7f80;
    const SMALLEST_NORMAL: u32 = 0x80;

    #[inline(always)]
    fn magnitude(self) -> u32 {
        u32::from(self.to_bits() & 0x7fff)
    }

    extremes!(u16);

    fn exponent(magnitude: u32) -> i32 {
        (magnitude >> 7) as i32
    }
}

impl Bits for f16 {
    const DTYPE: DType = DType::F16;
    const INFINITY: u32 = 0x7c00;
    const SMALLEST_NORMAL: u32 = 0x400;

    #[inline(always)]
    fn magnitude(self) -> u32 {
        u32::from(self.to_bits() & 0x7fff)
    }

    extremes!(u16);

    fn exponent(magnitude: u32) -> i32 {
        // f16's subnormal numbers share the quantum of its lowest binade.
        (magnitude >> 10).max(1) as i32 - 15 + BIAS
    }
}

impl Bits for f32 {
    const DTYPE: DType = DType::F32;
    const INFINITY: u32 = 0x7f80_0000;
    const SMALLEST_NORMAL: u32 = 0x80_0000;

    #[inline(always)]
    fn magnitude(self) -> u32 {
        self.to_bits() & 0x7fff_ffff
    }

    extremes!(u32);

    fn exponent(magnitude: u32) -> i32 {
        (magnitude >> 23) as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(values: &[f32]) -> Range {
        Range::of(&values.iter().map(|&x| bf16::from_f32(x)).collect::<Vec<_>>())
    }

    #[test]
    fn zeros_and_infinities_do_not_count() {
        assert_eq!(range(&[0.0, -0.0, 3.0, f32::INFINITY, -0.5, f32::NAN]), range(&[2.0, 0.5]));
        let nothing = range(&[0.0]);
        assert!(nothing.never_subnormal(nothing) && nothing.exact_products(nothing));
    }

    /// The bounds are sharp up to the width of a binade: on one side the claim holds for all
    /// numbers of the range, on the other some product breaks it.
    #[test]
    fn bounds_are_where_they_should_be() {
        let power = |n: i32| range(&[(n as f32).exp2()]);
        assert!(power(-56).never_subnormal(power(-56)));
        assert!(!power(-56).never_subnormal(power(-57))); // 2^-113 · (1 + 2^-7)² has a bit at 2^-127
        assert!(power(-67).exact_products(power(-68)));
        assert!(!power(-68).exact_products(power(-68)));
        assert!(power(63).exact_products(power(63)));
        assert!(!power(63).exact_products(power(64)));
        let subnormal = range(&[f32::from_bits(0x10_0000)]);
        assert!(!subnormal.never_subnormal(power(100)), "it would be taken for zero");
        assert!(subnormal.exact_products(power(100)));
        let single = Range::of(&[1.0f32]);
        assert!(!single.exact_products(power(0)), "32 bits");
        let half = Range::of(&[f16::from_bits(1)]);
        assert!(half.exact_products(half) && half.never_subnormal(half));
    }
}
