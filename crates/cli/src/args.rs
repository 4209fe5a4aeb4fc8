//! The command line, as typed. No type of the argument parser leaves this file.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, Subcommand};
use ulpscope_capture::Pattern;
use ulpscope_floats::DType;
use ulpscope_llama::{Accumulation, Arithmetic, AttentionKind, Departure, Semantics, Variant};
use ulpscope_weights::{ModelRef, Recipe};

use crate::fail_on::Condition;

/// Two copies of one LLM disagree: where does it start, what caused it, does it matter?
#[derive(Debug, Parser)]
#[command(name = "ulpscope", version = crate::provenance::VERSION, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the same prompts through two or more arms in lockstep, and report how far they diverge and where
    Compare(CompareArgs),
    /// Find out what made arm b differ from arm a, prove it by undoing it, and measure it against noise
    Explain(CompareArgs),
    /// Compare state dicts and buffers only; no forward pass
    Weights(WeightsArgs),
    /// Write one arm's activations to a safetensors file
    Trace(TraceArgs),
    /// Compare two traces, ours or another program's
    Diff(DiffArgs),
    /// Draw the pictures of a finished run
    Plot(PlotArgs),
    /// Make the page of a finished run, or one page about several
    Report(ReportArgs),
    /// List the sites that can be observed in a model
    Sites(SitesArgs),
    /// Find out in which order a matrix product adds, by adding
    Order(OrderArgs),
    /// Time the forward pass (`cargo xtask bench` compares it with PyTorch's)
    Bench(BenchArgs),
}

/// Which model, and how it becomes an arm.
#[derive(Debug, clap::Args)]
pub(crate) struct ArmArgs {
    /// A hub id (`org/name`, `org/name@revision`), a directory in Hugging Face layout, or a `.gguf` file. With two
    /// of them, arm a is loaded from the first and arm b from the second
    #[arg(value_name = "MODEL", required = true, num_args = 1..=2)]
    pub(crate) models: Vec<String>,

    /// Another source for the first model, tried when those before it can't be had; repeatable
    #[arg(long, value_name = "MODEL")]
    pub(crate) fallback: Vec<String>,

    /// Recipe of arm a, the reference, as the chain of calls one would write in PyTorch; `@eager` or `@sdpa` behind
    /// it chooses the attention of this arm alone, `@sequential` and the like its order of summation, `@norm=fused`
    /// and the like where it departs from Hugging Face's arithmetic: in all layers, or as `@norm=fused[3-5]` in some
    #[arg(long, value_name = "RECIPE", default_value = "load(bf16)")]
    pub(crate) a: ArmSpec,

    /// Recipe of arm b [default: `load(f32).to(bf16)`; with two models, that of arm a]
    #[arg(long, value_name = "RECIPE")]
    pub(crate) b: Option<ArmSpec>,

    /// A further arm; repeatable
    #[arg(long = "arm", value_name = "NAME=RECIPE")]
    pub(crate) more: Vec<NamedSpec>,

    /// How attention is computed: `sdpa` or `eager`
    #[arg(long, default_value = "sdpa")]
    pub(crate) attention: AttentionKind,

    /// Order of summation in matrix products [default: tile32; for f16 sequential-blocked]: `tile32`, `tile32-blocked`, `dot2`, `dot2-lanes`, `sequential`, `reversed`,
    /// `pairwise`, `split-k(N)` or `exact`. PyTorch uses `tile32` on CPUs with AMX, `dot2` on those with AVX512_BF16
    /// alone
    #[arg(long, value_name = "ORDER")]
    pub(crate) accumulation: Option<Accumulation>,

    #[command(flatten)]
    pub(crate) source: SourceArgs,
}

/// Where models come from.
#[derive(Debug, clap::Args)]
pub(crate) struct SourceArgs {
    /// Use only what is already on this machine (as does HF_HUB_OFFLINE=1)
    #[arg(long)]
    pub(crate) offline: bool,

    /// Say nothing on stderr but errors
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// What to run through the arms.
#[derive(Debug, clap::Args)]
pub(crate) struct PromptArgs {
    /// A prompt; repeatable [default: `Gravity is`]
    #[arg(long = "prompt", value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) texts: Vec<String>,

