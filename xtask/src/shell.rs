//! Running programs.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The cargo that runs this, in the workspace's folder.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root());
    command
}

/// A package of the workspace.
pub(crate) struct Member {
    pub(crate) name: String,
    /// The folder of its manifest.
    pub(crate) folder: PathBuf,
    /// The crate that others can use, as rustc names it.
    pub(crate) library: Option<String>,
    /// The files that its targets start from.
    pub(crate) roots: Vec<PathBuf>,
    pub(crate) dependencies: Vec<Dependency>,
}

/// What a package says that it needs.
pub(crate) struct Dependency {
    /// As rustc names it.
    pub(crate) name: String,
    /// Only tests, examples and benches can use it.
    pub(crate) only_for_tests: bool,
}

/// The packages of the workspace.
pub(crate) fn members() -> Result<Vec<Member>> {
    let output = cargo(&["metadata", "--format-version", "1", "--no-deps"]).output()?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).context("what cargo metadata says")?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let members = list(&metadata["packages"]).into_iter().map(|package| {
        let targets = list(&package["targets"]);
        let library = targets.iter().find(|target| list(&target["kind"]).iter().any(|kind| kind == "lib"));
        let dependencies = list(&package["dependencies"]).into_iter().map(|dependency| Dependency {
            name: text(if dependency["rename"].is_null() {
                &dependency["name"]
            } else {
                &dependency["rename"]
            })
            .replace('-', "_"),
            only_for_tests: dependency["kind"] == "dev",
        });
        Member {
            name: text(&package["name"]),
            folder: Path::new(&text(&package["manifest_path"])).parent().unwrap_or(Path::new("")).to_owned(),
            library: library.map(|target| text(&target["name"])),
            roots: targets.iter().map(|target| text(&target["src_path"]).into()).collect(),
            dependencies: dependencies.collect(),
        }
    });
    Ok(members.collect())
}

/// Runs a command and gives its status.
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus> {
    command.status().with_context(|| format!("{} can't be started", command.get_program().display()))
}

/// Runs a command that must succeed.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    if !status.success() {
        let args: Vec<_> = command.get_args().map(|a| a.to_string_lossy()).collect();
        bail!("{} {} failed: {status}", command.get_program().display(), args.join(" "));
    }
    Ok(())
}

/// Builds an example of a crate in the profile that this program was built in, and gives its path.
///
/// Together with the binary, because dependencies that are built for one package alone have other
/// features, and would be built once more.
pub(crate) fn example(package: &str, name: &str) -> Result<PathBuf> {
    let own = env::current_exe().context("the path of this program")?;
    let folder = own.parent().context("the folder of this program")?;
    let mut build =
        cargo(&["build", "--quiet", "--package", "ulpscope", "--package", package, "--example", name]);
    if folder.ends_with("release") {
        build.arg("--release");
    }
    run(&mut build)?;
    Ok(folder.join("examples").join(format!("{name}{}", env::consts::EXE_SUFFIX)))
}

/// Builds the `ulpscope` binary in the profile that this program was built in, and gives its path.
pub(crate) fn ulpscope(features: &[String]) -> Result<PathBuf> {
    let own = env::current_exe().context("the path of this program")?;
    let folder = own.parent().context("the folder of this program")?;
    let mut build = cargo(&["build", "--quiet", "--package", "ulpscope"]);
    if folder.ends_with("release") {
        build.arg("--release");
    }
    if !features.is_empty() {
        build.args(["--features", &features.join(",")]);
    }
    let binary = folder.join(format!("ulpscope{}", env::consts::EXE_SUFFIX));
    if !binary.exists() {
        eprintln!("building ulpscope; the first time takes some minutes");
        build.env("CARGO_TERM_QUIET", "false");
    }
    run(&mut build)?;
    Ok(binary)
}

/// Appends the Rust files of a folder and of those within it, but for what is built.
pub(crate) fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if entry.file_name() != "target" {
                rust_files(&path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") && !files.contains(&path) {
            files.push(path);
        }
    }
    Ok(())
}
