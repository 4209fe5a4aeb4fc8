//! Tokens that the files beside a tokenizer.json add, as transformers reads them: the keys of
//! tokenizer_config.json and, where that has no `added_tokens_decoder`, special_tokens_map.json and
//! added_tokens.json.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tokenizers::{AddedToken, Tokenizer};
use ulpscope_record::text::shown;

use super::wrong;
use crate::WeightsError;
use crate::folder::there;
use crate::map::read_json;

pub(super) type Object = Map<String, Value>;

/// transformers' names of special tokens, in the order in which it adds them.
const NAMED: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
const EXTRA: &str = "extra_special_tokens";
/// The older name of `EXTRA`.
const ADDITIONAL: &str = "additional_special_tokens";
const SPECIFIC: &str = "model_specific_special_tokens";
const DECODER: &str = "added_tokens_decoder";
const CONFIG: &str = "tokenizer_config.json";
const SPECIAL: &str = "special_tokens_map.json";
const ADDED: &str = "added_tokens.json";

const FLAGS: [&str; 3] = ["single_word", "lstrip", "rstrip"];

/// A token as one of these files has it.
#[derive(Clone, Debug, PartialEq)]
struct Token {
    content: String,
    /// Those of `FLAGS`.
    flags: [bool; 3],
    /// By default that of a token that is not special.
    normalized: Option<bool>,
    special: bool,
}

impl Token {
    fn named(content: &str) -> Self {
        Token { content: content.to_owned(), flags: [false; 3], normalized: None, special: true }
    }

    /// From an object; `None` if it has another form than `AddedToken` takes.
    fn of(object: &Object) -> Option<Self> {
        let mut token = Token::named(object.get("content")?.as_str()?);
        token.special = false;
        for (key, value) in object {
            match (key.as_str(), value) {
                ("normalized", value) => token.normalized = Some(value.as_bool()?),
                ("special", value) => token.special = value.as_bool()?,
                (key, value) => {
                    if let Some(flag) = FLAGS.iter().position(|flag| *flag == key) {
                        token.flags[flag] = value.as_bool()?;
                    }
                }
            }
        }
        Some(token)
    }

    fn resolved(&self) -> AddedToken {
        let [single_word, lstrip, rstrip] = self.flags;
        AddedToken {
            content: self.content.clone(),
            single_word,
            lstrip,
            rstrip,
            normalized: self.normalized.unwrap_or(!self.special),
            special: self.special,
        }
    }
}

/// What the files beside a tokenizer.json say.
pub(super) struct Beside {
    dir: PathBuf,
    /// tokenizer_config.json.
    pub(super) config: Object,
    /// By their ids.
    listed: BTreeMap<u64, Token>,
    named: Vec<(String, Token)>,
    extra: Vec<Token>,
}

impl Beside {
    /// Reads them, where they are; `own` are the tokens that the tokenizer.json adds.
    pub(super) fn read(dir: &Path, own: &BTreeMap<u64, AddedToken>) -> Result<Self, WeightsError> {
        let config = object(dir, CONFIG)?.unwrap_or_default();
        let (listed, named, extra) = Default::default();
        let mut beside = Beside { dir: dir.to_owned(), config, listed, named, extra };
        beside.check()?;
        let specific = beside.settle_extra()?;
        match beside.config.get(DECODER).filter(|list| !list.is_null()).cloned() {
            Some(list) => beside.decoder(&list)?,
            None => beside.legacy(own)?,
        }
        beside.name_tokens(specific)?;
        Ok(beside)
    }

    /// Whether special tokens in a text are cut as any other text is.
    pub(super) fn splits_special(&self) -> Result<bool, WeightsError> {
        match self.config.get("split_special_tokens") {
            None | Some(Value::Null) => Ok(false),
            Some(value) => value.as_bool().ok_or_else(|| self.odd(CONFIG, "split_special_tokens", value)),
        }
    }

    /// The class that tokenizer_config.json names.
    pub(super) fn class(&self) -> Option<&str> {
        self.config.get("tokenizer_class")?.as_str()
    }

    /// Adds the tokens to a tokenizer; `defaults` are named ones that its class has of itself.
    pub(super) fn add_to(
        &self,
        tokenizer: &mut Tokenizer,
        defaults: &[(&str, &str)],
    ) -> Result<(), WeightsError> {
        let adding = self.adding(&added(tokenizer), defaults);
        if let [first, second, ..] = &self.unplaced(&adding, tokenizer)[..] {
            let reason = format!(
                "{CONFIG} names tokens that tokenizer.json has not, `{}` and `{}`, in no order of ids; save the \
                 tokenizer with transformers",
                shown(first),
                shown(second)
            );
            return Err(wrong(&self.dir, reason));
        }
        if !adding.is_empty() {
            tokenizer.add_tokens(adding).map_err(|e| wrong(&self.dir, e.to_string()))?;
        }
        Ok(())
    }

