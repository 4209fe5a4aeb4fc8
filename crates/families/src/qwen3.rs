//! Qwen3: Qwen2 whose query and key heads are normalised, with biases only if config.json says so.

use ulpscope_decoder::{Defaults, Family, Gguf, TokenizerClass};

use crate::qwen2::{self, read};

/// Qwen3, dense.
pub(crate) static QWEN3: Family = Family::new(
    "qwen3",
    "Qwen3ForCausalLM",
    Gguf { architecture: "qwen3", permuted: false, keys: &[] },
    |family, keys| {
        let (mut dense, masks) = read(keys, &DEFAULTS)?;
        dense.attention.bias = [keys.flag("attention_bias", false)?; 2];
        dense.attention.qk_norm = true;
        Ok(dense.architecture(family, |n, attention| attention.mask = masks[n]))
    },
    "PyTorch's bits at every hookable site of tiny checkpoints, both attentions",
)
.tokenizer(TokenizerClass::Default("Qwen2Tokenizer"));

/// The defaults of transformers' `Qwen3Config`: heads are 128 wide, whatever the stream's width.
const DEFAULTS: Defaults = Defaults { head_dim: Some(128), ..qwen2::DEFAULTS };
