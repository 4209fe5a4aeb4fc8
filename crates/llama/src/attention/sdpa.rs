//! Fused attention as it stands in formulas: what devices without our kernels run, f64, and variants.

use burn::tensor::Tensor;
use ulpscope_floats::{DType, Floats};
use ulpscope_kernels::{Accumulation, bridge, exp, exp_fast, handles, matmul, matmul_transposed};

use super::eager;
use super::mask::{Masked, mask};
use crate::ops::{map, narrow};
use crate::variant::{Softmax, Variants};

/// Keys that PyTorch's vectorised exponential takes at once.
const LANES: usize = 16;

/// `R(P v / Σ)` with `P = R(exp(s - max))`: scores stay wide, probabilities are rounded before they are normalised. All
/// keys at once. A query that sees no key gets zeros.
///
/// On this machine's CPU the exponentials are those of PyTorch's flash attention, for up to 512 keys in its order;
/// elsewhere, and for f64, they are exact. With [`Softmax::Storage`] the probabilities are normalised first,
/// `R(R(e / R(Σ e)) v)`.
pub(super) fn by_formula(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    scaling: f64,
    variants: Variants,
    order: Accumulation,
) -> Tensor<4> {
    let dtype = q.dtype();
    let compute = if bridge::dtype(&q) == DType::F64 { DType::F64 } else { DType::F32 };
    let scores = matmul_transposed(q, k, order, compute) * scaling;
    let masked = Masked { value: f64::NEG_INFINITY, keys: variants.mask };
    let scores = match mask(masked, &scores) {
        Some(mask) => scores + mask,
        None => scores,
    };
    if let Some(Softmax::Storage) = variants.softmax {
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

/// The same in f32 as PyTorch's CPU code has it: whole vectors of keys by its fast exponential if the model is stored in
/// 16 bits, the rest by an exact one; sums in 16 lanes.
fn as_pytorch(scores: Tensor<4>, storage: DType) -> (Tensor<4>, Tensor<4>) {
    let ([batch, heads, tokens, keys], device) = (scores.dims(), scores.device());
    let mut e = bridge::floats(&scores).to_f32();
    let mut sums = Vec::with_capacity(e.len() / keys);
    for row in e.chunks_exact_mut(keys) {
        let max =
            row.iter().copied().fold(f32::NEG_INFINITY, |max, s| if s > max || s.is_nan() { s } else { max });
        let max = if max == f32::NEG_INFINITY { 0.0 } else { max };
        let (vectors, rest) = row.split_at_mut(keys / LANES * LANES);
        let fast = if storage == DType::F32 { exp } else { exp_fast };
        vectors.iter_mut().for_each(|s| *s = fast(*s - max));
        rest.iter_mut().for_each(|s| *s = f64::from(*s - max).exp() as f32);
        let mut lanes = [0.0f32; LANES];
        for vector in vectors.chunks_exact(LANES) {
            lanes.iter_mut().zip(vector).for_each(|(lane, e)| *lane += e);
        }
        let mut width = LANES;
        while width > 1 {
            width /= 2;
            for i in 0..width {
                lanes[i] += lanes[i + width];
            }
        }
        sums.push(rest.iter().fold(lanes[0], |sum, e| sum + e));
    }
    let shape = [batch, heads, tokens, keys];
    let sums = bridge::tensor(Floats::from(sums), [batch, heads, tokens, 1], &device);
    (bridge::tensor(Floats::from(e), shape, &device), sums)
}
