//! The format in which keys and values are kept.

use burn::tensor::Tensor;
use ulpscope_floats::DType;
use ulpscope_floats::fp8::{Fp8, Overflow};
use ulpscope_kernels::bridge;

use crate::departure::Cache;
use crate::ops::{map, narrow, wide};

/// `x` rounded to the cache's format and back to its own, to nearest, ties to even.
pub(super) fn kept(x: Tensor<4>, variant: Option<Cache>) -> Tensor<4> {
    let dtype = x.dtype();
    let Some(variant) = variant else { return x };
    let kept = match variant {
        Cache::Bf16 => narrow(x, bridge::burn_dtype(DType::Bf16)),
        Cache::F16 => narrow(wide(x), bridge::burn_dtype(DType::F16)),
        Cache::E4m3 => map(wide(x), |x| Fp8::E4m3.round(x, Overflow::Saturate)),
        Cache::E5m2 => map(wide(x), |x| Fp8::E5m2.round(x, Overflow::Special)),
    };
    narrow(wide(kept), dtype)
}
