//! Texts to token ids, as a checkpoint has it.

use std::fmt;
use std::path::{Path, PathBuf};

use tokenizers::models::bpe::BPE;
use tokenizers::{
    DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl,
};
use ulpscope_record::text::shown;

use crate::WeightsError;
use crate::guard::guarded;
use crate::map::{explain_json, read_text};

/// A checkpoint's tokenizer: what [`Checkpoint::tokenizer`](crate::Checkpoint::tokenizer) returns.
///
/// Truncation and padding that a tokenizer.json asks for are left out, as transformers leaves them
/// out unless a call asks for them.
pub struct Tokenizer {
    path: PathBuf,
    inner: tokenizers::Tokenizer,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// What `build` makes of the checkpoint at `path`.
    pub(crate) fn of(
        path: &Path,
        build: impl FnOnce() -> Result<tokenizers::Tokenizer, WeightsError>,
    ) -> Result<Self, WeightsError> {
        let mut inner = guarded(build)
            .map_err(|panic| wrong(path, format!("the library that reads it failed on it ({panic})")))??;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| wrong(path, e.to_string()))?;
        Ok(Tokenizer { path: path.to_owned(), inner })
    }

    /// Reads the tokenizer.json of a directory.
    pub(crate) fn of_directory(dir: &Path) -> Result<Self, WeightsError> {
        let path = dir.join("tokenizer.json");
        if !path.exists() {
            let slow = ["tokenizer.model", "vocab.json"].into_iter().find(|f| dir.join(f).exists());
            return Err(wrong(
                dir,
                match slow {
                    Some(slow) => format!(
                        "it has no tokenizer.json, and its {slow} alone is not read: save the tokenizer with \
                         transformers"
                    ),
                    None => "it has no tokenizer.json".to_owned(),
                },
            ));
        }
        Self::parse(dir, &read_text(&path)?)
    }

    /// Reads the text of the tokenizer.json of the directory `dir`.
    pub(crate) fn parse(dir: &Path, text: &[u8]) -> Result<Self, WeightsError> {
        if let Ok(Some(tokenizer)) = guarded(|| of_bpe(text)) {
            return Self::of(dir, || Ok(tokenizer));
        }
        let unusable = |reason: String| wrong(dir, format!("tokenizer.json is not usable: {reason}"));
        // The library's own reading ends in a panic where some parts are no JSON.
        serde_json::from_slice::<serde::de::IgnoredAny>(text)
            .map_err(|e| unusable(explain_json(text, &e)))?;
        Self::of(dir, || tokenizers::Tokenizer::from_bytes(text).map_err(|e| unusable(shown(&e.to_string()))))
    }

    /// The ids of a text, with the special tokens that the checkpoint puts around one.
    ///
    /// # Errors
    /// [`WeightsError::Tokenizer`] if it can't be done, of which a broken tokenizer.json may be the
    /// reason.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, WeightsError> {
        self.guarded(|| Ok(self.inner.encode(text, true)?.get_ids().to_vec()))
    }

    /// The text of some ids, special tokens included.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn decode(&self, ids: &[u32]) -> Result<String, WeightsError> {
        self.guarded(|| self.inner.decode(ids, false))
    }

    fn guarded<T>(&self, f: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, WeightsError> {
        match guarded(f) {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(wrong(&self.path, error.to_string())),
            Err(panic) => {
                Err(wrong(&self.path, format!("its use ended in a failure of the library ({panic})")))
            }
        }
    }
}

/// A tokenizer whose model is BPE, as all of Llama's are. The library's reading of any model first
/// makes a tree of all tokens and merges, which takes longer than the rest.
fn of_bpe(text: &[u8]) -> Option<tokenizers::Tokenizer> {
    type OfBpe =
        TokenizerImpl<BPE, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;
    serde_json::from_slice::<OfBpe>(text).ok().map(Into::into)
}

fn wrong(path: &Path, reason: String) -> WeightsError {
    WeightsError::Tokenizer { path: path.to_owned(), reason }
}
