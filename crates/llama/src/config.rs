//! `config.json` of a Llama.

use serde_json::{Value, json};
use ulpscope_decoder::{
    Activation, Architecture, Attention, ConfigError, Defaults, Dense, Family, FeedForward, Gguf, Keys, Norm,
    Outside, RopeParameters,
};
use ulpscope_floats::DType;

/// Llama, the first family.
pub static LLAMA: Family = Family::new(
    "llama",
    "LlamaForCausalLM",
    Gguf { architecture: "llama", permuted: true, keys: &[] },
    |family, keys| Ok(LlamaConfig::read(keys)?.architecture_of(family)),
    "PyTorch's bits at every site, tiny and real checkpoints, 122 lengths, both attentions",
);

/// The defaults of transformers' `LlamaConfig`.
const DEFAULTS: Defaults = Defaults {
    vocab_size: 32000,
    intermediate_size: 11008,
    num_key_value_heads: None,
    head_dim: None,
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-6,
};

/// The config of one Llama checkpoint; fields are spelled as in `config.json`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LlamaConfig {
    /// Number of tokens, V.
    pub vocab_size: usize,
    /// Width of the residual stream, C.
    pub hidden_size: usize,
    /// Width of the feed-forward layer, F.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Query heads, H.
    pub num_attention_heads: usize,
    /// Key and value heads, G; divides H.
    pub num_key_value_heads: usize,
    /// Width of a head, D; C / H unless given.
    pub head_dim: usize,
    /// Activation of the feed-forward layer.
    pub hidden_act: Activation,
    /// Longest sequence that the model was made for.
    pub max_position_embeddings: usize,
    /// Added to the mean square before the root.
    pub rms_norm_eps: f64,
    /// Whether `lm_head.weight` is `model.embed_tokens.weight`.
    pub tie_word_embeddings: bool,
    /// Whether q, k, v and o have a bias.
    pub attention_bias: bool,
    /// Whether gate, up and down have a bias.
    pub mlp_bias: bool,
    /// Rotary position embedding.
    pub rope: RopeParameters,
    /// The format that `dtype="auto"` takes, from `dtype` or the older `torch_dtype`.
    pub dtype: Option<DType>,
}

impl LlamaConfig {
    /// Reads a parsed `config.json`. Absent keys take transformers' defaults.
    ///
    /// # Errors
    /// [`ConfigError`] names the key, its value and what would be accepted.
    pub fn from_json(json: &Value) -> Result<Self, ConfigError> {
        // What else would change the result is refused.
        LLAMA.architecture(json)?;
        Self::read(&Keys::new(json)?)
    }

    fn read(keys: &Keys) -> Result<Self, ConfigError> {
        keys.only("rope_interleaved", &json!(false), "only the half-split layout is implemented")?;
        keys.get("pretraining_tp");
        let dense = Dense::read(keys, &DEFAULTS)?;
        Ok(LlamaConfig {
            vocab_size: dense.outside.vocab,
            hidden_size: dense.hidden_size,
            intermediate_size: dense.feed_forward.width,
            num_hidden_layers: dense.num_hidden_layers,
            num_attention_heads: dense.attention.heads,
            num_key_value_heads: dense.attention.groups,
            head_dim: dense.attention.head_dim,
            hidden_act: dense.feed_forward.act,
            max_position_embeddings: dense.outside.max_positions,
            rms_norm_eps: dense.norm.eps,
            tie_word_embeddings: dense.outside.tied,
            attention_bias: keys.flag("attention_bias", false)?,
            mlp_bias: keys.flag("mlp_bias", false)?,
            rope: dense.outside.rope,
            dtype: dense.outside.dtype,
        })
    }

    /// The decoder that it describes.
    pub fn architecture(&self) -> Architecture {
        self.architecture_of(&LLAMA)
    }

