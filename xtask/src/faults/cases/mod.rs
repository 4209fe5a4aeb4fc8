//! The catalogue of cases: what is put in, and what is to be found.
//!
//! What is expected of a case was written down before it was run for the first time. One third of
//! the new ones is held out, by a hash: mending the localiser looks at the others only.

mod arithmetic;
mod config;
mod decoders;
mod null;
mod overflow;
mod pairs;
mod real;
mod recipes;
mod tensors;
mod weights;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::checkpoint::Change;

/// One pair of arms.
pub(crate) struct Case {
    /// What is put in, with the model, the arms and the prompt: no two cases have one name.
    pub(crate) name: String,
    /// What is put in and where, without model, format and prompt: the split goes by it, so that no
    /// case is held out whose twin on another prompt is not.
    pub(crate) key: String,
    pub(crate) family: &'static str,
    pub(crate) split: Split,
    /// The `model_type` of arm a.
    pub(crate) decoder: String,
    pub(crate) model: Model,
    pub(crate) a: Side,
    pub(crate) b: Side,
    pub(crate) prompts: Vec<Prompt>,
    pub(crate) expected: Expected,
    /// Whether it is part of the bounded run.
    pub(crate) short: bool,
}

/// Which part of the cases a case belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Split {
    /// Looked at while the localiser was written.
    Development,
    /// Kept for the end.
    HeldOut,
}

/// What both arms are loaded from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Model {
    /// A folder of tests/fixtures.
    Tiny(&'static str),
    /// A model of 135 million parameters.
    Real,
}

/// One arm.
#[derive(Clone, Debug, Default)]
pub(crate) struct Side {
    /// Recipe and arithmetic, as on the command line.
    pub(crate) spec: String,
    /// What is done to its checkpoint.
    pub(crate) changes: Vec<Change>,
    /// Another source than the case's model, under tests/fixtures.
    pub(crate) other: Option<&'static str>,
}

#[derive(Clone, Debug)]
pub(crate) enum Prompt {
    Text(&'static str),
    Ids(Vec<u32>),
}

/// What is to be found.
#[derive(Clone, Debug)]
pub(crate) enum Expected {
    /// Nothing: the pair differs by no more than noise.
    Nothing,
    /// The very logits that are found with these arguments.
    SameWith(Vec<&'static str>),
    /// One of these causes, first at this site (of an overflow, where the cause is said to act);
    /// `prefix*` is any site that begins so, `*suffix` any that ends so.
    Fault { ids: &'static [&'static str], site: String },
    /// Both causes among the first two, the first origin at this site.
    Both { ids: [&'static str; 2], site: String },
    /// An error: the arms can't be compared.
    Refused,
}

/// Whether a site is the one that was expected.
pub(crate) fn is(found: Option<&str>, expected: &str) -> bool {
    found.is_some_and(|found| match (expected.strip_suffix('*'), expected.strip_prefix('*')) {
        (Some(prefix), _) => found.starts_with(prefix),
        (None, Some(suffix)) => found.ends_with(suffix),
        (None, None) => found == expected,
    })
}

/// What cases need to know of a model.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) model: Model,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) groups: usize,
    pub(crate) width: usize,
    pub(crate) vocabulary: u32,
    pub(crate) longest: usize,
    /// `model_type`.
    pub(crate) decoder: String,
    /// How many keys each layer's queries see, where not all before them.
    pub(crate) windows: Vec<Option<usize>>,
    /// Whether q, k and v have biases.
    pub(crate) biases: bool,
    /// Whether queries and keys are normalised.
    pub(crate) qk_norm: bool,
    /// config.json.
    pub(crate) config: Value,
}

const LLAMA: &str = "tiny-llama";

impl Facts {
    pub(crate) fn of(model: Model, config: &Value) -> Result<Self> {
        let number = |key: &str| config[key].as_u64().map(|n| n as usize);
        let need = |key: &str| number(key).with_context(|| format!("{model:?} has no {key}"));
        let heads = need("num_attention_heads")?;
        let layers = need("num_hidden_layers")?;
        let decoder = config["model_type"].as_str().unwrap_or("llama").to_owned();
        let flag = |key: &str| config[key].as_bool().unwrap_or(false);
        Ok(Facts {
            layers,
            heads,
            groups: number("num_key_value_heads").unwrap_or(heads),
            width: number("head_dim").unwrap_or(need("hidden_size")? / heads),
            vocabulary: need("vocab_size")? as u32,
            longest: number("max_position_embeddings").unwrap_or(1 << 18),
            windows: windows(&decoder, layers, config),
            biases: decoder == "qwen2" || flag("attention_bias"),
            qk_norm: decoder == "qwen3",
            config: config.clone(),
            decoder,
            model,
        })
    }

