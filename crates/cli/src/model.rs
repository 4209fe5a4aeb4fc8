//! From a name on the command line to an open checkpoint, and from text to token ids.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use ulpscope_decoder::AttentionKind;
use ulpscope_record::text::{shortened, shown};
use ulpscope_record::{Explanation, LogitDivergence, Model, ModelFile, Prompt};
use ulpscope_weights::{Checkpoint, Located, ModelRef, Options, Tokenizer, WeightsError, locate_first};

use crate::args::{PromptArgs, SourceArgs, model_ref};
use crate::progress::Talk;

/// A checkpoint, and where it was found.
pub(crate) struct Opened {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) located: Located,
    /// Read when it is first asked for: that takes longer than a short prompt's forward pass.
    tokenizer: OnceLock<Result<Tokenizer, WeightsError>>,
}

/// Opens the first source that can be had, and says in a line each why the others could not.
pub(crate) fn open(sources: &[String], args: &SourceArgs, talk: &Talk) -> Result<Opened> {
    let references = sources.iter().map(|s| model_ref(s)).collect::<Result<Vec<ModelRef>>>()?;
    let mut options = Options::from_env();
    options.offline |= args.offline;
    let located = match &references[..] {
        [only] => ulpscope_weights::locate(only, &options, &mut talk.download())?,
        several => locate_first(several, &options, &mut talk.download())?,
    };
    for reason in &located.unavailable {
        talk.say(&format!("not available: {reason}"));
    }
    let stage = talk.stage(format!("opening {}", located.name));
    let mut checkpoint = Checkpoint::open(&located.path)?;
    checkpoint.remember_hashes(options.hashes);
    drop(stage);
    for file in checkpoint.files() {
        let bytes = std::fs::metadata(file).map_or(0, |m| m.len());
        talk.detail(|| format!("  {}, {bytes} bytes", file.display()));
    }
    for key in &checkpoint.architecture().ignored {
        talk.say(&format!("config.json: `{key}` is not used; no family that is read here has such a key"));
    }
    if let Some((key, asked)) = asked_attention(checkpoint.config_json())
        && asked.parse::<AttentionKind>().is_err()
    {
        let asked = shown(asked);
        talk.say(&format!(
            "config.json: `{key}` is {asked}, which is not implemented; attention is sdpa here"
        ));
    }
    Ok(Opened { checkpoint, located, tokenizer: OnceLock::new() })
}

/// The attention that a config.json makes transformers take. The key with an underscore is set
/// last, even to null.
fn asked_attention(config: &serde_json::Value) -> Option<(&'static str, &str)> {
    let keys = ["_attn_implementation", "attn_implementation"];
    let (key, value) = keys.into_iter().find_map(|key| Some((key, config.get(key)?)))?;
    Some((key, value.as_str()?))
}

/// What is run where no prompt was given.
pub(crate) struct BuiltIn {
    text: &'static str,
    /// Tokens of it, at most.
    most: usize,
}

impl BuiltIn {
    /// Of `compare` and `trace`: what the founding post ran.
    pub(crate) const SHORT: BuiltIn = BuiltIn { text: "Gravity is", most: usize::MAX };

    /// Of `explain`: long enough to tell a cause from noise, in a model that takes so many tokens.
    pub(crate) fn long(model_takes: usize) -> Self {
        BuiltIn { text: include_str!("prompt.txt"), most: model_takes.min(256) }
    }
}

/// The texts of prompts: those that were given, those of files, or the one of `built_in` where no
/// prompt was given.
pub(crate) fn texts(args: &PromptArgs, built_in: &BuiltIn) -> Result<Vec<String>> {
    let mut texts = args.texts.clone();
    for file in &args.files {
        let text = ulpscope_record::file::open(file).and_then(std::io::read_to_string);
        texts.push(text.with_context(|| format!("--text {}: the file can't be read", file.display()))?);
    }
    if !args.any() {
        texts.push(built_in.text.to_owned());
    }
    Ok(texts)
}

impl Opened {
    /// The model as a record names it.
    pub(crate) fn describe(&self, files: Vec<(String, String)>) -> Model {
        let Located { name, kind, revision, unavailable, .. } = &self.located;
        Model {
            name: name.clone(),
            source: *kind,
            revision: revision.clone(),
            stand_in: !unavailable.is_empty(),
            unavailable: unavailable.clone(),
            config: self.checkpoint.config_json().clone(),
            files: files.into_iter().map(|(path, sha256)| ModelFile { path, sha256 }).collect(),
        }
    }

    /// The attention that was asked for, or else the one that transformers takes by its
    /// config.json.
    pub(crate) fn attention(&self, asked: Option<AttentionKind>) -> AttentionKind {
        let config = || asked_attention(self.checkpoint.config_json())?.1.parse().ok();
        asked.or_else(config).unwrap_or(AttentionKind::Sdpa)
    }

