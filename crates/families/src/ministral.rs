//! Ministral: Mistral with a window in the layers that `layer_types` names.

use ulpscope_decoder::{Family, Gguf, TokenizerClass};

use crate::mistral::{DEFAULTS, read};

/// Ministral 8B of 2024.
pub(crate) static MINISTRAL: Family = Family::new(
    "ministral",
    "MinistralForCausalLM",
    Gguf { architecture: "llama", permuted: true, keys: &[] },
    |family, keys| {
        let dense = read(keys, &DEFAULTS)?;
        let window = keys.window(Some(4096))?;
        let masks = keys.masks(dense.num_hidden_layers, window, |_| window.is_some())?;
        Ok(dense.architecture(family, |n, attention| attention.mask = masks[n]))
    },
    "PyTorch's bits at every hookable site of a tiny checkpoint, both attentions",
)
.tokenizer(TokenizerClass::AsWritten);
