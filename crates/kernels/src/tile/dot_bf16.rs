//! [`Leaf::OddFirst`](crate::plan::Leaf::OddFirst) by `vdpbf16ps`, which takes a pair of products in one instruction.
//!
//! It adds the odd product, rounds, adds the even one and rounds again, both fused: that order's definition. But it
//! takes subnormal numbers for zero, in and out, whatever the control register says. The caller has to rule them out.

use std::arch::x86_64::*;

use ulpscope_floats::bf16;

use super::{AHEAD, Block};
use crate::output::Patch;
use crate::plan::{Leaf, Segment, evaluate};
use crate::storage::{WIDTH, panel_len};

type Sums<const MR: usize, const NV: usize> = [[__m512; NV]; MR];

/// Whether so few rows meet so many panels that these are read as fast as memory gives them.
const fn few(rows: usize, panels: usize) -> bool {
    panels == 1 || rows <= 4
}

/// A format that a kernel rounds to itself.
pub(super) trait Rounded: Sized {
    /// Rounds sixteen sums, none of them subnormal.
    ///
    /// # Safety
    /// There is room for sixteen numbers, and the CPU has the instructions.
    unsafe fn put(to: *mut Self, sums: __m512);
}

impl Rounded for f32 {
    #[inline(always)]
    unsafe fn put(to: *mut f32, sums: __m512) {
        // SAFETY: as promised.
        unsafe { _mm512_storeu_ps(to, sums) };
    }
}

impl Rounded for bf16 {
    #[inline(always)]
    unsafe fn put(to: *mut bf16, sums: __m512) {
        // SAFETY: as promised; both sides of the transmutation are 256 bits without invalid patterns.
        unsafe {
            _mm256_storeu_si256(to.cast(), std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(sums)))
        };
    }
}

/// As [`run`](super::run), for a plan of odd-first chains, on bf16 numbers none of whose sums can be subnormal.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) fn run<O: Rounded, const MR: usize, const NV: usize>(block: &Block<bf16, bf16>, mut to: Patch<O>) {
    block.assert_fits::<MR, NV>();
    assert!(to.width() == NV * WIDTH);
    let plan = block.plan;
    assert_eq!(plan.leaf, Leaf::OddFirst);
    let sums = evaluate!(
        plan,
        // SAFETY: the block fits, and plans stay within their length.
        |segment| unsafe { chain::<MR, NV>(block, segment) },
        // SAFETY: this function has the instructions.
        |left, right| unsafe { add(left, right) }
    );
    for r in 0..MR {
        let row = to.row(r);
        for v in 0..NV {
            // SAFETY: the row has room for the sums of NV panels.
            unsafe { O::put(row.add(v * WIDTH), sums[r][v]) };
        }
    }
}

/// # Safety
/// The CPU has the instructions, here and below, and each function is inlined into one that has them enabled.
#[inline(always)]
unsafe fn add<const MR: usize, const NV: usize>(mut left: Sums<MR, NV>, right: Sums<MR, NV>) -> Sums<MR, NV> {
    for r in 0..MR {
        for v in 0..NV {
            // SAFETY: instructions as promised.
            left[r][v] = unsafe { _mm512_add_ps(left[r][v], right[r][v]) };
        }
    }
    left
}

/// # Safety
/// As for [`add`]; the segment lies within the plan's length, and the block fits.
#[inline(always)]
unsafe fn chain<const MR: usize, const NV: usize>(
    block: &Block<bf16, bf16>,
    segment: &Segment,
) -> Sums<MR, NV> {
    let length = block.plan.length;
    let size = panel_len(length) * size_of::<bf16>();
    let x = block.x.as_ptr();
    let mut panels = [std::ptr::null(); NV];
    for v in 0..NV {
        panels[v] = block.panels[v].as_ptr();
    }
    // SAFETY: as promised. Both indices of a whole pair are below the length, and so is a lone pair's even one.
    unsafe {
        let mut acc = [[_mm512_setzero_ps(); NV]; MR];
        // A lone element's other half is zero on both sides, and adding that changes nothing: no sum is -0 here, since
        // that takes a product too small for f32.
        let lone = |p| move |r| i32::from((*x.add(r * length + 2 * p)).to_bits());
        if let Some(p) = segment.lone.filter(|_| segment.step < 0) {
            take(&mut acc, &panels, p, size, lone(p));
        }
        let mut p = segment.start;
        for _ in 0..segment.pairs {
            take(&mut acc, &panels, p, size, |r| x.add(r * length + 2 * p).cast::<i32>().read_unaligned());
            p = p.wrapping_add_signed(segment.step);
        }
        if let Some(p) = segment.lone.filter(|_| segment.step > 0) {
            take(&mut acc, &panels, p, size, lone(p));
        }
        acc
    }
}

/// # Safety
/// As for [`add`]; p is a pair of every panel, 32 numbers, and each panel takes `size` bytes.
#[inline(always)]
unsafe fn take<const MR: usize, const NV: usize>(
    acc: &mut Sums<MR, NV>,
    panels: &[*const bf16; NV],
    p: usize,
    size: usize,
    x: impl Fn(usize) -> i32,
) {
    // SAFETY: as promised; both sides of a transmutation are 512 bits without invalid patterns.
    unsafe {
        let mut w = [std::mem::transmute::<__m512i, __m512bh>(_mm512_setzero_si512()); NV];
        for v in 0..NV {
            let at = panels[v].add(p * 2 * WIDTH);
            let fetch = |ahead| at.cast::<i8>().wrapping_add(ahead);
            if few(MR, NV) {
                // What comes next in the panel or, at its end, in that of the next block.
                let beyond = p * 64 + AHEAD >= size;
                _mm_prefetch::<_MM_HINT_T0>(fetch(if beyond { AHEAD + (NV - 1) * size } else { AHEAD }));
            } else {
                // The next block's panels, for which there is time.
                _mm_prefetch::<_MM_HINT_T1>(fetch(NV * size));
            }
            w[v] = std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(at.cast()));
        }
        for r in 0..MR {
            let pair = std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(x(r)));
            for v in 0..NV {
                acc[r][v] = _mm512_dpbf16_ps(acc[r][v], pair, w[v]);
            }
        }
    }
}
