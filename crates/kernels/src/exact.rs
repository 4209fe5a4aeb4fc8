//! Sums of products without any rounding.

/// Bits of a limb that count; the rest of its i64 holds carries not yet passed on.
const LIMB: u32 = 32;
/// Exponent of the lowest bit: the square of f32's smallest number is 2^-298.
const LOWEST: i32 = -298;
/// From 2^-298 up to 2^256 (the square of the largest number) times 2^64 terms, rounded up to whole
/// limbs, and one for the sign.
const LIMBS: usize = 21;
/// A limb takes at most this many additions of numbers below 2^32 before its carries must move on.
const ADDITIONS: u32 = 1 << 30;

/// An exact sum of products of f32 numbers.
///
/// A fixed-point number of 672 bits, wide enough for 2^64 products of any size, so that the order
/// of the terms does not matter at all. Infinities and NaN behave as in an IEEE sum.
///
/// ```
/// use ulpscope_kernels::ExactSum;
///
/// let mut sum = ExactSum::default();
/// for (x, w) in [(1e30, 1e30), (1.0, 1.5), (-1e30, 1e30)] {
///     sum.add_product(x, w);
/// }
/// assert_eq!(sum.to_f64_odd(), 1.5);
/// ```
#[derive(Clone, Debug)]
pub struct ExactSum {
    limbs: [i64; LIMBS],
    /// Additions since carries were passed on.
    additions: u32,
    /// What has been added that is not finite: 0 if nothing, an infinity, or NaN.
    special: f64,
}

impl Default for ExactSum {
    fn default() -> Self {
        ExactSum { limbs: [0; LIMBS], additions: 0, special: 0.0 }
    }
}

impl ExactSum {
    /// Adds `x · w`, unrounded.
    pub fn add_product(&mut self, x: f32, w: f32) {
        if !(x.is_finite() && w.is_finite()) {
            // Both factors fit f64 with room to spare, so that only true infinities and NaNs come
            // out.
            self.special += f64::from(x) * f64::from(w);
            return;
        }
        let ((mx, ex), (mw, ew)) = (split(x), split(w));
        let product = mx * mw; // below 2^48
        if product == 0 {
            return;
        }
        let shift = (ex + ew - LOWEST) as u32;
        let (first, offset) = ((shift / LIMB) as usize, shift % LIMB);
        let wide = u128::from(product) << offset; // below 2^80
        let negative = (x < 0.0) != (w < 0.0);
        for i in 0..3 {
            let part = ((wide >> (LIMB * i as u32)) as u32) as i64;
            self.limbs[first + i] += if negative { -part } else { part };
        }
        self.additions += 1;
        if self.additions == ADDITIONS {
            self.carry();
        }
    }

    /// The sum rounded "to odd": if f64 does not hold it exactly, the neighbour whose last bit
    /// is 1.
    ///
    /// The last bit remembers on which side of a midpoint the sum lay. So a second rounding, to a
    /// format of at most 51 significant bits, gives what a single rounding of the exact sum gives.
    /// An exact zero is `+0`.
    pub fn to_f64_odd(mut self) -> f64 {
        if self.special != 0.0 {
            return self.special; // NaN != 0 holds too
        }
        self.carry();
        let negative = self.limbs[LIMBS - 1] < 0;
        if negative {
            self.limbs.iter_mut().for_each(|limb| *limb = -*limb);
            self.carry();
        }
        let Some(top) = self.limbs.iter().rposition(|&limb| limb != 0) else { return 0.0 };
        // The four topmost limbs hold at least 97 significant bits; what lies below only matters as
        // "not zero".
        let limb = |i: usize| top.checked_sub(i).map_or(0, |i| self.limbs[i] as u128);
        let high = limb(0) << 96 | limb(1) << 64 | limb(2) << 32 | limb(3);
        let below = self.limbs[..top.saturating_sub(3)].iter().any(|&limb| limb != 0);
        let zeros = high.leading_zeros();
        let significand = (high << zeros >> (128 - 53)) as u64;
        let inexact = below || high << zeros << 53 != 0;
        let exponent = LOWEST + LIMB as i32 * top as i32 - 96 + (128 - 53) - zeros as i32;
        // 53 bits times a power of two between 2^-350 and 2^400: both factors and the product are
        // exact.
        let magnitude = (significand | u64::from(inexact)) as f64 * power_of_two(exponent);
        if negative { -magnitude } else { magnitude }
    }

