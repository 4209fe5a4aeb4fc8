//! Conversions between formats, one number at a time and whole slices.
//!
//! The slice functions are what [`crate::Floats::cast`] runs. They hold no branch per element, so
//! that the compiler turns them into vector code; f16 goes through `half`, which uses the CPU's
//! conversion instructions where there are any.
//!
//! A NaN stays a NaN, but its payload is nobody's contract: PyTorch, `half` and the CPU each keep
//! something else. Compare NaNs as NaNs.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// f32 to bf16, to nearest, ties to even; subnormals are kept, and values from
/// `bf16::MAX` plus half an ulp on become infinite.
#[inline]
pub fn bf16_from_f32(x: f32) -> bf16 {
    let bits = x.to_bits();
    let upper = bits >> 16;
    // Adding just under half an ulp, plus one more if the kept part is odd, carries exactly when
    // rounding to even must go up. The carry may run into the exponent, which is what it should do.
    let rounded = bits.wrapping_add(0x7fff + (upper & 1)) >> 16;
    // The payload of a NaN may lie in the lower half alone; the quiet bit keeps it from becoming
    // infinite.
    let nan = upper | 0x0040;
    let is_nan = bits & 0x7fff_ffff > 0x7f80_0000;
    bf16::from_bits((if is_nan { nan } else { rounded }) as u16)
}

/// bf16 to f32, which is exact: the sixteen bits become the upper half.
#[inline]
pub fn f32_from_bf16(x: bf16) -> f32 {
    f32::from_bits(u32::from(x.to_bits()) << 16)
}

/// f64 to bf16 in *one* rounding, to nearest, ties to even.
///
/// PyTorch goes through f32 and so rounds twice: `1 + 2^-8 + 2^-40` is `1.0078125` here and `1.0`
/// there. [`crate::Floats::cast`] does what PyTorch does.
///
/// ```
/// use ulpscope_floats::{DType, Floats, bf16_from_f64_exact};
///
/// let x = 1.0 + (-8f64).exp2() + (-40f64).exp2();
/// assert_eq!(bf16_from_f64_exact(x).to_f64(), 1.0078125);
/// assert_eq!(Floats::from(vec![x]).cast(DType::Bf16).get(0), 1.0);
/// ```
pub fn bf16_from_f64_exact(x: f64) -> bf16 {
    bf16_from_f32(f32_to_odd(x))
}

/// f64 to f16 in *one* rounding, to nearest, ties to even; from 65520 on the result is infinite.
///
/// See [`bf16_from_f64_exact`] for how this differs from a cast.
pub fn f16_from_f64_exact(x: f64) -> f16 {
    f16::from_f32(f32_to_odd(x))
}

/// Rounds to f32 "to odd": exact values stay, all others become the neighbour whose last bit is 1.
///
/// That last bit remembers on which side of a bf16 or f16 midpoint the f64 lay, which is why a
/// second rounding, to a format with at least two bits fewer, gives what a single rounding would
/// have given (Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums", 2008).
/// `half`'s own `from_f64` is no substitute: it drops the lower 32 bits or goes through f32.
fn f32_to_odd(x: f64) -> f32 {
    let nearest = x as f32;
    let back = f64::from(nearest);
    let bits = nearest.to_bits();
    if back == x || x.is_nan() || bits & 1 == 1 {
        nearest
    } else if back.abs() > x.abs() {
        f32::from_bits(bits - 1)
    } else {
        f32::from_bits(bits + 1)
    }
}

/// Rounds `src` into `dst` as [`bf16_from_f32`] does.
///
/// # Panics
/// If the lengths differ.
pub fn f32_to_bf16(src: &[f32], dst: &mut [bf16]) {
    assert_eq!(src.len(), dst.len(), "source and destination differ in length");
    for (d, &s) in dst.iter_mut().zip(src) {
        *d = bf16_from_f32(s);
    }
}

/// Widens `src` into `dst`, exactly.
///
/// # Panics
/// If the lengths differ.
#[inline(always)]
pub fn bf16_to_f32(src: &[bf16], dst: &mut [f32]) {
    assert_eq!(src.len(), dst.len(), "source and destination differ in length");
    for (d, &s) in dst.iter_mut().zip(src) {
        *d = f32_from_bf16(s);
    }
}

