//! The public API as a listing, one line an item, so that a change of it is seen where it is made.
//!
//! What is listed is what rustdoc, of the pinned toolchain, shows: declarations with public fields and variants, methods with
//! their signatures, traits that are implemented. It does not see what a signature does not say, nor what an item does.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::shell;

/// Lines of a difference that are printed.
const SHOWN: usize = 40;

/// Compares the listings in `xtask/api` with the documentation in `target/doc`, or writes them anew.
pub(crate) fn check(bless: bool) -> Result<()> {
    let folder = shell::root().join("xtask/api");
    let mut crates: Vec<PathBuf> = (fs::read_dir(shell::root().join("target/doc"))?)
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ulpscope_")))
        .collect();
    crates.sort();
    let mut changed = Vec::new();
    for docs in crates {
        let name = docs.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let now = listing(&docs)?;
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
    for line in changed.iter().take(SHOWN) {
        eprintln!("{line}");
    }
    let more = changed.len().saturating_sub(SHOWN);
    let breaking = changed.iter().filter(|line| line.starts_with('-')).count();
    bail!(
        "the public API changed ({breaking} lines gone, {} new, {more} not shown); if that is meant, `cargo xtask ci api \
         --bless`, and say in CHANGELOG.md what is gone",
        changed.len() - breaking
    )
}

/// Every public item of a crate whose documentation is in a folder.
fn listing(docs: &Path) -> Result<BTreeSet<String>> {
    let all = read(&docs.join("all.html"))?;
    let list = all.split_once("id=\"main-content\"").map_or("", |(_, list)| list);
    let mut lines = BTreeSet::new();
    let own = format!("/src/{}/", docs.file_name().unwrap_or_default().to_string_lossy());
    for href in between(list, "<li><a href=\"", "\"") {
        let page = read(&docs.join(href))?;
        let (modules, file) = href.rsplit_once('/').unwrap_or(("", href));
        let mut path: Vec<&str> = modules.split('/').filter(|part| !part.is_empty()).collect();
        let name = file.split('.').nth(1).unwrap_or(file);
        path.push(name);
        let path = path.join("::");
        for declared in between(&page, "<pre class=\"rust item-decl\"><code>", "</code></pre>") {
            lines.insert(format!("{path}: {}", text(declared)));
        }
        // What is shown again of another crate is that crate's affair. Whether its pages lead to its source depends on which of
        // the two was documented first.
        let head = page.split_once("rust item-decl").map_or("", |(head, _)| head);
        if !head.contains(&own) {
            continue;
        }
        for section in page.split("<section id=\"").skip(1) {
            let Some((id, rest)) = section.split_once('"') else { continue };
            let class = between(rest, "class=\"", "\"").next().unwrap_or_default();
            let header = between(rest, "class=\"code-header\">", "</h").next().unwrap_or_default();
            // What the compiler finds out by itself, and nobody relies on.
            const DERIVED: [&str; 6] =
                ["Freeze", "RefUnwindSafe", "UnwindSafe", "Unpin", "UnsafeUnpin", "StructuralPartialEq"];
            if DERIVED.iter().any(|name| id.starts_with(&format!("impl-{name}-for-"))) {
                continue;
            }
            let said = text(header);
            // What another crate implements for every type is said of no type in particular.
            let own = class != "impl" || said.contains(name);
            if matches!(class, "method" | "associatedconstant" | "impl") && !header.is_empty() && own {
                lines.insert(format!("{path}: {said}"));
            }
        }
    }
    Ok(lines)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.display().to_string())
}

/// What stands between two marks, each time.
fn between<'t>(text: &'t str, from: &'t str, to: &'t str) -> impl Iterator<Item = &'t str> {
    text.split(from).skip(1).filter_map(move |rest| Some(rest.split_once(to)?.0))
}

/// HTML as a line of text.
fn text(html: &str) -> String {
    let mut plain = String::new();
    for (i, part) in html.split('<').enumerate() {
        // Of what folds away only the invitation is left out.
        let part = if i == 0 { part } else { part.split_once('>').map_or("", |(_, after)| after) };
        plain.push_str(part);
    }
    for (entity, stands_for) in
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&nbsp;", " "), ("&amp;", "&")]
    {
        plain = plain.replace(entity, stands_for);
    }
    let words: Vec<&str> = plain.split_whitespace().collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_becomes_a_line() {
        let html =
            "pub fn <a href=\"#\" class=\"fn\">size</a>(\n    self,\n) -&gt; &amp;<a href=\"#\">str</a>";
        assert_eq!(text(html), "pub fn size( self, ) -> &str");
        assert_eq!(between("a<b>c</b>d<b>e</b>", "<b>", "</b>").collect::<Vec<_>>(), ["c", "e"]);
    }

    #[test]
    fn a_page_is_listed_with_its_methods_and_traits() {
        let folder = tempfile::tempdir().unwrap();
        let docs = folder.path().join("ulpscope_x");
        fs::create_dir(&docs).unwrap();
        let all = "<section id=\"main-content\"><ul class=\"all-items\"><li><a href=\"struct.X.html\">X</a></li></ul>";
        fs::write(docs.join("all.html"), all).unwrap();
        let listed = |source: &str| -> Vec<String> {
            let page = format!(
                "{source}<pre class=\"rust item-decl\"><code>pub struct X {{ <span>/* private fields */</span> }}</code></pre>\
                <section id=\"method.new\" class=\"method\"><h4 class=\"code-header\">pub fn new() -&gt; X</h4></section>\
                <section id=\"impl-Clone-for-X\" class=\"impl\"><h3 class=\"code-header\">impl Clone for X</h3></section>\
                <section id=\"impl-Any-for-T\" class=\"impl\"><h3 class=\"code-header\">impl&lt;T&gt; Any for T</h3></section>"
            );
            fs::write(docs.join("struct.X.html"), page).unwrap();
            listing(&docs).unwrap().into_iter().collect()
        };
        let source = |of: &str| format!("<a class=\"src\" href=\"../src/{of}/lib.rs.html#1\">Source</a>");
        let declared = "X: pub struct X { /* private fields */ }";
        assert_eq!(listed(&source("ulpscope_x")), ["X: impl Clone for X", "X: pub fn new() -> X", declared]);
        // Shown again of another crate, with its pages at hand or without.
        assert_eq!(listed(&source("ulpscope_y")), [declared]);
        assert_eq!(listed(""), [declared]);
    }
}