    /// Whether a tokenizer without any added tokens would get those that this one has.
    pub(super) fn adds_like(&self, tokenizer: &Tokenizer, defaults: &[(&str, &str)]) -> bool {
        let sorted = |mut tokens: Vec<AddedToken>| {
            tokens.sort_by(|a, b| a.content.cmp(&b.content));
            tokens
        };
        sorted(self.adding(&[], defaults)) == sorted(added(tokenizer))
    }

    /// Tokens of keys of their own that get new ids. A JSON object has no order here.
    fn unplaced(&self, adding: &[AddedToken], tokenizer: &Tokenizer) -> Vec<String> {
        let specific = self.named.iter().skip_while(|(name, _)| NAMED.contains(&name.as_str()));
        let mut new: Vec<String> = specific.map(|(_, token)| token.content.clone()).collect();
        new.retain(|content| {
            adding.iter().any(|token| token.content == *content) && tokenizer.token_to_id(content).is_none()
        });
        new
    }

    /// What is added to a tokenizer that has the tokens `present`.
    fn adding(&self, present: &[AddedToken], defaults: &[(&str, &str)]) -> Vec<AddedToken> {
        let mut adding: Vec<Token> = self.listed.values().cloned().collect();
        adding.retain(|token| !present.contains(&token.resolved()));
        let given = |name: &str| self.named.iter().any(|(key, _)| key == name);
        let defaults = defaults.iter().filter(|(name, _)| !given(name)).map(|(_, token)| Token::named(token));
        let named: Vec<Token> = self.named.iter().map(|(_, token)| token.clone()).chain(defaults).collect();
        let all = present.iter().map(|token| &token.content).chain(adding.iter().map(|t| &t.content));
        let mut known: HashSet<String> = all.cloned().collect();
        for token in named.iter().chain(&self.extra) {
            if known.insert(token.content.clone()) {
                adding.push(token.clone());
            }
        }
        for token in &mut adding {
            token.special |= named.iter().any(|named| named.content == token.content);
        }
        adding.iter().map(Token::resolved).collect()
    }

    /// Refuses what would take another tokenizer than this tokenizer.json.
    fn check(&self) -> Result<(), WeightsError> {
        let empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
        for (key, plain) in [
            ("fast_tokenizer_files", Value::from(vec!["tokenizer.json"])),
            ("fix_mistral_regex", Value::Bool(false)),
            ("init_inputs", Value::Null),
        ] {
            let Some(value) = self.config.get(key) else { continue };
            if !value.is_null() && *value != plain && !empty(value) {
                let value: String = value.to_string().chars().take(60).collect();
                let reason = format!(
                    "{CONFIG}: `{key}` is {value}, which is not implemented; save the tokenizer with transformers"
                );
                return Err(wrong(&self.dir, reason));
            }
        }
        Ok(())
    }

    fn odd(&self, file: &str, key: &str, value: &Value) -> WeightsError {
        let value: String = value.to_string().chars().take(60).collect();
        wrong(&self.dir, format!("{file}: `{key}` is {value}, which transformers does not take"))
    }

    /// The older name of extra tokens becomes the newer one; those with names of their own are
    /// taken out.
    fn settle_extra(&mut self) -> Result<Vec<(String, Token)>, WeightsError> {
        let given = self.config.get(EXTRA).is_some_and(|extra| match extra {
            Value::Array(list) => !list.is_empty(),
            Value::Object(map) => !map.is_empty(),
            other => !other.is_null(),
        });
        if !given && let Some(older) = self.config.remove(ADDITIONAL) {
            self.config.insert(EXTRA.to_owned(), older);
        }
        let mut specific = Vec::new();
        for (key, value) in &self.config {
            if let Some(text) = value.as_str()
                && key.ends_with("_token")
                && !NAMED.contains(&key.as_str())
            {
                specific.push((key.clone(), Token::named(text)));
            }
        }
        if let Some(Value::Object(_)) = self.config.get(EXTRA)
            && let Some(Value::Object(map)) = self.config.remove(EXTRA)
        {
            for (key, value) in map {
                specific.push((key.clone(), self.token(CONFIG, &key, &value)?));
            }
        }
        if specific.is_empty()
            && let Some(Value::Object(map)) = self.config.get(SPECIFIC).cloned()
        {
            for (key, value) in map {
                specific.push((key.clone(), self.token(CONFIG, &key, &value)?));
            }
        }
        Ok(specific)
    }

