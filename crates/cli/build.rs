//! Tells the binary which git revision it was built from, for records and `--version`.
//!
//! In a checkout git is asked; in a package from a registry, the file that `cargo package` left
//! there. Elsewhere, and inside another project's repository, the revision is `unknown`.

use std::path::Path;
use std::process::Command;

/// What `cargo package` writes, beside Cargo.toml.
const PACKAGED: &str = ".cargo_vcs_info.json";

/// Digits that are shown.
const DIGITS: usize = 12;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let revision = packaged().or_else(checkout).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=ULPSCOPE_GIT={revision}");
}

fn packaged() -> Option<String> {
    let text = std::fs::read_to_string(PACKAGED).ok()?;
    println!("cargo::rerun-if-changed={PACKAGED}");
    let hash = text.split_once("\"sha1\"")?.1.split('"').nth(1)?;
    (hash.len() >= DIGITS && hash.bytes().all(|c| c.is_ascii_hexdigit())).then(|| hash[..DIGITS].to_owned())
}

fn checkout() -> Option<String> {
    // A copy inside another repository has that one's revision, which says nothing about this code.
    if git(&["rev-parse", "--show-prefix"])? != "crates/cli/" {
        return None;
    }
    // What changes with a commit: the branch, or HEAD without one. Watching a file that does not
    // exist would rebuild every time.
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD", "logs/HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        if let Some(path) = git(&["rev-parse", "--git-path", name]).filter(|p| Path::new(p).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", &format!("--short={DIGITS}"), "HEAD"])
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
