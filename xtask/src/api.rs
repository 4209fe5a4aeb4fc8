//! The public API as a listing, one line an item, so that a change of it is seen where it is made.
//!
//! rustdoc describes every crate as JSON, and the crate `public-api` reads it. The format of that
//! JSON is not stable: rustdoc writes it only if asked as a nightly compiler would be, and a new
//! toolchain may need a new `public-api`. A listing does not see what a signature leaves unsaid,
//! nor what an item does.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use public_api::Builder;

use crate::shell::{self, cargo};

/// Lines of a difference that are printed.
const LINES_SHOWN: usize = 40;

/// Set where cargo starts this program as its rustdoc.
const AS_RUSTDOC: &str = "XTASK_AS_RUSTDOC";

/// Traits that the compiler finds out by itself, and nobody relies on.
const FOUND_BY_THE_COMPILER: [&str; 6] =
    ["Freeze", "RefUnwindSafe", "UnsafeUnpin", "Unpin", "UnwindSafe", "StructuralPartialEq"];

/// Compares the listings in `xtask/api` with the code, or writes them anew.
pub(crate) fn check(bless: bool) -> Result<()> {
    describe()?;
    let folder = shell::root().join("xtask/api");
    let mut changed = Vec::new();
    for name in shell::members()?.iter().filter_map(|member| member.library.as_deref()) {
        let now = listing(&shell::root().join("target/doc").join(format!("{name}.json")))?;
        let path = folder.join(format!("{name}.txt"));
        let text = fs::read_to_string(&path).unwrap_or_default();
        let before: BTreeSet<String> = text.lines().map(str::to_owned).collect();
        let gone = before.difference(&now).map(|line| format!("- {name}: {line}"));
        let new = now.difference(&before).map(|line| format!("+ {name}: {line}"));
        let lines: Vec<String> = gone.chain(new).collect();
        if lines.is_empty() {
            continue;
        }
        changed.extend(lines);
        if bless {
            fs::create_dir_all(&folder)?;
            let lines: Vec<String> = now.into_iter().collect();
            fs::write(&path, lines.join("\n") + "\n").with_context(|| path.display().to_string())?;
        }
    }
    if bless || changed.is_empty() {
        eprintln!("{} lines of the public API changed", changed.len());
        return Ok(());
    }
    for line in changed.iter().take(LINES_SHOWN) {
        eprintln!("{line}");
    }
    let more = changed.len().saturating_sub(LINES_SHOWN);
    let breaking = changed.iter().filter(|line| line.starts_with('-')).count();
    bail!(
        "the public API changed ({breaking} lines gone, {} new, {more} not shown); if that is meant, `cargo xtask ci api \
         --bless`, and say in CHANGELOG.md what is gone",
        changed.len() - breaking
    )
}

/// Has rustdoc write `target/doc/NAME.json` for every crate.
///
/// `RUSTC_BOOTSTRAP` must reach rustdoc alone: build scripts look at it, and cargo would build
/// every dependency anew. So cargo is given this program as its rustdoc, which sets the variable
/// and passes everything on.
fn describe() -> Result<()> {
    let own = env::current_exe().context("the path of this program")?;
    shell::run(
        cargo(&["doc", "--workspace", "--no-deps", "--quiet"])
            .env("RUSTDOC", own)
            .env("RUSTDOCFLAGS", "-Zunstable-options --output-format json")
            .env(AS_RUSTDOC, "1"),
    )
}

/// Runs rustdoc in place of this program, if cargo asks for that.
pub(crate) fn as_rustdoc() -> Option<ExitCode> {
    env::var_os(AS_RUSTDOC)?;
    let status = Command::new("rustdoc").args(env::args_os().skip(1)).env("RUSTC_BOOTSTRAP", "1").status();
    Some(if status.is_ok_and(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every public item of a crate that a file describes.
fn listing(json: &Path) -> Result<BTreeSet<String>> {
    let lines = |with_derived: bool| -> Result<BTreeSet<String>> {
        let api = Builder::from_rustdoc_json(json)
            .omit_blanket_impls(true)
            .omit_auto_derived_impls(!with_derived)
            .build()
            .with_context(|| {
                format!("{}: the version of public-api must fit the toolchain's rustdoc", json.display())
            })?;
        Ok(api.items().map(ToString::to_string).collect())
    };
    let mut listed = lines(false)?;
    // Of a derived trait the line that it is implemented is enough: its methods say nothing more.
    listed.extend(lines(true)?.into_iter().filter(|line| line.starts_with("impl")));
    listed.retain(|line| !found_by_the_compiler(line));
    Ok(listed)
}

fn found_by_the_compiler(line: &str) -> bool {
    let of = line.strip_prefix("impl").and_then(|rest| rest.split_once(" for ")).map_or("", |(of, _)| of);
    FOUND_BY_THE_COMPILER.iter().any(|name| of.ends_with(&format!("::{name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traits_that_nobody_relies_on_are_left_out() {
        assert!(found_by_the_compiler("impl core::marker::Freeze for ulpscope_x::X"));
        assert!(found_by_the_compiler("impl<T> core::panic::unwind_safe::UnwindSafe for ulpscope_x::X<T>"));
        assert!(!found_by_the_compiler("impl core::marker::Send for ulpscope_x::X"));
        assert!(!found_by_the_compiler("impl ulpscope_x::X"));
    }
}
