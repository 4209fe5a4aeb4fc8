//! `config.json`, read strictly: what would change the result is used or refused, never skipped.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use serde_json::{Map, Value};
use ulpscope_floats::DType;

use crate::activation::Activation;
use crate::architecture::{Architecture, Outside};
use crate::departure::Mask;
use crate::family::Family;
use crate::layer::{Attention, FeedForward, Layer, Norm};
use crate::rope::RopeParameters;

/// Why a `config.json` can't be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
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

/// Keys that no decoder reads anything numerical from in evaluation mode.
const NEUTRAL: &str = "
    _attn_implementation _attn_implementation_autoset _auto_class _commit_hash _name_or_path _post_init_done
    attention_dropout auto_map bos_token_id chunk_size_feed_forward classifier_dropout
    decoder_start_token_id distributed_config embed_dim eos_token_id first_k_dense_replace id2label init_std
    initializer_range is_decoder is_encoder_decoder is_llama_config label2id name_or_path output_attentions
    output_hidden_states pad_token_id attn_implementation base_model_ep_plan base_model_fsdp_plan
    base_model_pp_plan base_model_tp_plan compile_config experts_implementation num_labels
    number_of_conv_states problem_type return_dict sep_token_id sub_configs_defaults task_specific_params
    tokenizer_class torchscript transformers.js_config transformers_version unk_token_id unpadded_vocab_size
    use_cache bad_words_ids begin_suppress_tokens diversity_penalty do_sample early_stopping
    encoder_no_repeat_ngram_size exponential_decay_length_penalty finetuning_task forced_bos_token_id
    forced_eos_token_id length_penalty max_length min_length no_repeat_ngram_size num_beam_groups num_beams
    num_return_sequences output_scores prefix remove_invalid_values repetition_penalty
    return_dict_in_generate suppress_tokens temperature tf_legacy_loss top_k top_p typical_p use_bfloat16
    pruned_heads add_cross_attention cross_attention_hidden_size tie_encoder_decoder gradient_checkpointing
";

/// Keys that transformers' code for models of any family computes with, and what that would do.
const REFUSED: &[(&str, &str)] = &[
    ("_heterogeneity_spec", LAYERS),
    ("attribute_map", "transformers would read keys by other names"),
    ("decoder", TEXT),
    ("default_theta", "transformers may rotate by it; give rope_theta instead"),
    ("fusion_config", "transformers would put fused modules in place of the model's"),
    ("generator", TEXT),
    ("kv_sharing_modes", "layers that share keys and values are not implemented"),
    ("per_layer_config", LAYERS),
    ("sub_configs", TEXT),
    ("text_config", TEXT),
    ("text_encoder", TEXT),
    (
        "transformers_weights",
        "transformers reads the weights from there; name that file model.safetensors, and remove the key",
    ),
];
const LAYERS: &str = "layers that differ in other keys than layer_types are not implemented";
const TEXT: &str = "transformers takes the config of a text model from there; make that the config.json";

/// Parts of names of keys that other architectures compute with. An unknown key that has one is
/// refused.
const SUSPECT: &str = "
    softcap multiplier scal window norm rope rotary expert moe quant bias logit alibi clip attn attention residual
    embedding head layer act eps parallel hidden
";

/// What becomes of each key of config.json that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KnownKeys {
    /// Those that are read, and used or refused by their values.
    pub read: Vec<&'static str>,
    /// Those that change no number.
    pub without_effect: Vec<&'static str>,
    /// Parts of the names of keys that are refused when they are not known.
    pub suspect: Vec<&'static str>,
}

impl KnownKeys {
    /// Of a family that reads these.
    pub(crate) fn of(read: Vec<&'static str>) -> Self {
        let words = |text: &'static str| text.split_whitespace().collect();
        KnownKeys { read, without_effect: words(NEUTRAL), suspect: words(SUSPECT) }
    }
}

/// A config.json that remembers which of its keys were read.
#[derive(Debug)]
pub struct Keys<'a> {
    map: &'a Map<String, Value>,
    read: RefCell<BTreeSet<&'static str>>,
    extra_rope: &'static [&'static str],
}

impl<'a> Keys<'a> {
    /// A parsed config.json.
    ///
    /// # Errors
    /// If it is no object, or of a quantised checkpoint.
    pub fn new(json: &'a Value) -> Result<Self, ConfigError> {
        let map = json.as_object().ok_or(ConfigError::NotAnObject)?;
        let keys = Keys { map, read: RefCell::default(), extra_rope: &[] };
        for key in ["model_type", "architectures"] {
            keys.get(key);
        }
        if let Some(v) = keys.get("quantization_config").filter(|v| !v.is_null()) {
            return Err(unsupported("quantization_config", v, "use an unquantised checkpoint or a GGUF"));
        }
        Ok(keys)
    }

