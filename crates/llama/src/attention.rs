//! Grouped-query attention, as in Llama.
//!
//! T tokens, H query heads, G key/value heads, D head width, C the residual stream's width.

use burn::tensor::{DType, Tensor};
use ulpscope_floats::{DType as Format, Floats};
use ulpscope_kernels::{Accumulation, Linear, bridge, matmul, matmul_transposed};

use crate::arithmetic::Arithmetic;
use crate::ops::{add, map, narrow, scale, wide};
use crate::probe::Probe;
use crate::rotary::RotaryTables;
use crate::site::{AttentionKind, BlockSite, Site};

/// Keys per block of the fused attention; a row's maximum is known block by block.
const KEY_BLOCK: usize = 512;
/// Lanes of PyTorch's vectorised exponential; columns beyond a multiple of this take the exact one.
const LANES: usize = 16;

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
        let mixed = match arithmetic.attention {
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
    let dtype = scores.dtype();
    let s = wide(scores);
    let e = map(s.clone() - s.max_dim(3), f64::exp);
    let sum = e.clone().sum_dim(3);
    narrow(e * sum.recip(), dtype)
}

/// PyTorch's flash attention on CPU.
///
/// Scores stay in f32, `P = R(exp(s - m))` is rounded before it is normalised, the sum is of the unrounded
/// exponentials, and `R(P v / Σ)` is rounded once. Keys come in blocks of 512; `m` is the maximum up to and
/// including the block, and what was summed before is rescaled.
fn fused(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, scaling: f64, order: Accumulation) -> Tensor<4> {
    let dtype = q.dtype();
    let fast_exp = !matches!(dtype, DType::F32 | DType::F64);
    let compute = if dtype == DType::F64 { Format::F64 } else { Format::F32 };
    let tokens = q.dims()[2];
    let all = matmul_transposed(q, k, order, compute) * scaling;
    let all = all.clone() + causal(tokens, f64::NEG_INFINITY, &all);

    let mut state: Option<(Tensor<4>, Tensor<4>, Tensor<4>)> = None; // maximum, sum, unnormalised output
    for start in (0..tokens).step_by(KEY_BLOCK) {
        let width = KEY_BLOCK.min(tokens - start);
        let s = all.clone().narrow(3, start, width);
        let block_max = s.clone().max_dim(3);
        let max = match &state {
            Some((before, ..)) => before.clone().max_pair(block_max),
            None => block_max,
        };
        let e = exponentials(s - max.clone(), fast_exp);
        let sum = e.clone().sum_dim(3);
        let out = matmul(narrow(e, dtype), v.clone().narrow(2, start, width), order, compute);
        state = Some(match state {
            None => (max, sum, out),
            Some((before, sum_before, out_before)) => {
                let rescale = map(before - max.clone(), f64::exp);
                (max, sum_before * rescale.clone() + sum, out_before * rescale + out)
            }
        });
    }
    let (_, sum, out) = state.expect("a prompt has at least one token");
    narrow(out * sum.recip(), dtype)
}

/// `exp` of each element. 16-bit formats take PyTorch's fast polynomial in full vectors of a row and the exact
/// function in the rest of it.
fn exponentials(x: Tensor<4>, fast: bool) -> Tensor<4> {
    if !fast {
        return map(x, f64::exp);
    }
    let (device, shape) = (x.device(), x.dims());
    let width = shape[3];
    let full = width / LANES * LANES;
    let mut values = bridge::floats(&x).to_f32();
    for row in values.chunks_exact_mut(width) {
        let (vectors, rest) = row.split_at_mut(full);
        vectors.iter_mut().for_each(|x| *x = exp_u20(*x));
        rest.iter_mut().for_each(|x| *x = f64::from(*x).exp() as f32);
    }
    bridge::tensor(values.into(), shape, &device)
}

/// Malossi's exponential as PyTorch has it for flash attention (`fexp_u20`): `2^x` with a cubic for the fraction,
/// written straight into the bits of a float. Relative error up to 1.1e-4.
fn exp_u20(x: f32) -> f32 {
    const C: [f32; 4] = [0.000_107_034_35, 0.303_542_6, -0.224_338_36, -0.079_204_24];
    if x < -87.0 {
        return 0.0;
    }
    let s = x * std::f32::consts::LOG2_E;
    let f = s - s.floor();
    let correction = f.mul_add(f.mul_add(f.mul_add(C[3], C[2]), C[1]), C[0]);
    let bits = (s - correction).mul_add(8_388_608.0, 127.0 * 8_388_608.0);
    f32::from_bits(bits as i32 as u32)
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

    /// The worst relative error that PyTorch documents for its polynomial.
    #[test]
    fn the_fast_exponential_is_as_good_as_pytorchs() {
        for i in 0..8000 {
            let x = -(i as f32) / 100.0;
            let exact = f64::from(x).exp();
            let relative = (f64::from(exp_u20(x)) - exact).abs() / exact;
            assert!(relative < 1.2e-4, "exp({x}): {relative}");
        }
        assert_eq!(exp_u20(f32::NEG_INFINITY), 0.0);
    }
}
