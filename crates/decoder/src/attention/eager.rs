//! Eager attention: separate operations, each rounded.

use burn::tensor::Tensor;
use ulpscope_floats::DType;
use ulpscope_kernels::{Accumulation, bridge, handles, matmul_transposed};

use super::mask::{Masked, mask};
use crate::departure::{Scores, Softmax};
use crate::layer::Attention;
use crate::ops::{add, map, narrow, scale, wide};

/// `R(R(R(q kᵀ) · scale) + mask)`, `[1, H, Q, T]`. The mask adds the dtype's most negative finite
/// value, so that a masked score keeps trace of nothing but does not become infinite.
///
/// The variants are [`Scores`], which leaves out roundings, and the mask's. `scaling` has the
/// factors in turn.
pub(super) fn scores(
    q: Tensor<4>,
    k: Tensor<4>,
    scaling: &[f64],
    spec: &Attention,
    order: Accumulation,
) -> Tensor<4> {
    let dtype = bridge::dtype(&q);
    let compute = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let product = if spec.scores.is_some() { compute } else { dtype };
    let raw = matmul_transposed(q, k, order, product);
    let scaled = scaling.iter().fold(raw, |scores, &factor| scale(scores, factor));
    let scaled = match spec.scores {
        Some(Scores::Unrounded) => narrow(scaled, bridge::burn_dtype(dtype)),
        Some(Scores::F32) | None => scaled,
    };
    let masked = Masked { value: bridge::dtype(&scaled).min(), keys: spec.mask };
    match mask(masked, &scaled) {
        Some(mask) => add(scaled, mask),
        None => scaled,
    }
}

/// `exp(s - max) · (1 / Σ)` in f32, rounded to `dtype`.
///
/// [`Softmax`] rounds at every step instead.
pub(super) fn softmax(scores: Tensor<4>, rounding: Option<Softmax>, dtype: DType) -> Tensor<4> {
    let width = scores.dims()[3];
    let probs = match rounding {
        Some(Softmax::Storage) => stepwise(narrow(scores, bridge::burn_dtype(dtype))),
        None if handles(&scores) => bridge::map(scores, |scores| ulpscope_kernels::softmax(scores, width)),
        None => by_formula(scores),
    };
    narrow(probs, bridge::burn_dtype(dtype))
}

/// The formula in burn's operations: what other devices run, and f64.
pub(super) fn by_formula(scores: Tensor<4>) -> Tensor<4> {
    let dtype = scores.dtype();
    let s = wide(scores);
    let e = map(s.clone() - s.max_dim(3), f64::exp);
    let sum = e.clone().sum_dim(3);
    narrow(e * sum.recip(), dtype)
}

/// `R(e / R(Σ e))` with `e = R(exp(R(s - max)))`.
pub(super) fn stepwise(scores: Tensor<4>) -> Tensor<4> {
    let dtype = scores.dtype();
    let s = wide(scores);
    let distance = narrow(s.clone() - s.max_dim(3), dtype);
    let e = wide(narrow(map(wide(distance), f64::exp), dtype));
    let sum = wide(narrow(e.clone().sum_dim(3), dtype));
    narrow(e / sum, dtype)
}
