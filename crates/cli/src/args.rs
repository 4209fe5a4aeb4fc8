//! The command line, as typed. No type of the argument parser leaves this file, but for the whole
//! command line, which completions and manual pages are made of.

use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand, ValueHint};
use ulpscope_capture::Pattern;
use ulpscope_decoder::{Accumulation, Arithmetic, AttentionKind, Departure, Semantics, Variant};
use ulpscope_floats::DType;
use ulpscope_record::Settings;
use ulpscope_weights::{ModelRef, Recipe};

use crate::fail_on::Condition;
use crate::{examples, provenance, suggestions};

/// Two copies of one LLM disagree: where does it start, what caused it, does it matter?
#[derive(Debug, Parser)]
#[command(
    name = "ulpscope",
    version = provenance::VERSION,
    long_version = provenance::long_version(),
    max_term_width = 100,
    after_help = "`ulpscope compare MODEL` is where to begin; `ulpscope COMMAND --help` has examples.",
    after_long_help = examples::TOP
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) talk: TalkArgs,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How much is said.
#[derive(Debug, clap::Args)]
pub(crate) struct TalkArgs {
    /// Say nothing on stderr but errors; of an explanation, print the verdict alone
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,

    /// Say which files are read, how each arm computes, and how long each stage takes; of an
    /// explanation, print all tables
    #[arg(long, short, global = true, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the same prompts through two or more arms in lockstep: how far they diverge, and where
    #[command(after_long_help = examples::COMPARE)]
    Compare(CompareArgs),
    /// Find out what made arm b differ from arm a, prove it by undoing it, and measure it against
    /// noise
    ///
    /// With `--trace`, what another program recorded is the reference, and arm b is not needed:
    /// every operation of ours is judged on the recording's inputs. Prints one screen; `-v` prints
    /// all tables before it, `-q` the verdict alone. Exit status 4: too little was compared for a
    /// verdict
    #[command(after_long_help = examples::EXPLAIN)]
    Explain(ExplainArgs),
    /// Compare state dicts and buffers only; no forward pass
    #[command(after_long_help = examples::WEIGHTS)]
    Weights(WeightsArgs),
    /// Write one arm's activations to a safetensors file
    #[command(after_long_help = examples::TRACE)]
    Trace(TraceArgs),
    /// Compare two traces, ours or another program's
    #[command(after_long_help = examples::DIFF)]
    Diff(DiffArgs),
    /// Draw the pictures of a finished run
    #[command(after_long_help = examples::PLOT)]
    Plot(PlotArgs),
    /// Make the page of a finished run, or one page about several
    #[command(after_long_help = examples::REPORT)]
    Report(ReportArgs),
    /// List the sites that can be observed in a model
    #[command(after_long_help = examples::SITES)]
    Sites(SitesArgs),
    /// List the families of models that are read, and how each was verified
    Families(FamiliesArgs),
    /// Find out in which order a matrix product adds, by adding
    #[command(after_long_help = examples::ORDER)]
    Order(OrderArgs),
    /// Time the forward pass, or a comparison
    #[command(after_long_help = examples::BENCH)]
    Bench(BenchArgs),
    /// Print what completes this command line in a shell
    #[command(after_long_help = examples::COMPLETIONS)]
    Completions(CompletionsArgs),
    /// Write the manual pages of this command
    #[command(hide = true)]
    Man(ManArgs),
}

/// Which model, and how it becomes an arm.
#[derive(Debug, clap::Args)]
pub(crate) struct ArmArgs {
    /// A hub id, a folder in Hugging Face layout or a `.gguf` file; with two, arm b is made of the
    /// second
    ///
    /// A hub id is written `org/name` or `org/name@revision`. A folder of that name here comes
    /// first.
    #[arg(value_name = "MODEL", required = true, num_args = 1..=2, value_hint = ValueHint::AnyPath)]
    pub(crate) models: Vec<String>,

    /// Recipe of arm a, the reference: the chain of calls one would write in PyTorch
    ///
    /// It begins with `load(DTYPE)` (f32, bf16, f16, f64 or auto); `.to(DTYPE)`, `.half()`,
    /// `.bfloat16()`, `.float()` and `.double()` may follow. Behind it, `@eager` or `@sdpa` chooses
    /// the attention of this arm alone, `@sequential` and the like its order of summation, and
    /// `@norm=fused` and the like where it departs from Hugging Face's arithmetic: in all layers,
    /// or as `@norm=fused[3-5]` in some.
    #[arg(long, value_name = "RECIPE", default_value = "load(bf16)", help_heading = "Arms")]
    pub(crate) a: ArmSpec,

