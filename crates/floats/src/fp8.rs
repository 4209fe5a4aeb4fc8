//! Floats of eight bits.

/// A format of eight bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fp8 {
    /// Three bits after the leading one, to 448. It has NaNs and no infinity.
    E4m3,
    /// Two bits after the leading one, to 57344. It has NaNs and infinities.
    E5m2,
    /// As [`Fp8::E4m3`] with another bias, to 240. It has one NaN, no infinity and no negative
    /// zero.
    E4m3fnuz,
}

/// Which of two equally near numbers is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ties {
    /// The one whose last bit is zero, as IEEE 754 has it.
    Even,
    /// The one farther from zero, as C's `round` has it.
    Away,
}

/// What becomes of numbers beyond the largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The largest number.
    Saturate,
    /// An infinity, or NaN if the format has no infinity.
    Special,
}

impl Fp8 {
    /// Bits after the leading one.
    const fn fraction(self) -> i32 {
        match self {
            Fp8::E4m3 | Fp8::E4m3fnuz => 3,
            Fp8::E5m2 => 2,
        }
    }

    /// Exponent of the smallest normal number.
    const fn least_exponent(self) -> i32 {
        match self {
            Fp8::E4m3 => -6,
            Fp8::E5m2 => -14,
            Fp8::E4m3fnuz => -7,
        }
    }

    /// The largest finite number.
    pub const fn largest(self) -> f64 {
        match self {
            Fp8::E4m3 => 448.0,
            Fp8::E5m2 => 57_344.0,
            Fp8::E4m3fnuz => 240.0,
        }
    }

    /// The exponent that `x` has in this format, if its range had no upper end.
    fn exponent(self, x: f64) -> i32 {
        let exponent = ((x.to_bits() >> 52) & 0x7ff) as i32 - 1023;
        exponent.max(self.least_exponent())
    }

    /// The distance of neighbouring numbers around a finite `x`.
    pub fn spacing(self, x: f64) -> f64 {
        2f64.powi(self.exponent(x) - self.fraction())
    }

    /// The number nearest to a finite `x`, as if the range had no upper end.
    pub fn nearest(self, x: f64, ties: Ties) -> f64 {
        let spacing = self.spacing(x);
        let steps = x / spacing;
        spacing
            * match ties {
                Ties::Even => steps.round_ties_even(),
                Ties::Away => steps.round(),
            }
    }

    /// `x` rounded to nearest, ties to even.
    ///
    /// ```
    /// use ulpscope_floats::fp8::{Fp8, Overflow};
    ///
    /// assert_eq!(Fp8::E4m3.round(1.0625, Overflow::Saturate), 1.0);
    /// assert_eq!(Fp8::E4m3.round(1e6, Overflow::Saturate), 448.0);
    /// assert_eq!(Fp8::E5m2.round(1e6, Overflow::Special), f64::INFINITY);
    /// ```
    pub fn round(self, x: f64, overflow: Overflow) -> f64 {
        let rounded = if x.is_finite() { self.nearest(x, Ties::Even) } else { x };
        if rounded.is_nan() || rounded.abs() <= self.largest() {
            return rounded;
        }
        match (overflow, self) {
            (Overflow::Saturate, _) => self.largest().copysign(x),
            (Overflow::Special, Fp8::E5m2) => f64::INFINITY.copysign(x),
            (Overflow::Special, _) => f64::NAN,
        }
    }

    /// The code of `x`, rounded to nearest, ties to even.
    pub fn encode(self, x: f64, overflow: Overflow) -> u8 {
        let rounded = self.round(x, overflow);
        let sign = if rounded.is_sign_negative() { 0x80 } else { 0 };
        if rounded.is_nan() {
            return if self == Fp8::E4m3fnuz { 0x80 } else { 0x7f };
        }
        if rounded == 0.0 {
            return if self == Fp8::E4m3fnuz { 0 } else { sign };
        }
        if rounded.is_infinite() {
            return sign | 0x7c;
        }
        // Codes count the numbers from zero on.
        let steps = (rounded.abs() / self.spacing(rounded)) as u8;
        let binades = (self.exponent(rounded) - self.least_exponent()) as u8;
        sign | (steps + (binades << self.fraction()))
    }