    /// A file whose text is a prompt; repeatable
    #[arg(long = "text", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// Use at most this many tokens of each prompt
    #[arg(long, value_name = "N")]
    pub(crate) truncate: Option<std::num::NonZeroUsize>,

    /// A prompt as token ids, such as `1,17,250`; repeatable
    #[arg(long, value_name = "IDS")]
    pub(crate) ids: Vec<Ids>,
}

/// Where to compute.
#[derive(Debug, clap::Args)]
pub(crate) struct DeviceArgs {
    /// The device that computes: `flex` (this CPU) or `cuda[:N]`
    #[arg(long, default_value = "flex")]
    pub(crate) device: String,

    /// Threads to compute with [default: one per core]. The result does not depend on it
    #[arg(long, value_name = "N")]
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
    #[arg(long, value_name = "GLOB", default_value = "*")]
    pub(crate) sites: Pattern,

    #[command(flatten)]
    pub(crate) device: DeviceArgs,

    /// Write record.json, summary.md, report.html, report.md and pictures into this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// Draw the pictures as SVG, too
    #[arg(long, requires = "out")]
    pub(crate) svg: bool,

    /// Print the record as JSON instead of tables
    #[arg(long)]
    pub(crate) json: bool,

    /// Exit with status 3 if this holds for any arm and prompt, such as `kl>1e-3` or `equal<1`; repeatable
    #[arg(long, value_name = "CONDITION")]
    pub(crate) fail_on: Vec<Condition>,

    /// Name of the experiment, for the record
    #[arg(long, hide = true)]
    pub(crate) experiment: Option<String>,
}

/// Arguments of `weights`.
#[derive(Debug, clap::Args)]
pub(crate) struct WeightsArgs {
    #[command(flatten)]
    pub(crate) arms: ArmArgs,

    /// Show this parameter or buffer in every arm, as PyTorch prints it
    #[arg(long, value_name = "NAME")]
    pub(crate) tensor: Option<String>,

    /// Print JSON instead of tables
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `trace`.
#[derive(Debug, clap::Args)]
pub(crate) struct TraceArgs {
    /// A hub id, a directory in Hugging Face layout, or a `.gguf` file
    pub(crate) model: String,

    /// The recipe, with `@…` behind it as in `compare`
    #[arg(long, default_value = "load(bf16)")]
    pub(crate) recipe: ArmSpec,

    /// How attention is computed: `sdpa` or `eager`
    #[arg(long, default_value = "sdpa")]
    pub(crate) attention: AttentionKind,

    /// Order of summation in matrix products, as in `compare`
    #[arg(long, value_name = "ORDER")]
    pub(crate) accumulation: Option<Accumulation>,

    #[command(flatten)]
    pub(crate) prompts: PromptArgs,

    /// Sites to record, as a glob
    #[arg(long, value_name = "GLOB", default_value = "*")]
    pub(crate) sites: Pattern,

    #[command(flatten)]
    pub(crate) device: DeviceArgs,

    #[command(flatten)]
    pub(crate) source: SourceArgs,

    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

/// Arguments of `diff`.
#[derive(Debug, clap::Args)]
pub(crate) struct DiffArgs {
    /// The reference trace
    pub(crate) a: PathBuf,

    /// The trace to compare with it
    pub(crate) b: PathBuf,

    /// Sites to compare, as a glob
    #[arg(long, value_name = "GLOB", default_value = "*")]
    pub(crate) sites: Pattern,

    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `plot`.
#[derive(Debug, clap::Args)]
pub(crate) struct PlotArgs {
    /// The folder of a finished run, or its record.json
    pub(crate) run: PathBuf,

    /// Where to put the pictures [default: beside the record]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// Draw the pictures as SVG, too
    #[arg(long)]
    pub(crate) svg: bool,

    /// The layer whose sites are shown one by one
    #[arg(long, default_value_t = 0)]
    pub(crate) layer: usize,

    /// The prompt to show
    #[arg(long, default_value_t = 0)]
    pub(crate) prompt: usize,
}

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
pub(crate) struct ReportArgs {
    /// Folders of finished runs, or their record.json. One run gets report.html and report.md; of several, the arms are
    /// put side by side in comparison.html and comparison.md
    #[arg(value_name = "RUN", required = true)]
    pub(crate) runs: Vec<PathBuf>,