    /// Recipe of arm b [default: `load(f32).to(bf16)`; with two models, that of arm a]
    #[arg(long, value_name = "RECIPE", help_heading = "Arms")]
    pub(crate) b: Option<ArmSpec>,

    /// A further arm, made of the first model; repeatable
    #[arg(long = "arm", value_name = "NAME=RECIPE", help_heading = "Arms")]
    pub(crate) more: Vec<NamedSpec>,

    /// How attention is computed, where a recipe does not say it [default: as config.json says,
    /// else sdpa]
    #[arg(long, value_parser = attention(), help_heading = "Arms")]
    pub(crate) attention: Option<AttentionKind>,

    /// Order of summation in matrix products [default: tile32; for f16 sequential-blocked]
    ///
    /// One of `tile32`, `tile32-blocked`, `dot2`, `dot2-lanes`, `sequential`, `sequential-blocked`,
    /// `reversed`, `pairwise`, `split-k(N)` or `exact`. PyTorch uses `tile32` on CPUs with AMX,
    /// `dot2` on those with AVX512_BF16 alone.
    #[arg(long, value_name = "ORDER", help_heading = "Arms")]
    pub(crate) accumulation: Option<Accumulation>,

    /// Another source for the first model, tried when those before it can't be had; repeatable
    #[arg(long, value_name = "MODEL", value_hint = ValueHint::AnyPath, help_heading = "Arms")]
    pub(crate) fallback: Vec<String>,
}

/// Where models come from.
#[derive(Debug, clap::Args)]
pub(crate) struct SourceArgs {
    /// Use only what is already on this machine (as does HF_HUB_OFFLINE=1)
    #[arg(long, help_heading = "Machine")]
    pub(crate) offline: bool,
}

/// What to run through the arms.
#[derive(Debug, clap::Args)]
pub(crate) struct PromptArgs {
    /// A prompt; repeatable [default: `Gravity is`; for `explain` a built-in text of some 200
    /// tokens]
    #[arg(long = "prompt", value_name = "TEXT", allow_hyphen_values = true, help_heading = "Prompts")]
    pub(crate) texts: Vec<String>,

    /// A file whose text is a prompt; repeatable
    #[arg(long = "text", value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Prompts")]
    pub(crate) files: Vec<PathBuf>,

    /// A prompt as token ids, such as `1,17,250`; repeatable
    #[arg(long, value_name = "IDS", help_heading = "Prompts")]
    pub(crate) ids: Vec<Ids>,

    /// Use at most this many tokens of each prompt
    #[arg(long, value_name = "N", help_heading = "Prompts")]
    pub(crate) truncate: Option<std::num::NonZeroUsize>,
}

impl PromptArgs {
    /// Whether a prompt was given.
    pub(crate) fn any(&self) -> bool {
        !(self.texts.is_empty() && self.files.is_empty() && self.ids.is_empty())
    }
}

/// Where to compute.
#[derive(Debug, clap::Args)]
pub(crate) struct DeviceArgs {
    /// The device that computes: `flex` (this CPU) or `cuda[:N]`
    #[arg(long, default_value = "flex", help_heading = "Machine")]
    pub(crate) device: String,

    /// Threads to compute with [default: one per core]. The result does not depend on it
    #[arg(long, value_name = "N", help_heading = "Machine")]
    pub(crate) threads: Option<usize>,
}

