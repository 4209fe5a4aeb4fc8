//! `cargo xtask ci`: everything that must hold beside `cargo test --workspace`.

use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::shell::{self, cargo};
use crate::{api, comments, dependencies, supply};

/// Crates that must stay free of burn.
const WITHOUT_BURN: [&str; 6] = [
    "ulpscope-floats",
    "ulpscope-metrics",
    "ulpscope-relations",
    "ulpscope-record",
    "ulpscope-plot",
    "ulpscope-report",
];

/// Arguments of `ci`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this step
    #[arg(value_enum)]
    only: Option<Step>,

    /// With `api`: take the public API as it is now for what it should be
    #[arg(long, requires = "only")]
    bless: bool,

    /// With `comments`: wrap what is too wide in these folders
    #[arg(long, requires = "only", num_args = 1.., value_name = "FOLDER")]
    fix: Vec<std::path::PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Step {
    Format,
    Comments,
    Experiment,
    Invariants,
    Lints,
    Docs,
    Api,
    Features,
    Cuda,
    Memory,
    Supply,
    Torture,
}

/// A step, which is told what was asked for.
type Check = fn(&Args) -> Result<()>;

const STEPS: [(Step, Check); 12] = [
    (Step::Format, |_| shell::run(&mut cargo(&["fmt", "--all", "--check"]))),
    (Step::Comments, |args| comments::check(&args.fix)),
    (Step::Experiment, |_| experiment()),
    (Step::Invariants, |_| invariants()),
    (Step::Lints, |_| {
        shell::run(&mut cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "--deny",
            "warnings",
        ]))
    }),
    (Step::Docs, |_| docs()),
    (Step::Api, |args| api::check(args.bless)),
    // Dependencies stay those of the whole workspace: checked alone, each crate would need its own
    // build of them.
    (Step::Features, |_| {
        shell::run(&mut cargo(&["check", "--workspace", "--no-default-features", "--all-targets", "--quiet"]))
    }),
    // The variable stops a build script from downloading LLVM, which a type-check does not need.
    (Step::Cuda, |_| {
        shell::run(
            cargo(&["check", "--quiet", "--package", "ulpscope", "--features", "cuda"]).env("DOCS_RS", "1"),
        )
    }),
    (Step::Memory, |_| memory()),
    (Step::Supply, |args| supply::check(args.only == Some(Step::Supply))),
    (Step::Torture, |_| shell::run(&mut cargo(&["xtask", "torture", "--quick"]))),
];

