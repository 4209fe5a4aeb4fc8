//! Linear layers.

use burn::tensor::Tensor;

use crate::ops::{narrow, wide};

/// `y = x Wᵀ + b`, rounded once.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[out, in]`, held in the compute dtype so that a 16-bit weight is widened once, not at every call.
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
}

impl Linear {
    /// From PyTorch's layout: `weight` `[out, in]`, `bias` `[out]`.
    pub fn new(weight: Tensor<2>, bias: Option<Tensor<1>>) -> Self {
        Linear { weight: wide(weight), bias: bias.map(wide) }
    }

    /// # Shapes
    /// - `x`: `[1, T, in]`, returns `[1, T, out]`
    ///
    /// # Precision
    /// Products and sums in f32 (f64 for f64), the bias added before the only rounding, to the dtype of `x`.
    /// The order of summation is the device's; see [`ACCUMULATION`](crate::ACCUMULATION).
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let dtype = x.dtype();
        let [batch, tokens, input] = x.dims();
        let [output, expected] = self.weight.dims();
        assert_eq!(input, expected, "a linear layer of {expected} inputs was given {input}");
        let mut y = wide(x).reshape([batch * tokens, input]).matmul(self.weight.clone().transpose());
        if let Some(bias) = &self.bias {
            y = y + bias.clone().unsqueeze();
        }
        narrow(y, dtype).reshape([batch, tokens, output])
    }
}
