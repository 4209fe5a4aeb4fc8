//! What people expect of a command: help, talk, names that are nearly right, JSON everywhere.

use std::process::Stdio;

use crate::util::{Dir, Run, list, tiny, ulpscope};

#[test]
fn version_says_what_it_can_compute_with() {
    let short = ulpscope(["-V"]).ok();
    assert!(short.stdout.starts_with("ulpscope ") && short.stdout.lines().count() == 1, "{}", short.stdout);
    let long = ulpscope(["--version"]).ok();
    for part in [short.stdout.trim(), "backends: flex", "CPU paths: portable", "is used", "schema version"] {
        long.check(long.stdout.contains(part), part);
    }
    let revision = short.stdout.trim().rsplit(['(', ')']).nth(1).unwrap().to_owned();
    let known = revision.len() == 12 && revision.bytes().all(|c| c.is_ascii_hexdigit());
    assert!(known || revision == "unknown", "{revision}");
}

#[test]
fn the_environment_chooses_the_path_and_version_says_so() {
    let dir = Dir::new();
    let output = dir.command().args(["--version"]).env("ULPSCOPE_CPU", "portable").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("portable is used"));
    let output = dir.command().args(["--version"]).env("ULPSCOPE_CPU", "abacus").output().unwrap();
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("abacus"));
}

#[test]
fn help_fits_narrow_terminals() {
    let dir = Dir::new();
    let commands =
        ["compare", "explain", "weights", "trace", "diff", "plot", "report", "sites", "order", "bench"];
    for command in commands {
        for (width, flag) in [("50", "-h"), ("80", "-h"), ("200", "-h")] {
            let output = dir.command().args([command, flag]).env("COLUMNS", width).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            // Usage is not broken into lines.
            let lines = text.lines().filter(|line| !line.starts_with("Usage"));
            let widest = lines.map(|line| line.chars().count()).max().unwrap();
            assert!(
                widest <= width.parse::<usize>().unwrap().min(100),
                "{command} {flag} at {width}: {widest}"
            );
            assert!(text.lines().count() < 140, "{command} {flag} at {width}");
        }
        ulpscope([command, "--help"]).ok().check(true, "long help");
    }
}

#[test]
fn details_are_said_when_asked_for() {
    let plain = ulpscope(["compare", &tiny(), "--ids", "1,2"]).ok();
    let verbose = ulpscope(["compare", &tiny(), "--ids", "1,2", "-v"]);
    assert_eq!(verbose.code, Some(0));
    let said =
        ["model.safetensors, ", "arm a: load(bf16), bf16, sdpa, summed tile32", "comparing: ", "threads"];
    for part in said {
        verbose.check(verbose.stderr.contains(part), part);
    }
    let timeless = |text: &str| text.lines().filter(|l| !l.contains("threads")).map(str::to_owned).collect();
    let (a, b): (Vec<String>, Vec<String>) = (timeless(&plain.stdout), timeless(&verbose.stdout));
    assert_eq!(a, b, "talk goes to stderr");
    ulpscope(["-q", "compare", &tiny(), "--ids", "1,2"]).ok();
    ulpscope(["compare", &tiny(), "--ids", "1,2", "-q", "-v"]).misused(&["cannot be used with"]);
}

#[test]
fn nothing_is_coloured_that_is_no_terminal() {
    for args in [vec!["compare", &tiny(), "--ids", "1,2"], vec!["compare", "--help"]] {
        let run = ulpscope(args).ok();
        run.check(!run.stdout.contains('\x1b'), "no escape sequence");
    }
    let run = ulpscope(["compare", "./absent"]);
    run.check(!run.stderr.contains('\x1b'), "no escape sequence");
}

#[test]
fn absurd_values_are_quoted_short_and_refused() {
    let dir = Dir::new();
    let long = "x".repeat(100_000);
    let short =
        |run: Run| assert!(run.stderr.len() < 3000 && run.stderr.contains('…'), "{}", run.stderr.len());
    short(dir.run(["weights", &tiny(), "--tensor", &long]).fails(&["no parameter"]));
    short(dir.run(["compare", &tiny(), "--b", &long]).misused(&["--b"]));
    dir.run(["compare", &tiny(), "--ids", "1", "--threads", "1000000"])
        .fails(&["--threads 1000000: at most 1024"]);
}

#[test]
fn a_pattern_that_matches_nothing_is_refused() {
    let dir = Dir::new();
    for command in ["compare", "explain", "trace"] {
        let run = |sites: &str| dir.run([command, &tiny(), "--ids", "1,2", "--out", "out", "--sites", sites]);
        run("lm_hed").fails(&["no site matches", "`lm_head`", "ulpscope sites"]);
        run("model.layer.0.*").fails(&["`model.layers.0"]);
        run("nothing-like-it").fails(&["no site matches; `ulpscope sites"]);
        run("*.probs").fails(&["--attention eager"]);
        assert_eq!(dir.listing(), [""; 0], "{command}");
    }
    let run = dir.run(["compare", &tiny(), "--ids", "1,2", "--sites", "lm_head,lm_hed"]);
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), "--sites: no site matches `lm_hed`\n"));
    ulpscope(["compare", &tiny(), "--ids", "1,2", "--sites", "*.probs", "--attention", "eager"]).ok();
    // Scores that only some arms compute are compared where the reference and one other have them.
    let eager = ["--a", "load(bf16)@eager", "--b", "load(bf16)", "--arm", "c=load(f32)@eager"];
    ulpscope(["compare", &tiny(), "--ids", "1,2", "--sites", "*.probs"].iter().chain(&eager)).ok();
}