    /// The number of a code.
    pub fn decode(self, code: u8) -> f64 {
        let magnitude = code & 0x7f;
        let special = match self {
            Fp8::E4m3 => (magnitude == 0x7f).then_some(f64::NAN),
            Fp8::E4m3fnuz => (code == 0x80).then_some(f64::NAN),
            Fp8::E5m2 if magnitude == 0x7c => Some(f64::INFINITY),
            Fp8::E5m2 => (magnitude > 0x7c).then_some(f64::NAN),
        };
        let (exponent, fraction) = (magnitude >> self.fraction(), magnitude & ((1 << self.fraction()) - 1));
        let one = if exponent == 0 { 0 } else { 1u8 << self.fraction() };
        let scale = self.least_exponent() - self.fraction() + i32::from(exponent.max(1)) - 1;
        let value = special.unwrap_or(f64::from(one + fraction) * 2f64.powi(scale));
        if code & 0x80 == 0 { value } else { -value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::f16;

    const ALL: [Fp8; 3] = [Fp8::E4m3, Fp8::E5m2, Fp8::E4m3fnuz];

    #[test]
    fn every_code_is_read_back() {
        for format in ALL {
            for code in 0..=u8::MAX {
                let value = format.decode(code);
                let back = format.encode(value, Overflow::Special);
                assert!(
                    back == code || (value.is_nan() && format.decode(back).is_nan()),
                    "{format:?} {code:#x}"
                );
            }
            let finite = (0..=u8::MAX).map(|code| format.decode(code)).filter(|x| x.is_finite());
            assert_eq!(finite.fold(0.0, f64::max), format.largest());
        }
        let bits = |code: u8| (Fp8::E4m3.decode(code), Fp8::E5m2.decode(code), Fp8::E4m3fnuz.decode(code));
        assert_eq!(bits(0x38), (1.0, 0.5, 0.5));
        assert_eq!(bits(0x01), ((-9f64).exp2(), (-16f64).exp2(), (-10f64).exp2()));
    }

    /// By definition: of all codes the nearest, and of two the even one.
    #[test]
    fn every_half_goes_to_the_nearest_code() {
        for format in ALL {
            let mut codes: Vec<(f64, u8)> = (0..0x80).map(|code| (format.decode(code), code)).collect();
            codes.retain(|(value, _)| value.is_finite());
            for x in (0..0x7c00).map(|bits| f16::from_bits(bits).to_f64()) {
                let distance = |(value, code): &(f64, u8)| ((value - x).abs(), code & 1);
                let nearest =
                    codes.iter().min_by(|x, y| distance(x).partial_cmp(&distance(y)).unwrap()).unwrap().0;
                let step = format.largest() - codes[codes.len() - 2].0;
                // Beyond half a step above the largest, and at it if the largest is even.
                let even = codes[codes.len() - 1].1 & 1 == 0;
                let limit = format.largest() + step / 2.0;
                let over = x > limit || (x == limit && !even);
                for (x, nearest) in [(x, nearest), (-x, -nearest)] {
                    assert_eq!(format.round(x, Overflow::Saturate), nearest, "{format:?} {x}");
                    let special = format.round(x, Overflow::Special);
                    assert_eq!(special.is_finite(), !over, "{format:?} {x}");
                    assert!(over || special == nearest);
                }
            }
        }
    }

    #[test]
    fn special_numbers_and_ties() {
        assert!(Fp8::E4m3.round(f64::NAN, Overflow::Saturate).is_nan());
        assert_eq!(Fp8::E4m3.round(f64::NEG_INFINITY, Overflow::Saturate), -448.0);
        assert!(Fp8::E4m3.round(465.0, Overflow::Special).is_nan());
        assert!(Fp8::E4m3.round(-0.0009, Overflow::Saturate).is_sign_negative());
        assert_eq!(Fp8::E4m3.nearest(1.0625, Ties::Away), 1.125);
        assert_eq!(
            (Fp8::E5m2.round(1.125, Overflow::Special), Fp8::E5m2.round(1.375, Overflow::Special)),
            (1.0, 1.5)
        );
    }
}
