//! Running programs.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result, bail};

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
/// Together with the binary, because dependencies that are built for one package alone have other features, and would
/// be built once more.
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
