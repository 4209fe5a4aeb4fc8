//! Ways in which converted numbers lose their lower bits.

use std::fmt;

use half::{bf16, f16};

use crate::convert::{bf16_from_f32, f32_from_bf16};
use crate::{DType, Floats};

/// A deterministic rounding that a conversion applies to every element.
///
/// All work on f32 values and give f32 values, so that the result of a rounding can be compared
/// with numbers in any format. f64 inputs reach f32 first, rounded to nearest, as in PyTorch.
///
/// ```
/// use ulpscope_floats::Rounding;
///
/// let x = 1.0 + 3.0 / 256.0; // a tie between two bf16 neighbours
/// assert_eq!(Rounding::NearestBf16.round(x), 1.015625);
/// assert_eq!(Rounding::TruncateBf16.round(x), 1.0078125);
/// assert_eq!(Rounding::NearestBf16.formula("a"), "round_bf16(a)");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// To f32, nearest, ties to even. Changes f64 values only.
    NearestF32,
    /// To bf16, nearest, ties to even: what `.to(torch.bfloat16)` does.
    NearestBf16,
    /// To f16, nearest, ties to even: what `.half()` does. Overflows to infinity from 65520 on.
    NearestF16,
    /// To bf16 by dropping the lower sixteen bits, as converters do that copy half of each f32.
    TruncateBf16,
    /// To f16 and then to bf16, both to nearest: two roundings, f16's range.
    NearestBf16ViaF16,
}

impl Rounding {
    /// Every rounding, the commonest first.
    pub const ALL: [Rounding; 5] = [
        Rounding::NearestBf16,
        Rounding::NearestF16,
        Rounding::NearestF32,
        Rounding::TruncateBf16,
        Rounding::NearestBf16ViaF16,
    ];

    /// The format whose values the results are. (They need not be stored in it.)
    pub fn target(self) -> DType {
        match self {
            Rounding::NearestF32 => DType::F32,
            Rounding::NearestF16 => DType::F16,
            Rounding::NearestBf16 | Rounding::TruncateBf16 | Rounding::NearestBf16ViaF16 => DType::Bf16,
        }
    }

    /// Rounds one number. NaN stays NaN.
    pub fn round(self, x: f32) -> f32 {
        match self {
            Rounding::NearestF32 => x,
            Rounding::NearestBf16 => round_bf16(x),
            Rounding::NearestF16 => round_f16(x),
            Rounding::TruncateBf16 => truncate_bf16(x),
            Rounding::NearestBf16ViaF16 => round_bf16(round_f16(x)),
        }
    }

    /// Rounds every number where it lies.
    pub fn round_slice(self, x: &mut [f32]) {
        // One loop per rounding, so that the match is not inside it.
        fn each(x: &mut [f32], f: impl Fn(f32) -> f32) {
            x.iter_mut().for_each(|x| *x = f(*x));
        }
        match self {
            Rounding::NearestF32 => {}
            Rounding::NearestBf16 => each(x, round_bf16),
            Rounding::NearestF16 => each(x, round_f16),
            Rounding::TruncateBf16 => each(x, truncate_bf16),
            Rounding::NearestBf16ViaF16 => each(x, |x| round_bf16(round_f16(x))),
        }
    }

    /// The rounded numbers, stored in [`Rounding::target`], which holds them exactly.
    pub fn apply(self, x: &Floats) -> Floats<'static> {
        let mut rounded = x.to_f32();
        self.round_slice(&mut rounded);
        Floats::from(rounded).cast(self.target())
    }

    /// The rounding written as a call on `argument`: `round_bf16(round_f16(a))`.
    pub fn formula(self, argument: &str) -> String {
        match self {
            Rounding::NearestBf16ViaF16 => format!("round_bf16(round_f16({argument}))"),
            _ => format!("{self}({argument})"),
        }
    }
}

impl fmt::Display for Rounding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Rounding::NearestF32 => "round_f32",
            Rounding::NearestBf16 => "round_bf16",
            Rounding::NearestF16 => "round_f16",
            Rounding::TruncateBf16 => "truncate_bf16",
            Rounding::NearestBf16ViaF16 => "round_bf16_via_f16",
        })
    }
}

