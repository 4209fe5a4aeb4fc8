//! The products of PyTorch's fused attention on AMD CPUs, whose orders depend on their shapes.

use std::ops::Range as Span;

use super::KEY_BLOCK;
use super::flash::accumulate;
use super::product::{Rows, Way};
use super::queries::Queries;
use crate::Path;
use crate::by_path::{by_path, fma};
use crate::element::Element;
use crate::plan::Plan;
use crate::storage::{CHUNK, WIDTH};
use crate::sum::halve;

/// Up to so many products are summed in sequence; more are summed in stretches.
const SEQUENCE: usize = 192;

/// Queries and keys from which on products are no longer small.
const FEW_QUERIES: usize = 4;
const FEW_KEYS: usize = 12;

/// The queries that PyTorch takes at once, of so many.
fn block_of(queries: usize) -> usize {
    match queries {
        ..192 => 32,
        192..768 => 64,
        _ => 256,
    }
}

/// Whether some of the products are small ones.
pub(super) fn has_small(queries: usize, tokens: usize) -> bool {
    let last = |of: usize, block: usize| (of - 1) % block + 1;
    last(queries, block_of(queries)) < FEW_QUERIES || last(tokens, KEY_BLOCK) < FEW_KEYS
}

/// One of PyTorch's blocks of queries, and keys and values of the group.
/// [`Accumulation::Dot2`](crate::Accumulation::Dot2) says what its orders are.
pub(super) struct Mkl<'a, T> {
    /// `[T, D]`, if [some are small](has_small).
    keys: &'a [T],
    /// As keys.
    values: &'a [T],
    /// D.
    width: usize,
    /// Queries of the block.
    rows: usize,
}

impl<'a, T: Element> Mkl<'a, T> {
    /// The block that holds the `query`-th of `queries`.
    pub(super) fn new(keys: &'a [T], values: &'a [T], width: usize, queries: usize, query: usize) -> Self {
        let height = block_of(queries);
        let rows = height.min(queries - query / height * height);
        Mkl { keys, values, width, rows }
    }

    /// The plan for scores, unless their product is a small one.
    pub(super) fn plan(&self, way: Way) -> Plan {
        // Plans go by whole pairs; heads of such a width are not known.
        let stretch = Some(stretch(self.width)).filter(|stretch| stretch.is_multiple_of(2));
        way.blocks(self.width, stretch.unwrap_or(self.width))
    }

    /// As [`Queries::scores`], of a block of keys that has `count` of them, if the product is a
    /// small one. `out` is left as it was for the first `hidden` of them.
    pub(super) fn scores(
        &self,
        way: Way,
        q: &Rows<T>,
        keys: Span<usize>,
        [hidden, count]: [usize; 2],
        out: &mut Vec<f32>,
    ) -> Option<usize> {
        let by_four = match (self.rows, count) {
            (1, _) | (_, 1) => count,
            (..FEW_QUERIES, _) | (_, ..FEW_KEYS) => count / 4 * 4,
            _ => return None,
        };
        let stride = keys.len().next_multiple_of(WIDTH);
        let mut rows = T::wide(q.values());
        out.resize(rows.len() / self.width * stride, 0.0);
        let keys = T::wide(&self.keys[(keys.start + hidden) * self.width..keys.end * self.width]);
        let by_four = by_four.saturating_sub(hidden);
        for (row, out) in rows.chunks_exact_mut(self.width).zip(out.chunks_exact_mut(stride)) {
            way.arrange(row); // back to where they were
            in_lanes(way.path, row, &keys, by_four, &mut out[hidden..]);
        }
        Some(stride)
    }

    /// The length of the stretches by which a plan takes `count` keys from `start` on. `None` if no
    /// plan gives the bits of [`Mkl::mix`].
    pub(super) fn planned(&self, start: usize, count: usize) -> Option<usize> {
        let stretch = stretch(count);
        // What came before is added to the first stretch alone, and plans go by whole pairs.
        let planned = stretch == count || start == 0 && stretch.is_multiple_of(2);
        Some(stretch).filter(|_| planned && self.rows >= FEW_QUERIES)
    }

