//! Sixteen f32 numbers at a time, in three instruction sets.
#![allow(unsafe_code)]

use ulpscope_floats::{bf16, f16};

use crate::Path;
use crate::storage::{Storage, WIDTH, panel_len};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::{Avx512, transpose};
pub(crate) use portable::{Portable, fused};

/// Rearranges as much of a panel as goes by whole squares of sixteen outputs and sixteen 32-bit
/// words, if the path has instructions for that. Returns how many indices k it has done.
///
/// # Panics
/// If `rows` is not `[16, length]`, or the panel too small.
pub(crate) fn pack_squares<T: Storage>(path: Path, rows: &[T], length: usize, panel: &mut [T]) -> usize {
    assert!(rows.len() == WIDTH * length && panel.len() >= panel_len(length));
    match path {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a path that a product runs on has been checked against the CPU; lengths are as
        // asserted.
        Path::Avx512 | Path::Avx512Bf16 | Path::AmxBf16 => unsafe {
            avx512::pack_squares(rows.as_ptr(), length, panel.as_mut_ptr())
        },
        _ => 0,
    }
}

/// Sixteen f32 numbers, one for each output of a panel.
///
/// # Safety
/// Every method may only run on a CPU that has the implementation's instructions, and should be
/// inlined into a function that has them enabled. Pointers must be good for reading or writing
/// sixteen numbers (32 for [`Lanes::bf16_pairs`]); they need no alignment beyond that of their
/// type.
pub(crate) trait Lanes: Copy {
    /// Asks for a cache line that will be needed soon; any address will do.
    unsafe fn prefetch(p: *const u8);
    /// `+0` everywhere.
    unsafe fn zero() -> Self;
    /// The same number everywhere.
    unsafe fn splat(x: f32) -> Self;
    /// `self + a·b`, rounded once.
    unsafe fn fma(self, a: Self, b: Self) -> Self;
    /// `self + other`.
    unsafe fn add(self, other: Self) -> Self;
    /// Writes the numbers.
    unsafe fn store(self, to: *mut f32);
    /// Sixteen pairs, even ones and odd ones.
    unsafe fn bf16_pairs(p: *const bf16) -> (Self, Self);
    /// Sixteen numbers, widened exactly.
    unsafe fn f16(p: *const f16) -> Self;
    /// Sixteen numbers.
    unsafe fn f32(p: *const f32) -> Self;
}
