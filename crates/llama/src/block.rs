//! One transformer block.

use burn::tensor::Tensor;
use ulpscope_kernels::team;

use crate::arithmetic::Arithmetic;
use crate::attention::Attention;
use crate::config::LlamaConfig;
use crate::mlp::Mlp;
use crate::norm::RmsNorm;
use crate::ops::add;
use crate::parameters::Parameters;
use crate::past::Past;
use crate::probe::Probe;
use crate::rotary::RotaryTables;
use crate::site::{BlockSite, Site};
use crate::variant::Residual;

/// `model.layers.N`: attention and feed-forward, each normalised before and added to the residual stream.
#[derive(Clone, Debug)]
pub struct Block {
    pub(crate) index: usize,
    pub(crate) input_layernorm: RmsNorm,
    pub(crate) self_attn: Attention,
    pub(crate) post_attention_layernorm: RmsNorm,
    pub(crate) mlp: Mlp,
}

impl Block {
    /// Builds block `index` from its parameters.
    ///
    /// # Errors
    /// What `parameters` fails with.
    pub fn new<P: Parameters>(
        config: &LlamaConfig,
        index: usize,
        parameters: &mut P,
    ) -> Result<Self, P::Error> {
        let (c, f, q, kv) =
            (config.hidden_size, config.intermediate_size, config.query_size(), config.key_value_size());
        let mut linear = |name: &str, out: usize, input: usize, bias: bool| {
            let name = format!("model.layers.{index}.{name}");
            let bias = bias.then(|| format!("{name}.bias"));
            parameters.linear(&format!("{name}.weight"), bias.as_deref(), [out, input])
        };
        let self_attn = Attention {
            q_proj: linear("self_attn.q_proj", q, c, config.attention_bias)?,
            k_proj: linear("self_attn.k_proj", kv, c, config.attention_bias)?,
            v_proj: linear("self_attn.v_proj", kv, c, config.attention_bias)?,
            o_proj: linear("self_attn.o_proj", c, q, config.attention_bias)?,
            num_attention_heads: config.num_attention_heads,
            num_key_value_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
        };
        let mlp = Mlp {
            gate_proj: linear("mlp.gate_proj", f, c, config.mlp_bias)?,
            up_proj: linear("mlp.up_proj", f, c, config.mlp_bias)?,
            down_proj: linear("mlp.down_proj", c, f, config.mlp_bias)?,
            act_fn: config.hidden_act,
        };
        let mut norm = |name: &str| {
            let weight = parameters.tensor(&format!("model.layers.{index}.{name}.weight"), [c])?;
            Ok(RmsNorm::new(weight, config.rms_norm_eps))
        };
        Ok(Block {
            index,
            input_layernorm: norm("input_layernorm")?,
            post_attention_layernorm: norm("post_attention_layernorm")?,
            self_attn,
            mlp,
        })
    }

    /// Its place among the blocks.
    pub fn index(&self) -> usize {
        self.index
    }

    /// # Shapes
    /// - `x`: `[1, T, C]`, returns `[1, T, C]`
    ///
    /// # Precision
    /// The residual stream is held in the storage dtype; each of the two sums rounds.
    pub fn forward(
        &self,
        x: Tensor<3>,
        rope: &RotaryTables,
        arithmetic: Arithmetic,
        probe: &mut impl Probe,
    ) -> Tensor<3> {
        let watched = BlockSite::ALL.iter().any(|&site| probe.wants(Site::Block(self.index, site)));
        if !watched && self.fuses(&x, rope, arithmetic) {
            return self.fused(x, rope, arithmetic);
        }
        team(|| self.forward_after(x, rope, arithmetic, None, probe))
    }

    /// [`Block::forward`] for tokens that come after others, whose keys and values are in `past`; these are added to it. The
    /// operations come one after the other, with whatever the probe puts between them.
    pub fn forward_after(
        &self,
        x: Tensor<3>,
        rope: &RotaryTables,
        arithmetic: Arithmetic,
        past: Option<&mut Past>,
        probe: &mut impl Probe,
    ) -> Tensor<3> {
        let n = self.index;
        let variants = arithmetic.variants;
        let normed = self.input_layernorm.forward(x.clone(), variants.norm);
        let normed = probe.at(Site::Block(n, BlockSite::InputLayernorm), normed);
        let attended = self.self_attn.forward(normed, rope, arithmetic, n, past, probe);
        let mid = match variants.residual {
            Some(Residual::SkipAttention) => x,
            Some(Residual::DropBeforeAttention) => attended,
            _ => add(x, attended),
        };
        let mid = probe.at(Site::Block(n, BlockSite::ResidMid), mid);
        let normed = self.post_attention_layernorm.forward(mid.clone(), variants.norm);
        let normed = probe.at(Site::Block(n, BlockSite::PostAttentionLayernorm), normed);
        let fed = self.mlp.forward(normed, arithmetic, n, probe);
        let output = match variants.residual {
            Some(Residual::SkipMlp) => mid,
            Some(Residual::DropBeforeMlp) => fed,
            _ => add(mid, fed),
        };
        probe.at(Site::Block(n, BlockSite::Output), output)
    }
}