/// Arguments of `compare`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompareArgs {
    #[command(flatten)]
    pub(crate) arms: ArmArgs,

    #[command(flatten)]
    pub(crate) prompts: PromptArgs,

    /// Sites to report, as a glob: `model.layers.0.*`
    ///
    /// `*` stands for any characters, `?` for one; commas join several globs.
    /// `ulpscope sites MODEL` lists the names.
    #[arg(long, value_name = "GLOB", default_value = "*", help_heading = "Output")]
    pub(crate) sites: Pattern,

    /// Write record.json, report.html, report.md, summary.md and pictures into this folder
    ///
    /// The folder is made if it is missing; a run that is there already is replaced.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Output")]
    pub(crate) out: Option<PathBuf>,

    /// Draw the pictures as SVG, too
    #[arg(long, requires = "out", help_heading = "Output")]
    pub(crate) svg: bool,

    /// Print the record as JSON instead of tables
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,

    /// Exit with status 3 if this holds of any arm on any prompt: `kl>1e-3`; repeatable
    ///
    /// Written METRIC>NUMBER, or with `>=`, `<` or `<=`; commas join several, of which one is
    /// enough. What is NaN, or could not be measured, fulfils every condition. Status 3 comes
    /// before 4 (undecided), and stays where stdout can't be written. Metrics of an arm on a
    /// prompt: `kl` (KL(a || arm) in nats, mean over positions), `equal` (fraction of logits with
    /// equal bits), `mean_abs` and `max_abs` (difference of logits), `top1_agreement` (fraction of
    /// positions with the same most likely token), `sites_introducing` (sites that introduce a
    /// difference on equal inputs). Of the run: `weights_different` and `buffers_different`
    /// (entries that differ from the reference's), and with `ulpscope explain`,
    /// `causes_above_floor` (causes whose effect exceeds the noise floor).
    #[arg(long, value_name = "CONDITION", value_delimiter = ',', help_heading = "Output")]
    pub(crate) fail_on: Vec<Condition>,

    #[command(flatten)]
    pub(crate) device: DeviceArgs,

    /// Tokens by which `explain` lets both arms continue each prompt, the most likely one each
    /// time; 0 for none. Of a prompt, its last 512 tokens are continued
    #[arg(long = "continue", value_name = "N", default_value_t = Settings::CONTINUED)]
    pub(crate) continued: usize,

    #[command(flatten)]
    pub(crate) source: SourceArgs,

    /// Name of the experiment, for the record
    #[arg(long, hide = true)]
    pub(crate) experiment: Option<String>,
}

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub(crate) compare: CompareArgs,

    /// What another program recorded of the same model, one prompt a file: explain how it differs
    /// from what ours computes. crates/capture/python/capture.py records PyTorch, `ulpscope trace`
    /// records ours; repeatable
    #[arg(long = "trace", value_name = "FILE", conflicts_with_all = ["texts", "files", "ids", "truncate", "b", "more"])]
    pub(crate) traces: Vec<PathBuf>,

    /// With `--trace`: the recipe that the recording should be of, with `@…` behind it as in `--a`
    /// [default: the one that the trace names]
    #[arg(long, value_name = "RECIPE", requires = "traces")]
    pub(crate) recipe: Option<ArmSpec>,

    /// With `--trace`: the token ids of a cached prefix that the recording begins behind [default:
    /// `prefix_ids` of the recording's metadata]
    #[arg(long, value_name = "IDS", requires = "traces")]
    pub(crate) prefix_ids: Option<Ids>,
}

/// Arguments of `weights`.
#[derive(Debug, clap::Args)]
pub(crate) struct WeightsArgs {
    #[command(flatten)]
    pub(crate) arms: ArmArgs,

    /// Show this parameter or buffer in every arm, as PyTorch prints it
    #[arg(long, value_name = "NAME", help_heading = "Output")]
    pub(crate) tensor: Option<String>,

    /// Print JSON instead of tables
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) source: SourceArgs,
}

/// Arguments of `trace`.
#[derive(Debug, clap::Args)]
pub(crate) struct TraceArgs {
    /// A hub id, a folder in Hugging Face layout, or a `.gguf` file
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) model: String,

    /// The file to write
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub(crate) out: PathBuf,

    /// The recipe, with `@…` behind it as in `compare`
    #[arg(long, default_value = "load(bf16)", help_heading = "Arms")]
    pub(crate) recipe: ArmSpec,

    /// How attention is computed [default: as config.json says, else sdpa]
    #[arg(long, value_parser = attention(), help_heading = "Arms")]
    pub(crate) attention: Option<AttentionKind>,

    /// Order of summation in matrix products, as in `compare`
    #[arg(long, value_name = "ORDER", help_heading = "Arms")]
    pub(crate) accumulation: Option<Accumulation>,

    #[command(flatten)]
    pub(crate) prompts: PromptArgs,

    /// Sites to record, as a glob
    #[arg(long, value_name = "GLOB", default_value = "*", help_heading = "Output")]
    pub(crate) sites: Pattern,

    /// Print JSON instead of a line
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) device: DeviceArgs,

    #[command(flatten)]
    pub(crate) source: SourceArgs,
}

/// Arguments of `diff`.
#[derive(Debug, clap::Args)]
pub(crate) struct DiffArgs {
    /// The reference trace
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) a: PathBuf,

    /// The trace to compare with it
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) b: PathBuf,

    /// Sites to compare, as a glob
    #[arg(long, value_name = "GLOB", default_value = "*")]
    pub(crate) sites: Pattern,

    /// Show the table of all sites, not only those at which the difference jumps
    #[arg(long)]
    pub(crate) all: bool,

    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `plot`.
