//! Root-mean-square normalisation, as Hugging Face's Llama rounds it.

use burn::tensor::Tensor;
use ulpscope_floats::Floats;
use ulpscope_kernels::{bridge, handles, rms_norm};

use crate::ops::{mul, narrow, wide};
use crate::variant::Norm;

/// `y = w · R(x / √(mean(x²) + ε))`, where R rounds to the storage dtype *before* the weight is applied.
///
/// Source: `LlamaRMSNorm`. Fused implementations round once, at the end, which gives other bits in a quarter of
/// the outputs: that, and what else is done otherwise, is [`Norm`].
#[derive(Clone, Debug)]
pub struct RmsNorm {
    weight: Tensor<1>,
    eps: f64,
}

impl RmsNorm {
    /// `weight` is `[C]`; `eps` is added to the mean square.
    pub fn new(weight: Tensor<1>, eps: f64) -> Self {
        RmsNorm { weight, eps }
    }

    /// The format of the weight.
    pub(crate) fn dtype(&self) -> burn::tensor::DType {
        self.weight.dtype()
    }

    /// The weight and ε.
    pub(crate) fn parts(&self) -> (Floats<'static>, f64) {
        (bridge::floats(&self.weight), self.eps)
    }

    /// # Shapes
    /// - `x`: `[1, T, C]`, returns the same
    ///
    /// # Precision
    /// Mean, root and quotient in f32 (f64 for f64): the sum, in the order of PyTorch's CPU code where the kernels are
    /// ours, divided by C, then `1 / √`, as two roundings. Rounded
    /// to the storage dtype after normalising, and again after the weight; a variant says what it does instead.
    pub fn forward(&self, x: Tensor<3>, variant: Option<Norm>) -> Tensor<3> {
        if let Some(variant) = variant {
            return self.varied(x, variant);
        }
        if handles(&x) {
            let weight = self.weight.to_data();
            return bridge::map(x, |x| rms_norm(x, &bridge::view(&weight), self.eps));
        }
        self.by_formula(x)
    }

    /// The formula in burn's operations: what other devices run, and f64.
    fn by_formula(&self, x: Tensor<3>) -> Tensor<3> {
        let dtype = x.dtype();
        let normalised = narrow(self.normalised_by_formula(wide(x)), dtype);
        mul(normalised, self.weight.clone().unsqueeze())
    }

    fn varied(&self, x: Tensor<3>, variant: Norm) -> Tensor<3> {
        let dtype = x.dtype();
        let weight = self.weight.clone().unsqueeze();
        match variant {
            Norm::Fused => narrow(self.normalised(x) * wide(weight), dtype),
            Norm::Gemma => narrow(self.normalised(x) * (wide(weight) + 1.0), dtype),
            Norm::PlusOne => {
                let normalised = wide(narrow(self.normalised(x), dtype));
                narrow(normalised * (wide(weight) + 1.0), dtype)
            }
            Norm::NoWeight => narrow(self.normalised(x), dtype),
            Norm::Divided => {
                let x = wide(x);
                let root = (mean_square(x.clone()) + self.eps).sqrt();
                mul(narrow(x / root, dtype), weight)
            }
            // Where nothing is computed wider than it is stored, every step is rounded as it is.
            Norm::Storage if wide(x.clone()).dtype() == dtype => self.forward(x, None),
            Norm::Storage => {
                let squares = mul(x.clone(), x.clone());
                let mean = narrow(mean(wide(squares)), dtype);
                let sum = narrow(wide(mean) + self.eps, dtype);
                let root = wide(sum).sqrt().recip();
                mul(mul(x, narrow(root, dtype)), weight)
            }
        }
    }

    /// `x / √(mean(x²) + ε)` before any rounding to the storage dtype, in the same order as without variants.
    fn normalised(&self, x: Tensor<3>) -> Tensor<3> {
        let x = wide(x);
        if handles(&x) {
            let ones = Floats::from(vec![1.0f32; x.dims()[2]]);
            return bridge::map(x, |x| rms_norm(x, &ones, self.eps));
        }
        self.normalised_by_formula(x)
    }

    fn normalised_by_formula(&self, x: Tensor<3>) -> Tensor<3> {
        x.clone() * (mean_square(x) + self.eps).sqrt().recip()
    }
}

/// The mean over the last dimension, `[1, T, 1]`, of a wide tensor.
fn mean(x: Tensor<3>) -> Tensor<3> {
    let width = x.dims()[2] as f64;
    x.sum_dim(2) / width
}

fn mean_square(x: Tensor<3>) -> Tensor<3> {
    mean(x.square())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{DTYPES, flips, noise};

    #[test]
    fn kernel_and_formula_agree() {
        for dtype in DTYPES {
            let norm = RmsNorm::new(noise([96], 1, dtype), 1e-5);
            let x = noise([1, 40, 96], 2, dtype);
            // The order of the sum is the device's in one and PyTorch's in the other.
            assert!(
                flips(&norm.forward(x.clone(), None), &norm.by_formula(x))
                    <= if dtype == ulpscope_floats::DType::F32 { 1920 } else { 4 }
            );
        }
    }
}
