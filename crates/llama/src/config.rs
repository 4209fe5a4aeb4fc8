//! `config.json`, read strictly: what would change the result is used or refused, never skipped.

use serde_json::{Map, Value};
use ulpscope_floats::DType;

use crate::activation::Activation;
use crate::rope::RopeParameters;

/// The architecture of one Llama checkpoint; fields are spelled as in `config.json`.
#[derive(Clone, Debug, PartialEq)]
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
    /// Keys that are unknown here and to transformers' Llama, and were not used.
    pub ignored: Vec<String>,
}

/// Why a `config.json` can't be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// The document is no JSON object.
    #[error("config.json is not a JSON object")]
    NotAnObject,
    /// A key that must be there is not.
    #[error("config.json lacks `{0}`; take that from the original model's")]
    Missing(String),
    /// A value has the wrong type or lies outside its range.
    #[error("config.json: `{key}` is {value}, expected {expected}")]
    Invalid {
        /// The key.
        key: String,
        /// Its value, shortened.
        value: String,
        /// What is accepted.
        expected: String,
    },
    /// A feature that would change the result and is not implemented.
    #[error("config.json: `{key}` = {value} is not supported: {why}")]
    Unsupported {
        /// The key.
        key: String,
        /// Its value, shortened.
        value: String,
        /// What it would do.
        why: String,
    },
}

/// Keys that transformers' Llama reads nothing numerical from in evaluation mode.
const NEUTRAL: &[&str] = &[
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "attention_dropout",
    "auto_map",
    "bos_token_id",
    "chunk_size_feed_forward",
    "decoder_start_token_id",
    "eos_token_id",
    "id2label",
    "initializer_range",
    "is_decoder",
    "is_encoder_decoder",
    "is_llama_config",
    "label2id",
    "name_or_path",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "problem_type",
    "return_dict",
    "sep_token_id",
    "task_specific_params",
    "tokenizer_class",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "unk_token_id",
    "use_cache",
    "bad_words_ids",
    "begin_suppress_tokens",
    "diversity_penalty",
    "do_sample",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "length_penalty",
    "max_length",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_scores",
    "prefix",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict_in_generate",
    "suppress_tokens",
    "temperature",
    "tf_legacy_loss",
    "top_k",
    "top_p",
    "typical_p",
    "use_bfloat16",
    "pruned_heads",
    "add_cross_attention",
    "cross_attention_hidden_size",
    "tie_encoder_decoder",
    "gradient_checkpointing",
];

/// Keys that are read below.
const USED: &[&str] = &[
    "architectures",
    "model_type",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "max_position_embeddings",
    "rms_norm_eps",
    "tie_word_embeddings",
    "attention_bias",
    "mlp_bias",
    "dtype",
    "torch_dtype",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "partial_rotary_factor",
    "original_max_position_embeddings",
    "rope_interleaved",
    "pretraining_tp",
];

/// Parts of names of keys that other architectures compute with. An unknown key that has one is refused.
const SUSPECT: &[&str] = &[
    "softcap",
    "multiplier",
    "scal",
    "window",
    "norm",
    "rope",
    "rotary",
    "expert",
    "moe",
    "quant",
    "bias",
    "logit",
    "alibi",
    "clip",
    "attn",
    "attention",
    "residual",
    "embedding",
    "head",
    "layer",
    "act",
    "eps",
    "parallel",
    "hidden",
];

