//! The fields of `record.json`.
//!
//! Numbers that may be NaN or infinite are written as the strings `"NaN"`, `"inf"`, `"-inf"`, which
//! JSON has no numbers for. Divergences are of an arm against the reference, the run's first arm.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::claim::ContradictedClaim;
use crate::explanation::Explanation;
use crate::float;
use crate::tokenizers::TokenizerComparison;

/// The version of the schema that this crate writes. Records of [`OLDEST`] and later are read.
pub const SCHEMA: u32 = 2;

/// The oldest version of the schema that this crate reads. Version 2 adds typed siblings to fields
/// of version 1.
pub const OLDEST: u32 = 1;

/// Everything one run found. Every table, plot and page is drawn from this alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Version of the schema that it was written in, from [`OLDEST`] to [`SCHEMA`].
    pub schema: u32,
    /// What ran, where and when. The only part that differs between two runs of the same thing.
    pub provenance: Provenance,
    /// What was asked for: enough to run it again.
    pub settings: Settings,
    /// The reference arm's model.
    pub model: Model,
    /// The arms; the first is the reference.
    pub arms: Vec<Arm>,
    /// The prompts, each run through every arm.
    pub prompts: Vec<Prompt>,
    /// Other readings of their texts: by another arm's tokenizer, or by a class of transformers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokenizers: Vec<TokenizerComparison>,
    /// What traces say of themselves that contradicts what they were compared with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contradicted: Vec<ContradictedClaim>,
    /// What the tokens stand for that the logits name as likely, where the model came with a
    /// tokenizer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub token_texts: BTreeMap<u32, String>,
    /// How the arms' state dicts compare.
    pub weights: Weights,
    /// How the arms' buffers compare, those included that no state dict holds.
    pub buffers: Vec<Buffer>,
    /// Divergence at every observed site, in forward order, per arm and prompt.
    pub sites: Vec<SiteDivergence>,
    /// Divergence of the logits, per arm and prompt.
    pub logits: Vec<LogitDivergence>,
    /// The first site, in forward order, at which an arm parts from the reference on a prompt.
    pub first: Vec<First>,
    /// What was left out, and why. Empty when everything asked for was compared.
    pub coverage: Coverage,
    /// From divergence to cause, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
}

/// What ran, where and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Version of ulpscope.
    pub ulpscope: String,
    /// Git revision it was built from, or `unknown`.
    pub git: String,
    /// Device that computed: `flex`, `cuda:0`.
    pub device: String,
    /// Threads that computed.
    pub threads: usize,
    /// Model name of the processor.
    pub cpu: String,
    /// Kernel that multiplied matrices, and its order of summation.
    pub kernel: String,
    /// Start of the run, RFC 3339, UTC.
    pub started: String,
    /// Wall time of the run in seconds.
    #[serde(with = "float")]
    pub elapsed_s: f64,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Model sources as given, each tried when the one before it could not be had; one list per
    /// model named.
    pub models: Vec<Vec<String>>,
    /// Traces as given, one for each prompt, where another program's recording is the reference.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traces: Vec<String>,
    /// Pattern that the observed sites match.
    pub sites: String,
    /// Device as given.
    pub device: String,
    /// Name of the experiment, if the run was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experiment: Option<String>,
    /// Tokens by which prompts were to be continued, where a cause was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continued: Option<usize>,
    /// Conditions of `--fail-on` that hold, with what was found:
    /// `kl 0.5260 > 0.01 (ck_i4, prompt 0)`. A run that repeats this one need not ask for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<String>,
}

impl Settings {
    /// Tokens by which prompts are continued unless another number is asked for.
    pub const CONTINUED: usize = 32;
}

/// Which model it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Name for people: the hub id, or the folder or file name.
    pub name: String,
    /// What kind of checkpoint it was read from.
    pub source: Source,
    /// Commit of the hub repository, where there is one.
    pub revision: Option<String>,
    /// A stand-in for the model that was asked for first.
    pub stand_in: bool,
    /// Sources that were tried before and could not be had, one sentence each.
    pub unavailable: Vec<String>,
    /// config.json as it was read (or as rebuilt from a GGUF's metadata).
    pub config: serde_json::Value,
    /// The files the weights were read from.
    pub files: Vec<ModelFile>,
}