#[derive(Debug, clap::Args)]
pub(crate) struct PlotArgs {
    /// The folder of a finished run, or its record.json
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) run: PathBuf,

    /// Where to put the pictures [default: beside the record]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) out: Option<PathBuf>,

    /// The layer whose sites are shown one by one [default: the one in which the divergence starts,
    /// or 0]
    #[arg(long, value_name = "N")]
    pub(crate) layer: Option<usize>,

    /// The arm to draw, beside the pictures that are about all [default: the first 16]
    #[arg(long, value_name = "NAME")]
    pub(crate) arm: Option<String>,

    /// The prompt to show, counted from 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) prompt: usize,

    /// Draw the pictures as SVG, too
    #[arg(long)]
    pub(crate) svg: bool,

    /// Print the files' names as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
pub(crate) struct ReportArgs {
    /// Folders of finished runs, or their record.json
    ///
    /// One run gets report.html and report.md; of several, the arms are put side by side in
    /// comparison.html and comparison.md.
    #[arg(value_name = "RUN", required = true, value_hint = ValueHint::AnyPath)]
    pub(crate) runs: Vec<PathBuf>,

    /// Where to put the pages [default: beside the record; of several runs, the working directory]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) out: Option<PathBuf>,

    /// Show the page in a browser
    #[arg(long)]
    pub(crate) open: bool,

    /// Print the files' names as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `sites`.
#[derive(Debug, clap::Args)]
pub(crate) struct SitesArgs {
    /// A hub id, a folder in Hugging Face layout, or a `.gguf` file
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) model: String,

    /// How attention is computed [default: as config.json says, else sdpa]
    #[arg(long, value_parser = attention(), help_heading = "Arms")]
    pub(crate) attention: Option<AttentionKind>,

    /// Print JSON instead of lines
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) source: SourceArgs,
}

/// Arguments of `families`.
#[derive(Debug, clap::Args)]
pub(crate) struct FamiliesArgs {
    /// Print JSON instead of a table
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
}

/// Arguments of `order`.
#[derive(Debug, clap::Args)]
pub(crate) struct OrderArgs {
    /// Who multiplies: our kernels, or the device's own product [default: ours on flex, else
    /// device]
    ///
    /// `ours` adds in a declared order, `device` is burn's own product there.
    #[arg(long, value_name = "WHO", value_parser = PossibleValuesParser::new(["ours", "device"]).try_map(|s| s.parse::<Multiplier>()))]
    pub(crate) kernel: Option<Multiplier>,

    /// Format of both operands, and of the device's result: `bf16`, `f16` or `f32`
    #[arg(long, default_value = "bf16")]
    pub(crate) dtype: DType,

    /// Rows of the product (tokens)
    #[arg(short, long, value_name = "M", default_value_t = 3)]
    pub(crate) m: usize,

    /// Columns of the product (outputs)
    #[arg(short, long, value_name = "N", default_value_t = 64)]
    pub(crate) n: usize,

    /// Products in each sum (inputs)
    #[arg(short, long, value_name = "K", default_value_t = 576)]
    pub(crate) k: usize,

    /// The order to ask of our kernels [default: as in `compare` for this format]
    #[arg(long, value_name = "ORDER")]
    pub(crate) accumulation: Option<Accumulation>,

    /// Print JSON instead of lines
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) device: DeviceArgs,
}

/// Who computes a matrix product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Multiplier {
    /// The kernels of this workspace.
    Ours,
    /// burn, on its device.
    Device,
}

