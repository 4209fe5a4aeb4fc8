//! `cargo xtask faults`: the localiser, scored on faults that are put in for the purpose, and on
//! pairs without one.

mod calibrate;
mod cases;
mod checkpoint;
mod edit;
mod numbers;
mod outcome;
mod table;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use ulpscope_record::RunRecord;

use crate::{experiment, shell};
use cases::{Case, Expected, Model, Prompt, Side, Split};
use outcome::Outcome;

/// Arguments of `faults`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only cases whose name holds this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,

    /// Only this family of cases
    #[arg(long, value_name = "NAME")]
    family: Option<String>,

    /// Only models of this family of decoders, by its `model_type`
    #[arg(long, value_name = "MODEL_TYPE")]
    decoder: Option<String>,

    /// Only this part of the cases
    #[arg(long)]
    split: Option<Split>,

    /// Every case on the real model, not some; it takes several minutes more
    #[arg(long)]
    all: bool,

    /// Which models
    #[arg(long, default_value = "both")]
    models: Which,

    /// The real model [default: what `cargo xtask experiment` takes]; weights are edited only in a
    /// folder with safetensors
    #[arg(long, value_name = "MODEL")]
    real_model: Option<String>,

    /// Print what each threshold of the explainer stands between
    #[arg(long)]
    calibrate: bool,

    /// Print every case, not only those that went wrong
    #[arg(long)]
    verbose: bool,
}

/// Which models are asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    /// Those of tests/fixtures
    Tiny,
    /// A model of 135 million parameters
    Real,
    Both,
}