    /// Where to put the pages [default: beside the record; of several runs, the working directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// Show the page in a browser
    #[arg(long)]
    pub(crate) open: bool,
}

/// Arguments of `sites`.
#[derive(Debug, clap::Args)]
pub(crate) struct SitesArgs {
    /// A hub id, a directory in Hugging Face layout, or a `.gguf` file
    pub(crate) model: String,

    /// How attention is computed: `sdpa` or `eager`
    #[arg(long, default_value = "sdpa")]
    pub(crate) attention: AttentionKind,

    #[command(flatten)]
    pub(crate) source: SourceArgs,
}

/// Arguments of `order`.
#[derive(Debug, clap::Args)]
pub(crate) struct OrderArgs {
    #[command(flatten)]
    pub(crate) device: DeviceArgs,

    /// Who multiplies: `ours`, in a declared order, or `device`, burn's own product there [default: ours where we have
    /// kernels, that is on flex]
    #[arg(long, value_name = "WHO")]
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
    /// A hub id, a directory in Hugging Face layout, or a `.gguf` file
    pub(crate) model: String,

    /// The recipe
    #[arg(long, default_value = "load(bf16)")]
    pub(crate) recipe: Recipe,

    /// Time the comparison with this second arm at every site, weights loaded anew, instead of a forward pass
    #[arg(long, value_name = "RECIPE")]
    pub(crate) b: Option<Recipe>,

    /// Prompts that are compared in one go
    #[arg(long, value_name = "P", default_value_t = 1, requires = "b")]
    pub(crate) prompts: usize,

    /// How attention is computed: `sdpa` or `eager`
    #[arg(long, default_value = "sdpa")]
    pub(crate) attention: AttentionKind,

    /// Order of summation in matrix products, as in `compare`
    #[arg(long, value_name = "ORDER")]
    pub(crate) accumulation: Option<Accumulation>,

    /// Length of a prompt; repeatable [default: 3 and 64]
    #[arg(long, value_name = "N")]
    pub(crate) tokens: Vec<usize>,

    /// How often each is timed
    #[arg(long, value_name = "R", default_value_t = 5)]
    pub(crate) repeat: usize,

    /// Time whatever each line of stdin asks for, `RECIPE TOKENS REPEAT` or `RECIPE RECIPE TOKENS PROMPTS REPEAT`, and
    /// answer with a line: for taking turns with another program
    #[arg(long, hide = true)]
    pub(crate) turns: bool,

    #[command(flatten)]
    pub(crate) device: DeviceArgs,

    #[command(flatten)]
    pub(crate) source: SourceArgs,

    /// Print JSON instead of lines
    #[arg(long)]
    pub(crate) json: bool,
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

    /// The semantics of an arm of this dtype, where what all arms share fills in what was not said of this one.
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
                let departure = part.parse::<Departure>().map_err(|e| e.to_string())?;
                together.add(departure).map_err(|e| e.to_string())?;
            } else if let Ok(attention) = part.parse() {
                spec.attention = Some(attention);
            } else if let Ok(accumulation) = part.parse() {
                spec.accumulation = Some(accumulation);
            } else {
                return Err(format!(
                    "`@{part}` names neither an attention (eager, sdpa), nor an order of summation, nor a variant of \
                     the arithmetic (CLASS=VALUE; classes are {})",
                    Variant::CLASSES.join(", ")
                ));
            }
        }
        // Those of the whole model first, so that those of some layers take precedence.
        spec.departures = together.departures().collect();
        Ok(spec)
    }
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
            ("load(bf16)@egaer", "neither an attention (eager, sdpa)"),
            ("load(bf16)@", "neither an attention (eager, sdpa)"),
            ("load(bf16)@norm", "CLASS=VALUE; classes are embedding"),
            ("load(bf16)@norm=fusd", "norm can be fused, storage"),
            ("load(bf16)@table=f32[2]", "outside the blocks"),
            ("load(bf16)@norm=fused@norm=storage", "two variants of one class"),
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
