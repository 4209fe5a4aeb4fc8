//! What a run leaves behind, and what it says with its exit status.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::util::{Checkpoint, Dir, Run, tiny, ulpscope};

const PICTURES: [&str; 5] = ["heatmap", "introduced", "layers", "logits", "positions"];

/// Width, height and the number of different bytes among a PNG's pixels.
fn png(path: &Path) -> (u32, u32, usize) {
    let bytes = fs::read(path).unwrap();
    assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n", "{}", path.display());
    let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    let (mut at, mut packed, mut ended) = (8, Vec::new(), false);
    while at < bytes.len() {
        let length = word(at) as usize;
        match &bytes[at + 4..at + 8] {
            b"IDAT" => packed.extend_from_slice(&bytes[at + 8..at + 8 + length]),
            b"IEND" => ended = true,
            _ => {}
        }
        at += 12 + length;
    }
    assert!(ended, "{} is whole", path.display());
    let mut pixels = Vec::new();
    flate2::read::ZlibDecoder::new(&packed[..]).read_to_end(&mut pixels).unwrap();
    let different: std::collections::BTreeSet<u8> = pixels.into_iter().collect();
    (word(16), word(20), different.len())
}

#[test]
fn a_run_writes_record_pages_and_pictures_and_nothing_else() {
    let dir = Dir::new();
    let run = dir.run(["compare", &tiny(), "--out", "deep/run"]).ok();
    run.check(run.stdout.contains("written to deep/run"), "it says where");
    insta::assert_snapshot!(dir.listing().join("\n"), @r"
    deep/
    deep/run/
    deep/run/heatmap.png
    deep/run/introduced.png
    deep/run/layers.png
    deep/run/logits.png
    deep/run/positions.png
    deep/run/record.json
    deep/run/report.html
    deep/run/report.md
    deep/run/summary.md
    ");

    let record: Value = serde_json::from_slice(&fs::read(dir.join("deep/run/record.json")).unwrap()).unwrap();
    assert_eq!(record["schema"], ulpscope_record::SCHEMA);
    let summary = fs::read_to_string(dir.join("deep/run/summary.md")).unwrap();
    for part in [
        "# b: load(f32)",
        "tiny-llama, 1 prompt",
        "39 of 39 tensors",
        "b = round_bf16(a)",
        "model.rotary_emb.",
    ] {
        assert!(summary.contains(part), "{part} is missing in\n{summary}");
    }
    for picture in PICTURES {
        let (width, height, different) = png(&dir.join(format!("deep/run/{picture}.png")));
        assert!(width >= 600 && height >= 400, "{picture}: {width} × {height}");
        assert!(different > 50, "{picture} is blank: {different} different bytes");
    }
}

#[test]
fn json_is_the_record_that_is_written() {
    let dir = Dir::new();
    let run = dir.run(["compare", &tiny(), "--json", "--out", "run"]).ok();
    assert_eq!(run.stdout, fs::read_to_string(dir.join("run/record.json")).unwrap());
}

#[test]
fn pictures_are_the_same_on_every_run_and_drawn_from_the_record_alone() {
    let dir = Dir::new();
    let arms = ["--arm", "f16=load(f16)", "--svg", "--prompt", "Gravity is", "--ids", "1,17,250"];
    let compare = |out: &str| dir.run(["compare", &tiny(), "--out", out].iter().chain(&arms).copied()).ok();
    compare("one");
    compare("two");
    let read = |name: &str| fs::read(dir.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let pictures: Vec<String> = dir
        .listing()
        .into_iter()
        .filter_map(|name| name.strip_prefix("one/").map(str::to_owned))
        .filter(|name| name.ends_with(".png") || name.ends_with(".svg"))
        .collect();
    // layers, and four figures for each of two arms; twice for SVG and twice for the second prompt.
    assert_eq!(pictures.len(), 9 * 4, "{pictures:?}");
    for name in &pictures {
        assert!(read(&format!("one/{name}")) == read(&format!("two/{name}")), "{name} differs between runs");
    }

    let listed = dir.run(["plot", "one", "--svg", "--out", "again"]).ok();
    assert_eq!(listed.stdout.lines().count(), 18);
    dir.run(["plot", "one/record.json", "--svg", "--prompt", "1", "--out", "again/prompt-1"]).ok();
    for name in &pictures {
        assert!(
            read(&format!("one/{name}")) == read(&format!("again/{name}")),
            "{name} is drawn differently"
        );
    }
    fs::remove_file(dir.join("two/layers.png")).unwrap();
    dir.run(["plot", "two"]).ok();
    assert!(read("two/layers.png") == read("one/layers.png"), "beside the record by default");
}

#[test]
fn findings_become_an_exit_status() {
    let with = |condition: &str| ulpscope(["compare", &tiny(), "--fail-on", condition]);
    for condition in ["kl>1e-9", "equal<1", "max_abs>=0", "mean_abs>0", "buffers_different>0"] {
        let run = with(condition);
        run.check(run.code == Some(3), "status 3 expected");
        run.check(run.stderr.starts_with("ulpscope: --fail-on ") && run.stderr.lines().count() == 1, "why");
        run.check(run.stdout.contains("lm_head"), "the findings all the same");
    }
    for condition in ["kl>1", "equal<0.01", "weights_different>0", "top1_agreement<0.1"] {
        with(condition).ok();
    }
    let dir = Dir::new();
    let run = dir.run(["compare", &tiny(), "--fail-on", "kl>0", "--fail-on", "equal<1", "--out", "run"]);
    run.check(run.code == Some(3) && run.stderr.lines().count() == 2, "one line for each");
    assert!(dir.join("run/record.json").exists(), "a finding is written like any other");
    let short = fs::read_to_string(dir.join("run/report.md")).unwrap();
    assert!(
        short.starts_with("**✗ kl ") && short.lines().next().unwrap().ends_with("prompt 0)**"),
        "{short}"
    );
    let refusal = |condition: &str| with(condition).misused(&[condition]).stderr;
    insta::assert_snapshot!(refusal("speed>1"), @r"
    error: invalid value 'speed>1' for '--fail-on <CONDITION>': unknown metric `speed`; known are kl, equal, mean_abs, max_abs, top1_agreement, sites_introducing, weights_different, buffers_different, causes_above_floor

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(refusal("kl>fast"), @r"
    error: invalid value 'kl>fast' for '--fail-on <CONDITION>': `fast` is no number

    For more information, try '--help'.
    ");
}

/// Pictures of an earlier run do not stay beside the record of one that has fewer.
#[test]
fn a_smaller_run_leaves_no_pictures_of_a_larger() {
    let dir = Dir::new();
    let run = |args: &[&str], out: &str| {
        let model = tiny();
        let all = [args, &[&model, "--quiet", "--out", out]].concat();
        dir.run(all.iter().copied()).ok();
    };
    run(&["explain", "--ids", "1,2,3", "--ids", "4,5", "--ids", "6,7", "--svg"], "run");
    for mine in ["notes.png", "prompt-1/mine.txt"] {
        fs::write(dir.join("run").join(mine), "mine").unwrap();
    }
    run(&["compare", "--ids", "1,2"], "run");
    run(&["compare", "--ids", "1,2"], "fresh");
    let of = |folder: &str| -> Vec<String> {
        let all = dir.listing().into_iter();
        all.filter_map(|path| Some(path.strip_prefix(folder)?.to_owned()))
            .filter(|path| !path.is_empty())
            .collect()
    };
    let mut expected = of("fresh/");
    expected.extend(["notes.png", "prompt-1/", "prompt-1/mine.txt"].map(str::to_owned));
    expected.sort();
    let mut found = of("run/");
    found.sort();
    assert_eq!(found, expected);
}

/// Whatever is wrong, a folder that was made for the run is gone again.
#[test]
fn a_run_that_fails_leaves_nothing() {
    let dir = Dir::new();
    for args in [["./absent", "--ids", "1"], [&tiny(), "--ids", "999"], [&tiny(), "--device", "gpu"]] {
        let run = dir.run(["compare", "--out", "deep/run"].iter().chain(&args).copied());
        run.fails(&[]);
        assert_eq!(dir.listing(), [""; 0], "{args:?}");
    }
    fs::create_dir(dir.join("mine")).unwrap();
    dir.run(["compare", "./absent", "--out", "mine/run"]).fails(&[]);
    assert_eq!(dir.listing(), ["mine/"], "what was there before stays");
}

#[test]
fn folders_that_can_not_be_written() {
    let dir = Dir::new();
    fs::write(dir.join("file"), "precious").unwrap();
    for out in ["file", "file/below", "file/below/deeper"] {
        // A bad folder is told before the model is even looked for.
        dir.run(["compare", "./absent", "--out", out]).fails(&["--out", out, "can't be written"]);
        assert_eq!(dir.listing(), ["file"], "--out {out}");
    }
    if cfg!(target_os = "linux") {
        dir.run(["compare", &tiny(), "--out", "/proc/ulpscope"]).fails(&["--out /proc/ulpscope"]);
        dir.run(["compare", &tiny(), "--out", "/proc/self"]).fails(&["--out /proc/self"]);
    }
    assert_eq!(fs::read_to_string(dir.join("file")).unwrap(), "precious");
}

/// A name that is taken by a folder: found out only when the run is over, and still nothing is
/// half-done.
#[test]
fn a_folder_where_the_record_belongs() {
    let dir = Dir::new();
    fs::create_dir_all(dir.join("run/record.json/x")).unwrap();
    dir.run(["compare", &tiny(), "--out", "run"]).fails(&["--out run", "can't be written"]);
    assert!(!dir.listing().iter().any(|name| name.contains(".ulpscope")), "{:?}", dir.listing());
}

/// A disk of 200 kB, in a mount namespace that ends with the command, so that nothing stays
/// mounted.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_the_folder_as_it_was() {
    let dir = Dir::new();
    let script = |command: &str| {
        let script = format!(
            "mkdir disk && mount -t tmpfs -o size=200k tmpfs disk && mkdir disk/run && echo old > disk/run/summary.md \
             || exit 99\n{command}\ncode=$?\ncd disk && find . | sort >&3; cat run/summary.md >&3; exit $code"
        );
        let log = fs::File::create(dir.join("log")).unwrap();
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--mount", "sh", "-c", &format!("exec 3>log; {script}")]);
        drop(log);
        let inner = dir.command();
        for (name, value) in inner.get_envs() {
            if let Some(value) = value {
                unshare.env(name, value);
            }
        }
        let output = unshare.current_dir(dir.join("")).stdin(Stdio::null()).output();
        _ = fs::remove_dir(dir.join("disk"));
        output.map(|output| Run::new(vec![command.to_owned()], output))
    };
    match script("true") {
        Ok(run) if run.code == Some(0) => {}
        other => {
            println!("skipped: no disk can be made to fill up here: {other:?}");
            return;
        }
    }
    let binary = env!("CARGO_BIN_EXE_ulpscope");
    let compare = format!("'{binary}' compare '{}' --out disk/run", tiny());
    script(&compare).unwrap().fails(&["--out disk/run", "No space left on device"]);
    let untouched = ".\n./run\n./run/summary.md\nold\n";
    assert_eq!(fs::read_to_string(dir.join("log")).unwrap(), untouched);

    let long = "1,".repeat(511) + "1";
    let trace = format!("'{binary}' trace '{}' --ids {long} --out disk/t", tiny());
    script(&trace).unwrap().fails(&["disk/t", "No space left on device"]);
    assert_eq!(fs::read_to_string(dir.join("log")).unwrap(), untouched);
}

/// Results that go to a full disk through the shell.
#[cfg(target_os = "linux")]
#[test]
fn stdout_that_can_not_be_written_is_an_error() {
    use std::os::unix::fs::FileTypeExt;
    let full = Path::new("/dev/full");
    if !full.metadata().is_ok_and(|m| m.file_type().is_char_device()) {
        println!("skipped: there is no /dev/full here");
        return;
    }
    for args in [vec!["compare"], vec!["compare", "--json"], vec!["weights"], vec!["sites"]] {
        let dir = Dir::new();
        let mut command = dir.command();
        // Opened for writing only; nothing is created or replaced.
        let out = fs::OpenOptions::new().write(true).open(full).unwrap();
        let output = command.args(&args).arg(tiny()).stdout(out).output().unwrap();
        let args = args.into_iter().map(str::to_owned).collect();
        Run::new(args, output).fails(&["No space left on device"]);
    }
}

/// A gate stays closed whatever becomes of what is printed: 3 and 4 come before the error of
/// writing, which comes before 0.
#[cfg(target_os = "linux")]
#[test]
fn the_status_survives_a_stdout_that_can_not_be_written() {
    let dir = Dir::new();
    let mut model = Checkpoint::tiny();
    model.set("model.norm.weight", 3, f32::NAN);
    let odd = model.write(&dir, "odd");
    let tiny = tiny();
    dir.run(["trace", &tiny, "--out", "all"]).ok();
    dir.run(["trace", &tiny, "--out", "some", "--sites", "lm_head"]).ok();
    let gate = ["--fail-on", "equal<1"];
    for (args, status) in [
        (vec!["compare", &tiny, gate[0], gate[1]], 3),
        (vec!["compare", &tiny, "--json", gate[0], gate[1]], 3),
        (vec!["explain", &tiny, "--ids", "1,2,3", "-q", "--fail-on", "max_abs>=0"], 3),
        (vec!["compare", &odd, "--fail-on", "max_abs>1e300"], 3),
        (vec!["compare", &odd], 4),
        (vec!["compare", &odd, "--json"], 4),
        (vec!["explain", &odd, "-v"], 4),
        (vec!["explain", &tiny, "--trace", "some"], 4),
        (vec!["diff", "all", "some"], 4),
        (vec!["diff", "all", "some", "--json"], 4),
        (vec!["diff", "all", "all"], 0),
        (vec!["--help"], 0),
        (vec!["compare", "--help"], 0),
        (vec!["--version"], 0),
    ] {
        let said: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let start = |out: Stdio| {
            let mut command = dir.command();
            command.args(&args).stdin(Stdio::null()).stdout(out).stderr(Stdio::piped()).spawn().unwrap()
        };
        let mut unread = start(Stdio::piped());
        drop(unread.stdout.take());
        let unread = Run::new(said.clone(), unread.wait_with_output().unwrap());
        unread.check(unread.code == Some(status), &format!("status {status} where nobody reads"));

        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let full = Run::new(said, start(full.into()).wait_with_output().unwrap());
        full.check(full.code == Some(status.max(1)), &format!("status {status} on a full disk"));
        full.check(full.stderr.contains("No space left on device"), "which is said, too");
    }
}

/// Little room for stacks, files and names: one sentence, and nothing that is left.
#[cfg(target_os = "linux")]
#[test]
fn little_room_is_one_sentence() {
    let dir = Dir::new();
    dir.run(["compare", &tiny(), "--out", "run"]).ok();
    let before = dir.listing();
    for stack in ["0", "1", "16384", "1048575"] {
        let mut command = dir.command();
        command.env("RUST_MIN_STACK", stack).args(["compare", &tiny(), "--out", "small"]);
        let run = Run::new(vec!["compare".to_owned()], command.output().unwrap());
        run.fails(&["RUST_MIN_STACK", stack, "unset it"]);
    }
    // The binary itself needs one to start.
    for files in 4..8 {
        for args in ["compare", "explain --ids 1,2,3", "trace"] {
            let mut shell = Command::new("sh");
            let inner = dir.command();
            shell.env_clear().current_dir(dir.join(""));
            inner.get_envs().for_each(|(name, value)| _ = value.map(|value| shell.env(name, value)));
            let script = format!(
                "ulimit -n {files}; exec '{}' {args} '{}' --out few",
                env!("CARGO_BIN_EXE_ulpscope"),
                tiny()
            );
            let run = Run::new(vec![script.clone()], shell.args(["-c", &script]).output().unwrap());
            match run.code {
                Some(0) => {}
                _ => drop(run.fails(&["Too many open files"])),
            }
            let few = dir.join("few");
            _ = if few.is_dir() { fs::remove_dir_all(few) } else { fs::remove_file(few) };
            assert_eq!(dir.listing(), before, "{script}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_folder_behind_a_link_that_leads_nowhere() {
    let dir = Dir::new();
    dir.run(["compare", &tiny(), "--out", "run"]).ok();
    std::os::unix::fs::symlink("/nowhere/x", dir.join("lost")).unwrap();
    std::os::unix::fs::symlink("loop", dir.join("loop")).unwrap();
    let before = dir.listing();
    for command in
        [vec!["compare", &tiny()], vec!["explain", &tiny()], vec!["plot", "run"], vec!["report", "run"]]
    {
        for out in ["lost", "lost/below", "loop", "loop/below"] {
            let run = dir.run(command.iter().copied().chain(["--out", out]));
            run.fails(&["--out", out, "leads nowhere", "name another"]);
        }
    }
    assert_eq!(dir.listing(), before);
    fs::create_dir(dir.join("there")).unwrap();
    std::os::unix::fs::symlink("there", dir.join("link")).unwrap();
    dir.run(["compare", &tiny(), "--out", "link/run"]).ok();
    assert!(dir.join("there/run/record.json").exists());
}

/// `ulpscope … | head -1`: whoever read it has seen enough.
#[cfg(unix)]
#[test]
fn a_reader_that_leaves_early_is_no_error() {
    for args in [vec!["compare"], vec!["compare", "--json"], vec!["weights", "--json"], vec!["sites"]] {
        let dir = Dir::new();
        let mut child = dir
            .command()
            .args(&args)
            .arg(tiny())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let run = Run::new(args.into_iter().map(str::to_owned).collect(), child.wait_with_output().unwrap());
        run.ok();
    }
}

#[test]
fn plot_refuses_what_is_no_record() {
    let dir = Dir::new();
    dir.run(["compare", &tiny(), "--out", "run"]).ok();
    let whole = fs::read_to_string(dir.join("run/record.json")).unwrap();
    let attempts = |text: &str, parts: &[&str]| {
        let bad = Dir::new();
        fs::write(bad.join("record.json"), text).unwrap();
        bad.run(["plot", "."]).fails(&[&["record.json"], parts].concat());
        assert_eq!(bad.listing(), ["record.json"], "no picture of a broken record");
    };
    for length in [0, 1, 20, whole.len() / 2, whole.len() - 3] {
        attempts(&whole[..length], &["cut short"]);
    }
    attempts("# a page", &["not a record"]);
    attempts("[]", &["not a record"]);
    attempts("{}", &["schema"]);
    attempts(&whole.replacen("\"schema\": 2", "\"schema\": 7", 1), &["schema version 7"]);
    attempts(&whole.replacen("\"mean_abs\"", "\"mean\"", 1), &["mean_abs"]);
    attempts(&whole.replacen("\"top1\": [", "\"top1\": [-", 1), &["not a record"]);
    attempts(&whole.replacen("\"arm\": \"b\"", "\"arm\": \"z\"", 1), &["z"]);
    dir.run(["plot", "absent"]).fails(&["absent", "no such run"]);
    dir.run(["plot", "run", "--prompt", "7"]).fails(&["prompt 7"]);
    fs::write(dir.join("file"), "").unwrap();
    dir.run(["plot", "run", "--out", "file/below"]).fails(&["file/below"]);
}

/// Every divergence is NaN somewhere: numbers JSON does not have, and axes that have no place for
/// them.
#[test]
fn a_run_full_of_nan_is_written_and_drawn() {
    let dir = Dir::new();
    let mut model = Checkpoint::tiny();
    model.set("model.embed_tokens.weight", 41 * 64, f32::NAN);
    let path = model.write(&dir, "model");
    dir.run(["compare", &path, "--out", "run"]).undecided(&["from model.embed_tokens on"]);
    let page = fs::read_to_string(dir.join("run/report.md")).unwrap();
    assert!(page.contains("**UNDECIDED**: a, the reference, holds NaN") && !page.contains("EQUAL"), "{page}");
    dir.run(["plot", "run", "--out", "again"]).ok();
    for picture in PICTURES {
        assert!(png(&dir.join(format!("again/{picture}.png"))).2 > 50, "{picture}");
    }
}

/// The bytes of every file below a folder of `dir`.
fn bytes(dir: &Dir) -> std::collections::BTreeMap<String, Vec<u8>> {
    let files = dir.listing().into_iter().filter(|name| !name.ends_with('/'));
    files.filter_map(|name| Some((name.clone(), fs::read(dir.join(&name)).ok()?))).collect()
}

#[cfg(unix)]
#[test]
fn outputs_never_take_the_place_of_inputs() {
    use std::os::unix::fs::symlink;
    let dir = Dir::new();
    crate::util::Checkpoint::tiny().write(&dir, "w");
    fs::write(dir.join("summary.md"), "a prompt").unwrap();
    dir.run(["trace", "w", "--out", "t"]).ok();
    dir.run(["compare", "w", "--out", "run"]).ok();
    fs::copy(dir.join("run/record.json"), dir.join("run/report.html")).unwrap();
    fs::copy(dir.join("run/record.json"), dir.join("run/floor.png")).unwrap();
    symlink("w", dir.join("link")).unwrap();
    symlink("gone", dir.join("dangling")).unwrap();
    fs::hard_link(dir.join("w/model.safetensors"), dir.join("hard")).unwrap();
    // The layout of the hub's cache.
    fs::create_dir_all(dir.join("hub/models--org--w/snapshots/c")).unwrap();
    fs::create_dir_all(dir.join("hub/models--org--w/blobs")).unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        fs::copy(dir.join("w").join(name), dir.join("hub/models--org--w/blobs").join(name)).unwrap();
        let link = dir.join("hub/models--org--w/snapshots/c").join(name);
        symlink(format!("../../blobs/{name}"), link).unwrap();
    }
    let cached = "hub/models--org--w/snapshots/c";
    let before = bytes(&dir);
    for args in [
        &["trace", "w", "--out", "w/model.safetensors"][..],
        &["trace", "w", "--out", "./w/../w/config.json"],
        &["trace", "w", "--out", "link/new"],
        &["trace", "link", "--out", "w/new"],
        &["trace", "w", "--out", "hard"],
        &["trace", "w", "--out", "dangling"],
        &["trace", "w", "--text", "summary.md", "--out", "summary.md"],
        &["trace", cached, "--out", "hub/models--org--w/blobs/config.json"],
        &["trace", cached, "--out", "hub/models--org--w/new"],
        &["compare", "w", "--out", "w"],
        &["compare", "w", "--out", "link/run"],
        &["compare", "t", "w", "--out", "w"],
        &["compare", "gone", "--fallback", "w", "--out", "w"],
        &["compare", "w", "--out", "dangling"],
        &["compare", "w", "--text", "summary.md", "--out", "."],
        &["explain", "w", "--trace", "t", "--out", "t"],
        &["explain", "w", "--trace", "t", "--out", "w/x"],
        &["report", "run/report.html"],
        &["report", "run", "--out", "dangling"],
        &["plot", "run/floor.png"],
        &["plot", "run", "--out", "dangling"],
        &["man", "dangling"],
    ] {
        dir.run(args).fails(&[]);
        assert!(bytes(&dir) == before, "{args:?} changed something");
    }
    // A link to a file is replaced; what it leads to stays.
    symlink("summary.md", dir.join("alias")).unwrap();
    dir.run(["trace", "w", "--out", "alias"]).ok();
    assert!(!dir.join("alias").is_symlink());
    assert_eq!(fs::read_to_string(dir.join("summary.md")).unwrap(), "a prompt");
    // A link to a folder is followed.
    fs::create_dir(dir.join("other")).unwrap();
    symlink("other", dir.join("to_other")).unwrap();
    dir.run(["compare", "w", "--out", "to_other"]).ok();
    assert!(dir.join("other/record.json").is_file());
}