impl FromStr for Multiplier {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "ours" => Ok(Multiplier::Ours),
            "device" => Ok(Multiplier::Device),
            _ => Err(format!("`{s}` is neither `ours` nor `device`")),
        }
    }
}

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    /// A hub id, a folder in Hugging Face layout, or a `.gguf` file
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) model: String,

    /// The recipe
    #[arg(long, default_value = "load(bf16)", help_heading = "Arms")]
    pub(crate) recipe: Recipe,

    /// Time the comparison with this second arm at every site, weights loaded anew, instead of a
    /// forward pass
    #[arg(long, value_name = "RECIPE", help_heading = "Arms")]
    pub(crate) b: Option<Recipe>,

    /// How attention is computed
    #[arg(long, default_value = "sdpa", value_parser = attention(), help_heading = "Arms")]
    pub(crate) attention: AttentionKind,

    /// Order of summation in matrix products, as in `compare`
    #[arg(long, value_name = "ORDER", help_heading = "Arms")]
    pub(crate) accumulation: Option<Accumulation>,

    /// Length of a prompt; repeatable [default: 3 and 64]
    #[arg(long, value_name = "N", help_heading = "Prompts")]
    pub(crate) tokens: Vec<usize>,

    /// Prompts that are compared in one go
    #[arg(long, value_name = "P", default_value_t = 1, requires = "b", help_heading = "Prompts")]
    pub(crate) prompts: usize,

    /// How often each is timed
    #[arg(long, value_name = "R", default_value_t = 5, help_heading = "Output")]
    pub(crate) repeat: usize,

    /// Print JSON instead of lines
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,

    /// Time whatever each line of stdin asks for, `RECIPE TOKENS REPEAT` or
    /// `audit RECIPE RECIPE TOKENS PROMPTS REPEAT` (`compare` in place of `audit`: with loading),
    /// and answer with a line: for taking turns with another program
    #[arg(long, hide = true)]
    pub(crate) turns: bool,

    #[command(flatten)]
    pub(crate) device: DeviceArgs,

    #[command(flatten)]
    pub(crate) source: SourceArgs,
}

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// The folder to write them into
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) out: PathBuf,
}

/// Reads the two kinds of attention, and completes them.
fn attention() -> impl TypedValueParser<Value = AttentionKind> {
    PossibleValuesParser::new(["sdpa", "eager"]).try_map(|name| name.parse::<AttentionKind>())
}

/// A recipe, with the arithmetic of this arm where it is to differ from the others'.
#[derive(Clone, Debug)]
pub(crate) struct ArmSpec {
    pub(crate) recipe: Recipe,
    attention: Option<AttentionKind>,
    accumulation: Option<Accumulation>,
    departures: Vec<Departure>,
}

impl ArmSpec {
    /// A recipe that says nothing about arithmetic.
    pub(crate) fn of(recipe: Recipe) -> Self {
        ArmSpec { recipe, attention: None, accumulation: None, departures: Vec::new() }
    }

    /// Whether it names an order of summation.
    pub(crate) fn names_order(&self) -> bool {
        self.accumulation.is_some()
    }

    /// The semantics of an arm of this dtype, where what all arms share fills in what was not said
    /// of this one.
    pub(crate) fn semantics(
        &self,
        attention: AttentionKind,
        accumulation: Option<Accumulation>,
        dtype: DType,
    ) -> Semantics {
        let accumulation = self.accumulation.or(accumulation).unwrap_or(Accumulation::of(dtype));
        let attention = self.attention.unwrap_or(attention);
        let base = Semantics::from(Arithmetic { accumulation, ..attention.into() });
        self.departures.iter().fold(base, |semantics, &departure| semantics.with(departure))
    }
}

impl FromStr for ArmSpec {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let mut parts = s.split('@');
        let recipe = parts.next().unwrap_or_default();
        let mut spec = ArmSpec::of(recipe.parse::<Recipe>().map_err(|e| e.to_string())?);
        let mut together = Semantics::default();
        for part in parts {
            if part.contains('=') {
                let departure =
                    part.parse::<Departure>().map_err(|e| format!("{e}{}", suggestions::variant(part)))?;
                together.add(departure).map_err(|e| e.to_string())?;
            } else if let Ok(attention) = part.parse() {
                once(spec.attention.replace(attention), attention, "attentions")?;
            } else if let Ok(accumulation) = part.parse() {
                once(spec.accumulation.replace(accumulation), accumulation, "orders of summation")?;
            } else {
                return Err(format!(
                    "`@{part}` names neither an attention (eager, sdpa), nor an order of summation, nor a variant of \
                     the arithmetic (CLASS=VALUE; classes are {}){}",
                    Variant::CLASSES.join(", "),
                    suggestions::arithmetic(part)
                ));
            }
        }
        // Those of the whole model first, so that those of some layers take precedence.
        spec.departures = together.departures().collect();
        Ok(spec)
    }
}

/// Refuses a second choice of what an arm has one of.
fn once<T: std::fmt::Display>(first: Option<T>, second: T, what: &str) -> Result<(), String> {
    let refusal = |first| Err(format!("`@{first}` and `@{second}` are two {what} of one arm; keep one"));
    first.map_or(Ok(()), refusal)
}

/// A recipe with a name for its arm.
#[derive(Clone, Debug)]
pub(crate) struct NamedSpec {
    pub(crate) name: String,
    pub(crate) spec: ArmSpec,
}

