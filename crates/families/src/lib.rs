//! Families of decoders beyond Llama, and the registry of all by `model_type`.
//!
//! A family is a file that says how it differs from the block it starts from. Adding one takes that
//! file and a line of [`ALL`].
//!
//! ```
//! let config = serde_json::json!({
//!     "model_type": "qwen2", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
//!     "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
//! });
//! let decoder = ulpscope_families::read(&config)?;
//! assert_eq!(decoder.family.model_type, "qwen2");
//! let bias = decoder.parameter("model.layers.1.self_attn.q_proj.bias").expect("queries have a bias");
//! assert_eq!(bias.param.shape, [64]);
//! # Ok::<(), ulpscope_decoder::ConfigError>(())
//! ```
//!
//! # What is not here
//!
//! How a block is put together and run: that is `ulpscope-decoder`'s.

mod ministral;
mod ministral3;
mod mistral;
mod qwen2;
mod qwen3;
mod unknown;

use serde_json::Value;
use ulpscope_decoder::{Architecture, ConfigError, Family};

/// Every family, in the order in which they are listed to people.
pub static ALL: &[&Family] = &[
    &ulpscope_llama::LLAMA,
    &mistral::MISTRAL,
    &ministral::MINISTRAL,
    &ministral3::MINISTRAL3,
    &qwen2::QWEN2,
    &qwen3::QWEN3,
];

/// Reads a config.json of any family.
///
/// # Errors
/// [`ConfigError`] names the key, its value and what would be accepted.
pub fn read(json: &Value) -> Result<Architecture, ConfigError> {
    let kind = json.as_object().ok_or(ConfigError::NotAnObject)?.get("model_type");
    let kind = kind.ok_or_else(|| ConfigError::Missing("model_type".to_owned()))?;
    match ALL.iter().find(|family| kind == family.model_type) {
        Some(family) => family.architecture(json),
        None => Err(unknown::refusal(json, kind)),
    }
}

/// The family of a GGUF's `general.architecture`.
pub fn of_gguf(architecture: &str) -> Option<&'static Family> {
    ALL.iter().copied().find(|family| family.gguf.architecture == architecture)
}

/// Every `general.architecture` that is read.
pub fn gguf_architectures() -> Vec<&'static str> {
    let mut names: Vec<&str> = ALL.iter().map(|family| family.gguf.architecture).collect();
    names.dedup();
    names
}