/// What kind of checkpoint a model was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A snapshot folder of the hub's cache.
    Hub,
    /// A folder in Hugging Face layout.
    Directory,
    /// A `.gguf` file, given as such or taken out of a package.
    Gguf,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Source::Hub => "hub",
            Source::Directory => "directory",
            Source::Gguf => "gguf",
        })
    }
}

/// What a recipe does to a tensor as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The same format all along, or wider ones in between: no bit changed.
    Kept,
    /// Every format on the way holds every value of the stored one: exact.
    Widened,
    /// At least one step rounded to nearest, ties to even, even if no value happened to change.
    Rounded,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Action::Kept => "kept",
            Action::Widened => "widened",
            Action::Rounded => "rounded",
        })
    }
}

/// A file that weights were read from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelFile {
    /// File name, relative to the model.
    pub path: String,
    /// SHA-256 of the whole file, in hex.
    pub sha256: String,
}

/// One recipe applied to one checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// Name, `a`, `b`, … by default.
    pub name: String,
    /// The recipe, in the chain notation.
    pub recipe: String,
    /// `eager` or `sdpa`.
    pub attention: String,
    /// Format of the parameters and of the stored activations.
    pub dtype: String,
    /// Order of summation in matrix products.
    pub accumulation: String,
    /// Departures from Hugging Face's arithmetic, as written behind a recipe: `norm=fused`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<String>,
    /// The arm's own model, where it is another one than the reference's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    /// What the recipe did to every parameter and buffer.
    pub conversions: Vec<Conversion>,
}

/// What a recipe did to one tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conversion {
    /// Name of the parameter or buffer.
    pub name: String,
    /// Format in the checkpoint, or in which the buffer was computed: `bf16`, `Q4_1`, ….
    pub from: String,
    /// Format that the arm holds.
    pub to: String,
    /// What happened.
    pub action: Action,
    /// Number of elements.
    pub elements: u64,
    /// Elements whose value changed.
    pub changed: u64,
    /// Finite elements that became infinite.
    pub overflowed: u64,
    /// Non-zero elements that became zero.
    pub flushed: u64,
    /// Elements that are NaN or infinite in the arm.
    pub nonfinite: u64,
}

/// A prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prompt {
    /// The text, unless token ids were given.
    pub text: Option<String>,
    /// Token ids.
    pub ids: Vec<u32>,
    /// Each token as text.
    #[serde(default)]
    pub tokens: Vec<String>,
    /// Whether the ids are the beginning of a text's, and there is no `text` for that reason.
    #[serde(default, skip_serializing_if = "is_false")]
    pub cut: bool,
}

impl Prompt {
    /// What it is called where it has no text.
    pub fn unnamed(&self) -> &'static str {
        if self.cut { "cut text" } else { "token ids" }
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// How the arms' state dicts compare.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Weights {
    /// Keys of the state dict that were compared; a tied `lm_head.weight` counts, as in PyTorch.
    pub compared: usize,
    /// Keys that are bit-identical in every arm.
    pub identical: usize,
    /// The others, one entry for each arm that differs from the reference.
    pub different: Vec<TensorDifference>,
}

/// A parameter that differs between an arm and the reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorDifference {
    /// Name in the state dict.
    pub name: String,
    /// The arm that differs.
    pub arm: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Formats in the reference and in the arm.
    pub dtypes: [String; 2],
    /// Fraction of elements with equal values.
    #[serde(with = "float")]
    pub equal: f64,
    /// Mean absolute difference.
    #[serde(with = "float")]
    pub mean_abs: f64,
    /// Largest absolute difference.
    #[serde(with = "float")]
    pub max_abs: f64,
    /// Non-finite elements in the reference and in the arm.
    pub nonfinite: [u64; 2],
    /// An exact relation between the two, such as `b = round_bf16(a)`; null when none was found.
    pub relation: Option<String>,
}

