//! Grouped-query causal attention, as PyTorch computes it on CPU.
//!
//! T tokens, H query heads, G key/value heads (H a multiple of G), D head width. Everything is token-major, as linear
//! layers deliver it, so that nothing is transposed.

use rayon::prelude::*;
use ulpscope_floats::{DType, Floats};

use crate::element::{Element, expect, map_rows, with_element};
use crate::exp::{exp_fast_in_place, exp_in_place};
use crate::linear::linear_on;
use crate::output::{grid, narrow};
use crate::range::Bits;
use crate::softmax::softmax_row;
use crate::sum::halve;
use crate::weight::Weight;
use crate::{Accumulation, KernelError, Path};

/// Keys per block of the fused attention; a row's maximum is known block by block.
const KEY_BLOCK: usize = 512;
/// Lanes of PyTorch's vectorised exponential; columns beyond a multiple of this take the exact one.
const LANES: usize = 16;

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
    /// The order of summation of both products, scores (over D) and context (over keys).
    pub order: Accumulation,
}

/// `softmax(q kᵀ · scale + mask) v` with every intermediate result rounded: transformers' `eager` attention.
///
/// # Shapes
/// - `q`: `[T, H, D]`; `k`, `v`: `[T, G, D]`; returns `[T, H, D]`
///
/// # Precision
/// Scores are rounded to the common format R as they come out of the product, after scaling, and after the mask (the
/// format's most negative number added where the key comes later), probabilities and context once each.
/// [`softmax`](crate::softmax()) says how it sums.
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
    with_element!(q.dtype(), "q", T => {
        shape.by_group::<T>(q, k, v, |tokens, q, k, v| {
            let scores = shape.product(path, &T::view(q), &T::view(k), shape.head_dim, T::DTYPE)?;
            let scores = expect::<T>(&scores, scores.len(), "scores")?;
            let (scale, masked) = (shape.scale as f32, T::DTYPE.min() as f32);
            let probs = map_rows(scores.len(), tokens, |row, scratch, out: &mut [T]| {
                T::read(&scores[row * tokens..(row + 1) * tokens], scratch);
                // Rounded by a detour through the storage format, which is what whole-vector code can do.
                let round = |x: &mut [f32], out: &mut [T]| {
                    narrow(path, x, out);
                    T::read(out, x);
                };
                scratch.iter_mut().for_each(|s| *s *= scale);
                round(scratch, out);
                let (seen, later) = scratch.split_at_mut(row % tokens + 1);
                seen.iter_mut().for_each(|s| *s += 0.0); // makes +0 of -0
                later.iter_mut().for_each(|s| *s += masked);
                round(scratch, out);
                softmax_row(path, scratch);
                narrow(path, scratch, out);
            });
            let v = T::wrap(transposed(v, shape.head_dim));
            shape.product(path, &T::wrap(probs), &v, tokens, T::DTYPE)
        })
    })
}

/// `softmax(q kᵀ · scale) v` as one operation: PyTorch's flash attention on CPU, which transformers calls `sdpa`.
///
/// # Shapes
/// - `q`: `[T, H, D]`; `k`, `v`: `[T, G, D]`; returns `[T, H, D]`
///
/// # Precision
/// Scores stay in f32. `P = R(exp(s - m))` is rounded before it is normalised, the sum is of the unrounded
/// exponentials, and `R(P v · (1 / Σ))` is rounded once. Keys come in blocks of 512; m is the maximum up to and including
/// the block, and what was summed before is rescaled. 16-bit formats take [`exp_fast`](crate::exp_fast) for whole
/// vectors of 16 keys and the correctly rounded exponential for the rest of a block; f32 takes
/// [`exp`](crate::exp()).
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
    with_element!(q.dtype(), "q", T => {
        shape.by_group::<T>(q, k, v, |tokens, q, k, v| flash::<T>(path, shape, tokens, q, k, v))
    })
}

impl Attention {
    /// `x wᵀ` for `x` `[M, length]` and `w` `[N, length]`.
    fn product(
        &self,
        path: Path,
        x: &Floats,
        w: &Floats,
        length: usize,
        out: DType,
    ) -> Result<Floats<'static>, KernelError> {
        let weight = Weight::Rows { values: w, outputs: w.len() / length, inputs: length };
        linear_on(path, x, weight, None, self.order, out)
    }

    /// Runs `mix` for every group: on q `[H / G · T, D]`, k and v `[T, D]`, head by head.
    fn by_group<T: Element>(
        &self,
        q: &Floats,
        k: &Floats,
        v: &Floats,
        mix: impl Fn(usize, &[T], &[T], &[T]) -> Result<Floats<'static>, KernelError> + Sync,
    ) -> Result<Floats<'static>, KernelError> {
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
        crate::element::expect_rows(q, heads * head_dim, "q")?;
        let tokens = q.len() / (heads * head_dim);
        let q = expect::<T>(q, q.len(), "q")?;
        let k = expect::<T>(k, tokens * groups * head_dim, "k")?;
        let v = expect::<T>(v, tokens * groups * head_dim, "v")?;
        let mut out = vec![T::ZERO; q.len()];
        if tokens == 0 {
            return Ok(T::wrap(out));
        }
        let share = heads / groups;
        let head = |x: &[T], all: usize, heads: std::ops::Range<usize>| -> Vec<T> {
            let mut rows = Vec::with_capacity(heads.len() * tokens * head_dim);
            for head in heads {
                for token in x.chunks_exact(all * head_dim) {
                    rows.extend_from_slice(&token[head * head_dim..][..head_dim]);
                }
            }
            rows
        };
        // One cell per group: the columns of the heads that share its keys.
        let cells = grid(&mut out, heads * head_dim, tokens, share * head_dim);
        cells.into_par_iter().enumerate().try_for_each(|(group, mut cell)| {
            let q = head(q, heads, group * share..(group + 1) * share);
            let (k, v) = (head(k, groups, group..group + 1), head(v, groups, group..group + 1));
            let mixed = mix(tokens, &q, &k, &v)?;
            let mixed = expect::<T>(&mixed, q.len(), "the context")?;
            for (i, row) in mixed.chunks_exact(head_dim).enumerate() {
                let start = (group * share + i / tokens) * head_dim;
                cell.part(i % tokens, start..start + head_dim).copy_from_slice(row);
            }
            Ok(())
        })?;
        Ok(T::wrap(out))
    }
}

