//! The exponentials that PyTorch's CPU kernels use, to the bit.

use crate::by_path::fma;

/// `e^x` as the vector code of SLEEF computes it (`expf`, error below 1 ulp): PyTorch's softmax and SiLU on CPU.
///
/// It is a polynomial of degree 7 in fused f32 arithmetic and so the same on every machine, unlike a math library's.
/// Below -104 it is 0, above 100 infinite, and within those bounds it may overflow and be subnormal as it should.
///
/// ```
/// assert_eq!(ulpscope_kernels::exp(0.0), 1.0);
/// assert_eq!(ulpscope_kernels::exp(-105.0), 0.0);
/// assert_eq!(ulpscope_kernels::exp(89.0), f32::INFINITY);
/// ```
pub fn exp(x: f32) -> f32 {
    sleef::<false>(x)
}

/// `e^x` by Malossi's method: `2^s` with a cubic for the fraction of s, written straight into the bits of a float.
/// Relative error up to 1.1e-4, for x up to 88. PyTorch's flash attention on CPU takes it for whole vectors of 16-bit formats.
pub fn exp_fast(x: f32) -> f32 {
    malossi::<false>(x)
}

#[inline(always)]
pub(crate) fn sleef<const FMA: bool>(x: f32) -> f32 {
    const LN_2: [f32; 2] = [0.693_145_75, 1.428_606_8e-6];
    const C: [f32; 6] = [0.000_198_527_62, 0.001_393_043_6, 0.008_333_361, 0.041_666_485, 0.166_666_67, 0.5];
    let q = (x * std::f32::consts::LOG2_E).round_ties_even();
    let s = fma::<FMA>(q, -LN_2[0], x);
    let s = fma::<FMA>(q, -LN_2[1], s);
    let mut u = C[0];
    for c in &C[1..] {
        u = fma::<FMA>(u, s, *c);
    }
    let u = 1.0 + fma::<FMA>(s * s, u, s);
    // In two steps, so that results near both ends of the range are not lost on the way.
    let q = integer(q.clamp(-200.0, 200.0));
    let half = q >> 1;
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
    let y = u * power(half) * power(q.wrapping_sub(half));
    let y = if x < -104.0 { 0.0 } else { y };
    if x > 100.0 { f32::INFINITY } else { y }
}

#[inline(always)]
pub(crate) fn malossi<const FMA: bool>(x: f32) -> f32 {
    const C: [f32; 4] = [0.000_107_034_35, 0.303_542_6, -0.224_338_36, -0.079_204_24];
    const TWO_23: f32 = 8_388_608.0;
    let s = x.max(-87.0) * std::f32::consts::LOG2_E;
    let f = s - s.floor();
    let correction = fma::<FMA>(f, fma::<FMA>(f, fma::<FMA>(f, C[3], C[2]), C[1]), C[0]);
    let bits = fma::<FMA>(s - correction, TWO_23, 127.0 * TWO_23);
    // A cast without what makes one of every number, for which there are no vector instructions.
    // SAFETY: it is from 2^23 (s is above -126) to below 2^31, and NaN is never the smaller one.
    #[allow(unsafe_code)]
    let bits = unsafe { bits.min(2_147_483_520.0).to_int_unchecked::<i32>() };
    let y = f32::from_bits(bits as u32);
    if x < -87.0 { 0.0 } else { y }
}

/// A whole number between -2^22 and 2^22 as an integer; anything for NaN. A cast would do the same, but it saturates,
/// for which there are no vector instructions.
#[inline(always)]
fn integer(x: f32) -> i32 {
    const MAGIC: f32 = 12_582_912.0; // 1.5 · 2^23, whose last bit is worth 1
    (x + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits()) as i32
}

/// `exp(x - minus)` where the numbers lie, with the instructions of whoever calls it.
#[inline(always)]
pub(crate) fn exp_body<const FMA: bool>(x: &mut [f32], minus: f32) {
    x.iter_mut().for_each(|x| *x = sleef::<FMA>(*x - minus));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Path;
    use crate::by_path::by_path;

    #[inline(always)]
    fn in_place_body<const FMA: bool>(_: Path, x: &mut [f32], minus: f32) {
        exp_body::<FMA>(x, minus);
    }
    by_path!(exp_in_place(x: &mut [f32], minus: f32) = in_place_body);

    #[inline(always)]
    fn fast_in_place_body<const FMA: bool>(_: Path, x: &mut [f32], minus: f32) {
        x.iter_mut().for_each(|x| *x = malossi::<FMA>(*x - minus));
    }
    by_path!(exp_fast_in_place(x: &mut [f32], minus: f32) = fast_in_place_body);

    fn samples() -> Vec<f32> {
        let specials =
            [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, f32::MIN, 88.7, 88.8, 1e-40];
        (-11000..10100).map(|i| i as f32 / 100.0 + 1e-3).chain(specials).collect()
    }

    #[test]
    fn the_exponential_is_within_an_ulp() {
        for x in samples() {
            let (got, want) = (exp(x), f64::from(x).exp());
            if want as f32 == f32::INFINITY || got.is_nan() {
                assert!(got == f32::INFINITY || x.is_nan(), "{x}: {got}");
            } else {
                let ulp = ulpscope_floats::ulp(want, ulpscope_floats::DType::F32);
                assert!((f64::from(got) - want).abs() <= 1.01 * ulp, "exp({x}) is {want:e}, not {got:e}");
            }
        }
    }

    #[test]
    fn the_fast_exponential_is_as_good_as_documented() {
        for i in 0..8000 {
            let x = -(i as f32) / 100.0;
            let exact = f64::from(x).exp();
            let relative = (f64::from(exp_fast(x)) - exact).abs() / exact;
            assert!(relative < 1.2e-4, "exp({x}): {relative}");
        }
        assert_eq!(exp_fast(f32::NEG_INFINITY), 0.0);
    }

    /// [`integer`] is a cast, for all that the exponential asks of it.
    #[test]
    fn integers_are_casts() {
        for i in -200..=200 {
            assert_eq!(integer(i as f32), i);
        }
    }

    #[test]
    fn paths_agree() {
        let bits = |x: &f32| if x.is_nan() { u32::MAX } else { x.to_bits() };
        for path in Path::available() {
            let mut got = samples();
            exp_in_place(path, &mut got, 0.25);
            for (x, got) in samples().iter().zip(&got) {
                assert_eq!(bits(got), bits(&exp(x - 0.25)), "exp({x}) by {path}");
            }
            let mut got = samples();
            exp_fast_in_place(path, &mut got, 0.25);
            for (x, got) in samples().iter().zip(&got).filter(|(x, _)| **x < 80.0) {
                assert_eq!(bits(got), bits(&exp_fast(x - 0.25)), "exp_fast({x}) by {path}");
            }
        }
    }
}
