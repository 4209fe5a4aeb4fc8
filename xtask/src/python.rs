//! Virtual environments of Python, each for one command.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::shell;

/// Folder `name` below `target` with these packages installed, made when it is not there. Returns
/// its Python.
pub(crate) fn environment(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let folder = shell::root().join("target").join(name);
    let python = folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let (complete, wanted) = (folder.join("complete"), packages.join("\n"));
    if std::fs::read_to_string(&complete).ok().as_ref() != Some(&wanted) {
        eprintln!("making a virtual environment with {}", packages.join(", "));
        shell::run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        shell::run(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(packages))?;
        std::fs::write(complete, wanted)?;
    }
    Ok(python)
}
