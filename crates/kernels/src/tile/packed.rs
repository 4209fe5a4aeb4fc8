//! Many rows at once, for AVX-512. Both sides of a product are first widened to f32 and rearranged.
//! The kernel then reads each of them front to back, and only broadcasts and multiplies.
//!
//! That pays as soon as a panel meets a few dozen rows. It is twice as fast as `vdpbf16ps`, which
//! takes four times as long as the fused multiplication it replaces two of.

use std::cell::Cell;

use ulpscope_floats::Floats;

use crate::lanes::{Avx512, Lanes, transpose};
use crate::plan::{Leaf, Plan, Segment, evaluate};
use crate::spin_pool::for_each_part;
use crate::storage::{Storage, WIDTH, panel_len};
use crate::weight::Line;

/// Panels side by side.
pub(crate) const PANELS: usize = 2;
/// Outputs of a pair of panels.
const OUTPUTS: usize = PANELS * WIDTH;
/// The most rows of a block.
pub(crate) const MAX_ROWS: usize = 12;
/// Elements for which waking another thread pays.
const WORTH_A_THREAD: usize = 1 << 15;

/// Rows of a block for this leaf: as many as there are registers for sums.
fn rows_at_once(leaf: Leaf) -> usize {
    match leaf {
        // Even and odd sums of each.
        Leaf::Tile32 => 6,
        Leaf::EvenFirst | Leaf::OddFirst => MAX_ROWS,
    }
}

/// x in f32, in blocks of a few rows. A block keeps the numbers of one k side by side, for one k
/// after the other; the last one is filled up to what a kernel takes.
#[derive(Default)]
pub(crate) struct Rows {
    values: Vec<f32>,
    rows: usize,
    length: usize,
    /// Rows of every block but the last.
    step: usize,
}

impl Rows {
    /// Packs `x`, whole rows of `length`, for a leaf, on all threads of the current pool if
    /// `parallel`. The CPU must have AVX-512.
    pub(crate) fn pack(x: &Floats, length: usize, leaf: Leaf, parallel: bool) -> Self {
        let (rows, step) = (x.len() / length, rows_at_once(leaf));
        let last = rows % step;
        let filled = rows - last + if last == 0 { 0 } else { size(last, step) };
        let Rows { mut values, .. } = KEPT_ROWS.take();
        values.resize(filled * length, 0.0);
        let fill = |(i, to): (usize, &mut [f32])| {
            let x = x.slice(i * step * length..rows.min((i + 1) * step) * length);
            // SAFETY: the CPU has the instructions; `to` is as many rows of `length` as it says.
            unsafe { interleave(&x.as_f32(), length, to.len() / length, to) };
        };
        if !parallel || x.len() < WORTH_A_THREAD {
            values.chunks_mut(step * length).enumerate().for_each(fill);
        } else {
            for_each_part(&mut values, step * length, |i, to| fill((i, to)));
        }
        Rows { values, rows, length, step }
    }

    /// Leaves the buffer to the next product on this thread.
    pub(crate) fn keep(self) {
        KEPT_ROWS.set(self);
    }

    /// Packs rows that are f32 already in the place of what was there, on this thread.
    pub(crate) fn repack(&mut self, x: &[f32], length: usize, leaf: Leaf) {
        let (rows, step) = (x.len() / length, rows_at_once(leaf));
        let last = rows % step;
        let filled = rows - last + if last == 0 { 0 } else { size(last, step) };
        self.values.resize(filled * length, 0.0);
        for (to, x) in self.values.chunks_mut(step * length).zip(x.chunks(step * length)) {
            // SAFETY: the CPU has the instructions.
            unsafe { interleave(x, length, to.len() / length, to) };
        }
        (self.rows, self.length, self.step) = (rows, length, step);
    }

    /// The rows of a block that begins with row `first`, a multiple of [`Rows::step`].
    pub(crate) fn rows_of(&self, first: usize) -> usize {
        self.step.min(self.rows - first)
    }

    /// Rows from one block to the next.
    pub(crate) fn step(&self) -> usize {
        self.step
    }
}

/// The rows that a kernel takes instead of these few.
fn size(rows: usize, step: usize) -> usize {
    [2, 4, 6, 8].into_iter().find(|&size| size >= rows && size <= step).unwrap_or(step)
}

