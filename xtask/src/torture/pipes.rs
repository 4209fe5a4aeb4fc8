//! Standard output that nobody reads to its end, or that takes nothing: a status means the same.

use std::fs::File;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::{Bench, Tally};

pub(super) fn run(bench: &mut Bench) -> Result<()> {
    let model = bench.model.display().to_string();
    let folder = bench.folder("pipes")?.display().to_string();
    let (trace, other, run) = (format!("{folder}/t"), format!("{folder}/u"), format!("{folder}/run"));
    for args in [
        &["trace", &model, "--ids", "1,2", "--sites", "model.norm", "--out", &trace][..],
        &["trace", &model, "--ids", "1,2", "--sites", "lm_head", "--out", &other],
        &["compare", &model, "--ids", "1,2", "--out", &run],
    ] {
        bench.ulpscope().args(args).output().context("ulpscope can't be started")?;
    }
    let ids = ["--ids", "1,2,3"];
    let compare = [&["compare", &model][..], &ids].concat();
    let explain = [&["explain", &model][..], &ids].concat();
    let of = |start: &[&str], more: &[&str]| -> Vec<String> {
        start.iter().chain(more).map(|&arg| arg.to_owned()).collect()
    };
    let commands = [
        of(&compare, &[]),
        of(&compare, &["--json"]),
        of(&compare, &["--fail-on", "kl>=0"]),
        of(&compare, &["--fail-on", "kl>=0", "--json"]),
        of(&explain, &[]),
        of(&explain, &["--json"]),
        of(&explain, &["-v", "--fail-on", "max_abs>=0"]),
        of(&["weights", &model], &[]),
        of(&["weights", &model], &["--json"]),
        of(&["weights", &model, "--tensor", "model.norm.weight"], &[]),
        of(&["trace", &model, "--ids", "1", "--out", &format!("{folder}/v")], &[]),
        of(&["diff", &trace, &trace], &[]),
        of(&["diff", &trace, &trace], &["--all"]),
        of(&["diff", &trace, &other], &["--json"]),
        of(&["report", &run], &[]),
        of(&["plot", &run], &["--json"]),
        of(&["sites", &model], &[]),
        of(&["order"], &["--k", "64"]),
        of(&["families"], &[]),
        of(&["completions", "bash"], &[]),
        of(&["compare", "no/such/model"], &[]),
        of(&["--help"], &[]),
        of(&["--version"], &[]),
    ];
    let mut tally = Tally::new("standard output that is closed or full");
    for args in commands {
        let command = |bench: &Bench| -> Command {
            let mut command = bench.ulpscope();
            command.args(&args);
            command
        };
        let read = command(bench).output()?.status.code();
        for full in [false, true] {
            let mut command = command(bench);
            if full {
                let Ok(device) = File::options().write(true).open("/dev/full") else { continue };
                command.stdout(device);
            } else {
                command.stdout(Stdio::piped());
            }
            let mut child = command.spawn().context("ulpscope can't be started")?;
            drop(child.stdout.take());
            let output = child.wait_with_output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            // What succeeded and could not be written is an error, and one that is said.
            let lost = full && read == Some(0) && output.status.code() == Some(1) && !said.is_empty();
            let wrong = (output.status.code() != read && !lost) || said.contains("panicked");
            let wrong =
                wrong.then(|| format!("{args:?}, full {full}: {}, not {read:?}: {said}", output.status));
            tally.count(wrong);
        }
    }
    bench.done("pipes", &tally);
    Ok(())
}
