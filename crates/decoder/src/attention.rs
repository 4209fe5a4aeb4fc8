//! Grouped-query attention between its linear layers.
//!
//! T tokens, H query heads, G key/value heads, D head width.

use std::num::NonZeroUsize;

use burn::tensor::Tensor;
use ulpscope_floats::Floats;
use ulpscope_kernels::{
    Accumulation, Attention as Shape, KernelError, attention_eager, attention_sdpa, bridge, handles, matmul,
};

use crate::arithmetic::Arithmetic;
use crate::departure::{Gqa, Scale};
use crate::layer::Attention;
use crate::ops::scale;
use crate::past::Past;
use crate::probe::Probe;
use crate::site::{AttentionKind, Site};

mod cache;
mod eager;
mod mask;
mod sdpa;

/// Mixes tokens: `softmax(q kᵀ / √D) v`. `sites` are those of scores and probabilities.
///
/// # Shapes
/// - `q`: `[1, H, T, D]`, `k`, `v`: `[1, G, T, D]`, returns `[1, H, T, D]`; `past` holds what was
///   read before these tokens, and then these, too
///
/// # Precision
/// See [`AttentionKind`]: `eager` rounds the scores before and after scaling and after the mask,
/// and the probabilities; `sdpa` rounds only the unnormalised probabilities and the result.
/// Departures change where, and which keys, heads and factors take part; whichever of them a fused
/// kernel does not know is computed step by step.
pub(crate) fn mix(
    spec: &Attention,
    [q, k, v]: [Tensor<4>; 3],
    [scores_site, probs_site]: [Site; 2],
    arithmetic: Arithmetic,
    past: Option<&mut Past>,
    probe: &mut impl Probe,
) -> Tensor<4> {
    let order = arithmetic.accumulation;
    let (k, v) = (cache::kept(k, spec.cache), cache::kept(v, spec.cache));
    let (k, v) = match past {
        Some(past) => past.with(k, v),
        None => (k, v),
    };
    let (k, v) = (shared(spec, k), shared(spec, v));
    let (q, scaling) = scaling(q, spec.head_dim, spec.scale);

    let window = spec.mask.window().filter(|_| spec.softmax.is_none() && handles(&q));
    let seen = probe.wants(scores_site) || probe.wants(probs_site);
    match arithmetic.attention {
        AttentionKind::Eager => {
            let fused = window.filter(|_| !seen && spec.scores.is_none() && scaling.len() == 1);
            if let Some(window) = fused {
                return by_kernel(attention_eager, [q, k, v], scaling[0], order, window);
            }
            let dtype = bridge::dtype(&v);
            let scores = probe.at(scores_site, eager::scores(q, k, &scaling, spec, order));
            let probs = probe.at(probs_site, eager::softmax(scores, spec.softmax, dtype));
            matmul(probs, v, order, dtype)
        }
        AttentionKind::Sdpa => {
            let scaling = scaling.iter().product();
            if let Some(window) = window {
                by_kernel(attention_sdpa, [q, k, v], scaling, order, window)
            } else {
                // A departure from Hugging Face's arithmetic has no orders by shape.
                let order = order.within_sdpa().unwrap_or(Accumulation::Sequential);
                sdpa::by_formula([q, k, v], scaling, spec, order)
            }
        }
    }
}

/// Key or value heads as query heads find them: as many as there are, or repeated in another order.
fn shared(spec: &Attention, x: Tensor<4>) -> Tensor<4> {
    let copies = spec.heads / spec.groups;
    match spec.gqa {
        Some(Gqa::Tiled) if copies > 1 => Tensor::cat(vec![x; copies], 1),
        _ => x,
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
    [q, k, v]: [Tensor<4>; 3],
    scale: f64,
    order: Accumulation,
    window: Option<NonZeroUsize>,
) -> Tensor<4> {
    let ([_, heads, _, head_dim], [_, groups, _, _]) = (q.dims(), k.dims());
    let shape = Shape { heads, groups, head_dim, scale, order, window };
    let token_major = |x: Tensor<4>| x.swap_dims(1, 2);
    let (k, v) = (token_major(k).into_data(), token_major(v).into_data());
    let attend = |q: &Floats| kernel(&shape, q, &bridge::view(&k), &bridge::view(&v));
    token_major(bridge::map(token_major(q), attend))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{DTYPES, flips, noise};
    use ulpscope_floats::DType as Format;

    #[test]
    fn kernels_and_formulas_agree() {
        let none = Attention::new(4, 2, 16);
        for dtype in DTYPES {
            let scores = noise([1, 2, 30, 30], 1, dtype);
            let differ = flips(&eager::softmax(scores.clone(), None, dtype), &eager::by_formula(scores));
            assert!(differ <= if dtype == Format::F32 { 900 } else { 2 }, "{dtype}: {differ}");

            let (q, k, v) = (
                noise([1, 4, 30, 16], 2, dtype),
                noise([1, 2, 30, 16], 3, dtype),
                noise([1, 2, 30, 16], 4, dtype),
            );
            let order = Accumulation::Tile32;
            let ours = bridge::floats(&by_kernel(
                attention_sdpa,
                [q.clone(), k.clone(), v.clone()],
                0.25,
                order,
                None,
            ));
            let formula =
                bridge::floats(&sdpa::by_formula([q.clone(), k.clone(), v.clone()], 0.25, &none, order));
            let largest = (0..ours.len()).map(|i| (ours.get(i) - formula.get(i)).abs()).fold(0.0, f64::max);
            // The kernel takes PyTorch's fast exponential, whose relative error is 1.1e-4.
            assert!(largest <= 1e-3 + dtype.unit_roundoff() * 8.0, "{dtype}: {largest}");

            let eager = by_kernel(attention_eager, [q.clone(), k.clone(), v.clone()], 0.25, order, None);
            let scores = eager::scores(q, k, &[0.25], &none, order);
            let steps = matmul(eager::softmax(scores, None, dtype), v, order, dtype);
            assert_eq!(flips(&eager, &steps), 0, "{dtype}");
        }
    }
}
