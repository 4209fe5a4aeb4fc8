//! The tokenizer of a directory in Hugging Face layout.

use std::path::Path;

use tokenizers::Tokenizer;

use crate::WeightsError;

/// Reads `tokenizer.json`.
pub(crate) fn from_directory(dir: &Path) -> Result<Tokenizer, WeightsError> {
    let path = dir.join("tokenizer.json");
    let wrong = |reason: String| WeightsError::Tokenizer { path: dir.to_owned(), reason };
    if !path.exists() {
        let slow = ["tokenizer.model", "vocab.json"].into_iter().find(|f| dir.join(f).exists());
        return Err(wrong(match slow {
            Some(slow) => format!(
                "it has no tokenizer.json, and its {slow} alone is not read: save the tokenizer with transformers, \
                 or give token ids instead of text"
            ),
            None => "it has no tokenizer.json; give token ids instead of text".to_owned(),
        }));
    }
    let text = std::fs::read(&path).map_err(|e| WeightsError::io(&path, e))?;
    Tokenizer::from_bytes(text).map_err(|e| wrong(format!("tokenizer.json is not usable: {e}")))
}
