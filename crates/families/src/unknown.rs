//! The refusal of an unknown family: it names the nearest family and what that one lacks.

use std::cmp::Reverse;

use serde_json::Value;
use ulpscope_decoder::{ConfigError, Keys, unsupported};

use crate::ALL;

/// Known families that are not read: their names, the nearest family that is read, and what that
/// one lacks.
const KNOWN: &[(&[&str], &str, &str)] = &[
    (
        &["gemma2", "gemma3", "gemma3_text"],
        "llama",
        "norms of 1 + weight, also behind each branch, scaled embeddings, a GELU gate and soft caps or norms of heads",
    ),
    (&["gemma"], "llama", "norms of 1 + weight, scaled embeddings and a GELU gate"),
    (
        &["gemma4", "gemma4_text"],
        "qwen3",
        "norms around each branch, scaled embeddings and embeddings for each layer",
    ),
    (&["phi3"], "llama", "qkv_proj and gate_up_proj in one piece, and LongRoPE"),
    (&["olmo2", "olmo3"], "llama", "norms behind each branch, and over all heads at once"),
    (&["smollm3"], "llama", "layers without rotation"),
    (&["granite"], "llama", "four multipliers"),
    (&["cohere", "cohere2"], "llama", "LayerNorm, adjacent rotary pairs and branches side by side"),
    (&["starcoder2", "gpt_neox", "gpt2"], "llama", "LayerNorm and an MLP without a gate"),
    (&["mixtral"], "mistral", "a mixture of experts"),
    (&["qwen2_moe", "qwen3_moe"], "qwen3", "a mixture of experts"),
    (&["granitemoe", "gpt_oss", "deepseek_v3"], "llama", "a mixture of experts"),
    (&["qwen3_next", "qwen3_5"], "qwen3", "linear attention"),
    (&["mistral3"], "ministral3", "a vision model: its text_config is read where it stands as config.json"),
];

/// The refusal of a `model_type` that no family has.
pub(crate) fn refusal(json: &Value, kind: &Value) -> ConfigError {
    let read: Vec<&str> = ALL.iter().map(|family| family.model_type).collect();
    let near = known(kind).or_else(|| nearest(json, kind.as_str().unwrap_or_default()));
    let near = near.map(|(family, between)| match between.as_str() {
        "" => format!("; nearest is `{family}`, which knows every key of this config.json"),
        _ => format!("; nearest is `{family}`, and between the two stand {between}"),
    });
    unsupported("model_type", kind, &format!("read are {}{}", read.join(", "), near.unwrap_or_default()))
}

fn known(kind: &Value) -> Option<(&'static str, String)> {
    let of = |(names, ..): &&(&[&str], &str, &str)| names.iter().any(|name| kind == name);
    KNOWN.iter().find(of).map(|(_, near, between)| (*near, (*between).to_owned()))
}

/// The family that leaves the fewest suspicious keys unread, and those keys. Among equals the one
/// whose name has the longest common beginning.
fn nearest(json: &Value, kind: &str) -> Option<(&'static str, String)> {
    let unread = |family: &&'static ulpscope_decoder::Family| {
        let mut keys = Keys::new(json).ok()?;
        (family.read)(family, &mut keys).ok()?;
        let left: Vec<String> = keys.suspects().map(|(key, value)| format!("`{key}` = {value}")).collect();
        let alike = kind.chars().zip(family.model_type.chars()).take_while(|(a, b)| a == b).count();
        Some(((left.len(), Reverse(alike)), family.model_type, left))
    };
    let (_, family, left) =
        ALL.iter().copied().filter_map(|family| unread(&family)).min_by_key(|(key, ..)| *key)?;
    const KEYS_SHOWN: usize = 4;
    let more = left.len().saturating_sub(KEYS_SHOWN);
    let shown = left[..left.len() - more].join(", ")
        + &if more > 0 { format!(" and {more} more") } else { String::new() };
    Some((family, shown))
}
