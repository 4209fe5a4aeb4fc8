//! What a block remembers of the tokens it has read.

use burn::tensor::Tensor;

/// Keys and values of the tokens that a block has read, `[1, G, T, D]` each, keys turned to their
/// positions.
#[derive(Clone, Debug, Default)]
pub struct Past(Option<(Tensor<4>, Tensor<4>)>);

impl Past {
    /// The number of tokens that were read.
    pub fn tokens(&self) -> usize {
        self.0.as_ref().map_or(0, |(keys, _)| keys.dims()[2])
    }

    /// Adds the keys and values of the next tokens, and returns those of all.
    pub(crate) fn with(&mut self, keys: Tensor<4>, values: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let all = match self.0.take() {
            Some((k, v)) => (Tensor::cat(vec![k, keys], 2), Tensor::cat(vec![v, values], 2)),
            None => (keys, values),
        };
        self.0.insert(all).clone()
    }
}