    /// The first layer with a window, and its width.
    fn window(&self) -> Option<(usize, usize)> {
        self.windows.iter().enumerate().find_map(|(layer, window)| window.map(|width| (layer, width)))
    }

    fn tiny(fixtures: &Path, folder: &'static str) -> Result<Self> {
        let path = fixtures.join(folder).join("config.json");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Facts::of(Model::Tiny(folder), &serde_json::from_str(&text)?)
    }

    /// A prompt of `tokens` ids, the same for every model of this vocabulary.
    fn ids(&self, tokens: usize) -> Prompt {
        Prompt::Ids((0..tokens as u32).map(|i| (i * i * 5 + i * 7 + 3) % (self.vocabulary - 4) + 3).collect())
    }

    fn short(&self) -> &'static str {
        match self.model {
            Model::Tiny(folder) => folder.rsplit('/').next().unwrap_or(folder),
            Model::Real => "real",
        }
    }

    /// A case on this model.
    fn case(
        &self,
        family: &'static str,
        key: &str,
        a: &str,
        b: &str,
        prompt: &Prompt,
        expected: Expected,
    ) -> Case {
        let said = match prompt {
            Prompt::Text(text) => format!("{text:?}"),
            Prompt::Ids(ids) => format!("{} tokens", ids.len()),
        };
        Case {
            name: format!("{key}, {}, {a} and {b}, {said}", self.short()),
            key: key.to_owned(),
            family,
            split: split(key),
            decoder: self.decoder.clone(),
            model: self.model.clone(),
            a: Side { spec: a.to_owned(), ..Side::default() },
            b: Side { spec: b.to_owned(), ..Side::default() },
            prompts: vec![prompt.clone()],
            expected,
            short: true,
        }
    }
}

impl Case {
    /// A case that the localiser's author had seen before there was a split.
    fn seen(mut self) -> Self {
        self.split = Split::Development;
        self
    }

    fn with(mut self, change: Change) -> Self {
        self.b.changes.push(change);
        self
    }

    /// Something done to both arms.
    fn both(mut self, change: Change) -> Self {
        self.a.changes.push(change.clone());
        self.b.changes.push(change);
        self
    }

    fn long(mut self) -> Self {
        self.short = false;
        self
    }
}

/// The window of each layer, by each family's rules for its config.json.
fn windows(decoder: &str, layers: usize, config: &Value) -> Vec<Option<usize>> {
    let width = config.get("sliding_window").map_or(Some(4096), Value::as_u64).map(|n| n as usize);
    let switched = config["use_sliding_window"].as_bool().unwrap_or(false);
    let first = config["max_window_layers"].as_u64().unwrap_or(28) as usize;
    let listed = |layer: usize| config["layer_types"][layer].as_str().map(|kind| kind == "sliding_attention");
    let slides = |layer: usize| match decoder {
        "mistral" => true,
        "ministral3" => config.get("sliding_window").is_some(),
        "ministral" => listed(layer).unwrap_or(true),
        "qwen2" | "qwen3" => switched && listed(layer).unwrap_or(layer >= first),
        _ => false,
    };
    (0..layers).map(|layer| width.filter(|_| slides(layer))).collect()
}

fn fault(ids: &'static [&'static str], site: impl Into<String>) -> Expected {
    Expected::Fault { ids, site: site.into() }
}

fn at(layer: usize, site: &str) -> String {
    format!("model.layers.{layer}{}{site}", if site.is_empty() { "" } else { "." })
}

