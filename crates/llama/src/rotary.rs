//! The rotary embedding: buffers, tables of cos and sin, rotation.

use burn::tensor::{Device, Tensor};
use ulpscope_floats::{DType, Floats};

use crate::config::LlamaConfig;
use crate::ops::{add, mul};
use crate::probe::Probe;
use crate::rope::RopeParameters;
use crate::site::Site;
use ulpscope_kernels::{bridge, handles, rotary};

/// `model.rotary_emb`: two buffers that no state dict holds, and the tables made from them.
///
/// The buffers are data, because what a conversion does to them is what this project is about: `.to(bf16)` rounds
/// both, loading in bf16 rounds neither.
#[derive(Clone, Debug)]
pub struct RotaryEmbedding {
    /// `model.rotary_emb.inv_freq`, `[D / 2]`.
    pub inv_freq: Floats<'static>,
    /// `model.rotary_emb.original_inv_freq`, `[D / 2]`.
    pub original_inv_freq: Floats<'static>,
    rope: RopeParameters,
    head_dim: usize,
    max_positions: usize,
}

/// Tables of cos and sin for every position, `[1, T, D]` each.
#[derive(Clone, Debug)]
pub struct RotaryTables {
    /// Cosines, times the attention scaling.
    pub cos: Tensor<3>,
    /// Sines, times the attention scaling.
    pub sin: Tensor<3>,
}

impl RotaryEmbedding {
    /// The buffers as the constructor computes them, in f32 whatever the model's dtype.
    pub fn new(config: &LlamaConfig) -> Self {
        let inv_freq = Floats::from(config.rope.inv_freq(config.head_dim));
        Self::from_buffers(config, inv_freq.clone(), inv_freq)
    }

    /// With buffers that a conversion has changed.
    ///
    /// # Panics
    /// If a buffer has not D / 2 elements.
    pub fn from_buffers(
        config: &LlamaConfig,
        inv_freq: Floats<'static>,
        original_inv_freq: Floats<'static>,
    ) -> Self {
        for buffer in [&inv_freq, &original_inv_freq] {
            assert_eq!(buffer.len(), config.head_dim / 2, "a rotary buffer has head_dim / 2 elements");
        }
        RotaryEmbedding {
            inv_freq,
            original_inv_freq,
            rope: config.rope.clone(),
            head_dim: config.head_dim,
            max_positions: config.max_position_embeddings,
        }
    }

    /// The frequencies that the forward pass uses for a sequence of `tokens`.
    ///
    /// Dynamic scaling replaces the buffer beyond the trained context, unrounded. LongRoPE copies either set *into*
    /// the buffer, which rounds to the buffer's dtype.
    pub fn frequencies(&self, tokens: usize) -> Floats<'static> {
        use crate::rope::RopeKind;
        let computed =
            self.rope.inv_freq_in_forward(self.head_dim, self.max_positions, tokens).map(Floats::from);
        match (&self.rope.kind, computed) {
            (RopeKind::LongRope { .. }, computed) => {
                computed.unwrap_or_else(|| self.original_inv_freq.clone()).cast(self.inv_freq.dtype())
            }
            (_, Some(computed)) => computed,
            (_, None) => self.inv_freq.clone(),
        }
    }

    /// Tables for positions `0..tokens`, rounded to `dtype`.
    ///
    /// # Precision
    /// Angles are f32 products of position and frequency; cos and sin are the f32 nearest to the true value, times
    /// the attention scaling in f32, then rounded to `dtype`. With f64, everything is f64.
    pub fn forward(
        &self,
        tokens: usize,
        dtype: DType,
        device: &Device,
        probe: &mut impl Probe,
    ) -> RotaryTables {
        let frequencies = self.frequencies(tokens);
        let half = frequencies.len();
        let table = |f: fn(f64) -> f64| {
            let angles = (0..tokens).flat_map(|p| (0..2 * half).map(move |k| (p, k % half)));
            let values = if dtype == DType::F64 {
                let scaling = self.rope.attention_scaling();
                angles.map(|(p, k)| f(p as f64 * frequencies.get(k)) * scaling).collect::<Vec<f64>>().into()
            } else {
                let (frequencies, scaling) = (frequencies.to_f32(), self.rope.attention_scaling() as f32);
                let exact = angles.map(|(p, k)| f(f64::from(p as f32 * frequencies[k])) as f32 * scaling);
                Floats::from(exact.collect::<Vec<f32>>()).cast(dtype)
            };
            bridge::tensor(values, [1, tokens, 2 * half], device)
        };
        let cos = probe.at(Site::RotaryCos, table(f64::cos));
        let sin = probe.at(Site::RotarySin, table(f64::sin));
        RotaryTables { cos, sin }
    }
}

impl RotaryTables {
    /// `x·cos + rotate_half(x)·sin`.
    ///
    /// # Shapes
    /// - `x`: `[1, heads, T, D]`, returns the same
    ///
    /// # Precision
    /// Three roundings to the storage dtype: of both products and of their sum.
    pub fn rotate(&self, x: Tensor<4>) -> Tensor<4> {
        let head_dim = x.dims()[3];
        if handles(&x) {
            let (cos, sin) = (self.cos.to_data(), self.sin.to_data());
            let turn = |x: &Floats| rotary(x, &bridge::view(&cos), &bridge::view(&sin), head_dim);
            return bridge::map(x.swap_dims(1, 2), turn).swap_dims(1, 2);
        }
        self.by_formula(x)
    }

    /// The formula in burn's operations: what other devices run, and f64.
    fn by_formula(&self, x: Tensor<4>) -> Tensor<4> {
        let half = x.dims()[3] / 2;
        let (first, second) = (x.clone().narrow(3, 0, half), x.clone().narrow(3, half, half));
        let rotated = Tensor::cat(vec![-second, first], 3);
        add(mul(x, self.cos.clone().unsqueeze_dim(1)), mul(rotated, self.sin.clone().unsqueeze_dim(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{DTYPES, flips, noise};

    #[test]
    fn kernel_and_formula_agree() {
        for dtype in DTYPES {
            let tables = RotaryTables { cos: noise([1, 5, 16], 1, dtype), sin: noise([1, 5, 16], 2, dtype) };
            let x = noise([1, 3, 5, 16], 3, dtype);
            assert_eq!(flips(&tables.rotate(x.clone()), &tables.by_formula(x)), 0, "{dtype}");
        }
    }
}