    /// The value of a key, which then counts as read; `null` stays.
    pub fn get(&self, key: &'static str) -> Option<&'a Value> {
        self.read.borrow_mut().insert(key);
        self.map.get(key)
    }

    /// Whether a key is there and not `null`.
    pub fn has(&self, key: &'static str) -> bool {
        self.get(key).is_some_and(|value| !value.is_null())
    }

    /// A whole number from `least` on.
    ///
    /// # Errors
    /// If it is none, or is missing and has no default.
    pub fn size(
        &self,
        key: &'static str,
        default: Option<usize>,
        least: usize,
    ) -> Result<usize, ConfigError> {
        match self.get(key) {
            None | Some(Value::Null) => default.ok_or_else(|| ConfigError::Missing(key.to_owned())),
            Some(v) => v
                .as_u64()
                .and_then(|n| usize::try_from(n).ok())
                .filter(|n| (least..1 << 31).contains(n))
                .ok_or_else(|| invalid(key, v, &format!("a whole number from {least} to 2147483647"))),
        }
    }

    /// A flag; `default` if it is missing.
    ///
    /// # Errors
    /// If it is no boolean.
    pub fn flag(&self, key: &'static str, default: bool) -> Result<bool, ConfigError> {
        match self.get(key) {
            None | Some(Value::Null) => Ok(default),
            Some(v) => v.as_bool().ok_or_else(|| invalid(key, v, "true or false")),
        }
    }

    /// A finite number.
    ///
    /// # Errors
    /// If it is none.
    pub fn number(&self, key: &'static str) -> Result<Option<f64>, ConfigError> {
        match self.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(v) => {
                v.as_f64().filter(|x| x.is_finite()).map(Some).ok_or_else(|| invalid(key, v, "a number"))
            }
        }
    }

    /// Refuses a key unless it is missing, `null` or has this value.
    ///
    /// # Errors
    /// [`ConfigError::Unsupported`] with the reason.
    pub fn only(&self, key: &'static str, value: &Value, why: &str) -> Result<(), ConfigError> {
        match self.get(key) {
            Some(v) if !v.is_null() && v != value => Err(unsupported(key, v, why)),
            _ => Ok(()),
        }
    }

    /// The width of a sliding window in tokens, `sliding_window`; `default` if it is missing, none
    /// if it is `null`.
    ///
    /// # Errors
    /// If it is no whole number from 1 on.
    pub fn window(&self, default: Option<usize>) -> Result<Option<NonZeroUsize>, ConfigError> {
        let default = if self.get("sliding_window").is_some() { None } else { default };
        if !self.has("sliding_window") && default.is_none() {
            return Ok(None);
        }
        match self.size("sliding_window", default, 1) {
            Ok(window) => Ok(NonZeroUsize::new(window)),
            Err(_) => {
                let value = self.get("sliding_window").unwrap_or(&Value::Null);
                Err(invalid("sliding_window", value, "a whole number from 1 to 2147483647, or null for none"))
            }
        }
    }

    /// Which keys the queries of each layer see: of a window where `layer_types` says so, or by
    /// default where `slides` does.
    ///
    /// # Errors
    /// If there are not as many types as layers, one is unknown, or a layer has a window and there
    /// is none.
    pub fn masks(
        &self,
        layers: usize,
        window: Option<NonZeroUsize>,
        slides: impl Fn(usize) -> bool,
    ) -> Result<Vec<Mask>, ConfigError> {
        const SLIDING: &str = "sliding_attention";
        let types = self.layer_types(layers, &["full_attention", SLIDING])?;
        let of = |n: usize| match (
            types.as_ref().map_or_else(|| slides(n), |types| types[n] == SLIDING),
            window,
        ) {
            (false, _) => Ok(Mask::Causal),
            (true, Some(window)) => Ok(Mask::Window(window)),
            (true, None) => {
                let value = self.get("layer_types").unwrap_or(&Value::Null);
                let why = match self.has("sliding_window") {
                    true => "`use_sliding_window` is off; switch it on if the model has a window",
                    false => "there is no sliding_window; give one if the model has a window",
                };
                Err(invalid("layer_types", value, &format!("full_attention throughout, since {why}")))
            }
        };
        (0..layers).map(of).collect()
    }

