//! The inner loops: MR rows of x against NV panels of a weight.
#![allow(unsafe_code)]
// Indices run over several arrays at once, and iterators bring closures that might not be inlined.
#![allow(clippy::needless_range_loop)]

use ulpscope_floats::bf16;

use crate::lanes::Lanes;
use crate::plan::{Leaf, Plan, Segment, evaluate};
use crate::storage::{Storage, WIDTH, panel_len};

pub(crate) mod amx;
mod dispatch;
#[cfg(target_arch = "x86_64")]
mod dot_bf16;
#[cfg_attr(not(target_arch = "x86_64"), path = "tile/packed_none.rs")]
pub(crate) mod packed;

#[cfg(target_arch = "x86_64")]
pub(crate) use dispatch::widen_panel;
pub(crate) use dispatch::{MANY_ROWS, MAX_PANELS, MAX_ROWS, Tile, panels_at_once, row_blocks, run_dot_bf16};

/// How far ahead of the numbers in use memory is asked for more, in bytes: the hardware's own
/// prefetching stops at the end of each page.
const AHEAD: usize = 4096;

/// What one call of a kernel works on.
///
/// `x` is `[rows, K]`; each panel is what [`pack_panel`](crate::storage::pack_panel) makes; what
/// comes out is `[rows, panels · 16]`.
pub(crate) struct Block<'a, X, T> {
    pub(crate) plan: &'a Plan,
    pub(crate) x: &'a [X],
    pub(crate) panels: &'a [&'a [T]],
}

/// Panels of numbers that are known to be bf16, as such; empty ones behind them.
///
/// # Panics
/// If they have another size.
pub(crate) fn in_bf16<'a, T: Storage>(panels: &[&'a [T]]) -> [&'a [bf16]; MAX_PANELS] {
    let mut cast: [&[bf16]; MAX_PANELS] = [&[]; MAX_PANELS];
    cast.iter_mut().zip(panels).for_each(|(cast, panel)| *cast = bytemuck::cast_slice(panel));
    cast
}

impl<X, T> Block<'_, X, T> {
    /// What the kernels' pointers rely on.
    fn assert_fits<const MR: usize, const NV: usize>(&self) {
        let length = self.plan.length;
        assert!(self.x.len() >= MR * length);
        assert!(self.panels.len() >= NV);
        assert!(self.panels.iter().all(|panel| panel.len() >= panel_len(length)));
    }
}

type Sums<L, const MR: usize, const NV: usize> = [[L; NV]; MR];

/// Runs a plan for MR rows and NV panels.
///
/// # Safety
/// The CPU has the instructions of `L`.
#[inline(always)]
unsafe fn run<L: Lanes, T: Storage, const MR: usize, const NV: usize>(
    block: &Block<f32, T>,
    out: &mut [f32],
) {
    block.assert_fits::<MR, NV>();
    assert!(out.len() >= MR * NV * WIDTH);
    let plan = block.plan;
    let mut panels = [std::ptr::null(); NV];
    for v in 0..NV {
        panels[v] = block.panels[v].as_ptr();
    }
    let at = Cursor::<T, MR, NV> { x: block.x.as_ptr(), length: plan.length, panels };
    let sums = evaluate!(
        plan,
        // SAFETY: instructions as promised; the block fits, and plans stay within their length.
        |segment| unsafe { at.leaf::<L>(plan.leaf, segment) },
        // SAFETY: instructions as promised.
        |left, right| unsafe { add(left, right) }
    );
    let out = out.as_mut_ptr();
    for (r, sums) in sums.iter().enumerate() {
        for (v, sum) in sums.iter().enumerate() {
            // SAFETY: instructions as promised; `out` holds MR · NV vectors.
            unsafe { sum.store(out.add((r * NV + v) * WIDTH)) };
        }
    }
}

/// # Safety
/// The CPU has the instructions of `L`.
#[inline(always)]
unsafe fn add<L: Lanes, const MR: usize, const NV: usize>(
    mut left: Sums<L, MR, NV>,
    right: Sums<L, MR, NV>,
) -> Sums<L, MR, NV> {
    for r in 0..MR {
        for v in 0..NV {
            // SAFETY: instructions as promised.
            left[r][v] = unsafe { left[r][v].add(right[r][v]) };
        }
    }
    left
}