impl FromStr for NamedSpec {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let (name, spec) = s.split_once('=').ok_or("an arm is written `name=RECIPE`")?;
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || !name.chars().all(fits) {
            return Err(format!("`{name}` is no name for an arm; use letters, digits, `-`, `_`, `.`"));
        }
        Ok(NamedSpec { name: name.to_owned(), spec: spec.parse()? })
    }
}

/// Token ids.
#[derive(Clone, Debug)]
pub(crate) struct Ids(pub(crate) Vec<u32>);

impl FromStr for Ids {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let parse = |id: &str| id.trim().parse().map_err(|_| format!("`{}` is no token id", id.trim()));
        s.split(',').map(parse).collect::<Result<_, _>>().map(Ids)
    }
}

/// Checks that a model is written as something that can name one, before any work is done.
pub(crate) fn model_ref(text: &str) -> anyhow::Result<ModelRef> {
    Ok(text.parse()?)
}

#[cfg(test)]
mod tests {
    use ulpscope_fuzzing::Target;

    use super::*;

    fn semantics(text: &str) -> Result<Semantics, String> {
        text.parse::<ArmSpec>().map(|spec| spec.semantics(AttentionKind::Sdpa, None, DType::Bf16))
    }

    #[test]
    fn behind_a_recipe_stand_attention_order_and_variants() {
        let plain = semantics("load(bf16)").unwrap();
        assert_eq!(plain.base.accumulation, Accumulation::of(DType::Bf16));
        assert_eq!((plain.base.attention, plain.departures().count()), (AttentionKind::Sdpa, 0));

        let said = semantics("load(f32).to(bf16)@norm=storage[3]@eager@rope=none@dot2@norm=fused").unwrap();
        assert_eq!(said.base.attention, AttentionKind::Eager);
        assert_eq!(said.base.accumulation, Accumulation::Dot2);
        let said: Vec<String> = said.departures().map(|departure| departure.to_string()).collect();
        assert_eq!(said, ["norm=fused", "rope=none", "norm=storage[3]"]);
    }

    #[test]
    fn what_is_not_known_is_refused_with_what_is() {
        for (text, part) in [
            ("load(bf16)@egaer", "did you mean `@eager`?"),
            ("load(bf16)@sequental", "did you mean `@sequential`?"),
            ("load(bf16)@", "neither an attention (eager, sdpa)"),
            ("load(bf16)@norm", "CLASS=VALUE; classes are embedding"),
            ("load(bf16)@norm=fusd", "norm can be fused, storage"),
            ("load(bf16)@norm=fusd[3-5]", "did you mean `@norm=fused[3-5]`?"),
            ("load(bf16)@nrm=fused", "did you mean `@norm=fused`?"),
            ("load(bf16)@table=f32[2]", "outside the blocks"),
            ("load(bf16)@norm=fused@norm=storage", "two variants of one class"),
            ("load(bf16)@norm=fused@norm=fused", "two variants of one class"),
            ("load(bf16)@sdpa@norm=fused@eager", "`@sdpa` and `@eager` are two attentions of one arm"),
            ("load(bf16)@dot2@split-k(4)", "`@dot2` and `@split-k(4)` are two orders of summation"),
            ("load(bf16)@dot2@dot2", "two orders of summation"),
        ] {
            let error = semantics(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn fuzz_arm() {
        Target::new("arm", env!("CARGO_MANIFEST_DIR"))
            .seed("truth=load(f32).to(bf16)@norm=storage[3]@eager@rope=none@dot2")
            .seed("b=load(bf16)@split-k(8)@sdpa@scale=1/8@cache=e4m3[0-1]")
            .seed("1,2,-3,4294967295")
            .words(&[
                "@", "load(", ")", ".half()", "eager", "split-k(", "norm=", "fused", "[", "]", "-", ",",
                "exact",
            ])
            .text()
            .run(|input| {
                let text = String::from_utf8_lossy(input);
                if let Ok(ids) = text.parse::<Ids>() {
                    assert!(!ids.0.is_empty());
                    return Ok("ids".to_owned());
                }
                let named: NamedSpec = text.parse()?;
                assert!(!named.name.contains(['/', '\0', '=']));
                let semantics = named.spec.semantics(AttentionKind::Sdpa, None, DType::Bf16);
                for layer in [None, Some(0), Some(usize::MAX)] {
                    semantics.at(layer);
                }
                Ok(format!("{} departures", "x".repeat(semantics.departures().count().min(9))))
            });
    }
}
