//! What can be wrong with a checkpoint.

use std::fmt;
use std::path::{Path, PathBuf};

use ulpscope_decoder::ConfigError;
use ulpscope_record::text::shown;

/// Why a checkpoint can't be used. Every message names the file, the value found and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// Nothing is there.
    #[error("`{}` does not exist; give a directory in Hugging Face layout or a .gguf file", .path.display())]
    NotFound {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// A file that is no checkpoint.
    #[error("`{}` is neither a directory nor a .gguf file; give the directory that holds config.json", .path.display())]
    NotACheckpoint {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot read `{}`: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The directory holds no description of the model.
    #[error("`{}` has no config.json; {}", .dir.display(), .instead.as_deref().unwrap_or("is it the model's own directory?"))]
    NoConfig {
        /// The directory.
        dir: PathBuf,
        /// What it has instead, and what to do.
        instead: Option<String>,
    },
    /// A link to a file that is not there.
    #[error("`{}` is a link to `{}`, which is not there; in a cache of the hub that is a blob that was deleted: fetch the model again",
        .path.display(), .target.display())]
    Dangling {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// A JSON file that isn't JSON.
    #[error("`{}` is not valid JSON: {reason}", .path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What the parser said, with line and column.
        reason: String,
    },
    /// The architecture is not supported, or its description is inconsistent.
    #[error("`{}`: {source}", .path.display())]
    Config {
        /// The directory or GGUF file.
        path: PathBuf,
        /// Which key, its value, and what is accepted.
        source: ConfigError,
    },
    /// The directory holds no safetensors file.
    #[error("`{}` has no model.safetensors and no model.safetensors.index.json; {}", .dir.display(),
        .instead.as_deref().unwrap_or("download the weights too"))]
    NoWeights {
        /// The directory.
        dir: PathBuf,
        /// What it has instead, and what to do.
        instead: Option<String>,
    },
    /// A safetensors file whose header contradicts itself or the file.
    #[error("`{}` is no valid safetensors file: {reason}", .file.display())]
    Header {
        /// The file.
        file: PathBuf,
        /// The contradiction.
        reason: String,
    },
    /// `model.safetensors.index.json` can't be followed.
    #[error("`{}` is no usable shard index: {reason}", .path.display())]
    ShardIndex {
        /// The index file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The stored tensors are not the parameters of the model that the configuration describes.
    #[error("`{}` does not hold the parameters that its configuration asks for: {mismatch}", .path.display())]
    Parameters {
        /// The directory or GGUF file.
        path: PathBuf,
        /// All differences.
        mismatch: Mismatch,
    },
    /// A parameter is stored in a format that has no meaning as a plain number here.
    #[error("`{}`: tensor `{}` is stored as {dtype}; a parameter must be {accepted}", .file.display(), shown(.name))]
    StoredDType {
        /// The file.
        file: PathBuf,
        /// The tensor.
        name: String,
        /// Its format as the file spells it.
        dtype: String,
        /// What is accepted.
        accepted: &'static str,
    },
    /// Tied by the configuration, yet stored twice with different values.
    #[error(
        "`{}` says tie_word_embeddings, but stores an lm_head.weight that differs from model.embed_tokens.weight; \
         transformers would not tie them: set \"tie_word_embeddings\": false in config.json, or remove lm_head.weight",
        .path.display()
    )]
    TiedButDifferent {
        /// The directory.
        path: PathBuf,
    },
    /// The file changed its size after it was opened.
    #[error("`{}` was {opened} bytes long when opened and is {now} now; something is writing to it: run again when that has ended", .path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// Its length when it was opened, bytes.
        opened: u64,
        /// Its length now, bytes.
        now: u64,
    },
    /// The file is no longer the one that was opened.
    #[error("`{}` {what} while it was being read, so that nothing can be said of either; run again when it stays as it is", .path.display())]
    Replaced {
        /// The file.
        path: PathBuf,
        /// What happened to it.
        what: &'static str,
    },
    /// A file of the hub's cache has another content than its name says.
    #[error("`{}` leads to the cache's file {name}, whose content has the sha256 {found}: it is damaged or was exchanged; delete it, and it is fetched anew", .path.display())]
    Misnamed {
        /// The file.
        path: PathBuf,
        /// The sha256 that the cache calls it by.
        name: String,
        /// The sha256 that it has.
        found: String,
    },
    /// No such parameter.
    #[error("the model has no parameter `{name}`{}", did_you_mean(.suggestion))]
    UnknownParameter {
        /// The name that was asked for.
        name: String,
        /// The nearest name there is.
        suggestion: Option<String>,
    },
    /// A GGUF file that can't be parsed.
    #[error("`{}` is no readable GGUF file: {reason}", .path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A part of a GGUF file without the others, or beside others that do not belong to it.
    #[error("`{}` cannot be put together with its other parts: {reason}", .path.display())]
    GgufParts {
        /// The part.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A GGUF file that asks for something which would change the result and is not implemented.
    #[error("`{}`: {key} = {value} is not supported: {why}", .path.display())]
    GgufUnsupported {
        /// The file.
        path: PathBuf,
        /// The metadata key.
        key: String,
        /// Its value, shortened.
        value: String,
        /// What is accepted.
        why: String,
    },
    /// No tokenizer, or one that can't be used.
    #[error("`{}` gives no tokenizer: {reason}", .path.display())]
    Tokenizer {
        /// The directory or file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl WeightsError {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        WeightsError::Io { path: path.to_owned(), source }
    }
}

/// A shape, as an error may quote it.
fn dimensions(shape: &[usize]) -> String {
    match shape.get(..8) {
        Some(first) if shape.len() > 8 => format!("of {} dimensions, {first:?} and so on", shape.len()),
        _ => format!("{shape:?}"),
    }
}

pub(crate) fn did_you_mean(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

/// How the stored tensors differ from the parameters of the model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Parameters that are not stored, each with a stored name that looks like it.
    pub missing: Vec<(String, Option<String>)>,
    /// Stored tensors that are no parameters.
    pub surplus: Vec<String>,
    /// Parameters stored with another shape: name, expected, stored.
    pub misshapen: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl Mismatch {
    /// Whether there is no difference.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.surplus.is_empty() && self.misshapen.is_empty()
    }
}

/// So many names of each kind are spelled out in a message; a wrong config can make every tensor
/// one.
const SHOWN: usize = 8;

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = self.missing.iter().map(|(name, near)| match near {
            Some(near) => format!("`{}` (stored: `{}`?)", shown(name), shown(near)),
            None => format!("`{}`", shown(name)),
        });
        let surplus = self.surplus.iter().map(|name| format!("`{}`", shown(name)));
        let shaped = self
            .misshapen
            .iter()
            .map(|(name, want, got)| format!("`{}` is {}, expected {want:?}", shown(name), dimensions(got)));
        let kinds = [
            ("missing", self.missing.len(), missing.take(SHOWN).collect::<Vec<_>>()),
            ("surplus", self.surplus.len(), surplus.take(SHOWN).collect()),
            ("misshapen", self.misshapen.len(), shaped.take(SHOWN).collect()),
        ];
        let parts = kinds.into_iter().filter(|(_, count, _)| *count > 0).map(|(kind, count, shown)| {
            let more = if count > shown.len() {
                format!(" and {} more", count - shown.len())
            } else {
                String::new()
            };
            format!("{count} {kind}: {}{more}", shown.join(", "))
        });
        f.write_str(&parts.collect::<Vec<_>>().join("; "))
    }
}
