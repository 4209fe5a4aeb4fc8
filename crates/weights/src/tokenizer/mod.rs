//! Texts to token ids, as a checkpoint has it.

mod added;
mod class;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use tokenizers::models::ModelWrapper;
use tokenizers::models::bpe::BPE;
use tokenizers::{
    DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl,
};
use ulpscope_decoder::TokenizerClass;
use ulpscope_record::text::shown;

use self::added::Beside;
use self::class::{Class, Named};
use crate::WeightsError;
use crate::guard::guarded;
use crate::map::{explain_json, read_text};

/// A checkpoint's tokenizer: what [`Checkpoint::tokenizer`](crate::Checkpoint::tokenizer) returns.
///
/// Truncation and padding that a tokenizer.json asks for are left out, as transformers leaves them
/// out unless a call asks for them. So is BPE dropout, which gives other tokens at every run.
pub struct Tokenizer {
    path: PathBuf,
    inner: tokenizers::Tokenizer,
    /// What transformers reads the folder with, if that keeps only a part of its tokenizer.json,
    /// and what it adds.
    class: Option<(Class, Beside)>,
    notices: Vec<String>,
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
        let notices = without_chance(&mut inner).into_iter().collect();
        Ok(Tokenizer { path: path.to_owned(), inner, class: None, notices })
    }

    /// Reads the tokenizer.json of a directory, and the files beside it; `config` is its
    /// config.json.
    pub(crate) fn of_directory(
        dir: &Path,
        class: TokenizerClass,
        config: &serde_json::Value,
    ) -> Result<Self, WeightsError> {
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
        let text = read_text(&path)?;
        let mut tokenizer = Self::parse(dir, &text)?;
        let own = tokenizer.inner.get_added_tokens_decoder();
        let own = own.into_iter().map(|(id, token)| (u64::from(id), token)).collect();
        let beside = Beside::read(dir, &own)?;
        beside.add_to(&mut tokenizer.inner, &[])?;
        tokenizer.inner.set_encode_special_tokens(beside.splits_special()?);
        let class = class.of(beside.class().or_else(|| config.get("tokenizer_class")?.as_str()));
        match class.map(|name| (name, Class::named(name, &beside.config))) {
            Some((_, Named::Own(class))) if !class.yields_to(&text) => {
                tokenizer.class = Some((class, beside));
            }
            Some((name, Named::Unknown)) => tokenizer.notices.push(format!(
                "tokenizer.json is read as it stands; transformers may cut text otherwise with {}",
                shown(name)
            )),
            _ => {}
        }
        Ok(tokenizer)
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

    /// What is done otherwise than the files ask for, a sentence each.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// The class with which transformers reads the folder and that gives other ids for this text
    /// than its tokenizer.json does, and those ids; `None` where transformers gives the same.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn otherwise(&self, text: &str) -> Result<Option<(&'static str, Vec<u32>)>, WeightsError> {
        let Some((class, beside)) = &self.class else { return Ok(None) };
        if beside.adds_like(&self.inner, class.defaults())
            && self.guarded(|| class.cuts_like(&self.inner, text))?
        {
            return Ok(None);
        }
        let Some(mut own) = self.guarded(|| class.of(&self.inner))? else { return Ok(None) };
        beside.add_to(&mut own, class.defaults())?;
        own.set_encode_special_tokens(beside.splits_special()?);
        let ids = self.guarded(|| Ok(own.encode(text, true)?.get_ids().to_vec()))?;
        Ok((ids != self.encode(text)?).then_some((class.name, ids)))
    }

    /// Every token with its id, those included that files add.
    pub fn vocabulary(&self) -> HashMap<String, u32> {
        self.inner.get_vocab(true)
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

/// Switches off what gives other tokens at every run, and says so.
fn without_chance(tokenizer: &mut tokenizers::Tokenizer) -> Option<String> {
    let ModelWrapper::BPE(bpe) = tokenizer.get_model() else { return None };
    let dropout = bpe.dropout.filter(|dropout| *dropout > 0.0)?;
    let mut bpe = bpe.clone();
    bpe.dropout = None;
    tokenizer.with_model(ModelWrapper::BPE(bpe));
    Some(format!(
        "tokenizer.json asks for BPE dropout of {dropout}, which gives other tokens at every run; it is off here"
    ))
}

fn wrong(path: &Path, reason: String) -> WeightsError {
    WeightsError::Tokenizer { path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests;
