//! Numbers for tests.

use burn::tensor::{Device, Tensor};
use ulpscope_floats::{DType, Floats};
use ulpscope_kernels::bridge;

use crate::architecture::{Architecture, Outside};
use crate::config::ConfigError;
use crate::family::{Family, Gguf};
use crate::layer::{Attention, FeedForward, Layer, Norm};
use crate::rope::{RopeKind, RopeParameters};

/// The dtypes that kernels handle.
pub(crate) const DTYPES: [DType; 3] = [DType::F32, DType::Bf16, DType::F16];

/// Reproducible numbers between -4 and 4.
pub(crate) fn noise<const D: usize>(shape: [usize; D], seed: u64, dtype: DType) -> Tensor<D> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| {
            // xorshift64
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 21) as f32 - 4.0
        })
        .collect();
    bridge::tensor(Floats::from(values).cast(dtype), shape, &Device::flex())
}

/// How many elements differ in their bits.
pub(crate) fn flips<const D: usize>(a: &Tensor<D>, b: &Tensor<D>) -> usize {
    let (a, b) = (bridge::floats(a), bridge::floats(b));
    (0..a.len()).filter(|&i| a.get(i).to_bits() != b.get(i).to_bits()).count()
}

/// A decoder of one block with these settings.
pub(crate) fn architecture(width: usize, attention: Attention, feed_forward: FeedForward) -> Architecture {
    const GGUF: Gguf = Gguf { architecture: "test", permuted: false, keys: &[] };
    static TEST: Family =
        Family::new("test", "TestForCausalLM", GGUF, |_, _| Err(ConfigError::NotAnObject), "not at all");
    let norm = Norm { eps: 1e-5, kind: None };
    let rope = RopeParameters { rope_theta: 1e4, kind: RopeKind::Default, factors: None };
    let head_dim = attention.head_dim;
    let outside = Outside { vocab: 10, norm, tied: false, rope, head_dim, max_positions: 2048, dtype: None };
    Architecture::new(&TEST, width, outside, vec![Layer::new(width, attention, feed_forward, norm)])
}
