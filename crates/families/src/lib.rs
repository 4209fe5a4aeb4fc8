//! The registry of families by `model_type`.

use serde_json::Value;
use ulpscope_decoder::{Architecture, ConfigError, Family, unsupported};

/// Every family, in the order in which they are listed to people.
pub static ALL: &[&Family] = &[&ulpscope_llama::LLAMA];

/// Reads a config.json of any family.
///
/// # Errors
/// [`ConfigError`] names the key, its value and what would be accepted.
pub fn read(json: &Value) -> Result<Architecture, ConfigError> {
    let kind = json.as_object().ok_or(ConfigError::NotAnObject)?.get("model_type");
    let kind = kind.ok_or_else(|| ConfigError::Missing("model_type".to_owned()))?;
    match ALL.iter().find(|family| kind == family.model_type) {
        Some(family) => family.architecture(json),
        None => Err(unsupported("model_type", kind, "only `llama` is implemented")),
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
