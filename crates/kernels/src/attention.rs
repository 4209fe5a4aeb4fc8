//! Grouped-query causal attention, as PyTorch computes it on CPU.
//!
//! T tokens, of which the last Q have a query, H query heads, G key/value heads (H a multiple of
//! G), D head width. Everything is token-major, as linear layers deliver it, so that nothing is
//! transposed.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Mutex;

use ulpscope_floats::Floats;

use crate::element::{Element, expect, with_element};
use crate::output::{Cell, grid};
use crate::spin_pool::{for_each_item, for_each_part};
use crate::{Accumulation, KernelError, Path};

mod eager;
mod flash;
mod mkl;
mod product;
mod queries;

pub use flash::exp_scores;

use mkl::Mkl;
use product::{Matrix, Way};
use queries::{Queries, Scratch};

/// Keys per block of the fused attention; a row's maximum is known block by block.
const KEY_BLOCK: usize = 512;
/// Lanes of PyTorch's vectorised exponential; columns beyond a multiple of this take the exact one.
const LANES: usize = 16;
/// Scores that a thread holds at once, so that they stay in its cache.
const SCORES: usize = 96 * KEY_BLOCK;
/// Multiplications below which waking other threads costs more than it saves.
const WORTH_A_THREAD: usize = 1 << 17;

/// The shape and the arithmetic of an attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// H, the number of query heads.
    pub heads: usize,
    /// G, the number of key and value heads.
    pub groups: usize,
    /// D, the width of a head.
    pub head_dim: usize,
    /// What scores are multiplied by, `1 / √D` as a rule; rounded to f32.
    pub scale: f64,
    /// The order of summation of both products, scores (over D) and context (over keys); of fused
    /// attention it is [`Accumulation::within_sdpa`].
    pub order: Accumulation,
    /// How many keys a query sees: its own and those right before it. `None` shows it all keys up
    /// to its own.
    pub window: Option<NonZeroUsize>,
}

/// `softmax(q kᵀ · scale + mask) v` with every intermediate result rounded: transformers' `eager`
/// attention.
///
/// # Shapes
/// - `q`: `[Q, H, D]`, of the last Q of T tokens (all of them in a prompt that is read at once, one
///   in decoding); `k`, `v`: `[T, G, D]`; returns `[Q, H, D]`
///
/// # Precision
/// Scores are rounded to the common format R three times: after the product, after scaling, and
/// after the mask. (The mask adds the format's most negative number where the query does not see
/// the key.) Probabilities and context are rounded once. [`softmax`](crate::softmax()) says how it
/// sums.
///
/// # Errors
/// If formats or lengths do not fit together.
pub fn attention_eager(
    shape: &Attention,
    q: &Floats,
    k: &Floats,
    v: &Floats,
) -> Result<Floats<'static>, KernelError> {
    let path = Path::detect()?;
    with_element!(q.dtype(), "q", T => shape.checked::<T>(path, [q, k, v], Attention::eager))
}

/// `softmax(q kᵀ · scale) v` as one operation: PyTorch's flash attention on CPU, which transformers
/// calls `sdpa`.
///
/// # Shapes
/// - `q`: `[Q, H, D]`, of the last Q of T tokens; `k`, `v`: `[T, G, D]`; returns `[Q, H, D]`
///
/// # Precision
/// Scores stay in f32. `P = R(exp(s - m))` is rounded before it is normalised, the sum is of the
/// unrounded exponentials, and `R(P v · (1 / Σ))` is rounded once. Keys come in blocks of 512; m is
/// the maximum up to and including the block, and what was summed before is rescaled. Whole vectors
/// of 16 keys take [`exp_fast`](crate::exp_fast), or in f32 [`exp_u20`](crate::exp_u20), and are
/// added up lane by lane, those of 16-bit formats with every other vector apart; the rest of a
/// block takes glibc's `expf`.
///
/// Blocks are counted from the first key, whether or not a window hides it. The score of a hidden
/// key is -∞, and P is +0 for it; with a window it is added to the score, as PyTorch adds a mask,
/// so that a hidden score of +∞ or NaN leaves NaN. A row whose scores are -∞ throughout is +0
/// throughout.
///
/// # Errors
/// If formats or lengths do not fit together.
pub fn attention_sdpa(
    shape: &Attention,
    q: &Floats,
    k: &Floats,
    v: &Floats,
) -> Result<Floats<'static>, KernelError> {
    let path = Path::detect()?;
    with_element!(q.dtype(), "q", T => shape.checked::<T>(path, [q, k, v], Attention::sdpa))
}

