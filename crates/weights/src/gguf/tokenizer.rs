//! A tokenizer from GGUF metadata.
//!
//! A GGUF lists tokens, their kinds, and merges or scores; how text is cut into words before
//! merging is only *named* (`tokenizer.ggml.pre`). An unknown name is an error, since a guess would
//! give other ids without a sign of it.

use std::collections::{HashMap, HashSet};

use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::replace::Replace;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, DecoderWrapper, Tokenizer};

use super::metadata::Metadata;
use super::rules::Rules;
use crate::WeightsError;

/// `token_type` of tokens that steer, such as `<|im_start|>`.
const CONTROL: i32 = 3;
/// `token_type` of whole-word additions, such as `<think>`.
const USER_DEFINED: i32 = 4;

type Merges = Vec<(String, String)>;

/// Builds the tokenizer that the metadata describe.
pub(crate) fn build(metadata: &Metadata) -> Result<Tokenizer, WeightsError> {
    let wrong = |reason: String| WeightsError::Tokenizer { path: metadata.path().to_owned(), reason };
    let missing = |key: &str| wrong(format!("its metadata lacks `{key}`"));
    let model = metadata.string("tokenizer.ggml.model")?.ok_or_else(|| missing("tokenizer.ggml.model"))?;
    let tokens =
        metadata.strings("tokenizer.ggml.tokens")?.ok_or_else(|| missing("tokenizer.ggml.tokens"))?;
    let (mut tokenizer, adds_bos) = match model {
        "gpt2" => {
            let pre = metadata.string("tokenizer.ggml.pre")?.unwrap_or("default");
            let rules = Rules::of(pre).ok_or_else(|| {
                wrong(format!("`tokenizer.ggml.pre` is `{}`, which is not known here", pre.escape_debug()))
            })?;
            (byte_level(metadata, tokens, rules, &wrong)?, rules == Rules::Llama3)
        }
        "llama" => (sentence_piece(metadata, tokens, &wrong)?, true),
        other => {
            let other = other.escape_debug();
            return Err(wrong(format!(
                "`tokenizer.ggml.model` is `{other}`; `gpt2` and `llama` are implemented"
            )));
        }
    };
    add_tokens(metadata, &mut tokenizer, tokens, model == "gpt2", &wrong)?;
    add_boundaries(metadata, &mut tokenizer, tokens, adds_bos, &wrong)?;
    Ok(tokenizer)
}

type Wrong<'a> = &'a dyn Fn(String) -> WeightsError;

/// Byte-level BPE, as in GPT-2 and everything after it.
fn byte_level(
    metadata: &Metadata,
    tokens: &[String],
    rules: Rules,
    wrong: Wrong,
) -> Result<Tokenizer, WeightsError> {
    let merges = metadata
        .strings("tokenizer.ggml.merges")?
        .ok_or_else(|| wrong("its metadata lacks `tokenizer.ggml.merges`".into()))?;
    let merges = merges
        .iter()
        .map(|merge| merge.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())))
        .collect::<Option<Merges>>()
        .ok_or_else(|| {
            wrong("an entry of `tokenizer.ggml.merges` is not two tokens with a space between".into())
        })?;
    let bpe = BPE::builder()
        .vocab_and_merges(vocabulary(tokens, spelled), merges)
        // Llama 3 takes a word that is a token as it is, before any merge.
        .ignore_merges(rules == Rules::Llama3)
        .build()
        .map_err(|e| wrong(e.to_string()))?;
    let mut tokenizer = Tokenizer::new(bpe);
    tokenizer.with_pre_tokenizer(Some(rules.pre_tokenizer().map_err(|e| wrong(e.to_string()))?));
    tokenizer.with_decoder(Some(ByteLevel::new(true, true, true)));
    Ok(tokenizer)
}

