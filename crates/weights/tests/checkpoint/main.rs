//! Checkpoints from the outside: directories and GGUF files, sound and damaged.

mod damage;
mod directory;
mod families;
mod gguf;
mod parts;
mod tokenizer;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use ulpscope_weights::{Checkpoint, WeightsError};

/// A file or folder under `tests/fixtures`.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

/// The message with which a path is refused.
fn refusal(path: &Path) -> String {
    match Checkpoint::open(path) {
        Ok(_) => panic!("{} was accepted", path.display()),
        Err(e) => one_sentence(&e),
    }
}

fn one_sentence(error: &WeightsError) -> String {
    let text = error.to_string();
    assert!(!text.contains('\n') && text.chars().count() < 1500, "{text}");
    text
}

/// The smallest Llama: no block, two numbers wide, four tokens.
fn smallest_config() -> Value {
    json!({
        "model_type": "llama", "vocab_size": 4, "hidden_size": 2, "intermediate_size": 2, "num_hidden_layers": 0,
        "num_attention_heads": 1, "max_position_embeddings": 8, "tie_word_embeddings": true
    })
}