/// Where the numbers are. Its methods may only be called with segments that lie within `length`, on
/// memory as [`Block::assert_fits`] checks it, on a CPU that has the instructions of `L`.
struct Cursor<T, const MR: usize, const NV: usize> {
    x: *const f32,
    length: usize,
    panels: [*const T; NV],
}

impl<T: Storage, const MR: usize, const NV: usize> Cursor<T, MR, NV> {
    /// Both halves of pair `p` in every panel.
    #[inline(always)]
    unsafe fn pair<L: Lanes>(&self, p: usize) -> ([L; NV], [L; NV]) {
        // SAFETY: the type's contract: `p` is a pair of the panel.
        unsafe {
            // A plain loop: a closure might not be inlined where the instructions are enabled.
            let (mut even, mut odd) = ([L::zero(); NV], [L::zero(); NV]);
            if NV == 1 {
                // A single panel is read as fast as memory gives it, and the next one follows right
                // behind it.
                let ahead = self.panels[0].cast::<u8>().wrapping_add(p * 2 * WIDTH * size_of::<T>() + AHEAD);
                L::prefetch(ahead);
                if size_of::<T>() > 2 {
                    L::prefetch(ahead.wrapping_add(64));
                }
            }
            for v in 0..NV {
                (even[v], odd[v]) = T::pair::<L>(self.panels[v].add(p * 2 * WIDTH));
            }
            (even, odd)
        }
    }

    /// `acc += x[k] · w`, row by row.
    #[inline(always)]
    unsafe fn take<L: Lanes>(&self, acc: &mut Sums<L, MR, NV>, k: usize, w: &[L; NV]) {
        for r in 0..MR {
            // SAFETY: the type's contract: k < length, and x has MR rows.
            unsafe {
                let x = L::splat(*self.x.add(r * self.length + k));
                for v in 0..NV {
                    acc[r][v] = acc[r][v].fma(x, w[v]);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn leaf<L: Lanes>(&self, leaf: Leaf, segment: &Segment) -> Sums<L, MR, NV> {
        // SAFETY: the type's contract.
        unsafe {
            match leaf {
                Leaf::Tile32 => self.tile32(segment),
                Leaf::EvenFirst => self.chain::<L, false>(segment),
                Leaf::OddFirst => self.chain::<L, true>(segment),
            }
        }
    }

    #[inline(always)]
    unsafe fn chain<L: Lanes, const ODD_FIRST: bool>(&self, segment: &Segment) -> Sums<L, MR, NV> {
        // SAFETY: the type's contract.
        unsafe {
            let mut acc = [[L::zero(); NV]; MR];
            if let Some(p) = segment.lone.filter(|_| segment.step < 0) {
                self.take(&mut acc, 2 * p, &self.pair(p).0);
            }
            let mut p = segment.start;
            for _ in 0..segment.pairs {
                let (even, odd) = self.pair(p);
                if ODD_FIRST {
                    self.take(&mut acc, 2 * p + 1, &odd);
                    self.take(&mut acc, 2 * p, &even);
                } else {
                    self.take(&mut acc, 2 * p, &even);
                    self.take(&mut acc, 2 * p + 1, &odd);
                }
                p = p.wrapping_add_signed(segment.step);
            }
            if let Some(p) = segment.lone.filter(|_| segment.step > 0) {
                self.take(&mut acc, 2 * p, &self.pair(p).0);
            }
            acc
        }
    }

    #[inline(always)]
    unsafe fn tile32<L: Lanes>(&self, segment: &Segment) -> Sums<L, MR, NV> {
        // SAFETY: the type's contract.
        unsafe {
            let mut total = [[L::zero(); NV]; MR];
            let end = segment.start + segment.pairs;
            let mut p = segment.start;
            while p < end || p == end && segment.lone.is_some() {
                let mut even = [[L::zero(); NV]; MR];
                let mut odd = [[L::zero(); NV]; MR];
                let chunk = end.min(p + 16);
                let short = chunk < p + 16;
                while p < chunk {
                    let (w_even, w_odd) = self.pair(p);
                    self.take(&mut even, 2 * p, &w_even);
                    self.take(&mut odd, 2 * p + 1, &w_odd);
                    p += 1;
                }
                if short {
                    if segment.lone.is_some() {
                        self.take(&mut even, 2 * p, &self.pair(p).0);
                    }
                    p += 1; // past the end, whether or not there was a lone one
                }
                total = add(total, add(even, odd));
            }
            total
        }
    }
}