    /// The kinds of a model's layers, `layer_types`: one for each layer, each of them a known one.
    ///
    /// # Errors
    /// If there are not as many as layers, or one is unknown.
    fn layer_types(&self, layers: usize, known: &[&str]) -> Result<Option<Vec<&'a str>>, ConfigError> {
        let Some(value) = self.get("layer_types").filter(|v| !v.is_null()) else { return Ok(None) };
        let expected = format!("a list of {layers} of {}, one for each layer", known.join(", "));
        let kinds = value.as_array().filter(|list| list.len() == layers).and_then(|list| {
            list.iter().map(|kind| kind.as_str().filter(|kind| known.contains(kind))).collect()
        });
        kinds.map(Some).ok_or_else(|| invalid("layer_types", value, &expected))
    }

    /// Keys inside of `rope_parameters` that this family reads beside those of rope types.
    pub fn allow_in_rope(&mut self, keys: &'static [&'static str]) {
        self.extra_rope = keys;
    }

    /// The format that `dtype="auto"` takes, from `dtype` or the older `torch_dtype`.
    fn dtype(&self) -> Result<Option<DType>, ConfigError> {
        let [new, old] = ["dtype", "torch_dtype"].map(|key| self.get(key).filter(|v| !v.is_null()));
        match new.or(old) {
            None => Ok(None),
            Some(v) => v
                .as_str()
                .and_then(|s| s.parse().ok())
                .map(Some)
                .ok_or_else(|| invalid("dtype", v, "float32, bfloat16, float16 or float64")),
        }
    }

    fn activation(&self) -> Result<Activation, ConfigError> {
        let Some(v) = self.get("hidden_act") else { return Ok(Activation::Silu) };
        v.as_str().and_then(Activation::from_name).ok_or_else(|| {
            unsupported("hidden_act", v, &format!("known are {}", Activation::NAMES.join(", ")))
        })
    }

    fn rope(&self, head_dim: usize, max_positions: usize) -> Result<RopeParameters, ConfigError> {
        for key in ["rope_theta", "rope_scaling", "rope_parameters", "partial_rotary_factor"] {
            self.get(key);
        }
        self.get("original_max_position_embeddings");
        RopeParameters::from_config(self.map, head_dim, max_positions, self.extra_rope)
    }

    /// Refuses what transformers reads whatever the family, and what is not implemented.
    pub(crate) fn check_general(&self) -> Result<(), ConfigError> {
        // Even null: transformers asks whether it is true.
        if let Some(v) = self.get("is_causal").filter(|v| **v != Value::Bool(true)) {
            let why = "each query would see the keys behind it, too; remove it if the model is causal";
            return Err(unsupported("is_causal", v, why));
        }
        match REFUSED.iter().find(|(key, _)| self.has(key)) {
            Some((key, why)) => Err(unsupported(key, &self.map[*key], why)),
            None => Ok(()),
        }
    }

    /// Refuses another class than this one.
    pub(crate) fn check_class(&self, model_type: &str, class: &str) -> Result<(), ConfigError> {
        match self.get("architectures") {
            Some(v @ Value::Array(names)) if !names.is_empty() && !names.iter().any(|n| n == class) => {
                Err(unsupported(
                    "architectures",
                    v,
                    &format!("of model_type `{model_type}`, only `{class}` is implemented"),
                ))
            }
            _ => Ok(()),
        }
    }

    /// Unknown keys without effect; refuses those that look as if they had one.
    pub(crate) fn finish(&self, family: &str) -> Result<Vec<String>, ConfigError> {
        match self.suspects().next() {
            Some((key, value)) => {
                let why = format!("transformers' `{family}` has no such key; remove it if it has no effect");
                Err(unsupported(key, value, &why))
            }
            None => Ok(self.unknown().map(|(key, _)| key.clone()).collect()),
        }
    }

    /// Unknown keys that look as if they changed the result.
    pub fn suspects(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.unknown().filter(|(key, value)| {
            let lower = key.to_lowercase();
            let off = value.is_null() || *value == &Value::Bool(false);
            !off && SUSPECT.split_whitespace().any(|part| lower.contains(part))
        })
    }

    /// Every key that was read, in the order of the alphabet.
    pub(crate) fn read(&self) -> Vec<&'static str> {
        self.read.borrow().iter().copied().collect()
    }

    fn unknown(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        let read = self.read.borrow().clone();
        self.map.iter().filter(move |(k, _)| {
            !read.contains(k.as_str()) && !NEUTRAL.split_whitespace().any(|key| key == *k)
        })
    }
}

/// Defaults of transformers' configs, where families differ.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// `vocab_size`.
    pub vocab_size: usize,
    /// `intermediate_size`.
    pub intermediate_size: usize,
    /// `num_key_value_heads`; as many as query heads if `None`.
    pub num_key_value_heads: Option<usize>,
    /// `head_dim`; C / H if `None`.
    pub head_dim: Option<usize>,
    /// `max_position_embeddings`.
    pub max_position_embeddings: usize,
    /// `rms_norm_eps`.
    pub rms_norm_eps: f64,
}

