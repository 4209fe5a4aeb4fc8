//! Grouped-query attention, as in Llama.
//!
//! T tokens, H query heads, G key/value heads, D head width, C the residual stream's width.

use burn::tensor::{DType, Tensor};
use ulpscope_floats::{DType as Format, Floats};
use ulpscope_kernels::{
    Accumulation, Attention as Shape, KernelError, Linear, attention_eager, attention_sdpa, bridge, handles,
    matmul, matmul_transposed,
};

use crate::arithmetic::Arithmetic;
use crate::ops::{add, map, narrow, scale, wide};
use crate::probe::Probe;
use crate::rotary::RotaryTables;
use crate::site::{AttentionKind, BlockSite, Site};

/// Mixes tokens causally: `softmax(q kᵀ / √D) v`, heads concatenated, then `o_proj`.
#[derive(Clone, Debug)]
pub struct Attention {
    pub(crate) q_proj: Linear,
    pub(crate) k_proj: Linear,
    pub(crate) v_proj: Linear,
    pub(crate) o_proj: Linear,
    pub(crate) num_attention_heads: usize,
    pub(crate) num_key_value_heads: usize,
    pub(crate) head_dim: usize,
}

impl Attention {
    /// # Shapes
    /// - `x`: `[1, T, C]`, returns `[1, T, C]`
    ///
    /// # Precision
    /// Each linear layer rounds once. Between them, see [`AttentionKind`]: `eager` rounds the scores before and
    /// after scaling and after the mask, and the probabilities; `sdpa` rounds only the unnormalised
    /// probabilities and the result.
    pub fn forward(
        &self,
        x: Tensor<3>,
        rope: &RotaryTables,
        arithmetic: Arithmetic,
        layer: usize,
        probe: &mut impl Probe,
    ) -> Tensor<3> {
        let site = |s| Site::Block(layer, s);
        let order = arithmetic.accumulation;
        let q = probe.at(site(BlockSite::QProj), self.q_proj.forward(x.clone(), order));
        let k = probe.at(site(BlockSite::KProj), self.k_proj.forward(x.clone(), order));
        let v = probe.at(site(BlockSite::VProj), self.v_proj.forward(x, order));

        let q = probe.at(site(BlockSite::QRope), rope.rotate(self.split(q, self.num_attention_heads)));
        let k = probe.at(site(BlockSite::KRope), rope.rotate(self.split(k, self.num_key_value_heads)));
        let v = self.split(v, self.num_key_value_heads);

        let scaling = (self.head_dim as f64).powf(-0.5);
        let seen = probe.wants(site(BlockSite::Scores)) || probe.wants(site(BlockSite::Probs));
        let mixed = match arithmetic.attention {
            AttentionKind::Eager if handles(&q) && !seen => {
                by_kernel(attention_eager, q, k, v, scaling, order)
            }
            AttentionKind::Eager => {
                let scores = probe.at(site(BlockSite::Scores), scores(q, k, scaling, order));
                let probs = probe.at(site(BlockSite::Probs), softmax(scores));
                let dtype = bridge::dtype(&probs);
                matmul(probs, v, order, dtype)
            }
            AttentionKind::Sdpa => fused(q, k, v, scaling, order),
        };
        let [batch, _, tokens, _] = mixed.dims();
        let context =
            mixed.swap_dims(1, 2).reshape([batch, tokens, self.num_attention_heads * self.head_dim]);
        let context = probe.at(site(BlockSite::Context), context);
        probe.at(site(BlockSite::OProj), self.o_proj.forward(context, order))
    }

    /// `[1, T, heads·D]` to `[1, heads, T, D]`.
    fn split(&self, x: Tensor<3>, heads: usize) -> Tensor<4> {
        let [batch, tokens, _] = x.dims();
        x.reshape([batch, tokens, heads, self.head_dim]).swap_dims(1, 2)
    }
}

/// `R(R(R(q kᵀ) · scale) + mask)`, `[1, H, T, T]`. The mask adds the dtype's most negative finite value, so that
/// a masked score keeps trace of nothing but does not become infinite.
fn scores(q: Tensor<4>, k: Tensor<4>, scaling: f64, order: Accumulation) -> Tensor<4> {
    let (dtype, tokens) = (bridge::dtype(&q), q.dims()[2]);
    let scaled = scale(matmul_transposed(q, k, order, dtype), scaling);
    let mask = causal(tokens, bridge::dtype(&scaled).min(), &scaled);
    add(scaled, mask)
}

/// `exp(s - max) · (1 / Σ)` in f32, rounded to the dtype of the scores.
fn softmax(scores: Tensor<4>) -> Tensor<4> {
    let width = scores.dims()[3];
    if handles(&scores) {
        return bridge::map(scores, |scores| ulpscope_kernels::softmax(scores, width));
    }
    softmax_by_formula(scores)
}

