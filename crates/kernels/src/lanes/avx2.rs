//! Two 256-bit registers.

use std::arch::x86_64::*;

use ulpscope_floats::{bf16, f16};

use super::Lanes;

/// Needs AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(__m256, __m256);

// SAFETY, of every block below: the trait's contract says that the CPU has AVX2, FMA and F16C and
// that pointers are good for as many numbers as the loads or stores touch; all of them are the
// unaligned ones.
impl Lanes for Avx2 {
    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: see above.
        unsafe { Avx2(_mm256_setzero_ps(), _mm256_setzero_ps()) }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: see above.
        unsafe { Avx2(_mm256_set1_ps(x), _mm256_set1_ps(x)) }
    }

    #[inline(always)]
    unsafe fn fma(self, a: Self, b: Self) -> Self {
        // SAFETY: see above.
        unsafe { Avx2(_mm256_fmadd_ps(a.0, b.0, self.0), _mm256_fmadd_ps(a.1, b.1, self.1)) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Avx2(_mm256_add_ps(self.0, other.0), _mm256_add_ps(self.1, other.1)) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see above.
        unsafe {
            _mm256_storeu_ps(to, self.0);
            _mm256_storeu_ps(to.add(8), self.1);
        }
    }

    #[inline(always)]
    unsafe fn bf16_pairs(p: *const bf16) -> (Self, Self) {
        // SAFETY: see above.
        unsafe {
            let (a, b) = (_mm256_loadu_si256(p.cast()), _mm256_loadu_si256(p.add(16).cast()));
            let mask = _mm256_set1_epi32(-0x1_0000);
            let even = |words| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(words));
            let odd = |words| _mm256_castsi256_ps(_mm256_and_si256(words, mask));
            (Avx2(even(a), even(b)), Avx2(odd(a), odd(b)))
        }
    }

    #[inline(always)]
    unsafe fn f16(p: *const f16) -> Self {
        // SAFETY: see above.
        unsafe {
            let (a, b) = (_mm_loadu_si128(p.cast()), _mm_loadu_si128(p.add(8).cast()));
            Avx2(_mm256_cvtph_ps(a), _mm256_cvtph_ps(b))
        }
    }

    #[inline(always)]
    unsafe fn f32(p: *const f32) -> Self {
        // SAFETY: see above.
        unsafe { Avx2(_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))) }
    }
}
