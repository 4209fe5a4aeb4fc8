//! The exponentials that PyTorch's CPU kernels use, to the bit.

use crate::by_path::fma;

/// The logarithm of the smallest normal number, below which the fast ones are 0.
const LN_MIN: f32 = -87.336_55;

/// `e^x` as the vector code of SLEEF computes it (`expf`, error below 1 ulp): PyTorch's softmax and
/// SiLU on CPU.
///
/// It is a polynomial of degree 7 in fused f32 arithmetic and so the same on every machine, unlike
/// a math library's. Below -104 it is 0, above 100 infinite, and within those bounds it may
/// overflow and be subnormal as it should.
///
/// ```
/// assert_eq!(ulpscope_kernels::exp(0.0), 1.0);
/// assert_eq!(ulpscope_kernels::exp(-105.0), 0.0);
/// assert_eq!(ulpscope_kernels::exp(89.0), f32::INFINITY);
/// ```
pub fn exp(x: f32) -> f32 {
    sleef::<false>(x)
}

/// `e^x` by Malossi's method: `2^s` with a cubic for the fraction of s, written straight into the
/// bits of a float. Relative error up to 1.1e-4, for x from -87.3, below which it is 0, up to 88.
/// PyTorch's flash attention on CPU takes it for whole vectors of 16-bit formats and calls it
/// `fexp_u20`.
pub fn exp_fast(x: f32) -> f32 {
    malossi::<false>(x)
}

/// `e^x` by a polynomial of degree 5 with an error of up to 20 ulp, which PyTorch calls `exp_u20`:
/// its flash attention on CPU takes it for whole vectors of f32. Below -87 it is 0, and from 88.8
/// on infinite.
pub fn exp_u20(x: f32) -> f32 {
    u20::<false>(x)
}

/// `e^x` as glibc has it (`expf`, since 2.27; error below 0.502 ulp): whatever PyTorch's C++ calls
/// `std::exp` for on Linux.
///
/// `x = (n + r) ln 2 / 32` with a whole number n: a power of two from a table and a cubic in f64,
/// rounded once.
pub(crate) fn expf(x: f32) -> f32 {
    const C: [f64; 3] = [1.693_835_925_092_021_2e-6, 0.000_234_598_097_895_090_04, 0.021_660_849_396_613_134];
    const PER_LN_2: f64 = 46.166_241_308_446_83;
    const MAGIC: f64 = 6_755_399_441_055_744.0; // 1.5 · 2^52, whose last bit is worth 1
    /// The bits of 2^(i/32), minus i << 47: adding n << 47 then gives the bits of 2^(n/32).
    const POWERS: [u64; 32] = [
        0x3ff0_0000_0000_0000,
        0x3fef_d9b0_d315_8574,
        0x3fef_b558_6cf9_890f,
        0x3fef_9301_d012_5b51,
        0x3fef_72b8_3c7d_517b,
        0x3fef_5487_3168_b9aa,
        0x3fef_387a_6e75_6238,
        0x3fef_1e9d_f51f_dee1,
        0x3fef_06fe_0a31_b715,
        0x3fee_f1a7_373a_a9cb,
        0x3fee_dea6_4c12_3422,
        0x3fee_ce08_6061_892d,
        0x3fee_bfda_d536_2a27,
        0x3fee_b42b_569d_4f82,
        0x3fee_ab07_dd48_5429,
        0x3fee_a47e_b03a_5585,
        0x3fee_a09e_667f_3bcd,
        0x3fee_9f75_e8ec_5f74,
        0x3fee_a114_73eb_0187,
        0x3fee_a589_994c_ce13,
        0x3fee_ace5_422a_a0db,
        0x3fee_b737_b0cd_c5e5,
        0x3fee_c491_82a3_f090,
        0x3fee_d503_b23e_255d,
        0x3fee_e89f_995a_d3ad,
        0x3fee_ff76_f2fb_5e47,
        0x3fef_199b_dd85_529c,
        0x3fef_3720_dcef_9069,
        0x3fef_5818_dcfb_a487,
        0x3fef_7c97_337b_9b5f,
        0x3fef_a4af_a2a4_90da,
        0x3fef_d076_5b6e_4540,
    ];
    if x < -104.0 {
        return 0.0;
    }
    if x > 89.0 {
        return f32::INFINITY;
    }
    let z = PER_LN_2 * f64::from(x);
    let n = z + MAGIC;
    let r = z - (n - MAGIC);
    let bits = n.to_bits();
    let power = f64::from_bits(POWERS[(bits % 32) as usize].wrapping_add(bits << 47));
    let y = (C[0] * r + C[1]) * (r * r) + (C[2] * r + 1.0);
    (y * power) as f32
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
    const C: [f32; 4] = [0.000_107_034_35, 0.303_542_6, -0.224_338_37, -0.079_204_24];
    const TWO_23: f32 = 8_388_608.0;
    let s = x.max(LN_MIN) * std::f32::consts::LOG2_E;
    let f = s - s.floor();
    let correction = fma::<FMA>(f, fma::<FMA>(f, fma::<FMA>(f, C[3], C[2]), C[1]), C[0]);
    let bits = fma::<FMA>(s - correction, TWO_23, 127.0 * TWO_23);
    // An unchecked cast: `as`, which saturates, does not vectorise. SAFETY: it is above 0 (s is
    // above -126, give or take the rounding) and below 2^31, and NaN is never the smaller one.
    #[allow(unsafe_code)]
    let bits = unsafe { bits.min(2_147_483_520.0).to_int_unchecked::<i32>() };
    let y = f32::from_bits(bits as u32);
    if x < LN_MIN { 0.0 } else { y }
}