impl LlamaConfig {
    /// Reads a parsed `config.json`. Absent keys take transformers' defaults.
    ///
    /// # Errors
    /// [`ConfigError`] names the key, its value and what would be accepted.
    pub fn from_json(json: &Value) -> Result<Self, ConfigError> {
        let map = json.as_object().ok_or(ConfigError::NotAnObject)?;
        check_family(map)?;
        let size = |key: &str, default: Option<usize>, least: usize| read_size(map, key, default, least);
        let flag = |key: &str| read_flag(map, key);

        let hidden_size = size("hidden_size", Some(4096), 1)?;
        let num_attention_heads = size("num_attention_heads", Some(32), 1)?;
        let num_key_value_heads = size("num_key_value_heads", Some(num_attention_heads), 1)?;
        if !num_attention_heads.is_multiple_of(num_key_value_heads) {
            let expected = format!("a divisor of num_attention_heads = {num_attention_heads}");
            return Err(invalid("num_key_value_heads", &num_key_value_heads.into(), &expected));
        }
        if map.get("head_dim").is_none_or(Value::is_null) && !hidden_size.is_multiple_of(num_attention_heads)
        {
            let expected =
                format!("a multiple of num_attention_heads = {num_attention_heads}, or an explicit head_dim");
            return Err(invalid("hidden_size", &hidden_size.into(), &expected));
        }
        let head_dim = size("head_dim", Some(hidden_size / num_attention_heads), 2)?;
        if !head_dim.is_multiple_of(2) {
            return Err(invalid(
                "head_dim",
                &head_dim.into(),
                "an even number, since rotary embedding pairs halves",
            ));
        }
        let max_position_embeddings = size("max_position_embeddings", Some(2048), 1)?;
        let rms_norm_eps = match map.get("rms_norm_eps") {
            None => 1e-6,
            Some(v) => v
                .as_f64()
                .filter(|x| x.is_finite() && *x >= 0.0)
                .ok_or_else(|| invalid("rms_norm_eps", v, "a number >= 0"))?,
        };
        let hidden_act = match map.get("hidden_act") {
            None => Activation::Silu,
            Some(v) => v.as_str().and_then(Activation::from_name).ok_or_else(|| {
                unsupported("hidden_act", v, &format!("known are {}", Activation::NAMES.join(", ")))
            })?,
        };
        let dtype = match map.get("dtype").or_else(|| map.get("torch_dtype")) {
            None | Some(Value::Null) => None,
            Some(v) => Some(
                v.as_str()
                    .and_then(|s| s.parse().ok())
                    .ok_or_else(|| invalid("dtype", v, "float32, bfloat16, float16 or float64"))?,
            ),
        };
        let config = LlamaConfig {
            vocab_size: size("vocab_size", Some(32000), 1)?,
            hidden_size,
            intermediate_size: size("intermediate_size", Some(11008), 1)?,
            num_hidden_layers: size("num_hidden_layers", Some(32), 0)?,
            num_attention_heads,
            num_key_value_heads,
            head_dim,
            hidden_act,
            max_position_embeddings,
            rms_norm_eps,
            tie_word_embeddings: flag("tie_word_embeddings")?,
            attention_bias: flag("attention_bias")?,
            mlp_bias: flag("mlp_bias")?,
            rope: RopeParameters::from_config(map, head_dim, max_position_embeddings)?,
            dtype,
            ignored: unknown_keys(map)?,
        };
        if config.num_hidden_layers > 4096 {
            return Err(invalid("num_hidden_layers", &config.num_hidden_layers.into(), "at most 4096"));
        }
        Ok(config)
    }

    /// Every parameter of the model with its shape, in the order of PyTorch's state dict; linear weights are
    /// `[out, in]`. A tied `lm_head.weight` is not listed.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let (c, f, q, kv) =
            (self.hidden_size, self.intermediate_size, self.query_size(), self.key_value_size());
        let mut all = vec![("model.embed_tokens.weight".to_owned(), vec![self.vocab_size, c])];
        for n in 0..self.num_hidden_layers {
            let linears = [
                ("self_attn.q_proj", q, c, self.attention_bias),
                ("self_attn.k_proj", kv, c, self.attention_bias),
                ("self_attn.v_proj", kv, c, self.attention_bias),
                ("self_attn.o_proj", c, q, self.attention_bias),
                ("mlp.gate_proj", f, c, self.mlp_bias),
                ("mlp.up_proj", f, c, self.mlp_bias),
                ("mlp.down_proj", c, f, self.mlp_bias),
            ];
            for (name, out, input, bias) in linears {
                all.push((format!("model.layers.{n}.{name}.weight"), vec![out, input]));
                if bias {
                    all.push((format!("model.layers.{n}.{name}.bias"), vec![out]));
                }
            }
            all.push((format!("model.layers.{n}.input_layernorm.weight"), vec![c]));
            all.push((format!("model.layers.{n}.post_attention_layernorm.weight"), vec![c]));
        }
        all.push(("model.norm.weight".to_owned(), vec![c]));
        if !self.tie_word_embeddings {
            all.push(("lm_head.weight".to_owned(), vec![self.vocab_size, c]));
        }
        all
    }

    /// Width of all query heads together, H·D.
    pub fn query_size(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    /// Width of all key (or value) heads together, G·D.
    pub fn key_value_size(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }

    /// Longest sequence that makes sense: `max_position_embeddings`, times the factor with dynamic scaling,
    /// which exists to go beyond it.
    pub fn max_tokens(&self) -> usize {
        (self.max_position_embeddings as f64 * self.rope.growth()) as usize
    }
}

