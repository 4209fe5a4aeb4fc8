//! The `config.json` that a GGUF's metadata amount to.

use anamnesis::GgufMetadataValue;
use serde_json::{Map, Value, json};
use ulpscope_decoder::Family;

use super::metadata::Metadata;
use crate::WeightsError;

/// Keys behind the architecture's name that [`config_json`] reads.
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

/// Keys that say how a file came about, not what to compute.
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
/// `shape` gives the shape of a stored tensor under the file's own name.
pub(crate) fn config_json<'a>(
    metadata: &Metadata,
    family: &Family,
    shape: &dyn Fn(&str) -> Option<&'a [usize]>,
) -> Result<Value, WeightsError> {
    let m = metadata;
    refuse_unknown(m, family)?;
    let stored = |name: &str| shape(name).is_some();
    let hidden = m.needed(&m.own("embedding_length"))?;
    let heads = m.needed(&m.own("attention.head_count"))?;
    let key_length = m.size(&m.own("attention.key_length"))?;
    let head_dim = match key_length.or(m.size(&m.own("rope.dimension_count"))?) {
        Some(width) => width,
        None => hidden
            .checked_div(heads)
            .ok_or_else(|| m.wrong(format!("`{}` is 0", m.own("attention.head_count"))))?,
    };
    for key in ["rope.dimension_count", "attention.value_length"].map(|key| m.own(key)) {
        if m.size(&key)?.is_some_and(|n| n != head_dim) {
            return Err(m.unsupported(&key, &format!("only the width of a head, {head_dim}, is implemented")));
        }
    }
    let vocab = match shape("token_embd.weight") {
        Some([rows, _]) => *rows as u64,
        _ => m.needed(&m.own("vocab_size"))?,
    };
    check_vocabulary(m, vocab)?;
    let context = m.needed(&m.own("context_length"))?;
    let mut config = json!({
        "architectures": [family.class],
        "model_type": family.model_type,
        "vocab_size": vocab,
        "hidden_size": hidden,
        "intermediate_size": m.needed(&m.own("feed_forward_length"))?,
        "num_hidden_layers": m.needed(&m.own("block_count"))?,
        "num_attention_heads": heads,
        "num_key_value_heads": m.size(&m.own("attention.head_count_kv"))?.unwrap_or(heads),
        "head_dim": head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": context,
        "rms_norm_eps": m.real(&m.own("attention.layer_norm_rms_epsilon"))?
            .ok_or_else(|| m.wrong(format!("its metadata lacks `{}`", m.own("attention.layer_norm_rms_epsilon"))))?,
        "tie_word_embeddings": !stored("output.weight"),
        "attention_bias": stored("blk.0.attn_q.bias"),
        "mlp_bias": stored("blk.0.ffn_gate.bias"),
        "rope_parameters": rope_parameters(m)?,
        "dtype": "float32",
    });
    for (theirs, path) in family.gguf.keys {
        if let Some(value) = m.real(&m.own(theirs))? {
            *path.split('.').fold(&mut config, |object, key| &mut object[key]) = value.into();
        }
    }
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

/// Refuses a vocabulary of another size than the embedding's, and blocks of another layout than
/// those that are read.
fn check_vocabulary(m: &Metadata, rows: u64) -> Result<(), WeightsError> {
    // What is no list is an error where a tokenizer is asked for.
    let listed = m.strings("tokenizer.ggml.tokens").ok().flatten().map(|tokens| tokens.len() as u64);
    let own = m.own("vocab_size");
    for (key, said) in [(own.as_str(), m.size(&own)?), ("tokenizer.ggml.tokens", listed)] {
        if let Some(said) = said.filter(|said| *said != rows) {
            return Err(m.wrong(format!(
                "`{key}` makes a vocabulary of {said}, but `token_embd.weight` has {rows} rows; convert it again"
            )));
        }
    }
    const VERSION: &str = "general.quantization_version";
    match m.size(VERSION)? {
        None | Some(2) => Ok(()),
        Some(_) => Err(m.unsupported(VERSION, "only blocks of version 2 are read; convert it again")),
    }
}

fn rope_parameters(m: &Metadata) -> Result<Value, WeightsError> {
    let mut rope = Map::new();
    let theta = m.real(&m.own("rope.freq_base"))?.unwrap_or(10000.0);
    rope.insert("rope_theta".into(), theta.into());
    let scaled = |key: &str| Ok::<_, WeightsError>(m.real(&m.own(key))?.filter(|f| *f != 1.0 && *f != 0.0));
    let (new, old) = (scaled("rope.scaling.factor")?, scaled("rope.scale_linear")?);
    let named = m.string(&m.own("rope.scaling.type"))?;
    let contradicted = match named {
        Some("none") => new.or(old).is_some(),
        Some("linear") | None => new.is_some() && old.is_some() && new != old,
        Some(_) => old.is_some(),
    };
    if contradicted {
        let key = m.own(if new.is_some() { "rope.scaling.factor" } else { "rope.scale_linear" });
        let why = "other keys of `rope` contradict it; convert the file again";
        return Err(m.unsupported(&key, why));
    }
    // As in llama.cpp, a factor without a type scales linearly.
    let kind = named.filter(|k| *k != "none").or(new.or(old).map(|_| "linear"));
    let factor = match m.real(&m.own("rope.scaling.factor"))?.or(old) {
        Some(factor) => factor,
        None if kind.is_some() => {
            return Err(m.wrong(format!("its metadata lacks `{}`", m.own("rope.scaling.factor"))));
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
            if let Some(length) = m.size(&m.own("rope.scaling.original_context_length"))? {
                rope.insert("original_max_position_embeddings".into(), length.into());
            }
            for (theirs, ours) in [("beta_fast", "beta_fast"), ("beta_slow", "beta_slow")] {
                if let Some(beta) = m.real(&m.own(&format!("rope.scaling.yarn_{theirs}")))? {
                    rope.insert(ours.into(), beta.into());
                }
            }
        }
        Some(_) => {
            return Err(
                m.unsupported(&m.own("rope.scaling.type"), "only none, linear and yarn are implemented")
            );
        }
    }
    Ok(Value::Object(rope))
}

/// Refuses, by name, every key of the architecture that is neither used nor known to be without
/// effect.
fn refuse_unknown(m: &Metadata, family: &Family) -> Result<(), WeightsError> {
    let prefix = m.own("");
    let mut keys: Vec<&str> = m.values.keys().filter_map(|k| k.strip_prefix(&prefix)).collect();
    keys.sort_unstable();
    for key in keys.into_iter().filter(|key| family.gguf.keys.iter().all(|(known, _)| known != key)) {
        let full = m.own(key);
        if let Some((_, neutral)) = OFF.iter().find(|(name, _)| *name == key) {
            let value = match m.values.get(&full) {
                Some(GgufMetadataValue::Bool(on)) => Some(f64::from(u8::from(*on))),
                _ => m.real(&full)?,
            };
            if value != Some(*neutral) {
                return Err(m.unsupported(&full, "it would change the result and is not implemented"));
            }
        } else if !USED.contains(&key) && !NEUTRAL.contains(&key) {
            let why = format!("Hugging Face's `{}` has no such feature", family.model_type);
            return Err(m.unsupported(&full, &why));
        }
    }
    Ok(())
}