#[test]
fn a_run_that_is_not_there_names_what_makes_one() {
    let dir = Dir::new();
    std::fs::create_dir(dir.join("empty")).unwrap();
    for command in ["plot", "report"] {
        dir.run([command, "absent"]).fails(&["absent", "--out"]);
        dir.run([command, "empty"]).fails(&["no record.json", "--out empty"]);
    }
    dir.run(["diff", "absent", "absent"]).fails(&["ulpscope trace"]);
    std::fs::write(dir.join("file"), "").unwrap();
    dir.run(["compare", &tiny(), "--ids", "1", "--out", "file"])
        .fails(&["--out file", "a file has that name"]);
}

#[test]
fn layers_and_prompts_that_a_run_has_not_are_refused() {
    let dir = Dir::new();
    dir.run(["compare", &tiny(), "--ids", "1,2", "--out", "run"]).ok();
    let before = dir.listing();
    dir.run(["plot", "run", "--layer", "99"]).fails(&["layer 99", "the model has 4"]);
    dir.run(["plot", "run", "--prompt", "1"]).fails(&["prompt 1", "has 1"]);
    assert_eq!(dir.listing(), before);
    dir.run(["plot", "run", "--layer", "1"]).ok();
}

#[test]
fn whatever_prints_data_prints_json() {
    let dir = Dir::new();
    let sites = dir.run(["sites", &tiny(), "--json"]).ok().json();
    assert_eq!(list(&sites["sites"]).len(), dir.run(["sites", &tiny()]).ok().stdout.lines().count());
    assert_eq!(sites["sites"][0]["site"], "model.embed_tokens");
    let trace = dir.run(["trace", &tiny(), "--ids", "1,2", "--out", "t.safetensors", "--json"]).ok().json();
    assert_eq!(list(&trace["sites"]).len(), list(&sites["sites"]).len());
    let diff = dir.run(["diff", "t.safetensors", "t.safetensors", "--json"]).ok().json();
    assert_eq!(list(&diff["sites"]).len(), list(&sites["sites"]).len());
    dir.run(["compare", &tiny(), "--ids", "1,2", "--out", "run"]).ok();
    for (command, file) in [("plot", "run/layers.png"), ("report", "run/report.html")] {
        let files = dir.run([command, "run", "--json"]).ok().json();
        assert!(list(&files["files"]).iter().any(|f| f == file), "{files}");
    }
    let name = "model.rotary_emb.inv_freq";
    let tensor = dir.run(["weights", &tiny(), "--tensor", name, "--json"]).ok().json();
    assert_eq!(tensor["arms"][0]["corner"]["dtype"], "f32");
    assert_eq!(tensor["arms"][1]["against_reference"]["relation"], "b = round_bf16(a)");
}

#[test]
fn conditions_for_ci() {
    let run = |extra: &[&str]| ulpscope(["compare", &tiny()].iter().chain(extra));
    let failed = run(&["--fail-on", "kl>1e9", "--fail-on", "equal<1,buffers_different>0"]);
    assert_eq!(failed.code, Some(3));
    assert_eq!(failed.stderr.lines().count(), 2, "{}", failed.stderr);
    failed.check(
        failed.stderr.contains("--fail-on buffers_different>0: the run has buffers_different 2"),
        "the value",
    );
    run(&["--fail-on", "kl>1e9,weights_different>0"]).ok();
    run(&["--fail-on", "kll>1"]).misused(&["did you mean `kl`?", "top1_agreement"]);
    run(&["--fail-on", "causes_above_floor>0"]).fails(&["ulpscope explain"]);
    let explained = ulpscope(["explain", &tiny(), "--ids", "1,2,3", "--fail-on", "causes_above_floor>1e9"]);
    assert_eq!(explained.code, Some(0), "{}", explained.stderr);
}

#[test]
fn completions_for_every_shell() {
    for (shell, part) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef ulpscope"),
        ("fish", "complete -c ulpscope"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let run = ulpscope(["completions", shell]).ok();
        run.check(run.stdout.contains(part) && run.stdout.contains("fail-on"), part);
    }
    ulpscope(["completions", "tcsh"]).misused(&["bash, elvish, fish, powershell, zsh"]);
}

#[test]
fn a_manual_page_for_every_command() {
    let dir = Dir::new();
    dir.run(["man", "man1"]).ok();
    let pages = dir.listing();
    for page in ["man1/ulpscope.1", "man1/ulpscope-compare.1", "man1/ulpscope-report.1"] {
        assert!(pages.iter().any(|p| p == page), "{pages:?}");
    }
    let page = std::fs::read_to_string(dir.join("man1/ulpscope-compare.1")).unwrap();
    assert!(page.contains("top1_agreement") && page.contains("Examples"), "{page}");
}

#[test]
fn nobody_reads_what_it_says() {
    let dir = Dir::new();
    for args in [vec!["compare", &tiny(), "--ids", "1,2", "--fail-on", "equal<1"], vec!["sites", &tiny()]] {
        let mut child =
            dir.command().args(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        let code = child.wait().unwrap().code();
        assert!(matches!(code, Some(0 | 3)), "{args:?}: {code:?}");
    }
}
