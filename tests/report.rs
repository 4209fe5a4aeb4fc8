//! The pages of runs: what is in them, and that a real browser shows it without a word on its
//! console.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::util::{Dir, Run, tiny, ulpscope};

/// A prompt that is a page's end, if the page lets it be.
const HOSTILE: &str = "</script><img src=x onerror=\"document.title='broken'\">";

/// An explained run with two prompts in the folder `run`.
fn explained(dir: &Dir) -> Value {
    dir.run(["explain", &tiny(), "--prompt", HOSTILE, "--ids", "1,17,250", "--quiet", "--out", "run"]).ok();
    serde_json::from_slice(&fs::read(dir.join("run/record.json")).unwrap()).unwrap()
}

#[test]
fn every_run_has_its_page_and_the_record_gives_the_same_again() {
    let dir = Dir::new();
    explained(&dir);
    for name in ["report.html", "report.md"] {
        let written = fs::read_to_string(dir.join("run").join(name)).unwrap();
        // In Markdown the command that repeats the run stands in a fence, where nothing is HTML.
        let outside: String = written.split("```").step_by(2).collect();
        assert!(!outside.contains("<img"), "{name} holds the prompt as HTML");
        assert!(written.contains("rotary-buffer-rounded"), "{name}");
        fs::remove_file(dir.join("run").join(name)).unwrap();
        dir.run(["report", "run"]).ok();
        assert_eq!(fs::read_to_string(dir.join("run").join(name)).unwrap(), written, "{name}");
    }
    let page = fs::read_to_string(dir.join("run/report.html")).unwrap();
    assert!(page.len() < 1_500_000, "{} bytes", page.len());

    let run = dir.run(["report", "run/record.json", "--out", "elsewhere"]).ok();
    assert_eq!(run.stdout.replace('\\', "/"), "elsewhere/report.html\nelsewhere/report.md\n");
}

#[test]
fn several_runs_are_put_side_by_side() {
    let dir = Dir::new();
    dir.run(["compare", &tiny(), "--out", "before/run"]).ok();
    dir.run(["compare", &tiny(), "--b", "load(f16)", "--out", "after/run"]).ok();
    dir.run(["report", "before/run", "after/run", "--out", "pages"]).ok();
    let page = fs::read_to_string(dir.join("pages/comparison.html")).unwrap();
    // Folders of one name are told apart.
    for text in ["1 (run)", "2 (run)", "load(f32).<wbr>to(bf16)", "load(f16)"] {
        assert!(page.contains(text), "{text}");
    }
    assert!(
        fs::read_to_string(dir.join("pages/comparison.md"))
            .unwrap()
            .contains("| 2 (run) | b: `load(f16)@sequential-blocked` |")
    );
}

#[test]
fn a_run_that_is_not_there() {
    ulpscope(["report", "nowhere"]).fails(&["nowhere"]);
    ulpscope(["report"]).misused(&["RUN"]);
}

#[test]
fn a_browser_shows_the_page_without_complaint() {
    let dir = Dir::new();
    let Some(browser) = browser(&dir) else { return };
    let record = explained(&dir);
    let sites = record["sites"].as_array().unwrap();
    let site = sites.iter().find(|site| site["site"] == "model.layers.1").unwrap();
    let (page, console) = browser.show("run/report.html", "prompt=0&site=model.layers.1");
    assert_eq!(console, Vec::<String>::new());
    assert!(page.contains("data-ready=\"yes\""), "the script ran to its end");
    assert!(!page.contains("<img") && !page.contains("<title>broken"), "the prompt is text");
    let cells = sites.iter().filter(|site| site["prompt"] == 0).count();
    assert_eq!(
        page.matches("class=\"cell").count(),
        cells + 1,
        "a cell for each site, and one in the legend"
    );
    assert!(page.contains("first origin: rotary_emb.cos"));
    // What was opened by the address shows the record's numbers, in the record's words.
    let (_, opened) = page.split_once("<div id=\"site\"").expect("the site's place");
    for field in ["mean_abs", "max_abs", "rms"] {
        let worded = ulpscope_record::text::number(site[field].as_f64().unwrap());
        assert!(opened.contains(&format!("<dd>{worded}</dd>")), "{field} {worded}");
    }
    let bits = site["detail"]["elements"][0]["bits"][0].as_str().expect("blocks are looked at closely");
    assert!(opened.contains(&format!("<code>{bits}</code>")), "{bits}");
    for part in ["id=\"layers-chart\"", "id=\"positions-chart\"", "id=\"tokens\""] {
        let (_, place) = page.split_once(part).unwrap_or_else(|| panic!("{part}"));
        let begun = place.get(..400).unwrap_or(place);
        assert!(begun.contains("<svg") || begun.contains("<p"), "{part} is drawn: {begun}");
    }

    dir.run(["report", "run", "run", "--out", "pages"]).ok();
    let (page, console) = browser.show("pages/comparison.html", "");
    assert_eq!(console, Vec::<String>::new());
    assert!(page.contains("data-ready=\"yes\"") && page.contains("aria-label=\"Dark colours\""), "{page}");
}

/// Chromium without a window, with a profile of its own.
struct Browser<'a> {
    program: &'static str,
    dir: &'a Dir,
}

/// Where there is none, nothing is tested, and the test says so.
fn browser(dir: &Dir) -> Option<Browser<'_>> {
    let works = |program: &&str| {
        Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
    };
    let found = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(works);
    if found.is_none() {
        println!("skipped: neither chromium nor google-chrome is installed");
    }
    Some(Browser { program: found?, dir })
}

impl Browser<'_> {
    /// The document after its script has run, and what was said on the console.
    fn show(&self, file: &str, fragment: &str) -> (String, Vec<String>) {
        let profile = tempfile::tempdir().unwrap();
        let url = format!("file://{}#{fragment}", self.dir.text(file));
        let mut command = Command::new(self.program);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
        command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        command.args(["--enable-logging=stderr", "--v=0", "--window-size=1280,900", "--dump-dom"]);
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg(&url);
        command.env("HOME", profile.path()).env("XDG_CACHE_HOME", profile.path().join("cache"));
        let run = Run::new(vec![self.program.to_owned(), url], command.output().unwrap());
        run.check(
            run.code == Some(0) && Path::new(&self.dir.text(file)).exists(),
            "the browser shows the page",
        );
        let console = run.stderr.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned);
        let console = console.collect();
        (run.stdout, console)
    }
}
