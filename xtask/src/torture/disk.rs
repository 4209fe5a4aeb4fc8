//! Disks that fill up or may not be written, and checkpoints that change while they are read.
//!
//! Small disks are made in a mount namespace that ends with the command, so that nothing stays
//! mounted. Where that is not permitted, it is said and left out.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::hub::Hub;
use super::{Bench, Tally, contents, not_an_error, temporary};

pub(super) fn run(bench: &mut Bench) -> Result<()> {
    for attack in [changing, long_files] {
        let tally = attack(bench)?;
        bench.done("disk", &tally);
    }
    match namespace() {
        Ok(unshare) => {
            for attack in [full, full_cache, read_only] {
                let tally = attack(bench, unshare)?;
                bench.done("disk", &tally);
            }
        }
        Err(reason) => println!("disk: full and read-only disks left out: {reason}"),
    }
    Ok(())
}

/// How a program gets mounts of its own, as root or as a user.
type Unshare = &'static [&'static str];

fn namespace() -> Result<Unshare, String> {
    const WAYS: [Unshare; 2] = [&["--user", "--map-root-user", "--mount"], &["--mount"]];
    let mut said = String::new();
    for way in WAYS {
        let mut command = Command::new("unshare");
        command.args(way).args(["sh", "-c", "mount -t tmpfs -o size=64k tmpfs /mnt"]);
        match command.stdin(Stdio::null()).output() {
            Ok(output) if output.status.success() => return Ok(way),
            Ok(output) => said = String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => said = format!("unshare: {error}"),
        }
    }
    Err(said)
}

/// Runs a script with a disk of this size at `disk`, and what was there before under `after` when
/// it is over.
fn on_a_disk(bench: &Bench, unshare: Unshare, size: u64, old: &Path, script: &str) -> Result<Output> {
    for folder in ["disk", "after", "end"] {
        bench.folder(folder)?;
    }
    let whole = format!(
        "mount -t tmpfs -o size={size} tmpfs disk && mkdir disk/run && cp -r '{}/.' disk/run || exit 99\n{script}",
        old.display()
    );
    let mut command = Command::new("unshare");
    command.args(unshare).args(["sh", "-c", &whole]).current_dir(&bench.work).stdin(Stdio::null());
    command.env("HF_HUB_OFFLINE", "1").output().context("unshare can't be started")
}

/// The tool on a disk that is too small, over the results of another run; then once more with room.
fn full(bench: &mut Bench, unshare: Unshare) -> Result<Tally> {
    let mut tally = Tally::new("full disk");
    let old = bench.folder("old")?;
    let mut first = bench.ulpscope();
    let first = first.args(["compare", "--ids", "1,2,3", "--b", "load(f16)", "--quiet", "--out"]).arg(&old);
    first.arg(&bench.model).output()?;
    let files = contents(&old);
    let used: u64 =
        files.values().map(|bytes| (bytes.len() as u64).div_ceil(4096) * 4096).sum::<u64>() + 16384;
    let (binary, model) = (bench.ulpscope.display().to_string(), bench.model.display().to_string());
    let long = bench.prompts(3).join(" ");
    let commands = [
        (format!("'{binary}' compare '{model}' --quiet --out disk/run"), 1_000_000),
        (format!("'{binary}' explain '{model}' {long} --quiet --out disk/run"), 6_000_000),
        (
            format!("'{binary}' trace '{model}' {} --quiet --out disk/t", bench.prompts(1).join(" ")),
            4_000_000,
        ),
        (format!("'{binary}' plot disk/run --out disk/pictures"), 500_000),
        (format!("'{binary}' report disk/run --out disk/pages"), 300_000),
    ];
    let cases = bench.count(10, 250);
    let mut fitted = 0;
    for case in 0..cases {
        let (command, most) = &commands[case % commands.len()];
        let size = used + bench.random.below(*most);
        let script = format!(
            "{command}\ncode=$?\ncp -r disk/. after\nmount -o remount,size=64m disk && {command} >&2 || exit 98\n\
             cp -r disk/. end\nexit $code"
        );
        let output = on_a_disk(bench, unshare, size, &old, &script)?;
        if output.status.success() {
            fitted += 1;
            tally.count(None);
            continue;
        }
        let after = contents(&bench.work.join("after"));
        let lost = files.iter().find(|(path, bytes)| after.get(&Path::new("run").join(path)) != Some(bytes));
        let half = after.keys().find(|path| {
            let name = path.strip_prefix("run").unwrap_or(path);
            // Pictures and pages are written one by one, each of them whole.
            let one_by_one = path.starts_with("pictures") || path.starts_with("pages");
            !(files.contains_key(name) || one_by_one || path.iter().any(|p| p == ".ulpscope-partial"))
        });
        let left = contents(&bench.work.join("end")).into_keys().find(|path| temporary(path));
        let wrong = first_line(&output, &["disk", "No space left on device"])
            .or_else(|| lost.map(|(path, _)| format!("{} was lost", path.display())))
            .or_else(|| half.map(|path| format!("{} is left", path.display())))
            .or_else(|| left.map(|path| format!("{} is left in the end", path.display())));
        tally.count(wrong.map(|wrong| format!("{command} on {size} bytes: {wrong}")));
    }
    tally.notes.push(format!("{fitted} had room enough"));
    Ok(tally)
}

/// As [`not_an_error`], where a second command has also spoken.
fn first_line(output: &Output, parts: &[&str]) -> Option<String> {
    let mut first = output.clone();
    let said = String::from_utf8_lossy(&output.stderr);
    first.stderr = said.lines().next().unwrap_or_default().as_bytes().to_vec();
    not_an_error(&first, parts)
}

