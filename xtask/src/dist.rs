//! `cargo xtask dist`: what a package of ulpscope holds beside the binary: shell completions and
//! manual pages.
//!
//! The command line is known to the binary alone, which writes them itself; this only says where.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::shell;

/// Shells, and the file name by which each finds the completions of a command.
const SHELLS: [(&str, &str); 4] = [
    ("bash", "ulpscope.bash"),
    ("zsh", "_ulpscope"),
    ("fish", "ulpscope.fish"),
    ("powershell", "_ulpscope.ps1"),
];

/// Arguments of `dist`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to write [default: target/dist]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let out = args.out.clone().unwrap_or_else(|| shell::root().join("target/dist"));
    let binary = shell::ulpscope(&[])?;
    let completions = out.join("completions");
    fs::create_dir_all(&completions).with_context(|| format!("{}", completions.display()))?;
    for (name, file) in SHELLS {
        let script = Command::new(&binary).args(["completions", name]).output()?;
        if !script.status.success() {
            bail!("completions for {name}: {}", String::from_utf8_lossy(&script.stderr).trim());
        }
        let path = completions.join(file);
        fs::write(&path, script.stdout).with_context(|| format!("{}", path.display()))?;
        println!("{}", path.display());
    }
    let man = out.join("man/man1");
    shell::run(Command::new(&binary).arg("man").arg(&man))?;
    let mut pages: Vec<PathBuf> =
        fs::read_dir(&man)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    pages.sort();
    for page in pages {
        println!("{}", page.display());
    }
    Ok(ExitCode::SUCCESS)
}
