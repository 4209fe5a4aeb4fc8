//! Many comparisons in one process, several processes at once, and less memory than is wanted.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ulpscope_record::{RunRecord, differences};

use super::{Bench, Tally, contents, not_an_error};
use crate::shell;

pub(super) fn run(bench: &mut Bench) -> Result<()> {
    for attack in [soak, at_once, one_folder, little_memory] {
        let tally = attack(bench)?;
        bench.done("load", &tally);
    }
    Ok(())
}

/// The same comparison again and again in one process.
fn soak(bench: &mut Bench) -> Result<Tally> {
    /// Growth that is not yet a leak: an allocator's arenas take some time to settle.
    const ALLOWED_KB: u64 = 8 << 10;
    let (first, count) = (bench.count(20, 100), bench.count(120, 1000));
    let mut tally = Tally::new("comparisons in one process");
    let example = shell::example("ulpscope-compare", "soak")?;
    let output =
        Command::new(example).arg(&bench.model).args([first.to_string(), count.to_string()]).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let [early, late, same] = said.split_whitespace().collect::<Vec<_>>()[..] else {
        bail!("soak says {said:?}, {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    };
    let (early, late): (u64, u64) = (early.parse()?, late.parse()?);
    tally.cases = count;
    if same != "true" {
        tally.failures.push("they do not all find the same".to_owned());
    }
    if late > early + ALLOWED_KB {
        tally.failures.push(format!("memory grew from {early} to {late} kB"));
    }
    let mib = |kb: u64| kb as f64 / 1024.0;
    tally.notes.push(format!("{:.1} MiB after {first}, {:.1} MiB after {count}", mib(early), mib(late)));
    Ok(tally)
}

/// Four at once into folders of their own find what one alone finds.
fn at_once(bench: &mut Bench) -> Result<Tally> {
    let mut tally = Tally::new("four at once");
    let prompts = bench.prompts(1);
    let command = |bench: &Bench, out: &Path| {
        let mut command = bench.ulpscope();
        command.arg("explain").arg(&bench.model).args(&prompts).args(["--quiet", "--out"]).arg(out);
        command.stdout(Stdio::null());
        command
    };
    let alone = bench.folder("alone")?;
    command(bench, &alone).output()?;
    let alone = (RunRecord::read(alone.join("record.json"))?, contents(&alone));
    for round in 0..bench.count(1, 10) {
        let folders = [0, 1, 2, 3].map(|i| bench.work.join(format!("four-{round}-{i}")));
        let children: Vec<_> =
            folders.iter().map(|f| command(bench, f).spawn()).collect::<std::io::Result<_>>()?;
        for (child, folder) in children.into_iter().zip(&folders) {
            let output = child.wait_with_output()?;
            let wrong = if output.status.success() {
                let found = contents(folder);
                let other = alone.1.iter().find(|(path, bytes)| {
                    path.extension().is_some_and(|e| e == "png") && found.get(*path) != Some(bytes)
                });
                let record = RunRecord::read(folder.join("record.json"))?;
                let lines = differences(&alone.0, &record);
                lines
                    .into_iter()
                    .next()
                    .or_else(|| other.map(|(path, _)| format!("{} differs", path.display())))
            } else {
                Some(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)))
            };
            tally.count(wrong);
        }
    }
    Ok(tally)
}

/// Several at once into one folder: one runs, the others are told.
fn one_folder(bench: &mut Bench) -> Result<Tally> {
    let mut tally = Tally::new("four at once into one folder");
    for round in 0..bench.count(2, 20) {
        let out = bench.work.join(format!("one-{round}"));
        let start = || {
            let mut command = bench.ulpscope();
            command
                .arg("compare")
                .arg(&bench.model)
                .args(["--quiet", "--out"])
                .arg(&out)
                .stdout(Stdio::null());
            command.spawn()
        };
        let children: Vec<_> = (0..4).map(|_| start()).collect::<std::io::Result<_>>()?;
        let mut succeeded = 0;
        for child in children {
            let output = child.wait_with_output()?;
            if output.status.success() {
                succeeded += 1;
                tally.count(None);
            } else {
                tally.count(not_an_error(&output, &["another ulpscope is writing into this folder"]));
            }
        }
        let whole = RunRecord::read(out.join("record.json")).is_ok();
        if succeeded == 0 || !whole {
            tally.failures.push(format!("{succeeded} succeeded, and there is a record: {whole}"));
        }
    }
    Ok(tally)
}

/// With less address space the system can't even load the program, and nobody is there to say so.
const LEAST_KB: u64 = 40_000;

/// The address space limited to parts of what is wanted.
fn little_memory(bench: &mut Bench) -> Result<Tally> {
    let mut tally = Tally::new("less memory than is wanted");
    let prompts = bench.prompts(2);
    let most = most_memory(bench, &prompts)?;
    let mut ended = BTreeSet::new();
    for case in 0..bench.count(12, 100) {
        // Half of it first of all, then any part.
        let limit = if case == 0 { most / 2 } else { LEAST_KB + bench.random.below(most - LEAST_KB) };
        let out = bench.folder("limited")?;
        let mut shell = Command::new("sh");
        let script = format!("ulimit -v {limit}; exec \"$@\"");
        shell
            .args(["-c", &script, "sh"])
            .arg(&bench.ulpscope)
            .arg("compare")
            .arg(&bench.model)
            .args(&prompts);
        shell.args(["--quiet", "--out"]).arg(&out).current_dir(&bench.work).env("HF_HUB_OFFLINE", "1");
        let output = shell.stdin(Stdio::null()).output().context("sh can't be started")?;
        let whole = RunRecord::read(out.join("record.json")).is_ok();
        let wrong = match output.status.success() {
            true if whole => None,
            true => Some("it succeeds without a record".to_owned()),
            false => not_an_error(&output, &[]),
        };
        if wrong.is_none() && !output.status.success() {
            ended.insert(limit);
        }
        tally.count(wrong.map(|wrong| format!("{limit} kB of {most}: {wrong}")));
    }
    tally.notes.push(match ended.last() {
        Some(limit) => format!("{} with an error, at up to {limit} of {most} kB", ended.len()),
        None => format!("none with an error, of {most} kB that it wants"),
    });
    Ok(tally)
}

/// The address space of a run that may have all it wants, in kilobytes.
fn most_memory(bench: &Bench, prompts: &[String]) -> Result<u64> {
    let mut child = bench.ulpscope();
    child.arg("compare").arg(&bench.model).args(prompts).args(["--quiet", "--json"]).stdout(Stdio::null());
    let mut child = child.spawn().context("ulpscope can't be started")?;
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    while child.try_wait()?.is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmPeak:"));
        most = line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or(0).max(most);
        std::thread::sleep(Duration::from_millis(5));
    }
    if most == 0 {
        bail!("the system does not tell how much memory a process takes");
    }
    Ok(most)
}
