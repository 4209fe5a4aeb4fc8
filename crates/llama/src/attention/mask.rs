//! Which keys a query sees.

use burn::tensor::Tensor;
use ulpscope_floats::Floats;
use ulpscope_kernels::bridge;

use crate::variant::Mask;

/// What a mask adds, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Masked {
    /// Added to the scores of keys that are not seen.
    pub(super) value: f64,
    /// Which keys those are: by default, all behind the query.
    pub(super) keys: Option<Mask>,
}

/// The additive mask `[1, 1, T, T]`, 0 where a key is seen; dtype and device of `like`. `None` if all are.
pub(super) fn mask(tokens: usize, masked: Masked, like: &Tensor<4>) -> Option<Tensor<4>> {
    let ahead = match masked.keys {
        None => 0,
        Some(Mask::Strict) => -1,
        Some(Mask::Ahead) => 1,
        Some(Mask::None) => return None,
    };
    let seen = |query: usize, key: usize| key as i64 <= query as i64 + ahead;
    let entry = |i: usize| if seen(i / tokens, i % tokens) { 0.0 } else { masked.value };
    let values = Floats::from((0..tokens * tokens).map(entry).collect::<Vec<f64>>());
    let values = values.cast(bridge::dtype(like));
    Some(bridge::tensor(values, [1, 1, tokens, tokens], &like.device()))
}