/// SentencePiece's BPE with bytes for what it does not know, as in Llama 1 and 2.
fn sentence_piece(metadata: &Metadata, tokens: &[String], wrong: Wrong) -> Result<Tokenizer, WeightsError> {
    let merges = match metadata.strings("tokenizer.ggml.merges")? {
        Some(merges) => merges
            .iter()
            .map(|merge| merge.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())))
            .collect::<Option<Merges>>()
            .ok_or_else(|| wrong("an entry of `tokenizer.ggml.merges` is not two tokens".into()))?,
        None => {
            let scores = metadata
                .reals("tokenizer.ggml.scores")?
                .filter(|scores| scores.len() == tokens.len())
                .ok_or_else(|| {
                    wrong("it has neither `tokenizer.ggml.merges` nor one score per token".into())
                })?;
            merges_from_scores(tokens, scores)
        }
    };
    let unknown = metadata.size("tokenizer.ggml.unknown_token_id")?.unwrap_or(0);
    let unknown = usize::try_from(unknown).ok().and_then(|id| tokens.get(id));
    let mut bpe = BPE::builder()
        .vocab_and_merges(vocabulary(tokens, str::to_owned), merges)
        .byte_fallback(true)
        .fuse_unk(true);
    if let Some(token) = unknown {
        bpe = bpe.unk_token(token.clone());
    }
    let mut tokenizer = Tokenizer::new(bpe.build().map_err(|e| wrong(e.to_string()))?);
    let prefixed = metadata.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let scheme = if prefixed { PrependScheme::First } else { PrependScheme::Never };
    tokenizer.with_pre_tokenizer(Some(Metaspace::new('▁', scheme, false)));
    let mut decoders: Vec<DecoderWrapper> = vec![
        Replace::new("▁", " ").map_err(|e| wrong(e.to_string()))?.into(),
        ByteFallback::new().into(),
        Fuse::new().into(),
    ];
    if prefixed {
        decoders.push(Strip::new(' ', 1, 0).into());
    }
    tokenizer.with_decoder(Some(Decoders::new(decoders)));
    Ok(tokenizer)
}

/// The merges that a SentencePiece vocabulary implies: every way to cut a token into two tokens,
/// the token with the best score first, then as transformers' `generate_merges` orders them.
fn merges_from_scores(tokens: &[String], scores: &[f32]) -> Merges {
    let ids: HashMap<&str, usize> = tokens.iter().enumerate().map(|(id, t)| (t.as_str(), id)).collect();
    // (score, left, right), in transformers' order before its stable sort.
    let mut all: Vec<(f32, &str, &str)> = Vec::new();
    let mut seen = HashSet::new();
    for token in tokens {
        // Of tokens spelled alike the last one's number and score count, at the place of the first.
        // A word of a thousand characters is none, and to try all its cuts would take forever.
        if !seen.insert(token.as_str()) || token.len() > 1024 {
            continue;
        }
        // So that -0 and 0 are equal, as they are for Python.
        let score = scores[ids[token.as_str()]] + 0.0;
        let mut cuts: Vec<(&str, &str)> = token
            .char_indices()
            .skip(1)
            .map(|(at, _)| token.split_at(at))
            .filter(|(left, right)| ids.contains_key(left) && ids.contains_key(right))
            .collect();
        cuts.sort_by_key(|(left, right)| (ids[left], ids[right]));
        all.extend(cuts.into_iter().map(|(left, right)| (score, left, right)));
    }
    let length = |s: &str| s.chars().count();
    // Python's sorted(reverse=True) keeps equal elements in their first order, as `sort_by` on
    // swapped arguments does.
    all.sort_by(|a, b| {
        b.0.total_cmp(&a.0).then(length(b.1).cmp(&length(a.1))).then(length(b.2).cmp(&length(a.2)))
    });
    all.into_iter().map(|(_, left, right)| (left.to_owned(), right.to_owned())).collect()
}

fn vocabulary(tokens: &[String], spell: impl Fn(&str) -> String) -> Vocab {
    tokens.iter().enumerate().map(|(id, token)| (spell(token), id as u32)).collect()
}