    fn decoder(&mut self, list: &Value) -> Result<(), WeightsError> {
        let entries = list.as_object().ok_or_else(|| self.odd(CONFIG, DECODER, list))?;
        for (id, token) in entries {
            let read = || Some((id.parse().ok()?, Token::of(token.as_object()?)?));
            let (id, token) = read().ok_or_else(|| self.odd(CONFIG, &format!("{DECODER}.{id}"), token))?;
            self.listed.insert(id, token);
        }
        Ok(())
    }

    /// The two older files, and below what they say the tokens of tokenizer.json.
    fn legacy(&mut self, own: &BTreeMap<u64, AddedToken>) -> Result<(), WeightsError> {
        for (key, value) in object(&self.dir, SPECIAL)?.unwrap_or_default() {
            match (key.as_str(), &value) {
                (EXTRA, Value::Array(more)) => {
                    let mut all =
                        self.config.get(EXTRA).and_then(Value::as_array).cloned().unwrap_or_default();
                    all.extend(more.iter().map(|token| typed(token.clone())));
                    self.config.insert(key, Value::Array(all));
                }
                (EXTRA | ADDITIONAL, _) => _ = self.config.insert(key, value),
                (name, _) if name.ends_with("_token") && (value.is_object() || value.is_string()) => {
                    self.config.insert(key, typed(value));
                }
                (_, Value::Null) => {}
                _ => return Err(self.odd(SPECIAL, &key, &value)),
            }
        }
        let special: HashSet<String> = {
            let text = |value: &Value| {
                let content = || value.get("content").and_then(Value::as_str);
                value.as_str().or_else(content).map(str::to_owned)
            };
            let extra = self.config.get(EXTRA).and_then(Value::as_array);
            let named = NAMED.iter().filter_map(|name| self.config.get(*name));
            named.chain(extra.into_iter().flatten()).filter_map(text).collect()
        };
        for (content, id) in object(&self.dir, ADDED)?.unwrap_or_default() {
            let id = id.as_u64().ok_or_else(|| self.odd(ADDED, &content, &id))?;
            let special = special.contains(&content);
            let token = Token { normalized: Some(!special), special, ..Token::named(&content) };
            self.listed.insert(id, token);
        }
        for (id, token) in own {
            let AddedToken { content, single_word, lstrip, rstrip, normalized, special } = token.clone();
            let flags = [single_word, lstrip, rstrip];
            self.listed.insert(*id, Token { content, flags, normalized: Some(normalized), special });
        }
        Ok(())
    }

    /// The tokens that keys name, those of all models first.
    fn name_tokens(&mut self, specific: Vec<(String, Token)>) -> Result<(), WeightsError> {
        let mut named = Vec::new();
        for name in NAMED {
            if let Some(value) = self.config.get(name).filter(|value| !value.is_null()) {
                named.push((name.to_owned(), self.token(CONFIG, name, value)?));
            }
        }
        // special_tokens_map.json may bring names of its own.
        let more = self.config.iter().filter(|(key, value)| {
            key.ends_with("_token") && value.is_object() && !NAMED.contains(&key.as_str())
        });
        for (key, value) in more {
            named.push((key.clone(), self.token(CONFIG, key, value)?));
        }
        named.extend(specific);
        self.named = named;
        let extra = self.config.get(EXTRA).or_else(|| self.config.get(ADDITIONAL));
        match extra {
            None | Some(Value::Null) => {}
            Some(Value::Array(list)) => {
                let tokens = list.iter().map(|value| self.token(CONFIG, EXTRA, value));
                self.extra = tokens.collect::<Result<_, _>>()?;
            }
            Some(other) => return Err(self.odd(CONFIG, EXTRA, other)),
        }
        Ok(())
    }

    fn token(&self, file: &str, key: &str, value: &Value) -> Result<Token, WeightsError> {
        let of_object = |object: &Object| {
            let typed = object.get("__type").and_then(Value::as_str) == Some("AddedToken");
            Token::of(object).filter(|_| typed)
        };
        let token = value.as_str().map(Token::named).or_else(|| of_object(value.as_object()?));
        token.ok_or_else(|| self.odd(file, key, value))
    }
}

fn added(tokenizer: &Tokenizer) -> Vec<AddedToken> {
    tokenizer.get_added_tokens_decoder().into_values().collect()
}

/// A token of special_tokens_map.json, which does not say of its objects what they are.
fn typed(mut token: Value) -> Value {
    if let Value::Object(object) = &mut token {
        object.insert("__type".to_owned(), "AddedToken".into());
        object.insert("special".to_owned(), true.into());
    }
    token
}

/// A JSON file that holds an object; `None` if there is none.
fn object(dir: &Path, name: &str) -> Result<Option<Object>, WeightsError> {
    let path = dir.join(name);
    if !there(&path)? {
        return Ok(None);
    }
    match read_json(&path)? {
        Value::Object(object) => Ok(Some(object)),
        _ => Err(wrong(dir, format!("{name} is no JSON object"))),
    }
}
