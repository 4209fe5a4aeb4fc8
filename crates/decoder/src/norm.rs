//! Root-mean-square normalisation, as Hugging Face rounds it.

use burn::tensor::Tensor;
use ulpscope_floats::Floats;
use ulpscope_kernels::{bridge, handles, rms_norm};

use crate::departure;
use crate::layer::{self, Norm};
use crate::ops::{mul, narrow, wide};

/// `y = w · R(x / √(mean(x²) + ε))`, where R rounds to the storage dtype *before* the weight is
/// applied.
///
/// Source: `LlamaRMSNorm`. Fused implementations round once, at the end, which gives other bits in
/// a quarter of the outputs: that, and what else is done otherwise, is [`departure::Norm`].
#[derive(Clone, Debug)]
pub struct RmsNorm {
    pub(crate) weight: Tensor<1>,
}

impl RmsNorm {
    /// `weight` is `[C]`, or of a norm of heads `[D]`.
    pub fn new(weight: Tensor<1>) -> Self {
        RmsNorm { weight }
    }

    /// The weight, as [`RmsNorm::new`] takes it.
    pub fn weight(&self) -> Tensor<1> {
        self.weight.clone()
    }

    /// # Shapes
    /// - `x`: `[…, C]`, returns the same
    ///
    /// # Precision
    /// Mean, root and quotient in f32 (f64 for f64): the sum, in the order of PyTorch's CPU code
    /// where the kernels are ours, divided by C, then `1 / √`, as two roundings. Rounded to the
    /// storage dtype after normalising, and again after the weight; a variant says what it does
    /// instead.
    pub fn forward<const D: usize>(&self, x: Tensor<D>, norm: Norm) -> Tensor<D> {
        if norm.kind.is_some() {
            return self.varied(x, norm);
        }
        if handles(&x) {
            let weight = self.weight.to_data();
            return bridge::map(x, |x| rms_norm(x, &bridge::view(&weight), norm.eps));
        }
        self.by_formula(x, norm.eps)
    }

    /// The formula in burn's operations: what other devices run, and f64.
    fn by_formula<const D: usize>(&self, x: Tensor<D>, eps: f64) -> Tensor<D> {
        let dtype = x.dtype();
        let normalised = narrow(normalised_by_formula(wide(x), eps), dtype);
        mul(normalised, self.weight.clone().unsqueeze())
    }

    fn varied<const D: usize>(&self, x: Tensor<D>, Norm { eps, kind }: Norm) -> Tensor<D> {
        use departure::Norm;
        let Some(kind) = kind else { return self.by_formula(x, eps) };
        let dtype = x.dtype();
        let weight = self.weight.clone().unsqueeze();
        match kind {
            Norm::Fused => narrow(normalised(x, eps) * wide(weight), dtype),
            Norm::Gemma => narrow(normalised(x, eps) * (wide(weight) + 1.0), dtype),
            Norm::PlusOne => {
                let normalised = wide(narrow(normalised(x, eps), dtype));
                narrow(normalised * (wide(weight) + 1.0), dtype)
            }
            Norm::NoWeight => narrow(normalised(x, eps), dtype),
            Norm::Divided => {
                let x = wide(x);
                let root = (mean_square(x.clone()) + eps).sqrt();
                mul(narrow(x / root, dtype), weight)
            }
            // Where nothing is computed wider than it is stored, every step is rounded as it is.
            Norm::Storage if wide(x.clone()).dtype() == dtype => {
                self.forward(x, layer::Norm { eps, kind: None })
            }
            Norm::Storage => {
                let squares = mul(x.clone(), x.clone());
                let mean = narrow(mean(wide(squares)), dtype);
                let sum = narrow(wide(mean) + eps, dtype);
                let root = wide(sum).sqrt().recip();
                mul(mul(x, narrow(root, dtype)), weight)
            }
        }
    }
}

/// `x / √(mean(x²) + ε)` before any rounding to the storage dtype, in the same order as without
/// variants.
fn normalised<const D: usize>(x: Tensor<D>, eps: f64) -> Tensor<D> {
    let x = wide(x);
    if handles(&x) {
        let ones = Floats::from(vec![1.0f32; x.dims()[D - 1]]);
        return bridge::map(x, |x| rms_norm(x, &ones, eps));
    }
    normalised_by_formula(x, eps)
}

fn normalised_by_formula<const D: usize>(x: Tensor<D>, eps: f64) -> Tensor<D> {
    x.clone() * (mean_square(x) + eps).sqrt().recip()
}

/// The mean over the last dimension, of width 1 then, of a wide tensor.
fn mean<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let width = x.dims()[D - 1] as f64;
    x.sum_dim(D - 1) / width
}

fn mean_square<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    mean(x.square())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{DTYPES, flips, noise};

    #[test]
    fn kernel_and_formula_agree() {
        for dtype in DTYPES {
            let norm = RmsNorm::new(noise([96], 1, dtype));
            let x: Tensor<3> = noise([1, 40, 96], 2, dtype);
            let plain = Norm { eps: 1e-5, kind: None };
            // The order of the sum is the device's in one and PyTorch's in the other.
            assert!(
                flips(&norm.forward(x.clone(), plain), &norm.by_formula(x, 1e-5))
                    <= if dtype == ulpscope_floats::DType::F32 { 1920 } else { 4 }
            );
        }
    }
}