/// The bf16 nearest to `x`, ties to even, as f32.
#[inline]
pub fn round_bf16(x: f32) -> f32 {
    f32_from_bf16(bf16_from_f32(x))
}

/// The f16 nearest to `x`, ties to even, as f32; infinite from 65520 on.
#[inline]
pub fn round_f16(x: f32) -> f32 {
    f16::from_f32(x).to_f32()
}

/// The bf16 next to `x` towards zero, as f32: the lower sixteen bits are dropped, never carried.
///
/// A NaN stays one even if its payload lay in the dropped bits alone.
#[inline]
pub fn truncate_bf16(x: f32) -> f32 {
    let quiet = if x.is_nan() { 0x0040_0000 } else { 0 };
    f32_from_bf16(bf16::from_bits(((x.to_bits() | quiet) >> 16) as u16))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn roundings_part_where_they_should() {
        // Just below the bf16 midpoint 1 + 2^-8, within f16's half ulp of it: f16 rounds up to the
        // midpoint, and the tie then goes to even, here 1 + 2^-7 for the odd side.
        let odd = 1.0 + 3.0 * (-8f32).exp2();
        let below = odd - (-16f32).exp2();
        assert_eq!(Rounding::NearestBf16.round(below), 1.0 + (-7f32).exp2());
        assert_eq!(Rounding::NearestBf16ViaF16.round(below), 1.0 + 2.0 * (-7f32).exp2());
        assert_eq!(Rounding::TruncateBf16.round(-below), -1.0 - (-7f32).exp2());
        assert_eq!(Rounding::NearestF16.round(70000.0), f32::INFINITY);
        assert_eq!(Rounding::NearestBf16ViaF16.round(70000.0), f32::INFINITY);
        assert_eq!(Rounding::TruncateBf16.round(f32::MAX), bf16::MAX.to_f32());
        assert_eq!(Rounding::NearestBf16.round(f32::MAX), f32::INFINITY);
    }

    #[test]
    fn nan_stays_nan_wherever_its_payload_is() {
        for bits in [0x7f80_0001, 0x7fc0_0000, 0xff80_0001, 0x7fff_ffff] {
            for rounding in Rounding::ALL {
                assert!(rounding.round(f32::from_bits(bits)).is_nan(), "{rounding} of {bits:08x}");
            }
        }
    }

    #[test]
    fn apply_stores_the_values_in_the_target_format() {
        let x = Floats::from(vec![0.1f64, -3.000_001, f64::from(f32::MAX), 1e-40]);
        for rounding in Rounding::ALL {
            let rounded = rounding.apply(&x);
            assert_eq!(rounded.dtype(), rounding.target());
            for (i, wide) in x.to_f32().iter().enumerate() {
                assert_eq!(rounded.get(i), f64::from(rounding.round(*wide)), "{rounding} of {wide}");
            }
        }
    }

    #[test]
    fn formulas_nest() {
        let formulas: Vec<_> = Rounding::ALL.iter().map(|r| r.formula("a")).collect();
        let want =
            ["round_bf16(a)", "round_f16(a)", "round_f32(a)", "truncate_bf16(a)", "round_bf16(round_f16(a))"];
        assert_eq!(formulas, want);
    }

    proptest! {
        /// Idempotent, odd, and the slice form agrees with the scalar one.
        #[test]
        fn roundings_are_projections(bits: u32) {
            let x = f32::from_bits(bits);
            prop_assume!(!x.is_nan());
            for rounding in Rounding::ALL {
                let once = rounding.round(x);
                prop_assert_eq!(rounding.round(once).to_bits(), once.to_bits());
                prop_assert_eq!(rounding.round(-x).to_bits(), (-once).to_bits());
                let mut slice = [x];
                rounding.round_slice(&mut slice);
                prop_assert_eq!(slice[0].to_bits(), once.to_bits());
            }
            prop_assert!(truncate_bf16(x).abs() <= x.abs());
        }
    }
}