/// A buffer of an arm beside the reference's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Buffer {
    /// Name, PyTorch's module path.
    pub name: String,
    /// The arm that is compared with the reference.
    pub arm: String,
    /// Formats in the reference and in the arm.
    pub dtypes: [String; 2],
    /// Whether formats and bits are the same.
    pub identical: bool,
    /// Fraction of elements with equal values.
    #[serde(with = "float")]
    pub equal: f64,
    /// Largest absolute difference.
    #[serde(with = "float")]
    pub max_abs: f64,
    /// Largest relative difference.
    #[serde(with = "float")]
    pub max_rel: f64,
    /// An exact relation between the two, such as `b = round_bf16(a)`; null when none was found.
    pub relation: Option<String>,
    /// The first elements, reference and arm.
    #[serde(with = "crate::float::pair")]
    pub head: [Vec<f64>; 2],
}

fn no_index(indices: &[Vec<usize>; 2]) -> bool {
    indices.iter().all(Vec::is_empty)
}

/// Divergence at one site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SiteDivergence {
    /// The site, PyTorch's module path where there is one.
    pub site: String,
    /// The arm that is compared with the reference.
    pub arm: String,
    /// Index of the prompt.
    pub prompt: usize,
    /// Shape of the tensor.
    pub shape: Vec<usize>,
    /// Accumulated divergence: inherited and introduced together.
    #[serde(flatten)]
    pub difference: Difference,
    /// What the site adds when it is fed the reference's inputs.
    pub introduced: Introduced,
    /// Non-finite elements in the reference and in the arm.
    pub nonfinite: [u64; 2],
    /// The index of the first of them in the reference and in the arm; empty where there is none.
    #[serde(default, skip_serializing_if = "no_index")]
    pub first_nonfinite: [Vec<usize>; 2],
    /// Mean absolute difference at each token position; only for blocks' outputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "crate::float::vec")]
    pub mean_abs_by_position: Vec<f64>,
    /// A closer look; only at the first sites that introduce something, and at blocks' outputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<SiteDetail>,
}

/// A closer look at one site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SiteDetail {
    /// Whether this is about what the site introduces; else about what has accumulated.
    pub introduced: bool,
    /// Elements whose difference lies in `[2^e, 2^(e+1))`, for e from `lowest_exponent` on.
    pub by_exponent: Vec<u64>,
    /// The exponent that the first count is of; 0 if there are no counts.
    pub lowest_exponent: i32,
    /// The channels (places in the last dimension) that differ most, the worst first.
    pub channels: Vec<Channel>,
    /// Channels whose activations are massive in the reference, the largest first.
    pub massive: Vec<Channel>,
    /// The first elements that differ, in the tensor's order.
    pub elements: Vec<Element>,
}

/// One place in the last dimension of an activation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Channel {
    /// Its index.
    pub index: usize,
    /// Mean absolute difference over the rest of the tensor.
    #[serde(with = "float")]
    pub mean_abs: f64,
    /// Largest magnitude in the reference.
    #[serde(with = "float")]
    pub largest: f64,
}

/// An element of which the two have different bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Element {
    /// Its place, one index for each dimension.
    pub index: Vec<usize>,
    /// Values of the reference and of the arm.
    #[serde(with = "float::two")]
    pub values: [f64; 2],
    /// Their bits in hex, the most significant first.
    pub bits: [String; 2],
}

/// How far two tensors are apart. Means are over all elements of which both values are finite, in
/// f64.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Fraction of bit-equal elements.
    #[serde(with = "float")]
    pub equal: f64,
    /// Mean absolute difference.
    #[serde(with = "float")]
    pub mean_abs: f64,
    /// Largest absolute difference.
    #[serde(with = "float")]
    pub max_abs: f64,
    /// Root of the mean squared difference.
    #[serde(with = "float")]
    pub rms: f64,
    /// Cosine of the angle between the two.
    #[serde(with = "float")]
    pub cosine: f64,
    /// Signal to quantisation noise, `10·log10(Σa² / Σ(a−b)²)`, in dB; infinite when nothing
    /// differs.
    #[serde(with = "float")]
    pub sqnr_db: f64,
}

/// Divergence that a site introduces when it is fed the reference's inputs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Introduced {
    /// Fraction of bit-equal elements.
    #[serde(with = "float")]
    pub equal: f64,
    /// Mean absolute difference.
    #[serde(with = "float")]
    pub mean_abs: f64,
    /// Largest absolute difference.
    #[serde(with = "float")]
    pub max_abs: f64,
    /// Root of the mean squared difference.
    #[serde(with = "float", default)]
    pub rms: f64,
}