/// What is needed to run a case.
struct Bench {
    ulpscope: PathBuf,
    fixtures: PathBuf,
    work: PathBuf,
    /// The sources of the real model, in the order in which they are tried.
    real: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let bench = Bench::new(args)?;
    let mut all: Vec<Case> = Vec::new();
    if args.models != Which::Real {
        all.extend(cases::tiny(&bench.fixtures)?);
    }
    if args.models != Which::Tiny {
        all.extend(bench.real_cases()?);
    }
    let wanted = |case: &Case| {
        (args.all || case.short)
            && args.split.is_none_or(|split| case.split == split)
            && args.decoder.as_ref().is_none_or(|decoder| case.decoder == *decoder)
            && args.family.as_ref().is_none_or(|family| case.family == family)
            && args.only.as_ref().is_none_or(|text| case.name.contains(text))
    };
    let decoders: BTreeSet<String> = all.iter().map(|case| case.decoder.clone()).collect();
    all.retain(wanted);
    if all.is_empty() {
        std::fs::remove_dir_all(&bench.work)?;
        let known = decoders.into_iter().collect::<Vec<_>>().join(", ");
        bail!("no case is like that; there are models of {known}, and --all takes in more cases");
    }
    let begun = Instant::now();
    let mut outcomes: Vec<Outcome> = Vec::new();
    for (i, case) in all.iter().enumerate() {
        eprint!("\r{} of {} ", i + 1, all.len());
        let outcome = bench.outcome(case).with_context(|| case.name.clone())?;
        if args.verbose || !outcome.right {
            println!("\r{outcome}");
        }
        outcomes.push(outcome);
    }
    eprint!("\r");
    let elapsed = begun.elapsed().as_secs_f64();
    print!("{}", table::text(&outcomes));
    if args.calibrate {
        print!("{}", calibrate::text(&outcomes));
    }
    println!("{} cases in {elapsed:.0} s", outcomes.len());
    std::fs::remove_dir_all(&bench.work)?;
    let path = bench.work.with_file_name("score.json");
    std::fs::write(&path, serde_json::to_string_pretty(&table::json(&outcomes, elapsed))?)?;
    println!("every case: {}", path.display());
    Ok(if table::fails(&outcomes) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl Bench {
    fn new(args: &Args) -> Result<Self> {
        // Of its own, so that two runs do not write into each other's checkpoints.
        let work = shell::root().join(format!("target/faults/{}", std::process::id()));
        std::fs::create_dir_all(&work).with_context(|| format!("{} can't be made", work.display()))?;
        let real = match &args.real_model {
            Some(model) => vec![model.clone()],
            None => experiment::models("load-vs-cast")?,
        };
        let fixtures = shell::root().join("tests/fixtures");
        Ok(Bench { ulpscope: shell::ulpscope(&[])?, fixtures, work, real })
    }

    /// The cases on the real model, whose shape a first run tells.
    fn real_cases(&self) -> Result<Vec<Case>> {
        let side = || Side { spec: "load(bf16)".to_owned(), ..Side::default() };
        let case = Case {
            name: "the real model".to_owned(),
            key: String::new(),
            family: "null",
            split: Split::Development,
            decoder: "llama".to_owned(),
            model: Model::Real,
            a: side(),
            b: side(),
            prompts: vec![Prompt::Ids(vec![1, 2])],
            expected: Expected::Nothing,
            short: true,
        };
        let record = self.explain(&case, &[])?.map_err(|error| anyhow::anyhow!(error))?;
        let folder = matches!(&self.real[..], [one] if Path::new(one).join("model.safetensors").exists());
        println!("real model: {}", record.model.name);
        if !folder {
            println!("  no edits of its weights: it is not given as a folder with model.safetensors");
        }
        let config: Value = serde_json::to_value(&record.model.config)?;
        cases::real(&config, folder)
    }

    fn outcome(&self, case: &Case) -> Result<Outcome> {
        let begun = Instant::now();
        let first = self.explain(case, &[])?;
        let again = match &case.expected {
            Expected::SameWith(args) => Some(self.explain(case, args)?),
            _ => None,
        };
        Outcome::of(case, first, again, begun.elapsed().as_secs_f64())
    }

    /// Runs `ulpscope explain` on a case: the record, or what it said instead.
    fn explain(&self, case: &Case, more: &[&str]) -> Result<Result<RunRecord, String>> {
        let mut command = Command::new(&self.ulpscope);
        command.current_dir(shell::root()).args(["explain", "--json", "--quiet"]);
        let changed = |side: &Side| !side.changes.is_empty() || side.other.is_some();
        let a = self.source(case, &case.a, "a")?;
        command.arg(&a[0]);
        if changed(&case.a) || changed(&case.b) {
            command.arg(&self.source(case, &case.b, "b")?[0]);
        }
        command.args(a[1..].iter().flat_map(|source| ["--fallback", source]));
        if case.model != Model::Real {
            command.arg("--offline");
        }
        command.args(["--a", &case.a.spec, "--b", &case.b.spec]);
        for prompt in &case.prompts {
            match prompt {
                Prompt::Text(text) => command.args(["--prompt", text]),
                Prompt::Ids(ids) => {
                    let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
                    command.args(["--ids", &ids.join(",")])
                }
            };
        }
        let output = command.args(more).output().context("ulpscope can't be started")?;
        if output.stdout.is_empty() {
            return Ok(Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        let text = String::from_utf8(output.stdout).context("the record is no UTF-8")?;
        Ok(Ok(RunRecord::from_json(&text)?))
    }

    /// Where an arm is loaded from, and what is tried if that can't be had.
    fn source(&self, case: &Case, side: &Side, name: &str) -> Result<Vec<String>> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        if let Some(other) = side.other {
            return Ok(vec![text(&self.fixtures.join(other))]);
        }
        let sources = match case.model {
            Model::Tiny(folder) => vec![text(&self.fixtures.join(folder))],
            Model::Real => self.real.clone(),
        };
        if side.changes.is_empty() {
            return Ok(sources);
        }
        let [model, ..] = &sources[..] else { bail!("no model is named") };
        let other = self.work.join(name);
        checkpoint::write(Path::new(model), &other, &side.changes)?;
        Ok(vec![text(&other)])
    }
}