fn docs() -> Result<()> {
    shell::run(cargo(&["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "--deny warnings"))
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    for (step, check) in STEPS {
        if args.only.is_none_or(|only| only == step) {
            let begun = Instant::now();
            eprintln!("ci: {step:?}");
            check(args)?;
            eprintln!("ci: {step:?} holds, {:.0} s", begun.elapsed().as_secs_f64());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The founding experiment on whichever model can be had, and its replay.
fn experiment() -> Result<()> {
    let out = shell::root().join("target/experiments/ci");
    let run = |extra: &[&str]| {
        let mut command = cargo(&["xtask", "experiment"]);
        shell::run(command.args(extra).stdout(Stdio::null()))
    };
    let folder = out.to_string_lossy().into_owned();
    run(&["load-vs-cast", "--out", &folder])?;
    run(&["--replay", &out.join("record.json").to_string_lossy(), "--threads", "1"])
}

/// The kernels' tests under valgrind, where there is one. It shows programs a CPU without AVX-512,
/// so that these are the portable path and AVX2's; what is left out repeats the same loads and
/// stores for minutes.
fn memory() -> Result<()> {
    const TESTS: [&str; 12] = [
        "attention::",
        "gate::",
        "lanes::",
        "norm::",
        "output::",
        "rotary::",
        "softmax::",
        "storage::",
        "tile::",
        "linear::tests::a_group",
        "linear::tests::paths_agree_across",
        "linear::tests::tiles",
    ];
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("there is no valgrind: left out");
        return Ok(());
    }
    let build = cargo(&["test", "--workspace", "--lib", "--no-run"]).output()?;
    let listed = String::from_utf8_lossy(&build.stderr);
    let program = listed.lines().find_map(|line| {
        let (_, path) = line.split_once("src/lib.rs (")?;
        path.contains("ulpscope_kernels-").then(|| path.trim_end_matches(')').to_owned())
    });
    let program = program.with_context(|| format!("cargo lists no tests of the kernels: {listed}"))?;
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--quiet", "--error-exitcode=1", &program, "--test-threads=1", "--quiet"]).args(TESTS);
    valgrind.args(["--skip", "windows_follow", "--skip", "windows_leave"]);
    shell::run(valgrind.current_dir(shell::root()).stdout(Stdio::null()))
}

/// The absences that the code map promises.
fn invariants() -> Result<()> {
    for package in WITHOUT_BURN {
        let tree = cargo(&["tree", "--quiet", "--edges", "normal", "--package", package, "--prefix", "none"])
            .output()?;
        if !tree.status.success() {
            bail!("cargo tree failed for {package}: {}", String::from_utf8_lossy(&tree.stderr).trim());
        }
        let tree = String::from_utf8_lossy(&tree.stdout);
        if let Some(line) = tree.lines().find(|line| line.starts_with("burn")) {
            bail!("{package} must not depend on burn, but does: {line}");
        }
    }
    let users = cargo(&[
        "tree",
        "--quiet",
        "--workspace",
        "--prefix",
        "none",
        "--invert",
        "ulpscope",
        "--depth",
        "1",
    ])
    .output()?;
    let users = String::from_utf8_lossy(&users.stdout);
    if let Some(line) = users.lines().find(|line| !line.starts_with("ulpscope v") && !line.is_empty()) {
        bail!("nothing may depend on the command-line crate, but {line} does");
    }
    dependencies::are_used()?;
    no_family_is_named()
}

/// Only the families' own crates, and tests, name a family: all others ask the description.
fn no_family_is_named() -> Result<()> {
    const FAMILIES: [&str; 2] = ["crates/llama/", "crates/families/"];
    // What tokenizers are called there are not families.
    const TOKENIZERS: [&str; 2] = ["gguf/tokenizer.rs", "gguf/rules.rs"];
    let listed =
        Command::new("git").args(["ls-files", "crates/*/src/*.rs"]).current_dir(shell::root()).output()?;
    let read = |path: &str| std::fs::read_to_string(shell::root().join(path));
    let listed = String::from_utf8_lossy(&listed.stdout);
    // A family says its name, and then that of its class.
    let mut names = vec!["ulpscope_llama".to_owned(), "LlamaConfig".to_owned()];
    for path in listed.lines().filter(|path| FAMILIES.iter().any(|of| path.starts_with(of))) {
        for family in read(path)?.split("Family::new(").skip(1) {
            let mut quoted = family.split('"').skip(1).step_by(2);
            names.extend(quoted.next().map(|name| format!("\"{name}\"")));
            names.extend(quoted.next().map(str::to_owned));
        }
    }
    for path in listed.lines() {
        let exempt =
            FAMILIES.iter().any(|of| path.starts_with(of)) || TOKENIZERS.iter().any(|of| path.ends_with(of));
        let test = ["/testing.rs", "/tests.rs", "/fuzz.rs"].iter().any(|end| path.ends_with(end));
        if exempt || test {
            continue;
        }
        let text = read(path)?;
        let code = text
            .lines()
            .take_while(|line| *line != "#[cfg(test)]")
            .filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            if let Some(name) = names.iter().find(|name| line.contains(name.as_str())) {
                bail!("{path} names a family ({name}); ask the description instead: {}", line.trim());
            }
        }
    }
    Ok(())
}
