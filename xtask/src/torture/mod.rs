//! `cargo xtask torture`: the tool under attack. What is tried, and how much of it is survived, in
//! figures.
//!
//! Everything but `fuzz` runs the real binary on the tiny fixture. It needs no network, and fails
//! if anything was not survived.

mod contradictions;
mod disk;
mod fuzz;
mod hostile;
mod hub;
mod kill;
mod load;
mod pipes;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::shell;

/// Arguments of `torture`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to try
    #[arg(value_enum, default_value = "all")]
    which: Which,

    /// A short form, of two minutes in all
    #[arg(long)]
    quick: bool,

    /// Where the random moments and sizes begin; the same number gives the same ones
    #[arg(long, default_value_t = 1)]
    seed: u64,

    #[command(flatten)]
    fuzz: fuzz::Args,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    /// Runs and downloads killed at random moments
    Kill,
    /// Full and read-only disks, files that are cut short or replaced while they are read
    Disk,
    /// Many comparisons in one process, several at once, too little memory
    Load,
    /// Standard output that is closed or full, for each subcommand
    Pipes,
    /// Files whose values contradict each other
    Contradictions,
    /// A hub that wants the token or the disk, and links planted in its cache
    Hub,
    /// Damaged input for every parser, in process: no panic, no hang, no memory beyond a multiple
    /// of the input
    Fuzz,
    /// All of these
    All,
}

/// Tries everything of one kind.
type Attack<'a> = dyn Fn(&mut Bench) -> Result<()> + 'a;

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    // Of its own, so that two at once do not take away each other's folders.
    let work = shell::root().join(format!("target/torture/{}", std::process::id()));
    fs::create_dir_all(&work).with_context(|| format!("{} can't be made", work.display()))?;
    let mut bench = Bench {
        ulpscope: shell::ulpscope(&[])?,
        model: shell::root().join("tests/fixtures/tiny-llama"),
        work,
        quick: args.quick,
        random: Random(args.seed),
        survived: true,
    };
    let fuzz = |bench: &mut Bench| -> Result<()> {
        bench.survived &= fuzz::run(&args.fuzz, args.seed, args.quick)?;
        Ok(())
    };
    let all: [(Which, &str, &Attack); 7] = [
        (Which::Kill, "kill", &kill::run),
        (Which::Disk, "disk", &disk::run),
        (Which::Load, "load", &load::run),
        (Which::Pipes, "pipes", &pipes::run),
        (Which::Contradictions, "contradictions", &contradictions::run),
        (Which::Hub, "hub", &hostile::run),
        (Which::Fuzz, "fuzz", &fuzz),
    ];
    for (which, name, attack) in all {
        if args.which != Which::All && args.which != which {
            continue;
        }
        let begun = Instant::now();
        attack(&mut bench)?;
        println!("{name}: {:.0} s", begun.elapsed().as_secs_f64());
    }
    if bench.survived {
        // Kept where something went wrong, to be looked at.
        _ = fs::remove_dir_all(&bench.work);
    }
    Ok(if bench.survived { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What every attack needs.
struct Bench {
    ulpscope: PathBuf,
    model: PathBuf,
    work: PathBuf,
    quick: bool,
    random: Random,
    /// Whether everything was so far.
    survived: bool,
}

impl Bench {
    /// One number for the short form, another for the full one.
    fn count(&self, quick: usize, full: usize) -> usize {
        if self.quick { quick } else { full }
    }

    /// Prints how one kind of attack came out.
    fn done(&mut self, command: &str, tally: &Tally) {
        tally.print(command);
        self.survived &= tally.failures.is_empty();
    }

    /// The binary, which may not ask the hub.
    fn ulpscope(&self) -> Command {
        let mut command = Command::new(&self.ulpscope);
        command.env("HF_HUB_OFFLINE", "1").env_remove("HF_TOKEN").current_dir(&self.work);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Arguments that give `count` prompts of 512 tokens, the most that the tiny model takes.
    fn prompts(&self, count: usize) -> Vec<String> {
        let mut random = Random(7);
        let mut args = Vec::new();
        for _ in 0..count {
            let ids: Vec<String> = (0..512).map(|_| (1 + random.below(250)).to_string()).collect();
            args.extend(["--ids".to_owned(), ids.join(",")]);
        }
        args
    }

    /// A folder of this name, empty.
    fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.work.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("{} can't be emptied", folder.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("{} can't be made", folder.display()))?;
        Ok(folder)
    }

    /// A copy of the model that may be damaged.
    fn copy_of_model(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder(name)?;
        for file in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
            fs::copy(self.model.join(file), folder.join(file)).with_context(|| format!("copying {file}"))?;
        }
        Ok(folder)
    }
}

/// How one kind of attack came out.
struct Tally {
    what: String,
    cases: usize,
    failures: Vec<String>,
    /// What else there is to say.
    notes: Vec<String>,
}

impl Tally {
    fn new(what: &str) -> Self {
        Tally { what: what.to_owned(), cases: 0, failures: Vec::new(), notes: Vec::new() }
    }

    /// Counts a case, with what went wrong if something did.
    fn count(&mut self, wrong: Option<String>) {
        self.cases += 1;
        if let Some(wrong) = wrong {
            eprintln!("{}: {wrong}", self.what);
            self.failures.push(wrong);
        }
    }

    fn print(&self, command: &str) {
        let notes: Vec<&str> = self.notes.iter().map(String::as_str).collect();
        let notes = if notes.is_empty() { String::new() } else { format!("; {}", notes.join(", ")) };
        println!(
            "{command}: {}: {} tried, {} survived{notes}",
            self.what,
            self.cases,
            self.cases - self.failures.len()
        );
    }
}

/// Random numbers that are the same on every machine.
struct Random(u64);

impl Random {
    /// One of the numbers below `end`.
    fn below(&mut self, end: u64) -> u64 {
        // Multiplier and increment are Knuth's.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end.max(1)
    }
}

/// What is wrong with an ending that has to be an orderly error: status 1, and one line that has
/// these parts.
fn not_an_error(output: &Output, parts: &[&str]) -> Option<String> {
    let said = String::from_utf8_lossy(&output.stderr);
    let lines = said.lines().count();
    let missing = parts.iter().find(|part| !said.contains(**part));
    let right = output.status.code() == Some(1) && lines == 1 && missing.is_none();
    (!right).then(|| format!("{}, {lines} lines on stderr, without {missing:?}: {said}", output.status))
}

/// Every file below a folder with its content, by relative path.
fn contents(folder: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(folder.join(&inner)).into_iter().flatten().flatten() {
            let path = inner.join(entry.file_name());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if let Ok(bytes) = fs::read(folder.join(&path)) {
                found.insert(path, bytes);
            }
        }
    }
    found
}

/// Whether a path leads through a file or folder that is ours for a time.
fn temporary(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str().to_string_lossy().starts_with(".ulpscope-"))
}
