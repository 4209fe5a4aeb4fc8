//! Which keys a query sees.

use burn::tensor::Tensor;
use ulpscope_floats::Floats;
use ulpscope_kernels::bridge;

use crate::departure::Mask;

/// What a mask adds, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Masked {
    /// Added to the scores of keys that are not seen.
    pub(super) value: f64,
    /// Which keys are seen.
    pub(super) keys: Mask,
}

/// The additive mask `[1, 1, Q, T]` for scores of the last Q of T tokens, 0 where a key is seen;
/// dtype and device of the scores. `None` if all are.
pub(super) fn mask(masked: Masked, scores: &Tensor<4>) -> Option<Tensor<4>> {
    let [_, _, queries, keys] = scores.dims();
    let first = keys - queries;
    if masked.keys == Mask::None {
        return None;
    }
    let seen = |i: usize| masked.keys.sees(first + i / keys, i % keys);
    let entry = |i: usize| if seen(i) { 0.0 } else { masked.value };
    let values = Floats::from((0..queries * keys).map(entry).collect::<Vec<f64>>());
    let values = values.cast(bridge::dtype(scores));
    Some(bridge::tensor(values, [1, 1, queries, keys], &scores.device()))
}