impl Attention {
    /// Checks the arguments before a kernel gets them.
    fn checked<T: Element>(
        &self,
        path: Path,
        [q, k, v]: [&Floats; 3],
        kernel: fn(&Self, Path, [&[T]; 3], &mut [T]),
    ) -> Result<Floats<'static>, KernelError> {
        self.check()?;
        let Attention { heads, groups, head_dim, .. } = *self;
        crate::element::expect_rows(q, heads * head_dim, "q")?;
        // If there are fewer keys than queries, the error gives the number of keys that is needed.
        let tokens = (k.len() / (groups * head_dim)).max(q.len() / (heads * head_dim));
        let q = expect::<T>(q, q.len(), "q")?;
        let k = expect::<T>(k, tokens * groups * head_dim, "k")?;
        let v = expect::<T>(v, tokens * groups * head_dim, "v")?;
        let mut out = vec![T::ZERO; q.len()];
        kernel(self, path, [q, k, v], &mut out);
        Ok(T::wrap(out))
    }

    /// Whether heads can be shared out like that.
    pub(crate) fn check(&self) -> Result<(), KernelError> {
        let Attention { heads, groups, head_dim, .. } = *self;
        for (what, n) in
            [("the number of heads", heads), ("the number of groups", groups), ("the head width", head_dim)]
        {
            if n == 0 {
                return Err(KernelError::Empty { what });
            }
        }
        if heads % groups != 0 {
            return Err(KernelError::Rows { what: "the heads", row: groups, got: heads });
        }
        Ok(())
    }

    /// The keys that the query of a token sees.
    fn seen(&self, token: usize) -> Range<usize> {
        let hidden = self.window.map_or(0, |window| (token + 1).saturating_sub(window.get()));
        hidden..token + 1
    }

    /// [`attention_eager`] of checked arguments.
    pub(crate) fn eager<T: Element>(&self, path: Path, qkv: [&[T]; 3], out: &mut [T]) {
        self.by_group(path, Some(self.order), qkv, usize::MAX, out, eager::eager);
    }

    /// [`attention_sdpa`] of checked arguments.
    pub(crate) fn sdpa<T: Element>(&self, path: Path, qkv: [&[T]; 3], out: &mut [T]) {
        let [q, k, v] = qkv;
        let [row, key] = [self.heads, self.groups].map(|heads| heads * self.head_dim);
        let (rows, tokens) = (q.len() / row, k.len() / key);
        if self.order != Accumulation::Dot2Lanes || rows < 2 {
            self.by_group(path, self.order.within_sdpa(), qkv, KEY_BLOCK, out, flash::flash);
            return;
        }
        for (i, (q, out)) in q.chunks_exact(row).zip(out.chunks_exact_mut(row)).enumerate() {
            let read = (tokens - rows + i + 1) * key;
            self.sdpa(path, [q, &k[..read], &v[..read]], out);
        }
    }

    /// Runs `mix` for every group and span of tokens. It holds scores of up to `keys` keys at once.
    /// Without an order, products have those of [`Mkl`].
    fn by_group<T: Element>(
        &self,
        path: Path,
        order: Option<Accumulation>,
        [q, k, v]: [&[T]; 3],
        keys: usize,
        out: &mut [T],
        mix: impl Fn(&Queries<T>, &mut Scratch<T>, &mut [T]) + Sync,
    ) {
        let Attention { heads, groups, head_dim, .. } = *self;
        let (rows, tokens) = (q.len() / (heads * head_dim), k.len() / (groups * head_dim));
        let first = tokens - rows;
        if rows == 0 {
            return;
        }
        let (share, way) =
            (heads / groups, Way::new::<T>(path, order.unwrap_or(Accumulation::Sequential), tokens));
        let parallel = heads * rows * tokens * head_dim >= WORTH_A_THREAD;
        let small = order.is_none() && mkl::has_small(rows, tokens);
        let pack = |group: usize| {
            let head = |x: &[T]| -> Vec<T> {
                let mut rows = Vec::with_capacity(tokens * head_dim);
                for token in x.chunks_exact(groups * head_dim) {
                    rows.extend_from_slice(&token[group * head_dim..][..head_dim]);
                }
                rows
            };
            let (k, v) = (head(k), head(v));
            let matrices = (Matrix::of_rows(way, &k, head_dim), Matrix::of_columns(way, &v, head_dim));
            (matrices, if small { (k, v) } else { Default::default() })
        };
        let mut packed: Vec<_> = (0..groups).map(|_| None).collect();
        for_each_part(&mut packed, if parallel { 1 } else { groups }, |first, packed| {
            packed.iter_mut().enumerate().for_each(|(i, packed)| *packed = Some(pack(first + i)));
        });
        let packed: Vec<_> = packed.into_iter().flatten().collect();

        let work = |scratch: &mut Scratch<T>, mut cell: Cell<T>| {
            let (columns, span) = (cell.columns(), first + cell.rows().start..first + cell.rows().end);
            let ((keys, values), (k, v)) = &packed[columns.start / (share * head_dim)];
            let mkl = order.is_none().then(|| Mkl::new(k, v, head_dim, rows, span.start - first));
            let queries = Queries { way, shape: self, keys, values, tokens, span: span.clone(), mkl };
            // A token's heads lie side by side, in q as in the output.
            let place = |token: usize, columns: &Range<usize>| {
                let row = (token - first) * heads * head_dim;
                row + columns.start..row + columns.end
            };
            let rows = scratch.q.room(queries.rows(), head_dim);
            for (token, rows) in span.clone().zip(rows.chunks_exact_mut(share * head_dim)) {
                rows.copy_from_slice(&q[place(token, &columns)]);
            }
            let mut mixed = std::mem::take(&mut scratch.out);
            mixed.resize(queries.rows() * head_dim, T::ZERO);
            mix(&queries, scratch, &mut mixed);
            for (token, mixed) in span.zip(mixed.chunks_exact(share * head_dim)) {
                cell.part(token - first, columns.clone()).copy_from_slice(mixed);
            }
            scratch.out = mixed;
        };
        // Powers of two that divide where the first span begins, so that none straddles two blocks
        // of keys.
        let fitting = SCORES / (share * keys.min(tokens));
        let aligned = if first == 0 { 32 } else { 1 << first.trailing_zeros().min(5) };
        let height = fitting.clamp(1, 128).next_power_of_two().min(aligned);
        let mut cells = grid(out, heads * head_dim, height, share * head_dim);
        if parallel {
            // The last tokens see most keys; with them first, threads end at about the same time.
            cells.sort_by_key(|cell| std::cmp::Reverse(cell.rows().start));
            // One for each thread that is at work at a time.
            let idle: Mutex<Vec<Scratch<T>>> = Mutex::default();
            let lock = || idle.lock().expect("nothing panics while it is held");
            for_each_item(cells, |cell| {
                let mut scratch = lock().pop().unwrap_or_else(Scratch::new);
                work(&mut scratch, cell);
                lock().push(scratch);
            });
        } else {
            let mut scratch = Scratch::new();
            cells.into_iter().for_each(|cell| work(&mut scratch, cell));
        }
    }
}

#[cfg(test)]
mod tests;
