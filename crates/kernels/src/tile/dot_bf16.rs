//! [`Leaf::OddFirst`](crate::plan::Leaf::OddFirst) by `vdpbf16ps`, which takes a pair of products
//! in one instruction.
//!
//! It adds the odd product, rounds, adds the even one and rounds again, both fused: that order's
//! definition. But it takes subnormal numbers for zero, in and out, whatever the control register
//! says. The caller has to rule them out.

use std::arch::x86_64::*;

use ulpscope_floats::bf16;

use super::{AHEAD, Block};
use crate::output::Patch;
use crate::plan::{Leaf, Segment, evaluate};
use crate::storage::{WIDTH, panel_len};

type Sums<const MR: usize, const NV: usize> = [[__m512; NV]; MR];

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
        // SAFETY: as promised; both sides of the transmutation are 256 bits without invalid
        // patterns.
        unsafe {
            _mm256_storeu_si256(to.cast(), std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(sums)))
        };
    }
}

/// As [`run`](super::run), for a plan of odd-first chains, on bf16 numbers none of whose sums can
/// be subnormal, and for MR rows after the other: all that x has, which are whole blocks of MR.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) fn run<O: Rounded, const MR: usize, const NV: usize>(block: &Block<bf16, bf16>, mut to: Patch<O>) {
    block.assert_fits::<MR, NV>();
    assert!(to.width() == NV * WIDTH);
    let plan = block.plan;
    assert_eq!(plan.leaf, Leaf::OddFirst);
    for (i, x) in block.x.chunks_exact(MR * plan.length).enumerate() {
        let at = Cursor::<MR, NV>::new(block, x);
        let sums = evaluate!(
            plan,
            // SAFETY: the block fits, and plans stay within their length.
            |segment| unsafe { at.chain(segment) },
            // SAFETY: this function has the instructions.
            |left, right| unsafe { add(left, right) }
        );
        for r in 0..MR {
            let row = to.row(i * MR + r);
            for v in 0..NV {
                // SAFETY: the row has room for the sums of NV panels.
                unsafe { O::put(row.add(v * WIDTH), sums[r][v]) };
            }
        }
    }
}

/// # Safety
/// The CPU has the instructions, here and below, and each function is inlined into one that has
/// them enabled.
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

/// Where the numbers of a block are. Its methods may only be called on a CPU that has the
/// instructions, and are inlined into a function that has them enabled.
struct Cursor<const MR: usize, const NV: usize> {
    x: *const bf16,
    length: usize,
    panels: [*const bf16; NV],
    /// Bytes of a panel.
    size: usize,
}

impl<const MR: usize, const NV: usize> Cursor<MR, NV> {
    #[inline(always)]
    fn new(block: &Block<bf16, bf16>, x: &[bf16]) -> Self {
        let length = block.plan.length;
        let mut panels = [std::ptr::null(); NV];
        for v in 0..NV {
            panels[v] = block.panels[v].as_ptr();
        }
        Cursor { x: x.as_ptr(), length, panels, size: panel_len(length) * size_of::<bf16>() }
    }

    /// # Safety
    /// The segment lies within the plan's length, and the block fits.
    #[inline(always)]
    unsafe fn chain(&self, segment: &Segment) -> Sums<MR, NV> {
        // SAFETY: as promised. Both indices of a whole pair are below the length, and so is a lone
        // pair's even one.
        unsafe {
            let mut acc = [[_mm512_setzero_ps(); NV]; MR];
            if let Some(p) = segment.lone.filter(|_| segment.step < 0) {
                self.take(&mut acc, p, |x| Self::lone(x));
            }
            let mut p = segment.start;
            for _ in 0..segment.pairs {
                self.take(&mut acc, p, |x| Self::pair(x));
                p = p.wrapping_add_signed(segment.step);
            }
            if let Some(p) = segment.lone.filter(|_| segment.step > 0) {
                self.take(&mut acc, p, |x| Self::lone(x));
            }
            acc
        }
    }

    /// A lone element's other half is zero on both sides, and adding that changes nothing: no sum
    /// is -0 here, since that takes a product too small for f32.
    #[inline(always)]
    unsafe fn lone(x: *const bf16) -> i32 {
        // SAFETY: as promised.
        unsafe { i32::from((*x).to_bits()) }
    }

    #[inline(always)]
    unsafe fn pair(x: *const bf16) -> i32 {
        // SAFETY: as promised.
        unsafe { x.cast::<i32>().read_unaligned() }
    }

    /// # Safety
    /// p is a pair of every panel, 32 numbers.
    #[inline(always)]
    unsafe fn take(&self, acc: &mut Sums<MR, NV>, p: usize, x: impl Fn(*const bf16) -> i32) {
        // SAFETY: as promised; both sides of a transmutation are 512 bits without invalid patterns.
        unsafe {
            let mut w = [std::mem::transmute::<__m512i, __m512bh>(_mm512_setzero_si512()); NV];
            for v in 0..NV {
                let at = self.panels[v].add(p * 2 * WIDTH);
                let fetch = |ahead| at.cast::<i8>().wrapping_add(ahead);
                if NV == 1 {
                    // A single panel is read as fast as memory gives it, and the next one follows
                    // right behind it.
                    _mm_prefetch::<_MM_HINT_T0>(fetch(AHEAD));
                } else {
                    // The next block's panels, for which there is time.
                    _mm_prefetch::<_MM_HINT_T1>(fetch(NV * self.size));
                }
                w[v] = std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(at.cast()));
            }
            for r in 0..MR {
                let pair = x(self.x.add(r * self.length + 2 * p));
                let pair = std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(pair));
                for v in 0..NV {
                    acc[r][v] = _mm512_dpbf16_ps(acc[r][v], pair, w[v]);
                }
            }
        }
    }
}
