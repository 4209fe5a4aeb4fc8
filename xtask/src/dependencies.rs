//! Whether every dependency is used.
//!
//! By reading the sources: a crate that is used is named somewhere, as `name::`, `use name` or
//! `name!`. That is how cargo-machete does it. rustc's own lint `unused_crate_dependencies` knows
//! better, but not which of a package's targets a development dependency is for, so that it warns
//! in each of the others.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use crate::shell::{self, Member};

/// Dependencies that no source names, and what they are there for.
const ONLY_FOR_FEATURES: [(&str, &str); 1] = [("ulpscope-weights", "flate2")];

/// Fails if a manifest of the workspace names what nothing uses.
pub(crate) fn are_used() -> Result<()> {
    let mut unused = Vec::new();
    for member in shell::members()? {
        let (all, shipped) = sources(&member)?;
        for dependency in &member.dependencies {
            let code = if dependency.only_for_tests { &all } else { &shipped };
            let exempt = ONLY_FOR_FEATURES.contains(&(member.name.as_str(), dependency.name.as_str()));
            if !exempt && !code.iter().any(|line| names(line, &dependency.name)) {
                unused.push(format!("{} in {}", dependency.name, member.name));
            }
        }
    }
    if !unused.is_empty() {
        bail!("these dependencies are not used, or only by tests: {}", unused.join(", "));
    }
    Ok(())
}

/// Lines of code of a package: all of them, and those that are not for tests.
fn sources(member: &Member) -> Result<(Vec<String>, Vec<String>)> {
    let mut files = Vec::new();
    let mut folders = vec![member.folder.clone()];
    // A test may lie elsewhere, with modules beside it.
    folders.extend(member.roots.iter().filter_map(|root| Some(root.parent()?.to_owned())));
    for folder in folders {
        shell::rust_files(&folder, &mut files)?;
    }
    // Modules that are shared with another package, with what lies beside them.
    for file in files.clone() {
        for line in fs::read_to_string(&file)?.lines() {
            let included = line.trim().strip_prefix("#[path = \"").and_then(|rest| rest.strip_suffix("\"]"));
            let module = included.and_then(|path| file.parent()?.join(path).canonicalize().ok());
            if let Some(folder) = module.as_deref().and_then(Path::parent) {
                shell::rust_files(folder, &mut files)?;
            }
        }
    }
    let (mut all, mut shipped) = (Vec::new(), Vec::new());
    for file in files {
        let text = fs::read_to_string(&file)?;
        let code = |line: &&str| !line.trim_start().starts_with("//");
        all.extend(text.lines().filter(code).map(str::to_owned));
        let of_tests = ["tests.rs", "testing.rs", "fuzz.rs"].iter().any(|name| file.ends_with(name));
        if file.starts_with(member.folder.join("src")) && !of_tests {
            let before_tests = text.lines().take_while(|line| *line != "mod tests {");
            shipped.extend(before_tests.filter(code).map(str::to_owned));
        }
        if file.ends_with("build.rs") {
            shipped.extend(text.lines().map(str::to_owned));
        }
    }
    Ok((all, shipped))
}

/// Whether a line uses a crate.
fn names(line: &str, krate: &str) -> bool {
    line.match_indices(krate).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + krate.len()..]);
        let starts = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let imported = before.ends_with("use ") || before.ends_with("crate ");
        let path = after.starts_with("::") || after.starts_with('!');
        starts && (path || (imported && !after.starts_with(|c: char| c.is_alphanumeric() || c == '_')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_is_used_by_its_whole_name() {
        assert!(names("use half::bf16;", "half"));
        assert!(names("    let x = half::bf16::ONE;", "half"));
        assert!(names("use half as _;", "half"));
        assert!(names("    insta::assert_snapshot!(x);", "insta"));
        assert!(!names("use halfway::x;", "half"));
        assert!(!names("let half = 2;", "half"));
        assert!(!names("use x::lower_half::y;", "half"));
    }
}
