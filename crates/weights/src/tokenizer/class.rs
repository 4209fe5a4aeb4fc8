//! Classes of transformers 5 that keep of a tokenizer.json the vocabulary, the merges and what
//! surrounds a text, and cut text by rules of their own.

use tokenizers::models::ModelWrapper;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::PreTokenizedString;
use tokenizers::{
    NormalizedString, Normalizer, NormalizerWrapper, PreTokenizer, PreTokenizerWrapper, Result,
    SplitDelimiterBehavior, Tokenizer,
};

use super::added::Object;

/// How such a class cuts text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rules {
    /// GPT-2's.
    Gpt2,
    /// SentencePiece's.
    Metaspace,
    /// Qwen2's.
    Qwen2,
}

/// A class, with what tokenizer_config.json sets of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Class {
    /// Its name in transformers.
    pub(super) name: &'static str,
    rules: Rules,
    prefix: bool,
    legacy: bool,
}

/// Names of classes that read a tokenizer.json as it stands.
const PLAIN: [&str; 4] =
    ["TokenizersBackend", "PreTrainedTokenizer", "PythonBackend", "PreTrainedTokenizerBase"];

/// What a name stands for.
pub(super) enum Named {
    /// A class that reads tokenizer.json as it stands.
    Plain,
    /// One with rules of its own.
    Own(Class),
    /// Not known.
    Unknown,
}

impl Class {
    /// The class of a name, with or without `Fast` behind it.
    pub(super) fn named(name: &str, config: &Object) -> Named {
        let name = name.strip_suffix("Fast").unwrap_or(name);
        let flag = |key: &str| config.get(key).and_then(serde_json::Value::as_bool);
        let (name, rules, prefix) = match name {
            "GPT2Tokenizer" => ("GPT2Tokenizer", Rules::Gpt2, false),
            "LlamaTokenizer" => ("LlamaTokenizer", Rules::Metaspace, true),
            "Qwen2Tokenizer" => ("Qwen2Tokenizer", Rules::Qwen2, false),
            _ if PLAIN.contains(&name) => return Named::Plain,
            _ => return Named::Unknown,
        };
        let prefix = flag("add_prefix_space").unwrap_or(prefix);
        Named::Own(Class { name, rules, prefix, legacy: flag("legacy").unwrap_or(false) })
    }

    /// Special tokens that it has where no file names others.
    pub(super) fn defaults(self) -> &'static [(&'static str, &'static str)] {
        const END: &str = "<|endoftext|>";
        match self.rules {
            Rules::Gpt2 => &[("unk_token", END), ("bos_token", END), ("eos_token", END)],
            Rules::Metaspace => &[("unk_token", "<unk>"), ("bos_token", "<s>"), ("eos_token", "</s>")],
            Rules::Qwen2 => &[("unk_token", END), ("eos_token", END), ("pad_token", END)],
        }
    }

    /// Whether transformers reads a tokenizer.json that names it as it stands: SentencePiece's
    /// rules are not those of bytes.
    pub(super) fn yields_to(self, text: &[u8]) -> bool {
        self.rules == Rules::Metaspace && text.windows(11).any(|name| name == b"\"ByteLevel\"")
    }

    /// Whether it merges and cuts this text as `tokenizer` does.
    pub(super) fn cuts_like(self, tokenizer: &Tokenizer, text: &str) -> Result<bool> {
        let ModelWrapper::BPE(bpe) = tokenizer.get_model() else { return Ok(false) };
        if !self.merges_like(bpe) {
            return Ok(false);
        }
        let words = |normalizer: Option<&NormalizerWrapper>, pre: Option<&PreTokenizerWrapper>| {
            let mut normalized = NormalizedString::from(text);
            normalizer.map_or(Ok(()), |normalizer| normalizer.normalize(&mut normalized))?;
            let mut cut = PreTokenizedString::from(normalized);
            pre.map_or(Ok(()), |pre| pre.pre_tokenize(&mut cut))?;
            let splits =
                cut.get_splits(tokenizers::OffsetReferential::Original, tokenizers::OffsetType::Byte);
            Result::Ok(splits.into_iter().map(|(word, ..)| word.to_owned()).collect::<Vec<_>>())
        };
        let ours = words(tokenizer.get_normalizer(), tokenizer.get_pre_tokenizer())?;
        Ok(ours == words(self.normalizer().as_ref(), Some(&self.pre_tokenizer()?))?)
    }

    /// `tokenizer` as it would be, but for added tokens; `None` where its model is no BPE.
    pub(super) fn of(self, tokenizer: &Tokenizer) -> Result<Option<Tokenizer>> {
        let ModelWrapper::BPE(bpe) = tokenizer.get_model() else { return Ok(None) };
        let mut bpe = bpe.clone();
        let spaced = self.rules == Rules::Metaspace;
        (bpe.dropout, bpe.unk_token, bpe.ignore_merges) = (None, None, false);
        (bpe.continuing_subword_prefix, bpe.end_of_word_suffix) = (None, None);
        (bpe.fuse_unk, bpe.byte_fallback) = (spaced, spaced);
        let mut own = Tokenizer::new(ModelWrapper::BPE(bpe));
        own.with_normalizer(self.normalizer())?;
        own.with_pre_tokenizer(Some(self.pre_tokenizer()?));
        own.with_post_processor(tokenizer.get_post_processor().cloned());
        Ok(Some(own))
    }

    fn merges_like(self, bpe: &BPE) -> bool {
        let empty = |part: &Option<String>| part.as_deref().unwrap_or_default().is_empty();
        let spaced = self.rules == Rules::Metaspace;
        let affixes = empty(&bpe.continuing_subword_prefix) && empty(&bpe.end_of_word_suffix);
        // The bytes of a text are all in a vocabulary of bytes, and those of others fall back on
        // them.
        let unknown = if spaced { bpe.byte_fallback } else { bpe.unk_token.is_none() && !bpe.byte_fallback };
        affixes && unknown && !bpe.ignore_merges && bpe.fuse_unk == spaced
    }

    fn normalizer(self) -> Option<NormalizerWrapper> {
        (self.rules == Rules::Qwen2).then(|| NFC.into())
    }

    fn pre_tokenizer(self) -> Result<PreTokenizerWrapper> {
        Ok(match self.rules {
            Rules::Gpt2 => ByteLevel::new(self.prefix, true, true).into(),
            Rules::Metaspace => {
                let scheme = match (self.prefix, self.legacy) {
                    (false, _) => PrependScheme::Never,
                    (true, true) => PrependScheme::Always,
                    (true, false) => PrependScheme::First,
                };
                Metaspace::new('▁', scheme, false).into()
            }
            Rules::Qwen2 => {
                let pattern = SplitPattern::Regex(crate::gguf::QWEN2.to_owned());
                let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?;
                Sequence::new(vec![split.into(), ByteLevel::new(self.prefix, true, false).into()]).into()
            }
        })
    }
}
