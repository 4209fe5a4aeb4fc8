//! A model for tests.

use serde_json::json;
use ulpscope_decoder::{Architecture, Site};
use ulpscope_llama::LlamaConfig;

/// A Llama of six blocks.
pub(crate) fn llama() -> Architecture {
    let config = json!({
        "model_type": "llama", "vocab_size": 64, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 6,
        "num_attention_heads": 4, "num_key_value_heads": 2,
    });
    LlamaConfig::from_json(&config).expect("the config is right").architecture()
}

/// A site of it.
pub(crate) fn site(name: &str) -> Site {
    llama().site(name).expect("the model has this site")
}
