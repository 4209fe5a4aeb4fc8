//! Loops as vector code, where the CPU has more than every CPU has.

/// Work whose loops should be vector code. All that it calls has to be inlined into it.
///
/// It is a trait because a closure is not inlined where it has to be.
pub(crate) trait Loops {
    type Output;
    /// To be marked `#[inline(always)]`.
    fn run(self) -> Self::Output;
}

/// Runs work compiled for AVX2, where there is that.
///
/// The bits are those of plain code: Rust fuses no multiplication with an addition, and moves no
/// addition.
pub(crate) fn vectorised<W: Loops>(work: W) -> W::Output {
    struct Any<W>(W);
    impl<W: Loops> pulp::WithSimd for Any<W> {
        type Output = W::Output;
        #[inline(always)]
        fn with_simd<S: pulp::Simd>(self, _: S) -> W::Output {
            self.0.run()
        }
    }
    pulp::Arch::new().dispatch(Any(work))
}

/// Whole numbers below 2^51 in size, added to this, stand in the lowest bits. Adding and
/// subtracting it rounds to whole numbers, to nearest, ties to even.
const WHOLE: f64 = 6_755_399_441_055_744.0; // 1.5 · 2^52

/// `e^x` for x of at most 0, within an ulp or two: the same on every machine, which a math
/// library's is not.
///
/// As everybody does it: `x = q ln 2 + s` with |s| of at most half of ln 2, and the power series of
/// `e^s`, whose first term left out is below 1e-17.
#[inline(always)]
pub(crate) fn exp(x: f64) -> f64 {
    /// 1/13! … 1/2!
    const INVERSE_FACTORIALS: [f64; 12] = inverse_factorials();
    // The first has so few bits that its product with q is exact (FreeBSD's msun, e_exp.c).
    const LN_2: [f64; 2] = [6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10];
    // Far below what e^x is not 0 for, and above what q has too many bits for.
    let x = if x > -800.0 { x } else { -800.0 };
    let whole = |x: f64| (x + WHOLE) - WHOLE;
    let q = whole(x * std::f64::consts::LOG2_E);
    let s = (x - q * LN_2[0]) - q * LN_2[1];
    let tail = INVERSE_FACTORIALS.iter().fold(0.0, |sum, term| sum * s + term);
    // In two steps, since 2^q alone may be below the range that the result still reaches.
    let half = whole(q * 0.5);
    let power = |n: f64| f64::from_bits((n + WHOLE).to_bits().wrapping_add(1023) << 52);
    (1.0 + (s + s * s * tail)) * power(half) * power(q - half)
}

/// 1/n! for n from 13 down to 2.
pub(crate) const fn inverse_factorials() -> [f64; 12] {
    let mut terms = [0.0; 12];
    let (mut n, mut factorial) = (2, 2.0);
    while n <= 13 {
        terms[13 - n] = 1.0 / factorial;
        n += 1;
        factorial *= n as f64;
    }
    terms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_within_two_ulps() {
        for i in 0..=400_000 {
            let x = -f64::from(i) * 1.7e-3;
            let (got, wanted) = (exp(x), x.exp());
            assert!((got / wanted - 1.0).abs() <= 2.0 * f64::EPSILON, "{x}: {got:e} {wanted:e}");
        }
        assert_eq!((exp(0.0), exp(-0.0)), (1.0, 1.0));
        assert_eq!(exp(-1e-300), 1.0);
        assert_eq!((exp(-800.0), exp(-1e300), exp(f64::NEG_INFINITY)), (0.0, 0.0, 0.0));
        // Subnormal results lose digits, and no more.
        assert!((exp(-740.0) / (-740f64).exp() - 1.0).abs() < 0.1);
    }

    #[test]
    fn instructions_do_not_change_the_bits() {
        let x: Vec<f64> = (0..10_000).map(|i| -f64::from(i).powi(2) * 7e-6).collect();
        let plain: Vec<u64> = x.iter().map(|&x| exp(x).to_bits()).collect();
        struct All<'x>(&'x [f64]);
        impl Loops for All<'_> {
            type Output = Vec<u64>;
            #[inline(always)]
            fn run(self) -> Vec<u64> {
                self.0.iter().map(|&x| exp(x).to_bits()).collect()
            }
        }
        assert_eq!(plain, vectorised(All(&x)));
    }
}