/// The number of the layer that a parameter is in, and its name there: 3 and `mlp.up_proj.weight` of
/// `model.layers.3.mlp.up_proj.weight`. `None` for one in no layer.
pub fn layer_of(name: &str) -> Option<(usize, &str)> {
    let (number, place) = name.strip_prefix("model.layers.")?.split_once('.')?;
    Some((number.parse().ok()?, place))
}

fn check_family(map: &Map<String, Value>) -> Result<(), ConfigError> {
    match map.get("model_type") {
        None => return Err(ConfigError::Missing("model_type".to_owned())),
        Some(Value::String(s)) if s == "llama" => {}
        Some(v) => return Err(unsupported("model_type", v, "only `llama` is implemented")),
    }
    if let Some(v @ Value::Array(names)) = map.get("architectures")
        && !names.is_empty()
        && !names.iter().any(|n| n == "LlamaForCausalLM")
    {
        return Err(unsupported("architectures", v, "only `LlamaForCausalLM` is implemented"));
    }
    if let Some(v) = map.get("rope_interleaved").filter(|v| v.as_bool() != Some(false)) {
        return Err(unsupported("rope_interleaved", v, "only the half-split layout is implemented"));
    }
    if let Some(v) = map.get("quantization_config").filter(|v| !v.is_null()) {
        return Err(unsupported("quantization_config", v, "use an unquantised checkpoint or a GGUF"));
    }
    Ok(())
}

/// Unknown keys without effect; refuses the ones that look as if they had one.
fn unknown_keys(map: &Map<String, Value>) -> Result<Vec<String>, ConfigError> {
    let unknown = map.iter().filter(|(k, _)| !USED.contains(&k.as_str()) && !NEUTRAL.contains(&k.as_str()));
    let mut ignored = Vec::new();
    for (key, value) in unknown {
        let lower = key.to_lowercase();
        let off = value.is_null() || value == &Value::Bool(false);
        if !off && SUSPECT.iter().any(|part| lower.contains(part)) {
            return Err(unsupported(
                key,
                value,
                "transformers' Llama has no such key; remove it if it has no effect",
            ));
        }
        ignored.push(key.clone());
    }
    Ok(ignored)
}

fn read_size(
    map: &Map<String, Value>,
    key: &str,
    default: Option<usize>,
    least: usize,
) -> Result<usize, ConfigError> {
    match map.get(key) {
        None | Some(Value::Null) => default.ok_or_else(|| ConfigError::Missing(key.to_owned())),
        Some(v) => v
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| (least..1 << 31).contains(n))
            .ok_or_else(|| invalid(key, v, &format!("a whole number from {least} to 2147483647"))),
    }
}

fn read_flag(map: &Map<String, Value>, key: &str) -> Result<bool, ConfigError> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(v) => v.as_bool().ok_or_else(|| invalid(key, v, "true or false")),
    }
}

pub(crate) fn invalid(key: &str, value: &Value, expected: &str) -> ConfigError {
    ConfigError::Invalid { key: key.to_owned(), value: shorten(value), expected: expected.to_owned() }
}

pub(crate) fn unsupported(key: &str, value: &Value, why: &str) -> ConfigError {
    ConfigError::Unsupported { key: key.to_owned(), value: shorten(value), why: why.to_owned() }
}

fn shorten(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 60 { text } else { text.chars().take(59).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
        assert_eq!(config.parameters().len(), 272);
        assert_eq!((config.head_dim, config.max_tokens(), config.dtype), (64, 8192, Some(DType::Bf16)));
        assert!(config.ignored.is_empty());
    }

    #[test]
    fn what_would_change_the_result_is_refused_by_name() {
        for (key, value) in [
            ("model_type", json!("mistral")),
            ("hidden_act", json!("relu6")),
            ("sliding_window", json!(4096)),
            ("attn_logit_softcapping", json!(50.0)),
            ("embedding_multiplier", json!(12)),
            ("quantization_config", json!({"bits": 4})),
            ("rope_interleaved", json!(true)),
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
        assert_eq!(LlamaConfig::from_json(&config).unwrap().ignored, ["sliding_window", "unsloth_version"]);
    }
}
