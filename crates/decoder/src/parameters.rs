//! Where a model gets its parameters from.

use burn::tensor::Tensor;
use ulpscope_kernels::Linear;

/// Hands out parameters by their name in PyTorch's state dict.
pub trait Parameters {
    /// Why a parameter could not be had.
    type Error;

    /// The parameter `name` with this shape, in the dtype that the model is to hold it in.
    ///
    /// # Errors
    /// If there is none, or of another shape.
    fn tensor<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Result<Tensor<D>, Self::Error>;

    /// The linear layer with these parameters: a weight `[out, in]` and a bias `[out]`, if it has
    /// one.
    ///
    /// Whoever holds the values can hand them over without making tensors of them first.
    ///
    /// # Errors
    /// As [`Parameters::tensor`].
    fn linear(&mut self, weight: &str, bias: Option<&str>, shape: [usize; 2]) -> Result<Linear, Self::Error> {
        let weight = self.tensor(weight, shape)?;
        let bias = bias.map(|bias| self.tensor(bias, [shape[0]])).transpose()?;
        Ok(Linear::new(weight, bias))
    }
}
