//! `cargo xtask ci supply`: what this project is made of, and whether that is allowed.
//!
//! The policy is `deny.toml`; `cargo-deny` checks licences, duplicates and sources against it.
//! Advisories need a database that cargo-deny clones with git, and are left to where the network
//! allows it: `cargo deny check`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell::{self, cargo};

/// The version that is installed where there is none.
const VERSION: &str = "0.20.2";

/// So many of the heaviest dependencies are listed.
const HEAVIEST: usize = 12;

/// Everything, installing `cargo-deny` into `target/tools` if it is missing and `install` says so.
pub(crate) fn check(install: bool) -> Result<()> {
    sources()?;
    count()?;
    match tool(install)? {
        Some(deny) => {
            let run = |args: &[&str]| shell::run(Command::new(&deny).args(args).current_dir(shell::root()));
            run(&["--workspace", "--all-features", "check", "licenses", "sources"])?;
            run(&["--workspace", "check", "bans"])?;
            eprintln!(
                "advisories and yanked crates: `cargo deny check advisories`, where git can reach their database"
            );
            Ok(())
        }
        None => {
            eprintln!("there is no cargo-deny: left out; `cargo xtask ci supply` installs it");
            Ok(())
        }
    }
}

/// `cargo-deny`, as installed by the user or by us.
fn tool(install: bool) -> Result<Option<PathBuf>> {
    let ours = shell::root().join("target/tools");
    let built = ours.join("bin").join(format!("cargo-deny{}", std::env::consts::EXE_SUFFIX));
    for candidate in [built.clone(), PathBuf::from("cargo-deny")] {
        let answer =
            Command::new(&candidate).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if answer.is_ok_and(|status| status.success()) {
            return Ok(Some(candidate));
        }
    }
    if !install {
        return Ok(None);
    }
    eprintln!("installing cargo-deny {VERSION} into {}; this takes some minutes", ours.display());
    let root = ours.to_string_lossy().into_owned();
    shell::run(&mut cargo(&["install", "cargo-deny", "--locked", "--version", VERSION, "--root", &root]))?;
    Ok(Some(built))
}

/// Every package of Cargo.lock comes from the registry that cargo uses by default, with a checksum,
/// or from here.
fn sources() -> Result<()> {
    let lock = fs::read_to_string(shell::root().join("Cargo.lock")).context("Cargo.lock")?;
    for package in lock.split("[[package]]").skip(1) {
        let field = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
            line.map(|value| value.trim_matches('"').to_owned())
        };
        let name = field("name").unwrap_or_default();
        let Some(source) = field("source") else { continue };
        if !source.starts_with("registry+https://github.com/rust-lang/crates.io-index") {
            bail!("{name} comes from {source}; only the ordinary registry is allowed");
        }
        if field("checksum").is_none() {
            bail!("{name} has no checksum in Cargo.lock");
        }
    }
    Ok(())
}

/// Says how many crates the binary is made of, and which are the largest by lines of Rust.
fn count() -> Result<()> {
    let run_time = tree("normal")?;
    let all = tree("normal,build")?;
    let metadata = cargo(&["metadata", "--format-version", "1", "--locked"]).output()?;
    if !metadata.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&metadata.stderr).trim());
    }
    let metadata: Value = serde_json::from_slice(&metadata.stdout).context("what cargo metadata says")?;
    let mut sized = Vec::new();
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    for package in packages {
        let text = |name: &str| package[name].as_str().unwrap_or_default();
        let name = format!("{} v{}", text("name"), text("version"));
        if package["source"].is_null() || !all.contains(&name) {
            continue;
        }
        let folder = Path::new(text("manifest_path")).parent().context("a manifest is in a folder")?;
        sized.push((lines(&folder.join("src"))?, name));
    }
    sized.sort_by(|a, b| b.cmp(a));
    let total: usize = sized.iter().map(|(lines, _)| lines).sum();
    println!(
        "ulpscope on this target: {} crates of others are linked or generate code, {} with those that build scripts \
         need, {total} lines of Rust",
        run_time.len(),
        all.len()
    );
    println!("Cargo.lock: {} packages, for every target and every feature", packages.len());
    println!("the largest, in lines below src/:");
    for (lines, name) in sized.iter().take(HEAVIEST) {
        println!("{lines:>9}  {name}");
    }
    Ok(())
}

/// `name vVERSION` of everything that the binary depends on here, but for the crates of this
/// workspace.
fn tree(edges: &str) -> Result<BTreeSet<String>> {
    let tree = cargo(&[
        "tree",
        "--quiet",
        "--locked",
        "--package",
        "ulpscope",
        "--edges",
        edges,
        "--prefix",
        "none",
    ])
    .output()?;
    if !tree.status.success() {
        bail!("cargo tree failed: {}", String::from_utf8_lossy(&tree.stderr).trim());
    }
    let text = String::from_utf8_lossy(&tree.stdout);
    // Ours have their path in parentheses.
    let others = text.lines().filter(|line| !line.contains("(/") && !line.starts_with("ulpscope"));
    Ok(others.map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect())
}

/// Lines of all Rust files below a folder.
fn lines(folder: &Path) -> Result<usize> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(0) };
    let mut sum = 0;
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            sum += lines(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sum += fs::read(&path)?.iter().filter(|byte| **byte == b'\n').count();
        }
    }
    Ok(sum)
}