/// The third of all keys whose hash (FNV-1a, its bits mixed by a multiplication) says so is held
/// out.
pub(crate) fn split(key: &str) -> Split {
    let hash = key
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd) >> 33;
    if mixed.is_multiple_of(3) { Split::HeldOut } else { Split::Development }
}

const PROMPTS: [Prompt; 2] =
    [Prompt::Text("Gravity is"), Prompt::Text("the quick brown fox jumps over the lazy dog and runs away")];

/// Every case on the small models in this folder of fixtures.
pub(crate) fn tiny(fixtures: &Path) -> Result<Vec<Case>> {
    let facts = |folder| Facts::tiny(fixtures, folder);
    let llama = facts(LLAMA)?;
    let others: Vec<Facts> = OTHERS.iter().map(|folder| facts(folder)).collect::<Result<_>>()?;
    let ropes: Vec<Facts> = ROPES.iter().map(|folder| facts(folder)).collect::<Result<_>>()?;
    let find = |name: &str| others.iter().find(|f| f.short() == name).context("a fixture");
    let mut cases = Vec::new();
    arithmetic::cases(&mut cases, &llama, &others, &ropes);
    recipes::cases(&mut cases, &llama, &others, &ropes);
    weights::cases(&mut cases, &llama, &others);
    tensors::cases(&mut cases, &llama, find("gqa")?, find("untied")?, find("mha")?, find("attention-bias")?);
    config::cases(&mut cases, &llama, &others, &ropes);
    pairs::cases(&mut cases, &llama);
    overflow::cases(&mut cases, &llama);
    null::cases(&mut cases, &llama, &others, &ropes);
    for (decoder, folders) in DECODERS {
        let models: Vec<Facts> = folders.iter().map(|folder| facts(folder)).collect::<Result<_>>()?;
        anyhow::ensure!(models.iter().all(|facts| decoder.contains(&facts.decoder.as_str())), "{folders:?}");
        decoders::cases(&mut cases, &models);
    }
    Ok(cases)
}

/// Cases on a real model; those that change weights only where it is a folder with safetensors.
pub(crate) fn real(config: &Value, folder: bool) -> Result<Vec<Case>> {
    Ok(real::cases(&Facts::of(Model::Real, config)?, folder))
}

/// Small models that differ in their shape.
const OTHERS: [&str; 9] = [
    "configs/gqa",
    "configs/mqa",
    "configs/mha",
    "configs/attention-bias",
    "configs/mlp-bias",
    "configs/untied",
    "configs/explicit-head-dim",
    "configs/gelu",
    "configs/f16-stored",
];

/// Small models that differ in their rotary embedding.
const ROPES: [&str; 6] = [
    "configs/rope-linear",
    "configs/rope-dynamic",
    "configs/rope-llama3",
    "configs/rope-yarn",
    "configs/rope-longrope",
    "configs/theta-1e6",
];

/// Small models of other families: `model_type`s, and the folders.
const DECODERS: [(&[&str], &[&str]); 4] = [
    (
        &["mistral", "ministral"],
        &[
            "families/mistral-window",
            "families/mistral-yarn",
            "families/mistral-tied",
            "families/ministral-mixed",
        ],
    ),
    (
        &["ministral3"],
        &["families/ministral3-yarn", "families/ministral3-window", "families/ministral3-default"],
    ),
    (&["qwen2"], &["families/qwen2-plain", "families/qwen2-window", "families/qwen2-dynamic"]),
    (&["qwen3"], &["families/qwen3-heads", "families/qwen3-bias", "families/qwen3-yarn"]),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_a_third_is_held_out() {
        let cases = tiny(&crate::shell::root().join("tests/fixtures")).unwrap();
        let mut names = HashSet::new();
        let twice: Vec<_> = cases.iter().filter(|c| !names.insert(&c.name)).map(|c| &c.name).collect();
        assert!(twice.is_empty(), "{twice:?}");
        let keys: HashSet<_> = cases.iter().map(|c| &c.key).collect();
        let held = keys.iter().filter(|key| split(key) == Split::HeldOut).count();
        assert!((0.25..0.42).contains(&(held as f64 / keys.len() as f64)), "{held} of {}", keys.len());
    }
}
