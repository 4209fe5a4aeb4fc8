//! One tensor as a checkpoint stores it.

use ulpscope_floats::Floats;

/// A parameter as the checkpoint holds it, before any recipe has touched it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTensor<'a> {
    /// The parameter's name in PyTorch's state dict.
    pub name: String,
    /// Its shape, row-major; linear weights are `[out, in]`.
    pub shape: Vec<usize>,
    /// The format in the file: `f32`, `bf16` and so on, or a GGUF block type such as `Q4_1`.
    pub stored: String,
    /// The values: bit for bit those of the file, or the f32 values that a block type stands for.
    pub values: Floats<'a>,
}

impl StoredTensor<'_> {
    /// The same tensor, borrowing the values.
    pub fn view(&self) -> StoredTensor<'_> {
        StoredTensor {
            name: self.name.clone(),
            shape: self.shape.clone(),
            stored: self.stored.clone(),
            values: self.values.view(),
        }
    }
}
