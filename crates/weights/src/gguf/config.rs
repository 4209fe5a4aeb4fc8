//! The `config.json` that a GGUF's metadata amount to.

use anamnesis::GgufMetadataValue;
use serde_json::{Map, Value, json};

use super::metadata::Metadata;
use crate::WeightsError;

/// `llama.*` keys that [`config_json`] reads.
const USED: &[&str] = &[
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "vocab_size",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.attn_factor",
    "rope.scaling.yarn_ext_factor",
    "rope.scaling.yarn_attn_factor",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.scaling.yarn_log_multiplier",
];

/// `llama.*` keys that say how a file came about, not what to compute.
const NEUTRAL: &[&str] = &["tensor_data_layout", "rope.scaling.finetuned", "attention.layer_norm_epsilon"];

/// Keys that change the result unless they have this value.
const OFF: &[(&str, f64)] = &[
    ("expert_count", 0.0),
    ("expert_used_count", 0.0),
    ("attention.sliding_window", 0.0),
    ("attn_logit_softcapping", 0.0),
    ("final_logit_softcapping", 0.0),
    ("attention.causal", 1.0),
    ("use_parallel_residual", 0.0),
    ("logit_scale", 1.0),
    ("embedding_scale", 1.0),
    ("residual_scale", 1.0),
    ("rope.scaling.attn_factor", 1.0),
    ("rope.scaling.yarn_attn_factor", 1.0),
    ("rope.scaling.yarn_ext_factor", 1.0),
    ("rope.scaling.yarn_log_multiplier", 0.0),
];

/// The `config.json` that Hugging Face's converter to GGUF had before it, as far as it matters.
///
/// `shape` gives the shape of a stored tensor under PyTorch's name.
pub(crate) fn config_json<'a>(
    metadata: &Metadata,
    shape: &dyn Fn(&str) -> Option<&'a [usize]>,
) -> Result<Value, WeightsError> {
    let m = metadata;
    refuse_unknown(m)?;
    let stored = |name: &str| shape(name).is_some();
    let hidden = m.needed("llama.embedding_length")?;
    let heads = m.needed("llama.attention.head_count")?;
    let key_length = m.size("llama.attention.key_length")?;
    let head_dim = match key_length.or(m.size("llama.rope.dimension_count")?) {
        Some(width) => width,
        None => {
            hidden.checked_div(heads).ok_or_else(|| m.wrong("`llama.attention.head_count` is 0".into()))?
        }
    };
    for key in ["llama.rope.dimension_count", "llama.attention.value_length"] {
        if m.size(key)?.is_some_and(|n| n != head_dim) {
            return Err(m.unsupported(key, &format!("only the width of a head, {head_dim}, is implemented")));
        }
    }
    let vocab = match shape("model.embed_tokens.weight") {
        Some([rows, _]) => *rows as u64,
        _ => m.needed("llama.vocab_size")?,
    };
    let context = m.needed("llama.context_length")?;
    let mut config = json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocab,
        "hidden_size": hidden,
        "intermediate_size": m.needed("llama.feed_forward_length")?,
        "num_hidden_layers": m.needed("llama.block_count")?,
        "num_attention_heads": heads,
        "num_key_value_heads": m.size("llama.attention.head_count_kv")?.unwrap_or(heads),
        "head_dim": head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": context,
        "rms_norm_eps": m.real("llama.attention.layer_norm_rms_epsilon")?
            .ok_or_else(|| m.wrong("its metadata lacks `llama.attention.layer_norm_rms_epsilon`".into()))?,
        "tie_word_embeddings": !stored("lm_head.weight"),
        "attention_bias": stored("model.layers.0.self_attn.q_proj.bias"),
        "mlp_bias": stored("model.layers.0.mlp.gate_proj.bias"),
        "rope_parameters": rope_parameters(m)?,
        "dtype": "float32",
    });
    for (key, theirs) in [
        ("bos_token_id", "tokenizer.ggml.bos_token_id"),
        ("eos_token_id", "tokenizer.ggml.eos_token_id"),
        ("pad_token_id", "tokenizer.ggml.padding_token_id"),
    ] {
        if let Some(id) = m.size(theirs)? {
            config[key] = id.into();
        }
    }
    Ok(config)
}

fn rope_parameters(m: &Metadata) -> Result<Value, WeightsError> {
    let mut rope = Map::new();
    let theta = m.real("llama.rope.freq_base")?.unwrap_or(10000.0);
    rope.insert("rope_theta".into(), theta.into());
    let old = m.real("llama.rope.scale_linear")?.filter(|f| *f != 1.0);
    let kind = m.string("llama.rope.scaling.type")?.filter(|k| *k != "none").or(old.map(|_| "linear"));
    let factor = match m.real("llama.rope.scaling.factor")?.or(old) {
        Some(factor) => factor,
        None if kind.is_some() => {
            return Err(m.wrong("its metadata lacks `llama.rope.scaling.factor`".into()));
        }
        None => 1.0,
    };
    match kind {
        None => {
            rope.insert("rope_type".into(), "default".into());
        }
        Some("linear") => {
            rope.insert("rope_type".into(), "linear".into());
            rope.insert("factor".into(), factor.into());
        }
        Some("yarn") => {
            rope.insert("rope_type".into(), "yarn".into());
            rope.insert("factor".into(), factor.into());
            if let Some(length) = m.size("llama.rope.scaling.original_context_length")? {
                rope.insert("original_max_position_embeddings".into(), length.into());
            }
            for (theirs, ours) in [("beta_fast", "beta_fast"), ("beta_slow", "beta_slow")] {
                if let Some(beta) = m.real(&format!("llama.rope.scaling.yarn_{theirs}"))? {
                    rope.insert(ours.into(), beta.into());
                }
            }
        }
        Some(_) => {
            return Err(
                m.unsupported("llama.rope.scaling.type", "only none, linear and yarn are implemented")
            );
        }
    }
    Ok(Value::Object(rope))
}

/// Refuses, by name, every `llama.*` key that is neither used nor known to be without effect.
fn refuse_unknown(m: &Metadata) -> Result<(), WeightsError> {
    let mut keys: Vec<&str> = m.values.keys().filter_map(|k| k.strip_prefix("llama.")).collect();
    keys.sort_unstable();
    for key in keys {
        let full = format!("llama.{key}");
        if let Some((_, neutral)) = OFF.iter().find(|(name, _)| *name == key) {
            let value = match m.values.get(&full) {
                Some(GgufMetadataValue::Bool(on)) => Some(f64::from(u8::from(*on))),
                _ => m.real(&full)?,
            };
            if value != Some(*neutral) {
                return Err(m.unsupported(&full, "it would change the result and is not implemented"));
            }
        } else if !USED.contains(&key) && !NEUTRAL.contains(&key) {
            return Err(m.unsupported(&full, "Hugging Face's Llama has no such feature"));
        }
    }
    Ok(())
}
