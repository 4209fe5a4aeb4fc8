//! Damaged input for every parser: the fuzz targets of all crates, each for as long as is asked.
//!
//! The targets are plain tests, named `fuzz_…`, of the crates that hold the parsers;
//! `ulpscope-fuzzing` says how they work. Here they are found, and run one process each, as many at
//! once as there are cores.

use std::collections::VecDeque;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::shell;

/// The crates that have targets. `ulpscope` also decides on the features that all are built with.
const PACKAGES: [&str; 8] = [
    "ulpscope",
    "ulpscope-capture",
    "ulpscope-decoder",
    "ulpscope-plot",
    "ulpscope-record",
    "ulpscope-report",
    "ulpscope-weights",
    "xtask",
];

/// Seconds that a quick run takes for all targets together.
const QUICK: u64 = 100;

/// Arguments of fuzzing alone.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// fuzz: executions of each target; those that make whole pages and pictures make one in a
    /// hundred
    #[arg(long, value_name = "N", default_value_t = 10_000_000)]
    pub(crate) executions: u64,

    /// fuzz: only the targets whose name has this in it
    #[arg(long, value_name = "NAME", default_value = "")]
    pub(crate) target: String,

    /// fuzz: targets run at once [default: one per core]
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<usize>,
}

/// One test of one test program.
struct Target {
    program: PathBuf,
    folder: PathBuf,
    name: String,
}

/// Runs the targets and prints a line for each; whether no case was found.
pub(super) fn run(args: &Args, seed: u64, quick: bool) -> Result<bool> {
    let mut targets = Vec::new();
    for (program, folder) in programs()? {
        targets.extend(targets_of(&program, &folder)?);
    }
    // They are printed with hyphens.
    targets.retain(|target| target.name.contains(&args.target.replace('-', "_")));
    if targets.is_empty() {
        bail!("no target has `{}` in its name", args.target);
    }
    let jobs = args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let seconds = quick.then(|| (QUICK * jobs as u64 / targets.len() as u64).max(1));
    let (count, started) = (targets.len(), Instant::now());
    let queue = Mutex::new(VecDeque::from(targets));
    let next = || queue.lock().ok()?.pop_front();
    let work = || {
        let mut failed = Vec::new();
        while let Some(target) = next() {
            if let Err(error) = one(&target, args, seed, seconds) {
                failed.push(format!("{}: {error:#}", target.name));
            }
        }
        failed
    };
    let failed: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    let seconds = started.elapsed().as_secs_f64();
    println!("{count} targets in {seconds:.0} s, {} of them with cases found", failed.len());
    for line in &failed {
        println!("{line}");
    }
    Ok(failed.is_empty())
}

/// Runs one target to its end and prints its line.
fn one(target: &Target, args: &Args, seed: u64, seconds: Option<u64>) -> Result<()> {
    let mut command = Command::new(&target.program);
    command.current_dir(&target.folder).args(["--exact", &target.name, "--nocapture"]);
    command.env("ULPSCOPE_FUZZ_EXECUTIONS", args.executions.to_string());
    command.env("ULPSCOPE_FUZZ_SEED", seed.to_string()).env("RUST_BACKTRACE", "0");
    command.env_remove("ULPSCOPE_FUZZ_TARGET").env_remove("ULPSCOPE_FUZZ_SECONDS");
    if let Some(seconds) = seconds {
        command.env("ULPSCOPE_FUZZ_SECONDS", seconds.to_string());
    }
    let output =
        command.output().with_context(|| format!("{} can't be started", target.program.display()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let mut lines = said.lines().skip_while(|line| !line.starts_with("fuzz "));
    let own = lines.next().into_iter();
    for line in own.chain(lines.take_while(|line| line.starts_with("  "))) {
        println!("{line}");
    }
    if output.status.success() {
        return Ok(());
    }
    let panic = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match output.status.code() {
        Some(_) => bail!("{panic}"),
        // A process that died says nothing of its input; the same seed leads there again.
        None => bail!("{}; set ULPSCOPE_FUZZ_LAST to a file and run it again: {panic}", output.status),
    }
}

/// The test programs of [`PACKAGES`], built, each with the folder of its crate.
fn programs() -> Result<Vec<(PathBuf, PathBuf)>> {
    let mut build = shell::cargo(&["test", "--no-run", "--lib", "--bins"]);
    build.arg("--message-format=json-render-diagnostics");
    build.args(PACKAGES.iter().flat_map(|package| ["--package", package]));
    let own = std::env::current_exe().context("the path of this program")?;
    if own.parent().is_some_and(|folder| folder.ends_with("release")) {
        build.arg("--release");
    }
    let mut child = build.stdout(Stdio::piped()).spawn().context("cargo can't be started")?;
    let mut messages = String::new();
    child.stdout.take().context("cargo's output")?.read_to_string(&mut messages)?;
    if !child.wait()?.success() {
        bail!("the tests can't be built");
    }
    let mut found = Vec::new();
    for line in messages.lines() {
        let message: serde_json::Value = serde_json::from_str(line).context("a message of cargo")?;
        let (program, manifest) = (message["executable"].as_str(), message["manifest_path"].as_str());
        let test = message["profile"]["test"].as_bool();
        if let (Some(program), Some(manifest), Some(true)) = (program, manifest, test) {
            let folder = Path::new(manifest).parent().context("a manifest lies in a folder")?;
            found.push((PathBuf::from(program), folder.to_owned()));
        }
    }
    Ok(found)
}

fn targets_of(program: &Path, folder: &Path) -> Result<Vec<Target>> {
    let listed = Command::new(program).args(["--list", "fuzz_"]).output();
    let listed = listed.with_context(|| format!("{} can't be started", program.display()))?;
    let names = String::from_utf8_lossy(&listed.stdout);
    let names = names.lines().filter_map(|line| line.strip_suffix(": test"));
    let named = names.filter(|name| name.rsplit("::").next().is_some_and(|last| last.starts_with("fuzz_")));
    let target =
        |name: &str| Target { program: program.to_owned(), folder: folder.to_owned(), name: name.to_owned() };
    Ok(named.map(target).collect())
}
