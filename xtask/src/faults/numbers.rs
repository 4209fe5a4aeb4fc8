//! Sixteen and eight bits, written apart from the code that is scored, so that a slip in one is not
//! a slip in both.

/// What a float of 16 or 8 bits looks like.
#[derive(Clone, Copy)]
pub(crate) struct Format {
    /// Bits after the leading one.
    fraction: i32,
    /// Exponent of the smallest normal number.
    least: i32,
    /// Largest finite number.
    pub(crate) most: f64,
}

pub(crate) const BF16: Format = Format { fraction: 7, least: -126, most: 3.389_531_389_251_535_5e38 };
pub(crate) const F16: Format = Format { fraction: 10, least: -14, most: 65504.0 };
pub(crate) const E4M3: Format = Format { fraction: 3, least: -6, most: 448.0 };

impl Format {
    /// The distance of numbers around `x`.
    pub(crate) fn step(self, x: f64) -> f64 {
        let exponent = if x == 0.0 { self.least } else { (x.abs().log2().floor() as i32).max(self.least) };
        f64::from(exponent - self.fraction).exp2()
    }

    /// Nearest, ties to even; infinite beyond the range.
    pub(crate) fn nearest(self, x: f32) -> f32 {
        self.by(x, f64::round_ties_even)
    }

    /// The next number toward zero.
    pub(crate) fn truncated(self, x: f32) -> f32 {
        self.by(x, f64::trunc)
    }

    /// Nearest, ties away from zero.
    pub(crate) fn ties_away(self, x: f32) -> f32 {
        self.by(x, f64::round)
    }

    /// One of the two neighbours by chance, the nearer the likelier; `chance` is in 0..1.
    pub(crate) fn stochastic(self, x: f32, chance: f64) -> f32 {
        self.by(x, |steps| (steps + chance).floor())
    }

    fn by(self, x: f32, round: impl Fn(f64) -> f64) -> f32 {
        let x = f64::from(x);
        if !x.is_finite() {
            return x as f32;
        }
        let step = self.step(x);
        let rounded = round(x / step) * step;
        (if rounded.abs() > self.most { f64::INFINITY.copysign(x) } else { rounded.copysign(x) }) as f32
    }
}

/// The bits of a number that f16 holds.
pub(crate) fn f16_bits(x: f32) -> u16 {
    let sign = ((x.to_bits() >> 16) & 0x8000) as u16;
    let magnitude = x.abs();
    sign | if magnitude.is_nan() {
        0x7e00
    } else if magnitude > 65504.0 {
        0x7c00
    } else if magnitude < 2f32.powi(-14) {
        (magnitude * 2f32.powi(24)) as u16
    } else {
        // Exponents count from 127 in f32 and from 15 in f16.
        ((magnitude.to_bits() >> 13) - ((127 - 15) << 10)) as u16
    }
}

/// The number of these bits.
pub(crate) fn f16_value(bits: u16) -> f32 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    let magnitude = match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1024.0 + fraction) * 2f32.powi(exponent - 25),
    };
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}

/// Numbers that look random and are the same every time (Knuth's MMIX).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// In 0..1.
    pub(crate) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / 16_777_216.0
    }

    /// About normal, of variance 1: the sum of twelve.
    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.next()).sum::<f64>() - 6.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_read_back() {
        for bits in (0..=u16::MAX).filter(|bits| bits & 0x7fff <= 0x7c00) {
            let value = f16_value(bits);
            assert_eq!(
                (f16_bits(value), F16.nearest(value).to_bits()),
                (bits, value.to_bits()),
                "{bits:#06x}"
            );
        }
        assert_eq!(F16.nearest(65519.0), 65504.0);
        assert_eq!(F16.nearest(65520.0), f32::INFINITY);
    }

    #[test]
    fn rounding_has_its_rules() {
        // Steps of 2^-7 above 1.
        let half = 1.0 + 2f32.powi(-8);
        assert_eq!((BF16.nearest(half), BF16.ties_away(half), BF16.truncated(half)), (1.0, 1.007_812_5, 1.0));
        assert_eq!((BF16.stochastic(half, 0.4), BF16.stochastic(half, 0.6)), (1.0, 1.007_812_5));
        assert_eq!((E4M3.nearest(17.0), E4M3.nearest(460.0)), (16.0, 448.0));
    }
}
