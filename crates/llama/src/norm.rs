//! Root-mean-square normalisation, as Hugging Face's Llama rounds it.

use burn::tensor::Tensor;
use ulpscope_kernels::{bridge, handles, rms_norm};

use crate::ops::{mul, narrow, wide};

/// `y = w · R(x / √(mean(x²) + ε))`, where R rounds to the storage dtype *before* the weight is applied.
///
/// Source: `LlamaRMSNorm`. Fused implementations round once, at the end, which gives other bits in a quarter of
/// the outputs.
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

    /// # Shapes
    /// - `x`: `[1, T, C]`, returns the same
    ///
    /// # Precision
    /// Mean, root and quotient in f32 (f64 for f64): the sum, in the order of PyTorch's CPU code where the kernels are
    /// ours, divided by C, then `1 / √`, as two roundings. Rounded
    /// to the storage dtype after normalising, and again after the weight.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        if handles(&x) {
            let weight = self.weight.to_data();
            return bridge::map(x, |x| rms_norm(x, &bridge::view(&weight), self.eps));
        }
        self.by_formula(x)
    }

    /// The formula in burn's operations: what other devices run, and f64.
    fn by_formula(&self, x: Tensor<3>) -> Tensor<3> {
        let dtype = x.dtype();
        let x = wide(x);
        let variance = x.clone().square().sum_dim(2) / x.dims()[2] as f64;
        let normalised = narrow(x * (variance + self.eps).sqrt().recip(), dtype);
        mul(normalised, self.weight.clone().unsqueeze())
    }
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
                flips(&norm.forward(x.clone()), &norm.by_formula(x))
                    <= if dtype == ulpscope_floats::DType::F32 { 1920 } else { 4 }
            );
        }
    }
}
