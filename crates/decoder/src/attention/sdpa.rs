//! Fused attention as it stands in formulas: what devices without our kernels run, f64, and
//! variants.

use burn::tensor::Tensor;
use ulpscope_floats::{DType, Floats};
use ulpscope_kernels::{Accumulation, bridge, exp_scores, handles, matmul, matmul_transposed};

use super::eager;
use super::mask::{Masked, mask};
use crate::departure::Softmax;
use crate::layer::Attention;
use crate::ops::{map, narrow};

/// `R(P v / Σ)` with `P = R(exp(s - max))`: scores stay wide, probabilities are rounded before they
/// are normalised. All keys at once. A query that sees no key gets zeros.
///
/// On this machine's CPU the exponentials are those of PyTorch's flash attention, for up to 512
/// keys in its order; elsewhere, and for f64, they are exact. With [`Softmax::Storage`] the
/// probabilities are normalised first, `R(R(e / R(Σ e)) v)`.
pub(super) fn by_formula(
    [q, k, v]: [Tensor<4>; 3],
    scaling: f64,
    spec: &Attention,
    order: Accumulation,
) -> Tensor<4> {
    let dtype = q.dtype();
    let compute = if bridge::dtype(&q) == DType::F64 { DType::F64 } else { DType::F32 };
    let scores = matmul_transposed(q, k, order, compute) * scaling;
    let masked = Masked { value: f64::NEG_INFINITY, keys: spec.mask };
    let scores = match mask(masked, &scores) {
        Some(mask) => scores + mask,
        None => scores,
    };
    if let Some(Softmax::Storage) = spec.softmax {
        // A row without keys is a row of NaN here, as it is in any code that subtracts a maximum.
        return narrow(matmul(eager::stepwise(narrow(scores, dtype)), v, order, compute), dtype);
    }
    let (e, sum) = if handles(&scores) { as_pytorch(scores, bridge::dtype(&v)) } else { exact(scores) };
    // A row without keys has only zeros: divided by 1, they stay.
    let sum = sum.clone().mask_fill(sum.equal_elem(0.0), 1.0);
    narrow(matmul(narrow(e, dtype), v, order, compute) * sum.recip(), dtype)
}

/// `exp(s - max)` and its sums over keys.
fn exact(scores: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
    let max = scores.clone().max_dim(3);
    // -∞ less -∞ would be NaN.
    let max = max.clone().mask_fill(max.equal_elem(f64::NEG_INFINITY), 0.0);
    let e = map(scores - max, f64::exp);
    let sum = e.clone().sum_dim(3);
    (e, sum)
}

/// The same in f32 as PyTorch's CPU code has it.
fn as_pytorch(scores: Tensor<4>, storage: DType) -> (Tensor<4>, Tensor<4>) {
    let ([batch, heads, tokens, keys], device) = (scores.dims(), scores.device());
    let mut e = bridge::floats(&scores).to_f32();
    let sums = exp_scores(&mut e, keys, storage).expect("a CPU that kernels run on, and whole rows");
    let sums = bridge::tensor(Floats::from(sums), [batch, heads, tokens, 1], &device);
    (bridge::tensor(Floats::from(e), [batch, heads, tokens, keys], &device), sums)
}
