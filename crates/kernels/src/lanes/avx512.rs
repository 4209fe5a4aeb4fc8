//! One 512-bit register.

use std::arch::x86_64::*;

use ulpscope_floats::{bf16, f16};

use super::Lanes;
use crate::storage::{Storage, WIDTH};

/// Needs AVX-512 F.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512);

impl Avx512 {
    /// Asks for a cache line that will be needed later; any address will do.
    #[inline(always)]
    pub(crate) unsafe fn prefetch_far(p: *const u8) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
    }
}

// SAFETY, of every block below: the trait's contract says that the CPU has AVX-512 F and that
// pointers are good for as many numbers as the load or store touches; all loads and stores are the
// unaligned ones.
impl Lanes for Avx512 {
    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: see above.
        unsafe { Avx512(_mm512_setzero_ps()) }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: see above.
        unsafe { Avx512(_mm512_set1_ps(x)) }
    }

    #[inline(always)]
    unsafe fn fma(self, a: Self, b: Self) -> Self {
        // SAFETY: see above.
        unsafe { Avx512(_mm512_fmadd_ps(a.0, b.0, self.0)) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Avx512(_mm512_add_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn bf16_pairs(p: *const bf16) -> (Self, Self) {
        // SAFETY: see above.
        unsafe {
            let words = _mm512_loadu_si512(p.cast());
            let even = _mm512_slli_epi32::<16>(words);
            let odd = _mm512_and_si512(words, _mm512_set1_epi32(-0x1_0000));
            (Avx512(_mm512_castsi512_ps(even)), Avx512(_mm512_castsi512_ps(odd)))
        }
    }

    #[inline(always)]
    unsafe fn f16(p: *const f16) -> Self {
        // SAFETY: see above.
        unsafe { Avx512(_mm512_cvtph_ps(_mm256_loadu_si256(p.cast()))) }
    }

    #[inline(always)]
    unsafe fn f32(p: *const f32) -> Self {
        // SAFETY: see above.
        unsafe { Avx512(_mm512_loadu_ps(p)) }
    }
}

/// Transposes squares of sixteen rows by sixteen 32-bit words for as long as there are whole ones.
///
/// # Safety
/// `rows` can be read as `[16, length]`, a panel for that length can be written to `panel`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn pack_squares<T: Storage>(rows: *const T, length: usize, panel: *mut T) -> usize {
    let per_word = 4 / size_of::<T>();
    let side = WIDTH * per_word;
    // Words hold two 16-bit numbers: those of the even and of the odd index. Where a panel keeps
    // them apart, the halves of the words are sorted last.
    let apart = per_word == 2 && T::position(0, 1) != 1;
    let mut order = [0u16; 32];
    for (i, order) in order.iter_mut().enumerate() {
        *order = (2 * (i % WIDTH) + i / WIDTH) as u16;
    }
    // SAFETY: 32 numbers of 16 bits.
    let order = unsafe { _mm512_loadu_si512(order.as_ptr().cast()) };
    let mut k = 0;
    while k + side <= length {
        let mut square = [_mm512_setzero_si512(); WIDTH];
        for (lane, word) in square.iter_mut().enumerate() {
            // SAFETY: 64 bytes of row `lane`, which ends at k + side or later.
            *word = unsafe { _mm512_loadu_si512(rows.add(lane * length + k).cast()) };
        }
        let mut square = transpose(square);
        if apart {
            for word in &mut square {
                *word = _mm512_permutexvar_epi16(order, *word);
            }
        }
        for (i, word) in square.iter().enumerate() {
            // SAFETY: the panel holds 16 numbers for each k, k up to length.
            unsafe { _mm512_storeu_si512(panel.add((k + i * per_word) * WIDTH).cast(), *word) };
        }
        k += side;
    }
    k
}

/// A 16 by 16 transpose of 32-bit words: within quarters of 4 by 4, then the quarters.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn transpose(rows: [__m512i; 16]) -> [__m512i; 16] {
    let mut pairs = rows;
    for i in (0..16).step_by(2) {
        pairs[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    // fours[4·q + j]: of rows 4q to 4q+3, column j of each 128-bit quarter.
    let mut fours = pairs;
    for q in (0..16).step_by(4) {
        fours[q] = _mm512_unpacklo_epi64(pairs[q], pairs[q + 2]);
        fours[q + 1] = _mm512_unpackhi_epi64(pairs[q], pairs[q + 2]);
        fours[q + 2] = _mm512_unpacklo_epi64(pairs[q + 1], pairs[q + 3]);
        fours[q + 3] = _mm512_unpackhi_epi64(pairs[q + 1], pairs[q + 3]);
    }
    let mut columns = fours;
    for j in 0..4 {
        let (a, b, c, d) = (fours[j], fours[4 + j], fours[8 + j], fours[12 + j]);
        // Quarters 0 and 1 of rows 0-7, and so on; then one quarter of all rows.
        let ab_low = _mm512_shuffle_i32x4::<0b01_00_01_00>(a, b);
        let ab_high = _mm512_shuffle_i32x4::<0b11_10_11_10>(a, b);
        let cd_low = _mm512_shuffle_i32x4::<0b01_00_01_00>(c, d);
        let cd_high = _mm512_shuffle_i32x4::<0b11_10_11_10>(c, d);
        columns[j] = _mm512_shuffle_i32x4::<0b10_00_10_00>(ab_low, cd_low);
        columns[4 + j] = _mm512_shuffle_i32x4::<0b11_01_11_01>(ab_low, cd_low);
        columns[8 + j] = _mm512_shuffle_i32x4::<0b10_00_10_00>(ab_high, cd_high);
        columns[12 + j] = _mm512_shuffle_i32x4::<0b11_01_11_01>(ab_high, cd_high);
    }
    columns
}