/// A cache that has no room for the model.
fn full_cache(bench: &mut Bench, unshare: Unshare) -> Result<Tally> {
    let mut tally = Tally::new("full disk below the hub's cache");
    let hub = Hub::open(&bench.model)?;
    let files = contents(&bench.model);
    let empty = bench.folder("empty")?;
    let total: u64 = files.values().map(|bytes| bytes.len() as u64).sum();
    for _ in 0..bench.count(3, 30) {
        let size = 16384 + bench.random.below(total - 16384);
        let command = format!(
            "NO_PROXY=127.0.0.1 no_proxy=127.0.0.1 HF_HUB_OFFLINE=0 HF_HOME=disk/hf HF_ENDPOINT={} '{}' weights \
             org/tiny --quiet",
            hub.endpoint(),
            bench.ulpscope.display()
        );
        let script = format!(
            "{command}\ncode=$?\ncp -r disk/. after\nmount -o remount,size=64m disk && {command} >&2 || exit 98\n\
             exit $code"
        );
        let output = on_a_disk(bench, unshare, size, &empty, &script)?;
        let cached = |path: &Path| path.iter().any(|part| part == "blobs" || part == "snapshots");
        let after = contents(&bench.work.join("after"));
        let half =
            after.iter().find(|(path, bytes)| cached(path) && !files.values().any(|file| file == *bytes));
        // It is announced that there is no room, or found out on the way.
        let said = |why: &str| first_line(&output, &["disk/hf", why]);
        let wrong = said("No space left on device")
            .and(said("make room"))
            .or_else(|| half.map(|(path, _)| format!("{} is no whole file", path.display())));
        tally.count(wrong.map(|wrong| format!("on {size} bytes: {wrong}")));
    }
    Ok(tally)
}

fn read_only(bench: &mut Bench, unshare: Unshare) -> Result<Tally> {
    let mut tally = Tally::new("read-only disk");
    let (binary, model) = (bench.ulpscope.display().to_string(), bench.model.display().to_string());
    let empty = bench.folder("empty")?;
    for command in [
        format!("'{binary}' compare '{model}' --quiet --out disk/run"),
        format!("'{binary}' explain '{model}' --quiet --out disk/new/run"),
        format!("'{binary}' trace '{model}' --quiet --out disk/t"),
    ] {
        let script = format!("mount -o remount,ro disk || exit 99\n{command}");
        let output = on_a_disk(bench, unshare, 1 << 20, &empty, &script)?;
        let wrong = not_an_error(&output, &["disk", "Read-only file system"]);
        tally.count(wrong.map(|wrong| format!("{command}: {wrong}")));
    }
    Ok(tally)
}

/// `ulimit -f`, which is what a quota is like: a file may become only so long.
fn long_files(bench: &mut Bench) -> Result<Tally> {
    let mut tally = Tally::new("files that may not become longer");
    let (binary, model) = (bench.ulpscope.display().to_string(), bench.model.display().to_string());
    let long = bench.prompts(1).join(" ");
    for blocks in [0, 1, 16, 64] {
        for command in [
            format!("'{binary}' compare '{model}' --quiet --out limited"),
            format!("'{binary}' trace '{model}' {long} --quiet --out limited/t"),
        ] {
            let folder = bench.folder("limited")?;
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("ulimit -f {blocks}; exec {command}")]);
            let output = shell.current_dir(&bench.work).stdin(Stdio::null()).stdout(Stdio::piped());
            let output = output.stderr(Stdio::piped()).output().context("sh can't be started")?;
            let left = contents(&folder).into_keys().next();
            let wrong = not_an_error(&output, &["limited", "File too large"])
                .or_else(|| left.map(|path| format!("{} is left", path.display())));
            tally.count(wrong.map(|wrong| format!("ulimit -f {blocks}, {command}: {wrong}")));
        }
    }
    Ok(tally)
}

/// A checkpoint that is cut short, replaced or written to at a random moment of a run.
fn changing(bench: &mut Bench) -> Result<Tally> {
    let mut tally = Tally::new("checkpoints that change while they are read");
    let prompts = bench.prompts(6);
    let command = |bench: &Bench, model: &Path| {
        let mut command = bench.ulpscope();
        command.arg("compare").arg(model).args(&prompts).args(["--quiet", "--json"]).stdout(Stdio::null());
        command
    };
    let model = bench.copy_of_model("changing")?;
    let begun = Instant::now();
    command(bench, &model).output()?;
    let took = begun.elapsed();
    let mut noticed = 0;
    for case in 0..bench.count(10, 200) {
        let model = bench.copy_of_model("changing")?;
        let file = model.join("model.safetensors");
        let length = file.metadata()?.size();
        let child = command(bench, &model).spawn().context("ulpscope can't be started")?;
        std::thread::sleep(
            took.mul_f64(bench.random.below(900) as f64 / 1000.0).max(Duration::from_millis(1)),
        );
        match case % 5 {
            // The page that is being read, or one after it, is gone.
            0..3 => fs::File::options().write(true).open(&file)?.set_len(bench.random.below(length))?,
            3 => {
                let other = model.join("other");
                fs::copy(&file, &other)?;
                fs::rename(other, &file)?;
            }
            _ => {
                use std::os::unix::fs::FileExt;
                fs::File::options().write(true).open(&file)?.write_at(&[1; 64], length / 2)?;
            }
        }
        let output = child.wait_with_output()?;
        if output.status.success() {
            // It had been read to its end by then.
            tally.count(None);
            continue;
        }
        noticed += 1;
        let what = ["cut short", "cut short", "cut short", "replaced", "written to"][case % 5];
        tally.count(not_an_error(&output, &["model.safetensors"]).map(|wrong| format!("{what}: {wrong}")));
    }
    tally.notes.push(format!("{noticed} with an error, the rest had been read"));
    Ok(tally)
}
