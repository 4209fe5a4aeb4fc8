//! Runs that are killed, that meet another, or whose model changes under them.
//! `cargo xtask torture` does more of it.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use ulpscope_record::{RunRecord, differences};

use crate::util::{Dir, Run, fixture, tiny};

/// Prompts of 512 tokens, of which four make a group.
fn long(count: u32) -> Vec<String> {
    let ids = |p: u32| (0..512).map(|i| (1 + (i * 7 + p) % 250).to_string()).collect::<Vec<_>>().join(",");
    (0..count).flat_map(|p| ["--ids".to_owned(), ids(p)]).collect()
}

fn start(dir: &Dir, args: &[String]) -> Child {
    dir.command().args(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until this holds; what takes longer than a minute will not come.
fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what} has not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What the run in `run` has finished so far: a file per group of prompts.
fn units(dir: &Dir) -> Vec<PathBuf> {
    let all = fs::read_dir(dir.join("run/.ulpscope-partial")).into_iter().flatten().flatten();
    all.map(|unit| unit.path()).filter(|path| path.extension().is_some_and(|e| e == "json")).collect()
}

#[test]
fn a_run_that_is_killed_goes_on_from_what_was_finished() {
    let dir = Dir::new();
    let args = |out: &str| -> Vec<String> {
        let start = ["compare".to_owned(), tiny(), "--sites".to_owned(), "model.layers.*".to_owned()];
        start.into_iter().chain(long(12)).chain(["--out".to_owned(), out.to_owned()]).collect()
    };
    dir.run(args("whole")).ok();
    let kept = || !units(&dir).is_empty();
    let mut child = start(&dir, &args("run"));
    wait_for("the first unit", || kept() || dir.join("run/record.json").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    let interrupted = kept() && !dir.join("run/record.json").exists();
    // Left by another: a unit whose name is right and whose content is not.
    let mut spoilt = 0;
    for unit in units(&dir).into_iter().skip(1) {
        fs::write(unit, "{}").unwrap();
        spoilt += 1;
    }
    let again = dir.run(args("run"));
    again.check(again.code == Some(0), "status 0 expected");
    if interrupted {
        again.check(again.stderr.contains("going on from where"), &format!("it goes on ({spoilt} spoilt)"));
    }
    let read = |name: &str| RunRecord::read(dir.join(name)).unwrap();
    assert_eq!(differences(&read("whole/record.json"), &read("run/record.json")), [""; 0]);
    let left = dir.listing().into_iter().find(|name| name.contains(".ulpscope"));
    assert_eq!(left, None);
}

/// Without this, what is left of a page that was lost would be SIGBUS.
#[cfg(target_os = "linux")]
#[test]
fn a_checkpoint_that_is_cut_short_while_it_is_read_is_an_error() {
    let dir = Dir::new();
    fs::create_dir(dir.join("model")).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(fixture(&format!("tiny-llama/{file}")), dir.join("model").join(file)).unwrap();
    }
    let args: Vec<String> = ["compare", "model", "--quiet", "--out", "run"].map(str::to_owned).into();
    // After the first of 24 groups, so that all the others read what is no longer there.
    let args: Vec<String> = args.into_iter().chain(long(96)).collect();
    let child = start(&dir, &args);
    wait_for("the first unit", || !units(&dir).is_empty());
    fs::File::options().write(true).open(dir.join("model/model.safetensors")).unwrap().set_len(100).unwrap();
    let run = Run::new(args, child.wait_with_output().unwrap());
    run.fails(&["model/model.safetensors", "is 100 now", "run again"]);
    assert!(!dir.join("run/record.json").exists());
}

#[cfg(unix)]
#[test]
fn a_folder_that_another_run_writes_into_is_refused() {
    let dir = Dir::new();
    fs::create_dir(dir.join("run")).unwrap();
    let lock = fs::File::open(dir.join("run")).unwrap();
    lock.try_lock().unwrap();
    let run = dir.run(["compare", &tiny(), "--out", "run"]);
    run.fails(&["--out run", "another ulpscope is writing into this folder"]);
    drop(lock);
    dir.run(["compare", &tiny(), "--out", "run"]).ok();
}

/// What a killed process left is removed by the next one.
#[test]
fn the_next_run_sweeps() {
    let dir = Dir::new();
    fs::create_dir_all(dir.join("run/.ulpscope-a1B2c3/prompt-1")).unwrap();
    fs::write(dir.join("run/.ulpscope-a1B2c3/layers.png"), "half").unwrap();
    fs::write(dir.join("run/.ulpscope-zzzzzz"), "half").unwrap();
    dir.run(["compare", &tiny(), "--out", "run"]).ok();
    fs::write(dir.join("run/.ulpscope-yyyyyy"), "half").unwrap();
    dir.run(["report", "run"]).ok();
    fs::write(dir.join(".ulpscope-xxxxxx"), "half").unwrap();
    dir.run(["trace", &tiny(), "--ids", "1", "--out", "t.safetensors"]).ok();
    let left = dir.listing().into_iter().find(|name| name.contains(".ulpscope"));
    assert_eq!(left, None);
}

/// Too little for the model, in plain words and not by being aborted.
#[cfg(target_os = "linux")]
#[test]
fn memory_that_runs_out_is_an_error() {
    let dir = Dir::new();
    let binary = env!("CARGO_BIN_EXE_ulpscope");
    let mut refused = 0;
    for (kind, limit) in [("v", 34_000), ("d", 20_000), ("v", 50_000), ("v", 120_000), ("v", 400_000)] {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &format!("ulimit -{kind} {limit}; exec \"$@\""), "sh", binary, "compare", &tiny()]);
        shell.args(long(1)).args(["--quiet", "--json", "--offline"]).current_dir(dir.join(""));
        let run = Run::new(vec![format!("{limit} kB")], shell.stdin(Stdio::null()).output().unwrap());
        if run.code != Some(0) {
            run.fails(&[]);
            refused += 1;
        }
    }
    assert!(refused > 0, "it needs less than 34 MB of address space");
}