/// `[rows, width]` to `[width, rows]`.
fn transposed<T: Element>(x: &[T], width: usize) -> Vec<T> {
    let rows = x.len() / width;
    let mut columns = vec![T::ZERO; x.len()];
    // A few rows at a time, so that the cache lines of both sides are used up while they are there.
    for start in (0..rows).step_by(16) {
        for column in 0..width {
            for row in start..rows.min(start + 16) {
                columns[column * rows + row] = x[row * width + column];
            }
        }
    }
    columns
}

/// What is known of a row after some blocks of keys.
#[derive(Clone, Copy)]
struct State {
    max: f32,
    sum: f32,
    /// What the last block's maximum did to everything before.
    rescale: f32,
}

/// One group's share: q `[rows, D]`, where row i is of token i mod T.
fn flash<T: Element>(
    path: Path,
    shape: &Attention,
    tokens: usize,
    q: &[T],
    k: &[T],
    v: &[T],
) -> Result<Floats<'static>, KernelError> {
    let width = shape.head_dim;
    let rows = q.len() / width;
    let scale = shape.scale as f32;
    let mut states = vec![State { max: f32::NEG_INFINITY, sum: 0.0, rescale: 0.0 }; rows];
    let mut out = vec![0.0f32; q.len()];
    for start in (0..tokens).step_by(KEY_BLOCK) {
        let keys = KEY_BLOCK.min(tokens - start);
        let block = start * width..(start + keys) * width;
        let scores = shape.product(path, &T::view(q), &T::view(&k[block.clone()]), width, DType::F32)?;
        let mut scores = scores.to_f32();
        scores.par_chunks_exact_mut(keys).with_min_len(32).zip(&mut states).enumerate().for_each(
            |(row, (scores, state))| {
                let seen = (row % tokens + 1).saturating_sub(start).min(keys);
                let (seen, masked) = scores.split_at_mut(seen);
                seen.iter_mut().for_each(|s| *s *= scale);
                masked.fill(f32::NEG_INFINITY);
                *state = state.take(path, scores, T::DTYPE != DType::F32);
            },
        );
        let mut probs = vec![T::ZERO; scores.len()];
        narrow(path, &scores, &mut probs);
        let values = T::wrap(transposed(&v[block], width));
        let mixed = shape.product(path, &T::wrap(probs), &values, keys, DType::F32)?;
        for ((out, mixed), state) in
            out.chunks_exact_mut(width).zip(mixed.as_f32().chunks_exact(width)).zip(&states)
        {
            for (out, mixed) in out.iter_mut().zip(mixed) {
                *out = if start == 0 { *mixed } else { *out * state.rescale + mixed };
            }
        }
    }
    for (out, state) in out.chunks_exact_mut(width).zip(&states) {
        let inverse = 1.0 / state.sum;
        out.iter_mut().for_each(|x| *x *= inverse);
    }
    let mut rounded = vec![T::ZERO; out.len()];
    narrow(path, &out, &mut rounded);
    Ok(T::wrap(rounded))
}

impl State {
    /// Turns a block's scores into exponentials and adds them up.
    fn take(self, path: Path, scores: &mut [f32], fast: bool) -> State {
        let max = crate::softmax::max(scores);
        // NaN must win, as it does in PyTorch's maximum.
        let max = if self.max > max { self.max } else { max };
        let rescale = exact(self.max - max);
        let (vectors, rest) = scores.split_at_mut(scores.len() / LANES * LANES);
        if fast {
            exp_fast_in_place(path, vectors, max);
        } else {
            exp_in_place(path, vectors, max);
        }
        rest.iter_mut().for_each(|x| *x = exact(*x - max));
        let mut lanes = [0.0; LANES];
        for vector in vectors.chunks_exact(LANES) {
            lanes.iter_mut().zip(vector).for_each(|(lane, x)| *lane += x);
        }
        let sum = rest.iter().fold(halve(lanes), |sum, x| sum + x);
        State { max, sum: self.sum * rescale + sum, rescale }
    }
}

/// The exponential of a math library that rounds correctly.
fn exact(x: f32) -> f32 {
    f64::from(x).exp() as f32
}

#[cfg(test)]
mod tests;
