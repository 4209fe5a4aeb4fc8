//! From run-time choices to the function compiled for them.

use ulpscope_floats::bf16;

use super::{Block, run};
use crate::Path;
use crate::lanes::Portable;
#[cfg(target_arch = "x86_64")]
use crate::lanes::{Avx2, Avx512, Lanes};
#[cfg(target_arch = "x86_64")]
use crate::output::Sink;
use crate::output::{Output, Patch};
use crate::plan::Leaf;
use crate::storage::Storage;
#[cfg(target_arch = "x86_64")]
use crate::storage::{WIDTH, panel_len};

/// Rows from which on it pays to pack x, for kernels that widen numbers.
pub(crate) const MANY_ROWS: usize = 16;
/// The most rows and panels that any kernel takes at once.
pub(crate) const MAX_ROWS: usize = 12;
/// See [`MAX_ROWS`].
pub(crate) const MAX_PANELS: usize = 2;

/// How many panels the kernels of a path should take at once for this many rows; `dots` says
/// whether they take bf16 numbers in pairs.
///
/// Few rows wait for the memory, which delivers one panel after the other faster than two at a
/// time. Many rows want every number in a register used often, as far as there are registers.
pub(crate) fn panels_at_once(path: Path, rows: usize, dots: bool) -> usize {
    let many = if dots { 9 } else { MANY_ROWS };
    match path {
        Path::Portable | Path::Avx2 => 1,
        Path::Avx512 | Path::Avx512Bf16 | Path::AmxBf16 if rows < many => 1,
        Path::Avx512 | Path::Avx512Bf16 | Path::AmxBf16 => 2,
    }
}

/// How many rows of `rows` that are left the kernels of a path take at once for a plan of such
/// leaves.
pub(crate) fn row_blocks(path: Path, leaf: Leaf, rows: usize) -> usize {
    let sizes: &[usize] = match path {
        Path::Portable => &[2, 1],
        // Even and odd products apart take twice as many of the sixteen registers.
        Path::Avx2 if leaf == Leaf::Tile32 => &[3, 2, 1],
        Path::Avx2 => &[6, 4, 3, 2, 1],
        Path::Avx512 => &[6, 4, 3, 2, 1],
        Path::Avx512Bf16 | Path::AmxBf16 => &[12, 8, 6, 4, 3, 2, 1],
    };
    sizes.iter().copied().find(|&size| size <= rows).unwrap_or(1)
}

/// A choice of kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    pub(crate) path: Path,
    pub(crate) rows: usize,
    /// Every product is known to be exact in f32.
    pub(crate) exact: bool,
}

/// Calls the function compiled for `$rows`, which `$call` names as `MR`.
macro_rules! by_rows {
    ($rows:expr, [$($mr:literal),*], $call:expr) => {
        match $rows {
            $($mr => {
                const MR: usize = $mr;
                // SAFETY: the caller of `Tile::run` has checked that the CPU has the instructions.
                unsafe { $call }
            })*
            rows => unreachable!("no kernel takes {rows} rows"),
        }
    };
}

impl Tile {
    /// Computes a block whose x has been widened to f32.
    pub(crate) fn run<T: Storage>(self, block: &Block<f32, T>, out: &mut [f32]) {
        match self.path {
            Path::Portable if self.exact => {
                by_rows!(self.rows, [1, 2], portable::<true, T, MR, 1>(block, out))
            }
            Path::Portable => by_rows!(self.rows, [1, 2], portable::<false, T, MR, 1>(block, out)),
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => by_rows!(self.rows, [1, 2, 3, 4, 6], avx2::<T, MR, 1>(block, out)),
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 | Path::Avx512Bf16 | Path::AmxBf16 if block.panels.len() == 1 => {
                by_rows!(self.rows, [1, 2, 3, 4, 6], avx512::<T, MR, 1>(block, out))
            }
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 | Path::Avx512Bf16 | Path::AmxBf16 => {
                by_rows!(self.rows, [1, 2, 3, 4, 6], avx512::<T, MR, 2>(block, out))
            }
            #[cfg(not(target_arch = "x86_64"))]
            _ => unreachable!("the path was checked"),
        }
    }
}