    /// What its tokenizer does otherwise than its files ask for; nothing if it was not read.
    pub(crate) fn notices(&self) -> &[String] {
        self.tokenizer.get().and_then(|read| read.as_ref().ok()).map_or(&[], Tokenizer::notices)
    }

    pub(crate) fn tokenizer(&self) -> &Result<Tokenizer, WeightsError> {
        self.tokenizer.get_or_init(|| self.checkpoint.tokenizer())
    }

    /// What tokens stand for together; empty without a tokenizer.
    pub(crate) fn text(&self, ids: &[u32]) -> String {
        let decoded = self.tokenizer().as_ref().ok().and_then(|t| t.decode(ids).ok());
        decoded.unwrap_or_default()
    }

    /// What the tokens stand for that the logits name as likely, and those of continuations;
    /// nothing without a tokenizer.
    pub(crate) fn texts(
        &self,
        logits: &[LogitDivergence],
        explanation: Option<&Explanation>,
    ) -> BTreeMap<u32, String> {
        let Ok(tokenizer) = self.tokenizer() else { return BTreeMap::new() };
        let positions = logits.iter().flat_map(|l| &l.by_position);
        let ids = positions.flat_map(|p| p.top.iter().flatten().map(|c| c.id).chain(p.top1));
        let decisions = explanation.iter().flat_map(|e| &e.decisions);
        let continued = decisions.flat_map(|d| d.continued_ids.iter().flatten().copied());
        let ids: BTreeSet<u32> = ids.chain(continued).collect();
        ids.into_iter().map(|id| (id, tokenizer.decode(&[id]).unwrap_or_default())).collect()
    }

    /// Each token as text; nothing without a tokenizer.
    pub(crate) fn tokens(&self, ids: &[u32]) -> Vec<String> {
        let Ok(tokenizer) = self.tokenizer() else { return Vec::new() };
        ids.iter().map(|&id| tokenizer.decode(&[id]).unwrap_or_default()).collect()
    }

    /// Prompts as token ids: `texts` through the model's tokenizer, then ids as they are.
    pub(crate) fn prompts(
        &self,
        args: &PromptArgs,
        texts: &[String],
        built_in: &BuiltIn,
    ) -> Result<Vec<Prompt>> {
        let most = args.truncate.or(NonZeroUsize::new(built_in.most).filter(|_| !args.any()));
        // Ids need no tokenizer; where there is one, it shows what they stand for.
        let tokenizer = self.tokenizer();
        let mut prompts = Vec::new();
        for text in texts {
            let text = text.clone();
            let tokenizer =
                tokenizer.as_ref().map_err(|e| anyhow::anyhow!("{e}; or give token ids with --ids"))?;
            let ids = encode(tokenizer, &text, most)
                .with_context(|| format!("tokenising {:?}", shortened(&text, 60)))?;
            if ids.is_empty() {
                bail!(
                    "the prompt {text:?} has no tokens; give a text that is not empty, or token ids with --ids"
                );
            }
            prompts.push(Prompt { text: Some(text), ids, tokens: Vec::new(), cut: false });
        }
        prompts.extend(args.ids.iter().map(|ids| Prompt {
            text: None,
            ids: ids.0.clone(),
            tokens: Vec::new(),
            cut: false,
        }));
        if let Some(most) = most {
            for prompt in prompts.iter_mut().filter(|prompt| prompt.ids.len() > most.get()) {
                // The text is no longer what runs; the ids are.
                prompt.ids.truncate(most.get());
                prompt.cut = prompt.text.take().is_some();
            }
        }
        for prompt in &mut prompts {
            prompt.tokens = self.tokens(&prompt.ids);
        }
        Ok(prompts)
    }
}

/// Bytes of text that are tokenised whole: that takes milliseconds.
const SHORT: usize = 1 << 16;

/// The ids of a text: of all of it, or where no more than `most` are wanted, of a part of it that
/// gives the same. A part is believed if a part twice as long begins with the same ids, and both go
/// on well beyond them: what follows in a text changes the tokens next to it alone.
fn encode(tokenizer: &Tokenizer, text: &str, most: Option<NonZeroUsize>) -> Result<Vec<u32>, WeightsError> {
    let Some(most) = most.map(NonZeroUsize::get) else { return tokenizer.encode(text) };
    let mut length = most.saturating_mul(8).max(SHORT);
    let mut before: Option<Vec<u32>> = None;
    while length < text.len() {
        let ids = tokenizer.encode(&text[..text.floor_char_boundary(length)])?;
        let enough = |ids: &Vec<u32>| ids.len() / 2 >= most;
        if let Some(before) = before.filter(|before| enough(before) && enough(&ids))
            && before[..most] == ids[..most]
        {
            return Ok(ids);
        }
        before = Some(ids);
        length = length.saturating_mul(2);
    }
    tokenizer.encode(text)
}
