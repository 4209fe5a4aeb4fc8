//! A block that nobody looks into.

use burn::tensor::Tensor;
use ulpscope_floats::Floats;
use ulpscope_kernels::{Attention as Shape, DecoderLayer, Mixing, bridge, handles};

use crate::activation::Activation;
use crate::arithmetic::Arithmetic;
use crate::attention::usual_scale;
use crate::block::Block;
use crate::norm::RmsNorm;
use crate::rotary::RotaryTables;
use crate::site::AttentionKind;
use crate::variant::Variants;

impl Block {
    /// Whether one kernel does what is asked for: on this machine, in up to 32 bits, with SiLU and without variants.
    pub(crate) fn fuses(&self, x: &Tensor<3>, rope: &RotaryTables, arithmetic: Arithmetic) -> bool {
        let plain = arithmetic.variants == Variants::default() && self.mlp.act_fn == Activation::Silu;
        let norms = [&self.input_layernorm, &self.post_attention_layernorm].map(RmsNorm::dtype);
        let one = [rope.cos.dtype(), rope.sin.dtype()].into_iter().chain(norms).all(|d| d == x.dtype());
        plain && one && handles(x) && x.dims()[0] == 1
    }

    /// The block as one kernel, which has the bits of its operations one after the other.
    ///
    /// # Panics
    /// If the block does not [fuse](Block::fuses).
    pub(crate) fn fused(&self, x: Tensor<3>, rope: &RotaryTables, arithmetic: Arithmetic) -> Tensor<3> {
        let [(input, eps), (post, _)] =
            [&self.input_layernorm, &self.post_attention_layernorm].map(RmsNorm::parts);
        let layer =
            self.layer(&input, &post, eps, arithmetic).expect("what this machine multiplies is packed");
        let (cos, sin) = (rope.cos.to_data(), rope.sin.to_data());
        let (shape, device) = (x.dims(), x.device());
        let y = layer.forward(bridge::into_floats(x), &bridge::view(&cos), &bridge::view(&sin));
        let y = y.unwrap_or_else(|error| panic!("a layer was put together wrongly: {error}"));
        bridge::tensor(y, shape, &device)
    }

    fn layer<'a>(
        &'a self,
        input_layernorm: &'a Floats<'a>,
        post_attention_layernorm: &'a Floats<'a>,
        rms_norm_eps: f64,
        arithmetic: Arithmetic,
    ) -> Option<DecoderLayer<'a>> {
        let (attention, mlp) = (&self.self_attn, &self.mlp);
        let order = arithmetic.accumulation;
        let mixing = match arithmetic.attention {
            AttentionKind::Eager => Mixing::Eager,
            AttentionKind::Sdpa => Mixing::Sdpa,
        };
        Some(DecoderLayer {
            input_layernorm,
            q_proj: attention.q_proj.projection()?,
            k_proj: attention.k_proj.projection()?,
            v_proj: attention.v_proj.projection()?,
            o_proj: attention.o_proj.projection()?,
            post_attention_layernorm,
            gate_proj: mlp.gate_proj.projection()?,
            up_proj: mlp.up_proj.projection()?,
            down_proj: mlp.down_proj.projection()?,
            rms_norm_eps,
            attention: Shape {
                heads: attention.num_attention_heads,
                groups: attention.num_key_value_heads,
                head_dim: attention.head_dim,
                scale: usual_scale(attention.head_dim),
                order,
            },
            mixing,
            order,
        })
    }
}

#[cfg(test)]
mod tests {
    use ulpscope_floats::DType;
    use ulpscope_kernels::Accumulation;

    use super::*;
    use crate::config::LlamaConfig;
    use crate::parameters::Parameters;
    use crate::testing::{DTYPES, flips, noise};

    /// Parameters that differ from each other.
    struct Noise {
        dtype: DType,
        seed: u64,
    }

    impl Parameters for Noise {
        type Error = std::convert::Infallible;

        fn tensor<const D: usize>(&mut self, _: &str, shape: [usize; D]) -> Result<Tensor<D>, Self::Error> {
            self.seed += 1;
            Ok(noise(shape, self.seed, self.dtype))
        }
    }

    #[test]
    fn one_kernel_has_the_bits_of_its_steps() {
        let config = LlamaConfig::from_json(&serde_json::json!({
            "model_type": "llama", "hidden_size": 48, "intermediate_size": 100, "num_hidden_layers": 1,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 10,
            "rms_norm_eps": 1e-5, "attention_bias": true, "mlp_bias": true,
        }))
        .unwrap();
        // Threads take stretches of tokens apart where there are enough for all of them.
        for (threads, lengths) in [(1, &[1, 300][..]), (3, &[1, 3, 16, 37, 200]), (16, &[800])] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for dtype in DTYPES {
                let block = Block::new(&config, 0, &mut Noise { dtype, seed: 0 }).unwrap();
                lengths.iter().for_each(|&tokens| pool.install(|| compare(&block, dtype, tokens)));
            }
        }
    }

    fn compare(block: &Block, dtype: DType, tokens: usize) {
        let rope =
            RotaryTables { cos: noise([1, tokens, 16], 77, dtype), sin: noise([1, tokens, 16], 78, dtype) };
        let x: Tensor<3> = noise([1, tokens, 48], 99, dtype);
        for accumulation in [Accumulation::Tile32, Accumulation::Dot2, Accumulation::Pairwise] {
            for attention in [AttentionKind::Eager, AttentionKind::Sdpa] {
                let arithmetic = Arithmetic { accumulation, ..attention.into() };
                assert!(block.fuses(&x, &rope, arithmetic));
                let fused = block.fused(x.clone(), &rope, arithmetic);
                let steps = block.forward_after(x.clone(), &rope, arithmetic, None, &mut ());
                assert_eq!(flips(&fused, &steps), 0, "{dtype} {tokens} {accumulation} {attention}");
            }
        }
    }
}
