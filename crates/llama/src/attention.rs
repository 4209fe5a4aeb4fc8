//! Grouped-query attention, as in Llama.
//!
//! T tokens, H query heads, G key/value heads, D head width, C the residual stream's width.

use burn::tensor::Tensor;
use ulpscope_floats::Floats;
use ulpscope_kernels::{
    Accumulation, Attention as Shape, KernelError, Linear, attention_eager, attention_sdpa, bridge, handles,
    matmul,
};

use crate::arithmetic::Arithmetic;
use crate::ops::scale;
use crate::past::Past;
use crate::probe::{Probe, product};
use crate::rotary::RotaryTables;
use crate::site::{AttentionKind, BlockSite, Site};
use crate::variant::{Gqa, Scale};

mod cache;
mod eager;
mod mask;
mod sdpa;

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
    /// - `x`: `[1, T, C]`, returns `[1, T, C]`; `past` holds what was read before these tokens, and then these, too
    ///
    /// # Precision
    /// Each linear layer rounds once. Between them, see [`AttentionKind`]: `eager` rounds the scores before and
    /// after scaling and after the mask, and the probabilities; `sdpa` rounds only the unnormalised
    /// probabilities and the result. Variants change where, and which keys, heads and factors take part; whichever of
    /// them a fused kernel does not know is computed step by step.
    pub fn forward(
        &self,
        x: Tensor<3>,
        rope: &RotaryTables,
        arithmetic: Arithmetic,
        layer: usize,
        past: Option<&mut Past>,
        probe: &mut impl Probe,
    ) -> Tensor<3> {
        let site = |s| Site::Block(layer, s);
        let order = arithmetic.accumulation;
        let q = product(probe, site(BlockSite::QProj), || self.q_proj.forward(x.clone(), order));
        let k = product(probe, site(BlockSite::KProj), || self.k_proj.forward(x.clone(), order));
        let v = product(probe, site(BlockSite::VProj), || self.v_proj.forward(x, order));

        let variants = arithmetic.variants;
        let mut turn =
            |s, x: Tensor<3>, heads| probe.at(site(s), rope.rotate(self.split(x, heads), variants.rope));
        let q = turn(BlockSite::QRope, q, self.num_attention_heads);
        let k = turn(BlockSite::KRope, k, self.num_key_value_heads);
        let v = self.split(v, self.num_key_value_heads);
        let (k, v) = (cache::kept(k, variants.cache), cache::kept(v, variants.cache));
        let (k, v) = match past {
            Some(past) => past.with(k, v),
            None => (k, v),
        };
        let (k, v) = (self.shared(k, variants.gqa), self.shared(v, variants.gqa));
        let (q, scaling) = scaling(q, self.head_dim, variants.scale);

        let whole = variants.mask.is_none() && variants.softmax.is_none() && handles(&q);
        let seen = probe.wants(site(BlockSite::Scores)) || probe.wants(site(BlockSite::Probs));
        let mixed = match arithmetic.attention {
            AttentionKind::Eager if whole && !seen && variants.scores.is_none() && scaling.len() == 1 => {
                by_kernel(attention_eager, q, k, v, scaling[0], order)
            }
            AttentionKind::Eager => {
                let dtype = bridge::dtype(&v);
                let scores = eager::scores(q, k, &scaling, variants, order);
                let scores = probe.at(site(BlockSite::Scores), scores);
                let probs = probe.at(site(BlockSite::Probs), eager::softmax(scores, variants, dtype));
                matmul(probs, v, order, dtype)
            }
            AttentionKind::Sdpa => {
                let scaling = scaling.iter().product();
                if whole {
                    by_kernel(attention_sdpa, q, k, v, scaling, order)
                } else {
                    // A departure from Hugging Face's arithmetic has no orders by shape.
                    let order = order.within_sdpa().unwrap_or(Accumulation::Sequential);
                    sdpa::by_formula(q, k, v, scaling, variants, order)
                }
            }
        };
        let [batch, _, tokens, _] = mixed.dims();
        let context =
            mixed.swap_dims(1, 2).reshape([batch, tokens, self.num_attention_heads * self.head_dim]);
        let context = probe.at(site(BlockSite::Context), context);
        product(probe, site(BlockSite::OProj), || self.o_proj.forward(context, order))
    }

    /// `[1, T, heads·D]` to `[1, heads, T, D]`.
    fn split(&self, x: Tensor<3>, heads: usize) -> Tensor<4> {
        let [batch, tokens, _] = x.dims();
        x.reshape([batch, tokens, heads, self.head_dim]).swap_dims(1, 2)
    }

    /// Key or value heads as query heads find them: as many as there are, or repeated in another order.
    fn shared(&self, x: Tensor<4>, variant: Option<Gqa>) -> Tensor<4> {
        let copies = self.num_attention_heads / self.num_key_value_heads;
        match variant {
            Some(Gqa::Tiled) if copies > 1 => Tensor::cat(vec![x; copies], 1),
            _ => x,
        }
    }
}

/// What scores are multiplied by in Hugging Face's arithmetic: `1 / √D`.
pub(crate) fn usual_scale(head_dim: usize) -> f64 {
    (head_dim as f64).powf(-0.5)
}

/// The queries, and the factors that scores are multiplied by, one after the other.
fn scaling(q: Tensor<4>, head_dim: usize, variant: Option<Scale>) -> (Tensor<4>, Vec<f64>) {
    let usual = usual_scale(head_dim);
    match variant {
        None => (q, vec![usual]),
        Some(Scale::None) => (q, vec![1.0]),
        Some(Scale::Twice) => (q, vec![usual, usual]),
        Some(Scale::Width) => (q, vec![1.0 / head_dim as f64]),
        Some(Scale::Query) => (scale(q, usual), vec![1.0]),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{DTYPES, flips, noise};
    use crate::variant::Variants;
    use ulpscope_floats::DType as Format;

    #[test]
    fn kernels_and_formulas_agree() {
        let none = Variants::default();
        for dtype in DTYPES {
            let scores = noise([1, 2, 30, 30], 1, dtype);
            let differ = flips(&eager::softmax(scores.clone(), none, dtype), &eager::by_formula(scores));
            assert!(differ <= if dtype == Format::F32 { 900 } else { 2 }, "{dtype}: {differ}");

            let (q, k, v) = (
                noise([1, 4, 30, 16], 2, dtype),
                noise([1, 2, 30, 16], 3, dtype),
                noise([1, 2, 30, 16], 4, dtype),
            );
            let order = Accumulation::Tile32;
            let ours =
                bridge::floats(&by_kernel(attention_sdpa, q.clone(), k.clone(), v.clone(), 0.25, order));
            let formula =
                bridge::floats(&sdpa::by_formula(q.clone(), k.clone(), v.clone(), 0.25, none, order));
            let largest = (0..ours.len()).map(|i| (ours.get(i) - formula.get(i)).abs()).fold(0.0, f64::max);
            // The kernel takes PyTorch's fast exponential, whose relative error is 1.1e-4.
            assert!(largest <= 1e-3 + dtype.unit_roundoff() * 8.0, "{dtype}: {largest}");

            let eager = by_kernel(attention_eager, q.clone(), k.clone(), v.clone(), 0.25, order);
            let scores = eager::scores(q, k, &[0.25], none, order);
            let steps = matmul(eager::softmax(scores, none, dtype), v, order, dtype);
            assert_eq!(flips(&eager, &steps), 0, "{dtype}");
        }
    }
}