/// A token in GPT-2's byte alphabet. Some files hold a few tokens as plain text among the spelled
/// ones.
fn spelled(token: &str) -> String {
    // Printable bytes of Latin-1 stand for themselves, the others for the characters from U+0100
    // on, in order.
    let stands_for_itself = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let moved = |b: u8| (0..b).filter(|&earlier| !stands_for_itself(earlier)).count() as u32;
    let letter = |b: u8| if stands_for_itself(b) { Some(b.into()) } else { char::from_u32(0x100 + moved(b)) };
    let in_alphabet = |c: char| matches!(c, '!'..='~' | '\u{a1}'..='\u{ac}' | '\u{ae}'..='\u{143}');
    if token.chars().all(in_alphabet) { token.to_owned() } else { token.bytes().filter_map(letter).collect() }
}

/// Makes control and user-defined tokens match whole, as llama.cpp and transformers do.
fn add_tokens(
    metadata: &Metadata,
    tokenizer: &mut Tokenizer,
    tokens: &[String],
    byte_level: bool,
    wrong: Wrong,
) -> Result<(), WeightsError> {
    let kinds = metadata.token_types("tokenizer.ggml.token_type")?.unwrap_or(&[]);
    if !kinds.is_empty() && kinds.len() != tokens.len() {
        return Err(wrong(format!("it has {} tokens but {} token types", tokens.len(), kinds.len())));
    }
    let of_kind = |kind: i32, special: bool| -> Vec<AddedToken> {
        tokens
            .iter()
            .zip(kinds)
            .filter(|(token, k)| **k == kind && !token.is_empty())
            // One that is not in the vocabulary as it is spelled would get a new id, past the end
            // of the embedding. In a byte-level vocabulary that is a known mislabelling by
            // llama.cpp's converter.
            .filter(|(token, _)| !byte_level || spelled(token) == **token)
            .map(|(token, _)| AddedToken::from(token.clone(), special).normalized(false))
            .collect()
    };
    tokenizer.add_special_tokens(of_kind(CONTROL, true)).map_err(|e| wrong(e.to_string()))?;
    tokenizer.add_tokens(of_kind(USER_DEFINED, false)).map_err(|e| wrong(e.to_string()))?;
    Ok(())
}

/// Puts the beginning-of-text and end-of-text tokens around a text, where the file asks for them.
fn add_boundaries(
    metadata: &Metadata,
    tokenizer: &mut Tokenizer,
    tokens: &[String],
    adds_bos: bool,
    wrong: Wrong,
) -> Result<(), WeightsError> {
    let token = |flag: &str, default: bool, id: &str| -> Result<Option<(String, u32)>, WeightsError> {
        if !metadata.flag(flag)?.unwrap_or(default) {
            return Ok(None);
        }
        let Some(id) = metadata.size(id)? else { return Ok(None) };
        let spelled = usize::try_from(id).ok().and_then(|i| tokens.get(i));
        let spelled =
            spelled.ok_or_else(|| wrong(format!("token id {id} is outside its {} tokens", tokens.len())))?;
        Ok(Some((spelled.clone(), id as u32)))
    };
    let bos = token("tokenizer.ggml.add_bos_token", adds_bos, "tokenizer.ggml.bos_token_id")?;
    let eos = token("tokenizer.ggml.add_eos_token", false, "tokenizer.ggml.eos_token_id")?;
    if bos.is_none() && eos.is_none() {
        return Ok(());
    }
    let piece = |name: &str, present: bool| if present { name.to_owned() } else { String::new() };
    // The template's own names, since a token's spelling may contain what the template's syntax
    // uses.
    let template = [piece("bos:0", bos.is_some()), "$A:0".to_owned(), piece("eos:0", eos.is_some())];
    let template: Vec<String> = template.into_iter().filter(|p| !p.is_empty()).collect();
    let special = |name: &str, token: Option<(String, u32)>| {
        token.map(|(spelled, id)| {
            tokenizers::processors::template::SpecialToken::new(name.to_owned(), vec![id], vec![spelled])
        })
    };
    let specials = [special("bos", bos), special("eos", eos)]
        .into_iter()
        .flatten()
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| wrong(e.to_string()))?;
    let processor = TemplateProcessing::builder()
        .try_single(template)
        .map_err(|e| wrong(e.to_string()))?
        .special_tokens(specials)
        .build()
        .map_err(|e| wrong(e.to_string()))?;
    tokenizer.with_post_processor(Some(processor));
    Ok(())
}