#[inline(always)]
pub(crate) fn u20<const FMA: bool>(x: f32) -> f32 {
    const C: [f32; 6] = [0.008_289_291, 0.041_897_822, 0.166_676_52, 0.499_991_5, 0.999_999_7, 1.0];
    /// The logarithm of what comes after the largest number.
    const LN_MAX: f32 = 88.722_84;
    let bounded = x.clamp(LN_MIN, LN_MAX);
    let n = fma::<FMA>(bounded, std::f32::consts::LOG2_E, 0.5).floor();
    let r = fma::<FMA>(n, -std::f32::consts::LN_2, bounded);
    let mut y = C[0];
    for c in &C[1..] {
        y = fma::<FMA>(r, y, *c);
    }
    // From 2^-126 on: what would have a smaller power than that, 2^-127 for one, gets zero.
    let half = f32::from_bits((integer(n - 1.0).wrapping_add(127) as u32) << 23);
    if x < LN_MIN { 0.0 } else { y * half * 2.0 }
}

/// A whole number between -2^22 and 2^22 as an integer; anything for NaN. A cast would do the same,
/// but it saturates, for which there are no vector instructions.
#[inline(always)]
fn integer(x: f32) -> i32 {
    const MAGIC: f32 = 12_582_912.0; // 1.5 · 2^23, whose last bit is worth 1
    (x + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits()) as i32
}

/// `exp(x - minus)` in place, with the instructions of the calling function.
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

    #[inline(always)]
    fn u20_in_place_body<const FMA: bool>(_: Path, x: &mut [f32], minus: f32) {
        x.iter_mut().for_each(|x| *x = u20::<FMA>(*x - minus));
    }
    by_path!(exp_u20_in_place(x: &mut [f32], minus: f32) = u20_in_place_body);

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
        // PyTorch's own, which one bit in a constant would change.
        assert_eq!(exp_fast(-0.157_610_9).to_bits(), 0x3f5a_ae00);
        for i in 0..8000 {
            let x = -(i as f32) / 100.0;
            let exact = f64::from(x).exp();
            let relative = (f64::from(exp_fast(x)) - exact).abs() / exact;
            assert!(relative < 1.2e-4, "exp({x}): {relative}");
        }
        for (x, least) in [(-87.33, 1.17e-38), (-87.34, 0.0), (f32::NEG_INFINITY, 0.0)] {
            assert!(exp_fast(x) >= least && exp_fast(x) < 1.19e-38, "exp({x}): {}", exp_fast(x));
        }
    }

    /// Where this machine has glibc, it is its own; elsewhere it errs no more than that.
    #[test]
    fn the_exponential_of_a_c_library_is_glibcs() {
        let floats =
            |sign: u32| (0x2f00_0000u32..0x42f0_0000).step_by(1009).map(move |x| f32::from_bits(x | sign));
        for x in floats(0).chain(floats(1 << 31)).chain([
            -103.97,
            -103.98,
            -104.1,
            88.7228,
            88.7229,
            f32::NEG_INFINITY,
        ]) {
            let (got, exact) = (expf(x), f64::from(x).exp());
            if cfg!(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu")) {
                assert_eq!(got.to_bits(), x.exp().to_bits(), "exp({x}) is {}, not {got}", x.exp());
            } else if got < f32::INFINITY {
                let ulp = ulpscope_floats::ulp(exact, ulpscope_floats::DType::F32);
                assert!((f64::from(got) - exact).abs() <= 0.502 * ulp, "exp({x}) is {exact}, not {got}");
            }
        }
        // Not the nearest number, which is the next one.
        assert_eq!(expf(-0.591_314_2).to_bits(), 0x3f0d_b8af);
        assert!(expf(f32::NAN).is_nan());
    }

    #[test]
    fn the_exponential_of_20_ulp_has_no_more() {
        for x in samples().into_iter().filter(|x| (-86.98..88.72).contains(x)) {
            let exact = f64::from(x).exp();
            let ulp = ulpscope_floats::ulp(exact, ulpscope_floats::DType::F32);
            assert!(
                (f64::from(exp_u20(x)) - exact).abs() <= 20.0 * ulp,
                "exp({x}) is {exact:e}, not {}",
                exp_u20(x)
            );
        }
        assert_eq!(exp_u20(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp_u20(-87.0), 0.0);
        assert_eq!(exp_u20(89.0), f32::INFINITY);
        assert!(exp_u20(f32::NAN).is_nan());
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
            let mut got = samples();
            exp_u20_in_place(path, &mut got, 0.25);
            for (x, got) in samples().iter().zip(&got) {
                assert_eq!(bits(got), bits(&exp_u20(x - 0.25)), "exp_u20({x}) by {path}");
            }
        }
    }
}
