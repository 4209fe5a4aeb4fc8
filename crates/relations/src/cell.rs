//! What may have been rounded to a number, and intervals of constants.

use ulpscope_floats::{DType, bf16_from_f64_exact, f16_from_f64_exact, round_bf16, round_f16, ulp};

/// A closed interval; empty if `low > high`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Interval {
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Interval {
    /// All numbers.
    pub(crate) const ALL: Interval = Interval { low: f64::NEG_INFINITY, high: f64::INFINITY };
    /// No number.
    pub(crate) const NONE: Interval = Interval { low: f64::INFINITY, high: f64::NEG_INFINITY };

    pub(crate) fn and(self, other: Interval) -> Interval {
        Interval { low: self.low.max(other.low), high: self.high.min(other.high) }
    }

    pub(crate) fn is_empty(self) -> bool {
        self.low > self.high
    }

    pub(crate) fn contains(self, x: f64) -> bool {
        self.low <= x && x <= self.high
    }

    pub(crate) fn width(self) -> f64 {
        self.high - self.low
    }

    pub(crate) fn middle(self) -> f64 {
        self.low + self.width() / 2.0
    }
}

/// The real numbers that `format` rounds to `x`, which is one of its numbers; both ties are counted
/// in.
///
/// 16-bit formats are reached through f32 by most programs, and the two roundings may part by half
/// an ulp of f32: the interval is wider by that much. NaN has no cell.
pub(crate) fn cell(x: f64, format: DType) -> Interval {
    if x.is_nan() {
        return Interval::NONE;
    }
    let magnitude = x.abs();
    let (low, high) = if magnitude.is_infinite() {
        let largest = -format.min();
        (largest + ulp(largest, format) / 2.0, f64::INFINITY)
    } else {
        let half = ulp(magnitude, format) / 2.0;
        // Below a power of two the numbers lie twice as densely, but for the smallest normal one.
        let power = magnitude.to_bits() & ((1 << 52) - 1) == 0;
        let below =
            if power && magnitude > f64::from(format.min_exponent()).exp2() { half / 2.0 } else { half };
        (magnitude - below, magnitude + half)
    };
    let slack = if format.size() == 2 { (-24f64).exp2() } else { 0.0 };
    let (low, high) = (low - low.abs() * slack, if high.is_finite() { high + high * slack } else { high });
    if x < 0.0 { Interval { low: -high, high: -low } } else { Interval { low, high } }
}

/// How a result of arithmetic in f64 reaches its storage format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// In one rounding.
    Direct,
    /// Rounded to f32 and then to the format, as PyTorch and most kernels do.
    ViaF32,
}

impl Path {
    pub(crate) const ALL: [Path; 2] = [Path::ViaF32, Path::Direct];

    /// `x` rounded to `format`, to nearest.
    pub(crate) fn round(self, x: f64, format: DType) -> f64 {
        match (format, self) {
            (DType::F64, _) => x,
            (DType::F32, _) => f64::from(x as f32),
            (DType::Bf16, Path::ViaF32) => f64::from(round_bf16(x as f32)),
            (DType::F16, Path::ViaF32) => f64::from(round_f16(x as f32)),
            (DType::Bf16, Path::Direct) => bf16_from_f64_exact(x).to_f64(),
            (DType::F16, Path::Direct) => f16_from_f64_exact(x).to_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ulpscope_floats::bf16;

    use super::*;

    #[test]
    fn cells_at_the_ends_of_the_range() {
        let tiny = f64::from(f32::from_bits(1));
        assert_eq!(cell(0.0, DType::F32), Interval { low: -tiny / 2.0, high: tiny / 2.0 });
        assert_eq!(
            cell(1.0, DType::F32),
            Interval { low: 1.0 - (-25f64).exp2(), high: 1.0 + (-24f64).exp2() }
        );
        assert!(cell(f64::INFINITY, DType::F16).contains(65520.0));
        assert!(!cell(f64::INFINITY, DType::F16).contains(65519.0));
        assert!(cell(-65504.0, DType::F16).contains(-65519.0));
        assert!(cell(f64::NAN, DType::F16).is_empty());
    }

    proptest! {
        /// Whatever rounds to a number lies in its cell, and what lies well inside rounds to it.
        #[test]
        fn cells_are_what_rounds(x: f32, y in 0u16..0x7f80) {
            prop_assume!(x.is_finite());
            let x = f64::from(x);
            for format in [DType::Bf16, DType::F16] {
                for path in Path::ALL {
                    prop_assert!(cell(path.round(x, format), format).contains(x));
                }
            }
            let y = bf16::from_bits(y).to_f64();
            let around = cell(y, DType::Bf16);
            for inside in [0.01, 0.5, 0.99] {
                let z = around.low + around.width() * inside;
                prop_assert_eq!(Path::Direct.round(z, DType::Bf16), y);
            }
        }
    }
}