/// Rounds `src` into `dst`: to nearest, ties to even, subnormals kept, from 65520 on infinite.
///
/// # Panics
/// If the lengths differ.
pub fn f32_to_f16(src: &[f32], dst: &mut [f16]) {
    dst.convert_from_f32_slice(src);
}

/// Widens `src` into `dst`, exactly.
///
/// # Panics
/// If the lengths differ.
pub fn f16_to_f32(src: &[f16], dst: &mut [f32]) {
    src.convert_to_f32_slice(dst);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Rounding by its definition, for a 16-bit format given by its positive patterns: the nearest
    /// value, the even pattern in the middle, infinity standing for the next power of two.
    /// Midpoints of 16-bit formats are exact in f64, so nothing here rounds.
    pub(crate) fn nearest_by_search(x: f64, infinity: u16, value: impl Fn(u16) -> f64) -> u16 {
        let magnitude = |pattern: u16| {
            if pattern == infinity {
                let below = value(infinity - 1);
                below + (below - value(infinity - 2))
            } else {
                value(pattern)
            }
        };
        let sign = u16::from(x.is_sign_negative()) << 15;
        let x = x.abs();
        if x >= magnitude(infinity) {
            return sign | infinity;
        }
        let (mut low, mut high) = (0, infinity);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if magnitude(middle) <= x { low = middle } else { high = middle }
        }
        let midpoint = (magnitude(low) + magnitude(high)) / 2.0;
        let nearest = if x < midpoint || (x == midpoint && low % 2 == 0) { low } else { high };
        sign | nearest
    }

    fn bf16_by_search(x: f64) -> bf16 {
        bf16::from_bits(nearest_by_search(x, 0x7f80, |p| f64::from(f32::from_bits(u32::from(p) << 16))))
    }

    /// The value of a positive finite f16 pattern, from the fields of the format.
    fn f16_value(pattern: u16) -> f64 {
        let (exponent, fraction) = (i32::from(pattern >> 10), f64::from(pattern & 0x3ff));
        match exponent {
            0 => fraction * (-24f64).exp2(),
            e => (1024.0 + fraction) * f64::from(e - 25).exp2(),
        }
    }

    fn f16_by_search(x: f64) -> f16 {
        f16::from_bits(nearest_by_search(x, 0x7c00, f16_value))
    }

    fn bf16_slice(x: &[f32]) -> Vec<bf16> {
        let mut out = vec![bf16::ZERO; x.len()];
        f32_to_bf16(x, &mut out);
        out
    }

    fn f16_slice(x: &[f32]) -> Vec<f16> {
        let mut out = vec![f16::ZERO; x.len()];
        f32_to_f16(x, &mut out);
        out
    }

    /// Every upper half with the lower halves around which rounding changes: exact values, ties,
    /// their neighbours, subnormals, the overflow threshold and NaNs with a payload below.
    #[test]
    fn f32_to_bf16_follows_the_definition_around_every_bf16() {
        let all: Vec<f32> = (0..=u16::MAX)
            .flat_map(|upper| {
                [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff].map(|low| f32::from_bits(u32::from(upper) << 16 | low))
            })
            .collect();
        for (&x, got) in all.iter().zip(bf16_slice(&all)) {
            if x.is_nan() {
                assert!(got.is_nan(), "{:08x} became {got}", x.to_bits());
                assert_eq!(got.is_sign_negative(), x.is_sign_negative());
            } else {
                assert_eq!(got.to_bits(), bf16_by_search(f64::from(x)).to_bits(), "{:08x}", x.to_bits());
            }
        }
    }

    /// For every f16: itself, the midpoint to the next, and the f32 neighbours of both.
    #[test]
    fn f32_to_f16_follows_the_definition_around_every_f16() {
        let mut all = vec![f32::INFINITY, f32::MAX, 65519.996, 65520.0];
        for pattern in 0..0x7c00u16 {
            let value = f16_value(pattern) as f32;
            let step = f16_value(pattern + 1) - f16_value(pattern);
            let midpoint = (f16_value(pattern) + step / 2.0) as f32;
            all.extend([
                value,
                value.next_up(),
                value.next_down(),
                midpoint,
                midpoint.next_up(),
                midpoint.next_down(),
            ]);
        }
        let negative: Vec<f32> = all.iter().map(|x| -x).collect();
        all.extend(negative);
        for (&x, got) in all.iter().zip(f16_slice(&all)) {
            assert_eq!(got.to_bits(), f16_by_search(f64::from(x)).to_bits(), "{x:e}");
        }
    }

    #[test]
    fn all_patterns_survive_the_way_to_f32_and_back() {
        let bf: Vec<bf16> = (0..=u16::MAX).map(bf16::from_bits).collect();
        let half: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        let mut wide = vec![0.0; bf.len()];
        bf16_to_f32(&bf, &mut wide);
        for ((&x, y), w) in bf.iter().zip(bf16_slice(&wide)).zip(&wide) {
            assert!(x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan()));
            assert!(x.is_nan() || f64::from(*w) == x.to_f64());
        }
        f16_to_f32(&half, &mut wide);
        for ((&x, y), &w) in half.iter().zip(f16_slice(&wide)).zip(&wide) {
            assert!(x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan()));
            if !x.is_nan() && !x.is_infinite() {
                let magnitude = f16_value(x.to_bits() & 0x7fff);
                assert_eq!(f64::from(w), if x.is_sign_negative() { -magnitude } else { magnitude });
            }
        }
    }

    #[test]
    fn one_rounding_differs_from_two_just_above_a_tie() {
        let tie = 1.0 + (-8f64).exp2();
        for (x, want) in [(tie, 1.0), (tie + (-40f64).exp2(), 1.0078125), (tie - (-40f64).exp2(), 1.0)] {
            assert_eq!(bf16_from_f64_exact(x).to_f64(), want);
        }
        let tie = 1.0 + (-11f64).exp2();
        assert_eq!(f16_from_f64_exact(tie + (-40f64).exp2()).to_f64(), 1.0 + (-10f64).exp2());
        assert_eq!(f16_from_f64_exact(tie).to_f64(), 1.0);
    }

    #[test]
    fn the_ends_of_the_range() {
        assert_eq!(bf16_from_f64_exact(f64::MAX), bf16::INFINITY);
        assert_eq!(bf16_from_f64_exact(-f64::MIN_POSITIVE).to_bits(), 0x8000);
        assert_eq!(f16_from_f64_exact(65_519.999_999_999), f16::MAX);
        assert_eq!(f16_from_f64_exact(65520.0), f16::INFINITY);
        assert_eq!(f16_from_f64_exact((-25f64).exp2()).to_bits(), 0);
        assert_eq!(f16_from_f64_exact((-25f64).exp2() * (1.0 + f64::EPSILON)).to_bits(), 1);
        assert!(bf16_from_f64_exact(f64::NAN).is_nan() && f16_from_f64_exact(f64::NAN).is_nan());
        assert_eq!(bf16_from_f64_exact(f64::NEG_INFINITY), bf16::NEG_INFINITY);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn f32_bits_round_by_the_definition(bits: u32) {
            let x = f32::from_bits(bits);
            prop_assume!(!x.is_nan());
            prop_assert_eq!(bf16_from_f32(x).to_bits(), bf16_by_search(f64::from(x)).to_bits());
            prop_assert_eq!(f16_slice(&[x])[0].to_bits(), f16_by_search(f64::from(x)).to_bits());
        }

        /// Exponents around the 16-bit formats' ranges, because random f64 bits mostly miss them;
        /// the lower bits around midpoints, because random ones never come near.
        #[test]
        fn f64_rounds_once(
            sign: bool, exponent in -160i32..130, upper: u16, lower in -3i64..=3, near: bool, random: u64,
        ) {
            let fraction = if near {
                (u64::from(upper) << 36).wrapping_add_signed(lower)
            } else {
                random
            } & ((1 << 52) - 1);
            let x = f64::from_bits(u64::from(sign) << 63 | ((exponent + 1023) as u64) << 52 | fraction);
            prop_assert_eq!(bf16_from_f64_exact(x).to_bits(), bf16_by_search(x).to_bits());
            prop_assert_eq!(f16_from_f64_exact(x).to_bits(), f16_by_search(x).to_bits());
        }
    }
}
