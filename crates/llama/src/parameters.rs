//! Where a model gets its parameters from.

use burn::tensor::Tensor;

/// Hands out parameters by their name in PyTorch's state dict.
pub trait Parameters {
    /// Why a parameter could not be had.
    type Error;

    /// The parameter `name` with this shape, in the dtype that the model is to hold it in.
    ///
    /// # Errors
    /// If there is none, or of another shape.
    fn tensor<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Result<Tensor<D>, Self::Error>;
}