/// Computes all rows of a block of bf16 numbers by [`Path::Avx512Bf16`] or above. The sums are
/// proved not to be subnormal. It adds the bias of each column, then rounds the sums into the
/// output.
#[cfg(target_arch = "x86_64")]
pub(crate) fn run_dot_bf16<O: Output>(
    path: Path,
    block: &Block<bf16, bf16>,
    to: Patch<O>,
    bias: Option<&[f32]>,
) {
    assert!(path >= Path::Avx512Bf16);
    let Block { plan, x, panels } = *block;
    let rows = x.len() / plan.length;
    let width = panels.len() * WIDTH;
    let whole = to.width() == width && bias.is_none();
    match if whole { O::sink(to) } else { Err(to) } {
        Ok(Sink::F32(to)) => dot_rows(block, to),
        Ok(Sink::Bf16(to)) => dot_rows(block, to),
        Err(mut to) => {
            let mut sums = [0.0; MAX_ROWS * MAX_PANELS * WIDTH];
            for first in (0..rows).step_by(MAX_ROWS) {
                let count = MAX_ROWS.min(rows - first);
                let x = &x[first * plan.length..(first + count) * plan.length];
                dot_rows(&Block { plan, x, panels }, Patch::of(&mut sums, width, count, width));
                to.rows(first, count).fill(path, &mut sums, width, bias);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn dot_rows<O: super::dot_bf16::Rounded>(block: &Block<bf16, bf16>, mut to: Patch<O>) {
    use super::dot_bf16::run;
    let Block { plan, x, panels } = *block;
    let rows = x.len() / plan.length;
    let mut first = 0;
    while first < rows {
        let size = row_blocks(Path::Avx512Bf16, plan.leaf, rows - first);
        let end = rows - (rows - first) % size;
        let block = Block { plan, x: &x[first * plan.length..end * plan.length], panels };
        let to = to.rows(first, end - first);
        match panels.len() {
            1 => by_rows!(size, [1, 2, 3, 4, 6, 8, 12], run::<O, MR, 1>(&block, to)),
            _ => by_rows!(size, [1, 2, 3, 4, 6, 8, 12], run::<O, MR, 2>(&block, to)),
        }
        first = end;
    }
}

/// There is no such path here.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn run_dot_bf16<O: Output>(_: Path, _: &Block<bf16, bf16>, _: Patch<O>, _: Option<&[f32]>) {
    unreachable!("the path was checked")
}

/// # Safety
/// None needed; it is unsafe to have the signature of its siblings.
unsafe fn portable<const EXACT: bool, T: Storage, const MR: usize, const NV: usize>(
    block: &Block<f32, T>,
    out: &mut [f32],
) {
    // SAFETY: plain Rust runs everywhere.
    unsafe { run::<Portable<EXACT>, T, MR, NV>(block, out) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
fn avx2<T: Storage, const MR: usize, const NV: usize>(block: &Block<f32, T>, out: &mut [f32]) {
    // SAFETY: this function's callers have the instructions.
    unsafe { run::<Avx2, T, MR, NV>(block, out) }
}

/// A panel for K = `length` as one of f32, which many rows can take without widening each number
/// anew. The CPU must have AVX2.
#[cfg(target_arch = "x86_64")]
pub(crate) fn widen_panel<T: Storage>(panel: &[T], length: usize, to: &mut [f32]) {
    /// # Safety
    /// Both hold `pairs` pairs of indices.
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn widen<T: Storage>(panel: *const T, pairs: usize, to: *mut f32) {
        for p in 0..pairs {
            // SAFETY: pair p of the panel, and of the room for it.
            unsafe {
                let (even, odd) = T::pair::<Avx2>(panel.add(p * 2 * WIDTH));
                even.store(to.add(p * 2 * WIDTH));
                odd.store(to.add((p * 2 + 1) * WIDTH));
            }
        }
    }
    assert!(panel.len() >= panel_len(length) && to.len() >= panel_len(length));
    // SAFETY: as asserted; the caller has checked that the CPU has the instructions.
    unsafe { widen(panel.as_ptr(), length.div_ceil(2), to.as_mut_ptr()) };
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn avx512<T: Storage, const MR: usize, const NV: usize>(block: &Block<f32, T>, out: &mut [f32]) {
    // SAFETY: this function's callers have the instructions.
    unsafe { run::<Avx512, T, MR, NV>(block, out) }
}