    /// Adds the weighted values of a block of keys to `totals`, `[rows, D]`. The block has `count`
    /// keys from `start` on.
    ///
    /// `probs` has the weights from the key `lead` of the block on, for each row as many as it
    /// needs. If `lead` is not 0, all keys before it are hidden, it is a multiple of a chunk, and
    /// `totals` are +0. `mixed` is a buffer as long as `totals`.
    pub(super) fn mix(
        &self,
        queries: &Queries<T>,
        p: &mut Rows<T>,
        probs: &[T],
        [start, lead, count]: [usize; 3],
        mixed: &mut [f32],
        totals: &mut [f32],
    ) {
        let (path, rows) = (queries.way.path, totals.len() / self.width);
        let known = probs.len() / rows;
        let length = lead + known;
        if self.rows < FEW_QUERIES {
            let values = T::wide(&self.values[(start + lead) * self.width..(start + length) * self.width]);
            let add = if self.rows == 1 { by_fours } else { in_sequence };
            for (probs, total) in T::wide(probs).chunks_exact(known).zip(totals.chunks_exact_mut(self.width))
            {
                add(path, probs, &values, total);
            }
            return;
        }
        let stretch = stretch(count);
        for first in (0..count).step_by(stretch) {
            let last = count.min(first + stretch);
            if last <= lead {
                continue;
            }
            if first < length {
                // Panels are read by whole chunks and end with whole pairs: zeros meet what belongs
                // to other stretches.
                let from = lead.max(first / CHUNK * CHUNK);
                let end = if last < count { last.next_multiple_of(2) } else { last };
                let to = end.min(length);
                let fill = |row: usize, some: &mut [T]| {
                    some.copy_from_slice(&probs[row * known..][from - lead..to - lead]);
                    some[..first.saturating_sub(from)].fill(T::ZERO);
                    some[(last - from).min(to - from)..].fill(T::ZERO);
                };
                let plan = |length| Some(queries.way.blocks(length, length));
                queries.mix(p, rows, 0..to - from, start + from..start + end, plan, fill, mixed);
            } else {
                mixed.fill(0.0);
            }
            accumulate(path, totals, mixed, start + first == 0);
        }
    }
}

/// The length of the stretches of `count` products that are summed apart, but for the last one.
fn stretch(count: usize) -> usize {
    match count {
        ..=SEQUENCE => count,
        _ if count <= 2 * SEQUENCE => count / 2,
        _ => SEQUENCE,
    }
}

/// Products of one row with rows of `keys`: the first `by_four` in four lanes, the others in eight.
#[inline(always)]
fn in_lanes_body<const FMA: bool>(_: Path, q: &[f32], keys: &[f32], by_four: usize, out: &mut [f32]) {
    for (i, (key, out)) in keys.chunks_exact(q.len()).zip(out).enumerate() {
        *out = if i < by_four { lanes::<FMA, 4>(q, key) } else { lanes::<FMA, 8>(q, key) };
    }
}
by_path!(in_lanes(q: &[f32], keys: &[f32], by_four: usize, out: &mut [f32]) = in_lanes_body);

/// N accumulators; the n-th takes every N-th product.
#[inline(always)]
fn lanes<const FMA: bool, const N: usize>(x: &[f32], w: &[f32]) -> f32 {
    let mut lanes = [0.0; N];
    for (x, w) in x.chunks(N).zip(w.chunks(N)) {
        for ((lane, x), w) in lanes.iter_mut().zip(x).zip(w) {
            *lane = fma::<FMA>(*x, *w, *lane);
        }
    }
    halve(lanes)
}

/// Adds weighted values of `[keys, D]`, key by key.
#[inline(always)]
fn in_sequence_body<const FMA: bool>(_: Path, probs: &[f32], values: &[f32], total: &mut [f32]) {
    for (p, row) in probs.iter().zip(values.chunks_exact(total.len())) {
        total.iter_mut().zip(row).for_each(|(total, v)| *total = fma::<FMA>(*p, *v, *total));
    }
}
by_path!(in_sequence(probs: &[f32], values: &[f32], total: &mut [f32]) = in_sequence_body);

/// Adds weighted values of `[keys, D]`. Of every four keys, the first is added to the third and the
/// second to the fourth. The rest of the keys follows, last key first.
#[inline(always)]
fn by_fours_body<const FMA: bool>(path: Path, probs: &[f32], values: &[f32], total: &mut [f32]) {
    let width = total.len();
    let (fours, rest) = probs.as_chunks::<4>();
    let (rows, last) = values.split_at(fours.len() * 4 * width);
    for ([p0, p1, p2, p3], rows) in fours.iter().zip(rows.chunks_exact(4 * width)) {
        let (first, second) = rows.split_at(2 * width);
        let ((v0, v1), (v2, v3)) = (first.split_at(width), second.split_at(width));
        for (d, total) in total.iter_mut().enumerate() {
            *total += fma::<FMA>(*p2, v2[d], p0 * v0[d]) + fma::<FMA>(*p3, v3[d], p1 * v1[d]);
        }
    }
    for (p, row) in rest.iter().zip(last.chunks_exact(width)).rev() {
        in_sequence_body::<FMA>(path, std::slice::from_ref(p), row, total);
    }
}
by_path!(by_fours(probs: &[f32], values: &[f32], total: &mut [f32]) = by_fours_body);
