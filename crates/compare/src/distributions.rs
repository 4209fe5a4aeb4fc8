//! Logits as log-probabilities, for recordings that hold those.

use burn::tensor::{Device, Tensor};
use ulpscope_decoder::bridge;
use ulpscope_floats::{DType, Floats};

/// The logarithm of each row's softmax, in f32.
pub(crate) fn log_probabilities(logits: Tensor<3>, device: &Device) -> Tensor<3> {
    let shape = logits.dims();
    let mut values = bridge::into_floats(logits).to_f64();
    for row in values.chunks_mut(shape[2].max(1)) {
        let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum = most + row.iter().map(|x| (x - most).exp()).sum::<f64>().ln();
        row.iter_mut().for_each(|x| *x -= sum);
    }
    bridge::tensor(Floats::from(values).cast(DType::F32), shape, device)
}
