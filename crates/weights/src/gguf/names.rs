//! llama.cpp's tensor names and PyTorch's.

/// PyTorch's name for a tensor of a Llama GGUF, if it is one.
///
/// `blk.7.attn_q.weight` is `model.layers.7.self_attn.q_proj.weight`.
pub(crate) fn from_gguf(name: &str) -> Option<String> {
    match name {
        "token_embd.weight" => return Some("model.embed_tokens.weight".to_owned()),
        "output_norm.weight" => return Some("model.norm.weight".to_owned()),
        "output.weight" => return Some("lm_head.weight".to_owned()),
        _ => {}
    }
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    // A canonical number only, so that two names never map to one.
    layer.parse::<u32>().ok().filter(|n| n.to_string() == layer)?;
    let (module, kind) = rest.rsplit_once('.')?;
    let (module, may_have_bias) = match module {
        "attn_q" => ("self_attn.q_proj", true),
        "attn_k" => ("self_attn.k_proj", true),
        "attn_v" => ("self_attn.v_proj", true),
        "attn_output" => ("self_attn.o_proj", true),
        "ffn_gate" => ("mlp.gate_proj", true),
        "ffn_up" => ("mlp.up_proj", true),
        "ffn_down" => ("mlp.down_proj", true),
        "attn_norm" => ("input_layernorm", false),
        "ffn_norm" => ("post_attention_layernorm", false),
        _ => return None,
    };
    (kind == "weight" || (kind == "bias" && may_have_bias))
        .then(|| format!("model.layers.{layer}.{module}.{kind}"))
}

/// Tensors that llama.cpp stores in old files and does not read.
pub(crate) fn is_ignored(name: &str) -> bool {
    name.starts_with("blk.") && name.ends_with(".attn_rot_embd.weight")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_pytorchs() {
        for (gguf, torch) in [
            ("token_embd.weight", "model.embed_tokens.weight"),
            ("output.weight", "lm_head.weight"),
            ("output_norm.weight", "model.norm.weight"),
            ("blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight"),
            ("blk.12.attn_k.bias", "model.layers.12.self_attn.k_proj.bias"),
            ("blk.3.attn_output.weight", "model.layers.3.self_attn.o_proj.weight"),
            ("blk.3.attn_norm.weight", "model.layers.3.input_layernorm.weight"),
            ("blk.3.ffn_norm.weight", "model.layers.3.post_attention_layernorm.weight"),
            ("blk.3.ffn_down.bias", "model.layers.3.mlp.down_proj.bias"),
        ] {
            assert_eq!(from_gguf(gguf).as_deref(), Some(torch));
        }
    }

    #[test]
    fn other_names_have_no_counterpart() {
        let others = [
            "",
            "blk",
            "blk.",
            "blk.0",
            "blk.x.attn_q.weight",
            "blk.01.attn_q.weight",
            "blk.+1.attn_q.weight",
            "blk.0.attn_norm.bias",
            "blk.0.attn_q.scale",
            "blk.0.ffn_gate_exps.weight",
            "blk.0.attn_q_norm.weight",
            "output.bias",
            "rope_freqs.weight",
        ];
        for name in others {
            assert_eq!(from_gguf(name), None, "{name}");
        }
    }
}