fn softmax_by_formula(scores: Tensor<4>) -> Tensor<4> {
    let dtype = scores.dtype();
    let s = wide(scores);
    let e = map(s.clone() - s.max_dim(3), f64::exp);
    let sum = e.clone().sum_dim(3);
    narrow(e * sum.recip(), dtype)
}

/// `R(P v / Σ)` with `P = R(exp(s - max))`: scores stay wide, probabilities are rounded before they are normalised.
///
/// On this machine's CPU it is PyTorch's flash attention, one kernel with blocks of keys and PyTorch's exponential.
/// Elsewhere, and for f64, it is the formula as it stands, all keys at once.
fn fused(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, scaling: f64, order: Accumulation) -> Tensor<4> {
    if handles(&q) {
        // PyTorch's flash attention has an order of its own where its linear layers have this one.
        let order = if order == Accumulation::Dot2 { Accumulation::Sequential } else { order };
        return by_kernel(attention_sdpa, q, k, v, scaling, order);
    }
    fused_by_formula(q, k, v, scaling, order)
}

fn fused_by_formula(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    scaling: f64,
    order: Accumulation,
) -> Tensor<4> {
    let dtype = q.dtype();
    let compute = if dtype == DType::F64 { Format::F64 } else { Format::F32 };
    let tokens = q.dims()[2];
    let scores = matmul_transposed(q, k, order, compute) * scaling;
    let scores = scores.clone() + causal(tokens, f64::NEG_INFINITY, &scores);
    let e = map(scores.clone() - scores.max_dim(3), f64::exp);
    let sum = e.clone().sum_dim(3);
    narrow(matmul(narrow(e, dtype), v, order, compute) * sum.recip(), dtype)
}

/// A kernel for a whole attention, token-major.
type Kernel = fn(&Shape, &Floats, &Floats, &Floats) -> Result<Floats<'static>, KernelError>;

/// Attention as one kernel, which holds the scores of a few queries at a time.
fn by_kernel(
    kernel: Kernel,
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    scale: f64,
    order: Accumulation,
) -> Tensor<4> {
    let ([_, heads, _, head_dim], [_, groups, _, _]) = (q.dims(), k.dims());
    let shape = Shape { heads, groups, head_dim, scale, order };
    let token_major = |x: Tensor<4>| x.swap_dims(1, 2);
    let (k, v) = (token_major(k).into_data(), token_major(v).into_data());
    let attend = |q: &Floats| kernel(&shape, q, &bridge::view(&k), &bridge::view(&v));
    token_major(bridge::map(token_major(q), attend))
}

/// A causal mask `[1, 1, T, T]`: `masked` where the key comes after the query, 0 elsewhere; dtype and device of `like`.
fn causal(tokens: usize, masked: f64, like: &Tensor<4>) -> Tensor<4> {
    let values: Vec<f64> =
        (0..tokens * tokens).map(|i| if i % tokens > i / tokens { masked } else { 0.0 }).collect();
    let values = Floats::from(values).cast(bridge::dtype(like));
    bridge::tensor(values, [1, 1, tokens, tokens], &like.device())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{DTYPES, flips, noise};

    #[test]
    fn kernels_and_formulas_agree() {
        for dtype in DTYPES {
            let scores = noise([1, 2, 30, 30], 1, dtype);
            let differ = flips(&softmax(scores.clone()), &softmax_by_formula(scores));
            assert!(differ <= if dtype == Format::F32 { 900 } else { 2 }, "{dtype}: {differ}");

            let (q, k, v) = (
                noise([1, 4, 30, 16], 2, dtype),
                noise([1, 2, 30, 16], 3, dtype),
                noise([1, 2, 30, 16], 4, dtype),
            );
            let order = Accumulation::Tile32;
            let ours = bridge::floats(&fused(q.clone(), k.clone(), v.clone(), 0.25, order));
            let formula = bridge::floats(&fused_by_formula(q.clone(), k.clone(), v.clone(), 0.25, order));
            let largest = (0..ours.len()).map(|i| (ours.get(i) - formula.get(i)).abs()).fold(0.0, f64::max);
            // The kernel takes PyTorch's fast exponential, whose relative error is 1.1e-4.
            assert!(largest <= 1e-3 + dtype.unit_roundoff() * 8.0, "{dtype}: {largest}");

            let eager = by_kernel(attention_eager, q.clone(), k.clone(), v.clone(), 0.25, order);
            let steps = matmul(softmax(super::scores(q, k, 0.25, order)), v, order, dtype);
            assert_eq!(flips(&eager, &steps), 0, "{dtype}");
        }
    }
}