/// `to[k, r] = x[r, k]`; rows that x does not have stay as they are.
///
/// # Safety
/// The CPU has AVX-512 F, BW and VL.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn interleave(x: &[f32], length: usize, rows: usize, to: &mut [f32]) {
    use std::arch::x86_64::*;
    let present = x.len() / length;
    assert!(present <= rows && rows <= WIDTH && to.len() >= rows * length);
    let whole = length / WIDTH * WIDTH;
    let mask = (1u32 << rows) as u16;
    let mask = mask.wrapping_sub(1);
    for k in (0..whole).step_by(WIDTH) {
        let mut square = [_mm512_setzero_si512(); WIDTH];
        for (r, row) in square.iter_mut().enumerate().take(present) {
            // SAFETY: sixteen numbers of row r, from k on.
            *row = unsafe { _mm512_loadu_si512(x.as_ptr().add(r * length + k).cast()) };
        }
        for (i, column) in transpose(square).iter().enumerate() {
            // SAFETY: `rows` numbers of index k + i.
            unsafe { _mm512_mask_storeu_epi32(to.as_mut_ptr().add((k + i) * rows).cast(), mask, *column) };
        }
    }
    for k in whole..length {
        for r in 0..present {
            to[k * rows + r] = x[r * length + k];
        }
    }
}

thread_local! {
    static KEPT: Cell<Pair> = const { Cell::new(Pair(Vec::new())) };
    static KEPT_ROWS: Cell<Rows> = const { Cell::new(Rows { values: Vec::new(), rows: 0, length: 0, step: 0 }) };
}

/// A pair of panels in f32: for each k, the sixteen outputs of the one and those of the other.
#[derive(Default)]
pub(crate) struct Pair(Vec<Line>);

impl Pair {
    /// One that this thread has used before, if there is one. It belongs to the caller until it is
    /// kept again.
    pub(crate) fn reused() -> Self {
        KEPT.take()
    }

    /// Leaves the buffer to the next product on this thread: to allocate one of this size each time
    /// is slow.
    pub(crate) fn keep(self) {
        KEPT.set(self);
    }

    /// Widens two panels for K = `length`. The CPU must have AVX-512.
    pub(crate) fn fill<T: Storage>(&mut self, panels: [&[T]; PANELS], length: usize) {
        self.0.resize(pair_lines(length), Line::ZERO);
        widen_pair(panels, length, &mut self.0);
    }

    /// The numbers from index `start` on, a line for sixteen of them.
    pub(crate) fn from(&self, start: usize) -> &[Line] {
        &self.0[start * PANELS..]
    }
}

/// Lines of a pair of panels in f32: each is sixteen numbers.
pub(crate) fn pair_lines(length: usize) -> usize {
    length.div_ceil(2) * 2 * PANELS
}

/// Widens two panels for K = `length` into [`pair_lines`] lines. The CPU must have AVX-512.
pub(crate) fn widen_pair<T: Storage>(panels: [&[T]; PANELS], length: usize, to: &mut [Line]) {
    /// # Safety
    /// Both panels and `to` hold `pairs` pairs of indices.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn widen<T: Storage>(panels: [*const T; PANELS], pairs: usize, to: *mut f32) {
        for p in 0..pairs {
            for (v, panel) in panels.iter().enumerate() {
                // SAFETY: pair p of the panel, and of the room for it.
                unsafe {
                    let (even, odd) = T::pair::<Avx512>(panel.add(p * 2 * WIDTH));
                    even.store(to.add((2 * p * PANELS + v) * WIDTH));
                    odd.store(to.add(((2 * p + 1) * PANELS + v) * WIDTH));
                }
            }
        }
    }
    assert!(panels.iter().all(|panel| panel.len() >= panel_len(length)));
    assert!(to.len() >= pair_lines(length));
    // SAFETY: as asserted; the caller has checked that the CPU has the instructions.
    unsafe { widen(panels.map(<[T]>::as_ptr), length.div_ceil(2), to.as_mut_ptr().cast()) };
}

/// The sums of a block, `[rows, 32]`: the rows of x from `first` on, a multiple of its step, times
/// a pair of panels. The CPU must have AVX-512.
///
/// On the way, memory is asked for what lies from `ahead` on, a cache line for each pair of
/// indices.
pub(crate) fn run(
    plan: &Plan,
    x: &Rows,
    first: usize,
    pair: &[Line],
    ahead: *const u8,
    out: &mut [f32; MAX_ROWS * OUTPUTS],
) {
    assert!(plan.length == x.length && first.is_multiple_of(x.step) && first < x.rows);
    assert!(pair.len() >= plan.length * PANELS);
    assert_eq!(x.step, rows_at_once(plan.leaf));
    let rows = match x.rows_of(first) {
        few if few < x.step => size(few, x.step),
        all => all,
    };
    let values = &x.values[first * x.length..];
    assert!(values.len() >= rows * x.length);
    macro_rules! by_rows {
        ($tiles:literal, [$($mr:literal),*]) => {
            match rows {
                // SAFETY: the lengths are as asserted; the caller has checked the instructions.
                $($mr => unsafe { sums::<$mr, $tiles>(plan, values.as_ptr(), pair.as_ptr().cast(), ahead, out) },)*
                rows => unreachable!("no kernel takes {rows} rows"),
            }
        };
    }
    if plan.leaf == Leaf::Tile32 { by_rows!(true, [2, 4, 6]) } else { by_rows!(false, [2, 4, 6, 8, 12]) }
}

