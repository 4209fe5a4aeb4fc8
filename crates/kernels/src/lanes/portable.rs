//! Plain Rust, for the compiler to vectorise.

use ulpscope_floats::{bf16, f16};

use super::Lanes;

/// Sixteen numbers in an array. `EXACT` promises that every product is exact in f32, so that
/// rounding it by itself changes nothing.
#[derive(Clone, Copy)]
pub(crate) struct Portable<const EXACT: bool>([f32; 16]);

// The blocks below are safe code but for the reads and the write through pointers, which the
// trait's contract covers.
impl<const EXACT: bool> Lanes for Portable<EXACT> {
    #[inline(always)]
    unsafe fn prefetch(_: *const u8) {}

    #[inline(always)]
    unsafe fn zero() -> Self {
        Portable([0.0; 16])
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Portable([x; 16])
    }

    #[inline(always)]
    unsafe fn fma(mut self, a: Self, b: Self) -> Self {
        for i in 0..16 {
            self.0[i] = if EXACT { self.0[i] + a.0[i] * b.0[i] } else { fused(a.0[i], b.0[i], self.0[i]) };
        }
        self
    }

    #[inline(always)]
    unsafe fn add(mut self, other: Self) -> Self {
        for i in 0..16 {
            self.0[i] += other.0[i];
        }
        self
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller lets sixteen numbers be written.
        unsafe { to.cast::<[f32; 16]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn bf16_pairs(p: *const bf16) -> (Self, Self) {
        // SAFETY: the caller lets 32 numbers be read.
        let numbers = unsafe { p.cast::<[u16; 32]>().read_unaligned() };
        let half =
            |odd: usize| std::array::from_fn(|i| f32::from_bits(u32::from(numbers[2 * i + odd]) << 16));
        (Portable(half(0)), Portable(half(1)))
    }

    #[inline(always)]
    unsafe fn f16(p: *const f16) -> Self {
        // SAFETY: the caller lets sixteen numbers be read.
        Portable(unsafe { p.cast::<[u16; 16]>().read_unaligned() }.map(widen))
    }

    #[inline(always)]
    unsafe fn f32(p: *const f32) -> Self {
        // SAFETY: the caller lets sixteen numbers be read.
        Portable(unsafe { p.cast::<[f32; 16]>().read_unaligned() })
    }
}

/// f16 to f32 without branches: the magnitude, moved into place, is too small by the difference of
/// the biases.
#[inline(always)]
fn widen(bits: u16) -> f32 {
    let magnitude = u32::from(bits & 0x7fff) << 13;
    let rebiased = f32::from_bits(magnitude) * f32::from_bits((127 + 112) << 23);
    let special = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(rebiased.to_bits() | special | u32::from(bits & 0x8000) << 16)
}

/// `a·b + c`, rounded once, on CPUs whose instructions the compiler may not assume.
///
/// The product of two f32 numbers is exact in f64. The sum is rounded "to odd" there: if it is
/// inexact, the last bit is set, which keeps the second rounding from seeing a tie that is none
/// (Boldo and Melquiond 2008).
#[inline(always)]
pub(crate) fn fused(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
        return a.mul_add(b, c);
    }
    let (product, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = product + c;
    // What the rounding of the sum lost, exactly (Knuth's two-sum).
    let c_part = sum - product;
    let lost = (product - (sum - c_part)) + (c - c_part);
    let bits = sum.to_bits();
    let inexact = (lost < 0.0) | (lost > 0.0); // false for the NaN that infinities leave
    let outwards = (lost > 0.0) == (sum > 0.0);
    let neighbour = if outwards { bits.wrapping_add(1) } else { bits.wrapping_sub(1) };
    f64::from_bits(if inexact & (bits & 1 == 0) { neighbour } else { bits }) as f32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_f16_is_widened() {
        for bits in 0..=u16::MAX {
            let (got, want) = (widen(bits), f16::from_bits(bits).to_f32());
            assert!(got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(), "{bits:04x}: {got}");
        }
    }

    fn same(a: f32, b: f32, c: f32) -> bool {
        let (got, want) = (fused(a, b, c), a.mul_add(b, c));
        got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan()
    }

    #[test]
    fn fused_is_fused_where_two_roundings_are_not() {
        let ulp = f32::EPSILON;
        // 1 + 2^-24 + 2^-60: a tie for f64, not for the exact sum.
        assert!(same(1.0 + ulp, 1.0 + ulp, 1.0));
        assert!(same((-30f32).exp2(), (-30f32).exp2(), 1.0 + ulp));
        assert!(same((-12f32).exp2(), (-12f32).exp2() * (1.0 + ulp), 1.0));
        for x in [0.0, -0.0, 1.0, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-40, 1e-23] {
            for y in [0.0, -0.0, -1.0, f32::MAX, f32::INFINITY, 1e-45, -1e-23] {
                for z in [0.0, -0.0, 1.0, f32::MIN, f32::NEG_INFINITY, 1e-45, -1e-40] {
                    assert!(same(x, y, z), "{x} · {y} + {z}");
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn fused_agrees_with_the_library(a: f32, b: f32, c: f32, near in -60i32..60) {
            prop_assert!(same(a, b, c));
            // An addend of the product's size, where rounding happens.
            let c = a * b * (near as f32).exp2();
            prop_assert!(same(a, b, c));
            prop_assert!(same(a, b, -c));
        }
    }
}