/// Divergence of the logits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogitDivergence {
    /// The arm that is compared with the reference.
    pub arm: String,
    /// Index of the prompt.
    pub prompt: usize,
    /// Fraction of bit-equal logits.
    #[serde(with = "float")]
    pub equal: f64,
    /// Mean absolute difference.
    #[serde(with = "float")]
    pub mean_abs: f64,
    /// Largest absolute difference.
    #[serde(with = "float")]
    pub max_abs: f64,
    /// `torch.allclose(reference, arm)` with its defaults, rtol 1e-5 and atol 1e-8.
    pub allclose: bool,
    /// KL(reference ‖ arm) in nats, the mean over positions.
    #[serde(with = "float")]
    pub kl: f64,
    /// Fraction of positions whose most likely token is the same.
    #[serde(with = "float")]
    pub top1_agreement: f64,
    /// Non-finite logits in the reference and in the arm.
    pub nonfinite: [u64; 2],
    /// The same by token position.
    pub by_position: Vec<PositionDivergence>,
    /// Evenly spaced pairs of logits, reference and arm.
    pub sample: Sample,
    /// The corners that PyTorch prints of both tensors, reference and arm.
    pub corners: [Corner; 2],
}

/// Divergence of the logits at one token position.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PositionDivergence {
    /// Fraction of bit-equal logits.
    #[serde(with = "float")]
    pub equal: f64,
    /// Mean absolute difference.
    #[serde(with = "float")]
    pub mean_abs: f64,
    /// Largest absolute difference.
    #[serde(with = "float")]
    pub max_abs: f64,
    /// KL(reference ‖ arm) in nats.
    #[serde(with = "float")]
    pub kl: f64,
    /// Most likely token of the reference and of the arm.
    pub top1: [u32; 2],
    /// Largest logit minus the second largest, of the reference and of the arm.
    #[serde(with = "float::two", default)]
    pub margin: [f64; 2],
    /// Negative log-likelihood in nats of the prompt's next token, of the reference and of the arm;
    /// NaN at the last position, which has none.
    #[serde(with = "float::two", default = "float::nan_pair")]
    pub nll: [f64; 2],
    /// The most likely tokens of the reference and of the arm, the most likely first. Of long
    /// prompts only some positions have them: evenly spaced ones, and the first at which the most
    /// likely token flips.
    #[serde(default, skip_serializing_if = "PositionDivergence::no_candidates")]
    pub top: [Vec<Candidate>; 2],
}

impl PositionDivergence {
    fn no_candidates(top: &[Vec<Candidate>; 2]) -> bool {
        top.iter().all(Vec::is_empty)
    }
}

/// A token that may come next.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The token; its text is in [`RunRecord::token_texts`].
    pub id: u32,
    /// Its logit.
    #[serde(with = "float")]
    pub logit: f64,
    /// Its probability.
    #[serde(with = "float")]
    pub probability: f64,
}

/// Pairs of values, evenly spaced over a tensor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Index distance between two of them.
    pub stride: usize,
    /// The reference's values.
    #[serde(with = "crate::float::vec")]
    pub a: Vec<f64>,
    /// The arm's values.
    #[serde(with = "crate::float::vec")]
    pub b: Vec<f64>,
}

/// The rows and columns that PyTorch shows of a large tensor: the first and last three of each.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Corner {
    /// Shape of the whole tensor.
    pub shape: Vec<usize>,
    /// Format of its elements.
    pub dtype: String,
    /// Row by row, at most six by six.
    #[serde(with = "crate::float::rows")]
    pub rows: Vec<Vec<f64>>,
}

/// Where an arm first parts from the reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct First {
    /// The arm.
    pub arm: String,
    /// Index of the prompt.
    pub prompt: usize,
    /// The site; null when no site that was observed differs.
    pub site: Option<String>,
}

/// What was compared, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// Sites that the model has, per arm and prompt.
    pub sites: usize,
    /// Sites that were compared.
    pub compared: usize,
    /// What was left out and why, one sentence each.
    pub not_compared: Vec<String>,
}