type Sums<const MR: usize> = [[Avx512; PANELS]; MR];

/// # Safety
/// `x` is `[K, MR]`, `w` is `[K, 32]`, the plan stays within K and is one of tiles if `TILES`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn sums<const MR: usize, const TILES: bool>(
    plan: &Plan,
    x: *const f32,
    w: *const f32,
    ahead: *const u8,
    out: &mut [f32; MAX_ROWS * OUTPUTS],
) {
    let leaf = |segment: &Segment| -> Sums<MR> {
        // SAFETY: as the caller promises.
        unsafe {
            match plan.leaf {
                _ if TILES => tile32(x, w, ahead, segment),
                Leaf::OddFirst => chain::<MR, 1>(x, w, ahead, segment),
                _ => chain::<MR, 0>(x, w, ahead, segment),
            }
        }
    };
    // SAFETY: this function has the instructions.
    let total = evaluate!(plan, |segment| leaf(segment), |left, right| unsafe { add(left, right) });
    for (r, total) in total.iter().enumerate() {
        for (v, total) in total.iter().enumerate() {
            // SAFETY: MR is at most the number of rows that `out` has.
            unsafe { total.store(out[r * OUTPUTS + v * WIDTH..][..WIDTH].as_mut_ptr()) };
        }
    }
}

/// `acc += x[k] · w[k]` for every row and output.
///
/// # Safety
/// k < K, and as for [`sums`].
#[inline(always)]
unsafe fn take<const MR: usize>(acc: &mut Sums<MR>, x: *const f32, w: *const f32, k: usize) {
    // SAFETY: as the caller promises.
    unsafe {
        let w = [Avx512::f32(w.add(k * OUTPUTS)), Avx512::f32(w.add(k * OUTPUTS + WIDTH))];
        for (r, acc) in acc.iter_mut().enumerate() {
            let x = Avx512::splat(*x.add(k * MR + r));
            acc[0] = acc[0].fma(x, w[0]);
            acc[1] = acc[1].fma(x, w[1]);
        }
    }
}

/// # Safety
/// As for [`sums`].
#[inline(always)]
unsafe fn add<const MR: usize>(mut left: Sums<MR>, right: Sums<MR>) -> Sums<MR> {
    for (left, right) in left.iter_mut().zip(right) {
        for (left, right) in left.iter_mut().zip(right) {
            // SAFETY: as the caller promises.
            *left = unsafe { left.add(right) };
        }
    }
    left
}

/// One accumulator, of a pair the index `2p + FIRST` first.
///
/// # Safety
/// As for [`sums`].
#[inline(always)]
unsafe fn chain<const MR: usize, const FIRST: usize>(
    x: *const f32,
    w: *const f32,
    ahead: *const u8,
    segment: &Segment,
) -> Sums<MR> {
    // SAFETY: as the caller promises.
    unsafe {
        let mut acc = [[Avx512::zero(); PANELS]; MR];
        if let Some(p) = segment.lone.filter(|_| segment.step < 0) {
            take(&mut acc, x, w, 2 * p);
        }
        let mut p = segment.start;
        for _ in 0..segment.pairs {
            Avx512::prefetch_far(ahead.wrapping_add(64 * p));
            take(&mut acc, x, w, 2 * p + FIRST);
            take(&mut acc, x, w, 2 * p + 1 - FIRST);
            p = p.wrapping_add_signed(segment.step);
        }
        if let Some(p) = segment.lone.filter(|_| segment.step > 0) {
            take(&mut acc, x, w, 2 * p);
        }
        acc
    }
}

/// Chunks of 16 pairs, even and odd products apart.
///
/// # Safety
/// As for [`sums`].
#[inline(always)]
unsafe fn tile32<const MR: usize>(
    x: *const f32,
    w: *const f32,
    ahead: *const u8,
    segment: &Segment,
) -> Sums<MR> {
    // SAFETY: as the caller promises.
    unsafe {
        let zero = [[Avx512::zero(); PANELS]; MR];
        let mut total = zero;
        let end = segment.start + segment.pairs;
        let mut p = segment.start;
        while p < end || p == end && segment.lone.is_some() {
            let (mut even, mut odd) = (zero, zero);
            let chunk = end.min(p + 16);
            let short = chunk < p + 16;
            while p < chunk {
                Avx512::prefetch_far(ahead.wrapping_add(64 * p));
                take(&mut even, x, w, 2 * p);
                take(&mut odd, x, w, 2 * p + 1);
                p += 1;
            }
            if short {
                if segment.lone.is_some() {
                    take(&mut even, x, w, 2 * p);
                }
                p += 1; // past the end, whether or not there was a lone one
            }
            total = add(total, add(even, odd));
        }
        total
    }
}
