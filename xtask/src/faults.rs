//! `cargo xtask faults`: the localiser, scored on faults that are put in for the purpose, and on pairs without one.

mod cases;
mod checkpoint;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ulpscope_record::{Explanation, RunRecord};

use crate::shell;
use cases::{Case, Expected};

/// Arguments of `faults`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The model to put faults into; those of weights and config need a folder with one model.safetensors in f32
    #[arg(long, value_name = "DIR", default_value = "tests/fixtures/tiny-llama")]
    model: PathBuf,

    /// Print every case, not only those that went wrong
    #[arg(long)]
    all: bool,
}

/// How a family of cases came out.
#[derive(Default)]
struct Score {
    cases: usize,
    site: usize,
    cause: usize,
    missed: usize,
    alarms: usize,
    time: Duration,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let ulpscope = shell::ulpscope(&[])?;
    let model = shell::root().join(&args.model);
    let work = shell::root().join("target/faults");
    std::fs::create_dir_all(&work).with_context(|| format!("{} can't be made", work.display()))?;
    let cases = cases::all(&model)?;
    let mut scores: BTreeMap<&str, Score> = BTreeMap::new();
    for (i, case) in cases.iter().enumerate() {
        eprint!("\r{} of {} ", i + 1, cases.len());
        let begun = Instant::now();
        let found = explain(&ulpscope, &model, &work, case).with_context(|| case.name.clone())?;
        let score = scores.entry(case.family).or_default();
        score.cases += 1;
        score.time += begun.elapsed();
        let origin = found.origins.first().map(|o| o.site.as_str());
        let cause = found.causes.first().map(|c| c.id.as_str());
        let right = match &case.expected {
            Expected::Nothing => {
                let alarm = !found.origins.is_empty() || found.causes.iter().any(|c| c.fault);
                score.alarms += usize::from(alarm);
                !alarm
            }
            Expected::Fault { id, site } => {
                score.site += usize::from(cases::is(origin, site));
                score.cause += usize::from(cause == Some(id));
                score.missed += usize::from(cause.is_none());
                cases::is(origin, site) && cause == Some(id)
            }
        };
        if args.all || !right {
            println!(
                "\r{:<5} {}: {:?} at {:?}",
                if right { "ok" } else { "WRONG" },
                case.name,
                cause,
                origin
            );
        }
    }
    eprint!("\r");
    print(&scores);
    let wrong = scores.iter().any(|(family, s)| {
        s.alarms > 0 || (*family != "null" && (s.site.min(s.cause) as f64) < 0.95 * s.cases as f64)
    });
    Ok(if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(scores: &BTreeMap<&str, Score>) {
    println!("family        cases  right site first  right cause first  missed  false alarms  time per case");
    for (family, s) in scores {
        let share = |n: usize| format!("{n} ({:.1} %)", n as f64 / s.cases as f64 * 100.0);
        let (site, cause, missed) = if *family == "null" {
            ("-".to_owned(), "-".to_owned(), "-".to_owned())
        } else {
            (share(s.site), share(s.cause), s.missed.to_string())
        };
        let alarms = if *family == "null" { s.alarms.to_string() } else { "-".to_owned() };
        let each = s.time.as_secs_f64() / s.cases as f64;
        println!(
            "{family:<12} {:>6}  {site:>16}  {cause:>17}  {missed:>6}  {alarms:>12}  {each:>11.2} s",
            s.cases
        );
    }
}

/// Runs `ulpscope explain` on a case.
fn explain(ulpscope: &Path, model: &Path, work: &Path, case: &Case) -> Result<Explanation> {
    let mut command = Command::new(ulpscope);
    command.args(["explain", "--json", "--quiet", "--offline"]).arg(model);
    if let Some(change) = &case.change {
        let other = work.join("changed");
        checkpoint::changed(model, &other, change)?;
        command.arg(other);
    }
    command.args(["--a", &case.a, "--b", &case.b]).args(["--prompt", &case.prompt]);
    let output = command.stderr(Stdio::inherit()).output().context("ulpscope can't be started")?;
    let text = String::from_utf8(output.stdout).context("the record is no UTF-8")?;
    RunRecord::from_json(&text)?.explanation.context("the record has no explanation")
}
