//! Mistral: Llama with a window in every layer, and no biases.

use serde_json::json;
use ulpscope_decoder::{ConfigError, Defaults, Dense, Family, Gguf, Keys, TokenizerClass, departure::Mask};

/// Mistral 7B and what is built like it.
pub(crate) static MISTRAL: Family = Family::new(
    "mistral",
    "MistralForCausalLM",
    // A GGUF of a Mistral says that it is a Llama, and does not store the window.
    Gguf { architecture: "llama", permuted: true, keys: &[] },
    |family, keys| {
        let dense = read(keys, &DEFAULTS)?;
        // Unlike Ministral, Mistral does not read which layers have a window.
        keys.get("layer_types");
        let mask = keys.window(Some(4096))?.map_or(Mask::Causal, Mask::Window);
        Ok(dense.architecture(family, |_, attention| attention.mask = mask))
    },
    "PyTorch's bits at every hookable site of tiny checkpoints, both attentions",
)
.tokenizer(TokenizerClass::AsWritten);

/// The defaults of transformers' `MistralConfig`.
pub(crate) const DEFAULTS: Defaults = Defaults {
    vocab_size: 32000,
    intermediate_size: 14336,
    num_key_value_heads: Some(8),
    head_dim: None,
    max_position_embeddings: 131_072,
    rms_norm_eps: 1e-6,
};

/// What all Mistrals read: no layer has a bias.
pub(crate) fn read(keys: &Keys, defaults: &Defaults) -> Result<Dense, ConfigError> {
    for key in ["attention_bias", "mlp_bias"] {
        keys.only(key, &json!(false), "this family has no biases")?;
    }
    Dense::read(keys, defaults)
}
