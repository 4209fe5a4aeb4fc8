//! How text is cut into words before any merge.

use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{PreTokenizerWrapper, SplitDelimiterBehavior};

/// Qwen2's expression.
pub(crate) const QWEN2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// How text is cut before merging.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rules {
    /// GPT-2's expression.
    Gpt2,
    /// Digits one by one, then GPT-2's expression.
    DigitsThenGpt2,
    Llama3,
    Qwen2,
    Tekken,
}

impl Rules {
    pub(super) fn of(pre: &str) -> Option<Self> {
        match pre {
            // llama.cpp cuts "default" a little differently; transformers takes GPT-2's expression
            // for it.
            "gpt-2" | "gpt2" | "default" | "phi-2" | "mpt" | "olmo" => Some(Rules::Gpt2),
            "smollm" | "starcoder" | "refact" | "command-r" => Some(Rules::DigitsThenGpt2),
            "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "pixtral" | "smaug-bpe" | "dbrx" => {
                Some(Rules::Llama3)
            }
            "qwen2" | "deepseek-r1-qwen" | "megrez" => Some(Rules::Qwen2),
            "tekken" => Some(Rules::Tekken),
            _ => None,
        }
    }

    pub(super) fn pre_tokenizer(self) -> Result<PreTokenizerWrapper, tokenizers::Error> {
        let expression = match self {
            Rules::Gpt2 => return Ok(ByteLevel::new(false, true, true).into()),
            Rules::DigitsThenGpt2 => {
                return Ok(Sequence::new(vec![
                    Digits::new(true).into(),
                    ByteLevel::new(false, true, true).into(),
                ])
                .into());
            }
            Rules::Llama3 => concat!(
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
                r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            ),
            Rules::Qwen2 => QWEN2,
            Rules::Tekken => concat!(
                r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
                r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
                r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            ),
        };
        let pattern = SplitPattern::Regex(expression.to_owned());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?;
        Ok(Sequence::new(vec![split.into(), ByteLevel::new(false, true, false).into()]).into())
    }
}