/// What all of these families spell alike: sizes, norms, activation, rotary embedding.
#[derive(Clone, Debug)]
pub struct Dense {
    /// Width of the residual stream, C.
    pub hidden_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Attention, without biases and norms, every earlier key seen.
    pub attention: Attention,
    /// The feed-forward layer, without biases.
    pub feed_forward: FeedForward,
    /// All norms.
    pub norm: Norm,
    /// What stands outside of the blocks.
    pub outside: Outside,
}

impl Dense {
    /// Reads the keys. Absent ones take the family's defaults.
    ///
    /// # Errors
    /// [`ConfigError`] names the key, its value and what would be accepted.
    pub fn read(keys: &Keys, defaults: &Defaults) -> Result<Self, ConfigError> {
        let hidden_size = keys.size("hidden_size", Some(4096), 1)?;
        let heads = keys.size("num_attention_heads", Some(32), 1)?;
        let default = match keys.get("num_key_value_heads") {
            Some(Value::Null) => heads,
            _ => defaults.num_key_value_heads.unwrap_or(heads),
        };
        let groups = keys.size("num_key_value_heads", Some(default), 1)?;
        if !heads.is_multiple_of(groups) {
            let expected = format!("a divisor of num_attention_heads = {heads}");
            return Err(invalid("num_key_value_heads", &groups.into(), &expected));
        }
        let default = match keys.get("head_dim") {
            None => defaults.head_dim,
            _ => None,
        };
        if !keys.has("head_dim") && default.is_none() && !hidden_size.is_multiple_of(heads) {
            let expected = format!("a multiple of num_attention_heads = {heads}, or an explicit head_dim");
            return Err(invalid("hidden_size", &hidden_size.into(), &expected));
        }
        let head_dim = keys.size("head_dim", Some(default.unwrap_or(hidden_size / heads)), 2)?;
        if !head_dim.is_multiple_of(2) {
            let expected = "an even number, since rotary embedding pairs halves";
            return Err(invalid("head_dim", &head_dim.into(), expected));
        }
        let max_positions =
            keys.size("max_position_embeddings", Some(defaults.max_position_embeddings), 1)?;
        let eps = match keys.get("rms_norm_eps") {
            None => defaults.rms_norm_eps,
            Some(v) => v
                .as_f64()
                .filter(|x| x.is_finite() && *x >= 0.0)
                .ok_or_else(|| invalid("rms_norm_eps", v, "a number >= 0"))?,
        };
        let act = keys.activation()?;
        let dtype = keys.dtype()?;
        let norm = Norm { eps, kind: None };
        let vocab = keys.size("vocab_size", Some(defaults.vocab_size), 1)?;
        let inner = keys.size("intermediate_size", Some(defaults.intermediate_size), 1)?;
        let num_hidden_layers = keys.size("num_hidden_layers", Some(32), 0)?;
        let tied = keys.flag("tie_word_embeddings", false)?;
        let rope = keys.rope(head_dim, max_positions)?;
        if num_hidden_layers > 4096 {
            return Err(invalid("num_hidden_layers", &num_hidden_layers.into(), "at most 4096"));
        }
        Ok(Dense {
            hidden_size,
            num_hidden_layers,
            attention: Attention::new(heads, groups, head_dim),
            feed_forward: FeedForward::new(inner, act),
            norm,
            outside: Outside { vocab, norm, tied, rope, head_dim, max_positions, dtype },
        })
    }

    /// The decoder, each of whose blocks may change what all of them have.
    pub fn architecture(
        self,
        family: &'static Family,
        attention: impl Fn(usize, &mut Attention),
    ) -> Architecture {
        let mut layers: Vec<Layer> = Vec::with_capacity(self.num_hidden_layers);
        for n in 0..self.num_hidden_layers {
            let mut own = self.attention;
            attention(n, &mut own);
            // Blocks that are alike share their list of nodes.
            layers.push(match layers.iter().rev().find(|layer| layer.attention == own) {
                Some(like) => like.clone(),
                None => Layer::new(self.hidden_size, own, self.feed_forward, self.norm),
            });
        }
        Architecture::new(family, self.hidden_size, self.outside, layers)
    }
}

/// An error about a value: what it is, and what is accepted.
pub fn invalid(key: &str, value: &Value, expected: &str) -> ConfigError {
    ConfigError::Invalid { key: key.to_owned(), value: shorten(value), expected: expected.to_owned() }
}

/// An error about a value that would change the result: what it would do.
pub fn unsupported(key: &str, value: &Value, why: &str) -> ConfigError {
    ConfigError::Unsupported { key: key.to_owned(), value: shorten(value), why: why.to_owned() }
}

fn shorten(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 60 { text } else { text.chars().take(59).chain(['…']).collect() }
}
