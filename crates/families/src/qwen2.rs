//! Qwen2: Llama with biases on queries, keys and values, and a window in later layers if it is
//! switched on.

use serde_json::json;
use ulpscope_decoder::{ConfigError, Defaults, Dense, Family, Gguf, Keys, TokenizerClass, departure::Mask};

/// Qwen2 and Qwen2.5.
pub(crate) static QWEN2: Family = Family::new(
    "qwen2",
    "Qwen2ForCausalLM",
    Gguf { architecture: "qwen2", permuted: false, keys: &[] },
    |family, keys| {
        // No key says which layers have biases; one in the file is not read.
        keys.get("attention_bias");
        let (mut dense, masks) = read(keys, &DEFAULTS)?;
        dense.attention.bias = [true, false];
        Ok(dense.architecture(family, |n, attention| attention.mask = masks[n]))
    },
    "PyTorch's bits at every hookable site of tiny checkpoints, both attentions",
)
.tokenizer(TokenizerClass::Always("Qwen2Tokenizer"));

/// The defaults of transformers' `Qwen2Config`.
pub(crate) const DEFAULTS: Defaults = Defaults {
    vocab_size: 151_936,
    intermediate_size: 22016,
    num_key_value_heads: Some(32),
    head_dim: None,
    max_position_embeddings: 32768,
    rms_norm_eps: 1e-6,
};

/// What Qwen2 and Qwen3 read alike, and which keys each layer's queries see.
pub(crate) fn read(keys: &Keys, defaults: &Defaults) -> Result<(Dense, Vec<Mask>), ConfigError> {
    keys.only("mlp_bias", &json!(false), "this family's MLP has no biases")?;
    let dense = Dense::read(keys, defaults)?;
    // Without its switch, the window is not read.
    let window = match keys.flag("use_sliding_window", false)? {
        true => keys.window(Some(4096))?,
        false => keys.get("sliding_window").and(None),
    };
    let first = keys.size("max_window_layers", Some(28), 0)?;
    let masks = keys.masks(dense.num_hidden_layers, window, |n| window.is_some() && n >= first)?;
    Ok((dense, masks))
}