    /// Brings every limb but the topmost into `0..2^32`.
    fn carry(&mut self) {
        for i in 0..LIMBS - 1 {
            let carry = self.limbs[i] >> LIMB;
            self.limbs[i] -= carry << LIMB;
            self.limbs[i + 1] += carry;
        }
        self.additions = 0;
    }
}

/// `|x| = significand · 2^exponent` for a finite `x`.
fn split(x: f32) -> (u64, i32) {
    let bits = x.to_bits();
    let (exponent, fraction) = ((bits >> 23 & 0xff) as i32, u64::from(bits & 0x7f_ffff));
    if exponent == 0 { (fraction, -149) } else { (fraction | 1 << 23, exponent - 150) }
}

/// `2^n` for a normal result.
fn power_of_two(n: i32) -> f64 {
    f64::from_bits(((n + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(terms: &[(f32, f32)]) -> f64 {
        let mut sum = ExactSum::default();
        terms.iter().for_each(|&(x, w)| sum.add_product(x, w));
        sum.to_f64_odd()
    }

    #[test]
    fn extremes_are_held() {
        let (tiny, huge) = (f32::from_bits(1), f32::MAX);
        assert_eq!(sum(&[(tiny, tiny)]), (-298f64).exp2());
        assert_eq!(sum(&[(huge, huge)]), f64::from(huge) * f64::from(huge));
        assert_eq!(sum(&[(huge, huge), (-tiny, tiny), (-huge, huge)]), -(-298f64).exp2());
        // One part in 2^554 below a representable number: rounded to odd, downwards.
        let square = f64::from(huge) * f64::from(huge);
        assert_eq!(sum(&[(huge, huge), (-tiny, tiny)]), square.next_down());
        assert_eq!(sum(&[(1.0, 1.0), (1.0, -1.0)]).to_bits(), 0);
        assert_eq!(sum(&[]).to_bits(), 0);
        assert_eq!(sum(&[(f32::INFINITY, -1.0), (1.0, 1.0)]), f64::NEG_INFINITY);
        assert!(sum(&[(f32::INFINITY, 1.0), (f32::INFINITY, -1.0)]).is_nan());
        assert!(sum(&[(f32::INFINITY, 0.0)]).is_nan());
        assert!(sum(&[(f32::NAN, 1.0)]).is_nan());
    }

    /// Integers times powers of two, whose sums i128 holds exactly.
    fn term() -> impl Strategy<Value = (i32, i32, u32)> {
        (-0xff_ffff..=0xff_ffff, -0xff_ffff..=0xff_ffff, 0..70u32)
    }

    proptest! {
        #[test]
        fn sums_agree_with_integers(terms in prop::collection::vec(term(), 0..60)) {
            let mut sum = ExactSum::default();
            let mut integer = 0i128;
            for &(a, b, shift) in &terms {
                sum.add_product(a as f32, b as f32 * (shift as f32).exp2());
                integer += (i128::from(a) * i128::from(b)) << shift;
            }
            // i128 to f32 rounds to nearest, ties to even.
            prop_assert_eq!((sum.to_f64_odd() as f32).to_bits(), (integer as f32).to_bits());
        }

        #[test]
        fn one_product_is_itself(a: f32, b: f32) {
            prop_assume!(a.is_finite() && b.is_finite());
            let mut sum = ExactSum::default();
            sum.add_product(a, b);
            prop_assert_eq!(sum.to_f64_odd(), f64::from(a) * f64::from(b));
        }
    }
}