    fn architecture_of(&self, family: &'static Family) -> Architecture {
        let norm = Norm { eps: self.rms_norm_eps, kind: None };
        let dense = Dense {
            hidden_size: self.hidden_size,
            num_hidden_layers: self.num_hidden_layers,
            attention: Attention {
                bias: [self.attention_bias; 2],
                ..Attention::new(self.num_attention_heads, self.num_key_value_heads, self.head_dim)
            },
            feed_forward: FeedForward {
                bias: self.mlp_bias,
                ..FeedForward::new(self.intermediate_size, self.hidden_act)
            },
            norm,
            outside: Outside {
                vocab: self.vocab_size,
                norm,
                tied: self.tie_word_embeddings,
                rope: self.rope.clone(),
                head_dim: self.head_dim,
                max_positions: self.max_position_embeddings,
                dtype: self.dtype,
            },
        };
        dense.architecture(family, |_, _| {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smollm2() -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 49152, "hidden_size": 576,
            "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
            "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "tie_word_embeddings": true, "rope_theta": 100000,
            "rope_scaling": null, "rope_interleaved": false, "torch_dtype": "bfloat16", "transformers.js_config": {}
        })
    }

    #[test]
    fn smollm2_has_272_parameters() {
        let config = LlamaConfig::from_json(&smollm2()).unwrap();
        let architecture = config.architecture();
        assert_eq!(architecture.parameters().len(), 272);
        assert_eq!((config.head_dim, architecture.max_tokens(), config.dtype), (64, 8192, Some(DType::Bf16)));
        assert!(LLAMA.architecture(&smollm2()).unwrap().ignored.is_empty());
    }

    #[test]
    fn parameters_are_in_the_order_of_the_state_dict() {
        let mut config = smollm2();
        config["num_hidden_layers"] = json!(1);
        config["attention_bias"] = json!(true);
        config["tie_word_embeddings"] = json!(false);
        let architecture = LLAMA.architecture(&config).unwrap();
        let names: Vec<String> = architecture.parameters().into_iter().map(|p| p.name).collect();
        let attention = ["q", "k", "v", "o"]
            .into_iter()
            .flat_map(|p| ["weight", "bias"].map(|kind| format!("model.layers.0.self_attn.{p}_proj.{kind}")));
        let rest =
            ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "input_layernorm", "post_attention_layernorm"];
        let rest = rest.map(|place| format!("model.layers.0.{place}.weight"));
        let mut wanted = vec!["model.embed_tokens.weight".to_owned()];
        wanted.extend(attention.chain(rest));
        wanted.extend(["model.norm.weight", "lm_head.weight"].map(str::to_owned));
        assert_eq!(names, wanted);
    }

    #[test]
    fn what_would_change_the_result_is_refused_by_name() {
        for (key, value) in [
            ("hidden_act", json!("relu6")),
            ("sliding_window", json!(4096)),
            ("attn_logit_softcapping", json!(50.0)),
            ("embedding_multiplier", json!(12)),
            ("quantization_config", json!({"bits": 4})),
            ("rope_interleaved", json!(true)),
            ("is_causal", json!(false)),
            ("fusion_config", json!({})),
            ("num_key_value_heads", json!(2)),
            ("hidden_size", json!(-3)),
            ("rms_norm_eps", json!("tiny")),
            ("head_dim", json!(63)),
            ("vocab_size", json!(0)),
            ("rope_scaling", json!({"type": "su", "factor": 2.0})),
            ("partial_rotary_factor", json!(0.5)),
            ("architectures", json!(["MistralForCausalLM"])),
            ("dtype", json!("int8")),
            ("num_hidden_layers", json!(5000)),
            ("tie_word_embeddings", json!("yes")),
        ] {
            let mut config = smollm2();
            config[key] = value;
            let error = LlamaConfig::from_json(&config).unwrap_err().to_string();
            assert!(error.contains(key) || key == "rope_scaling", "{key}: {error}");
        }
    }

    #[test]
    fn harmless_unknown_keys_are_listed() {
        let mut config = smollm2();
        config["unsloth_version"] = json!("2026.1");
        config["sliding_window"] = Value::Null;
        config["is_causal"] = json!(true);
        config["attn_implementation"] = json!("eager");
        let ignored = LLAMA.architecture(&config).unwrap().ignored;
        assert_eq!(ignored, ["sliding_window", "unsloth_version"]);
    }
}
