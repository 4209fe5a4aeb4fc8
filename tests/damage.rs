//! Files that are cut short, or whose headers lie.

use std::fs;

use serde_json::{Value, json};

use crate::util::{Checkpoint, Dir, fixture, tiny};

/// Runs on the tiny model with these bytes for weights, and expects a refusal that names the file.
#[track_caller]
fn refused(bytes: &[u8], parts: &[&str]) {
    let dir = Dir::new();
    let path = Checkpoint::tiny().write(&dir, "model");
    fs::write(dir.join("model/model.safetensors"), bytes).unwrap();
    dir.run(["compare", &path, "--out", "run"]).fails(&[&["model.safetensors"], parts].concat());
    assert!(!dir.join("run").exists(), "nothing is left of the run");
}

fn tiny_bytes() -> Vec<u8> {
    fs::read(fixture("tiny-llama/model.safetensors")).unwrap()
}

/// The header of a safetensors file and its data.
fn split(bytes: &[u8]) -> (Value, &[u8]) {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    (serde_json::from_slice(&bytes[8..8 + length]).unwrap(), &bytes[8 + length..])
}

fn join(header: &Value, data: &[u8]) -> Vec<u8> {
    let header = header.to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

#[test]
fn safetensors_cut_short() {
    let whole = tiny_bytes();
    refused(&[], &["empty"]);
    for length in [1, 7, 8, 9, 500, 5000, whole.len() / 2, whole.len() - 1] {
        refused(&whole[..length], &[]);
    }
    refused(&[&whole[..], b"x"].concat(), &[]);
}

#[test]
fn safetensors_headers_that_lie() {
    let whole = tiny_bytes();
    let (header, data) = split(&whole);
    for length in [1u64 << 60, u64::MAX, 1 << 32, whole.len() as u64, 0, 1] {
        let mut bytes = whole.clone();
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        refused(&bytes, &[]);
    }
    let (norm, q) = ("model.norm.weight", "model.layers.0.self_attn.q_proj.weight");
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut header = header.clone();
        change(&mut header);
        join(&header, data)
    };
    refused(&changed(&|h| h[norm]["data_offsets"] = h[q]["data_offsets"].clone()), &[]);
    refused(&changed(&|h| h[norm]["data_offsets"][1] = json!(u64::MAX)), &[]);
    refused(&changed(&|h| h[norm]["data_offsets"] = json!([256, 0])), &[]);
    refused(&changed(&|h| h[norm]["shape"] = json!([65])), &[]);
    refused(&changed(&|h| h[norm]["shape"] = json!([u64::MAX, 2])), &[]);
    refused(&changed(&|h| h[norm]["shape"] = json!([-64])), &[]);
    refused(&changed(&|h| h[norm]["dtype"] = json!("F33")), &[]);
    refused(&changed(&|h| h[norm] = json!(null)), &[]);
    refused(&changed(&|h| *h = json!([])), &[]);
    refused(&changed(&|h| _ = h.as_object_mut().unwrap().remove(norm)), &[]);
    refused(&join(&header, &data[256..]), &[]);

    let text = header.to_string().replacen('{', "(", 1);
    refused(&[&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), data].concat(), &[]);
    let mut bytes = whole.clone();
    bytes[12] = 0xff;
    refused(&bytes, &[]);
    refused(b"<html><body>404 Not Found</body></html>", &[]);
}

#[test]
fn shards_that_are_not_all_there() {
    let folder = fixture("configs/sharded");
    let shard = fs::read_dir(&folder)
        .unwrap()
        .map(|f| f.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".safetensors"))
        .min()
        .unwrap();
    let copy = |dir: &Dir| {
        for file in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            fs::copy(file.path(), dir.join(file.file_name())).unwrap();
        }
    };
    let whole = Dir::new();
    copy(&whole);
    whole.run(["compare", ".", "--ids", "1"]).ok();

    fs::remove_file(whole.join(&shard)).unwrap();
    whole.run(["compare", ".", "--ids", "1"]).fails(&[&shard]);

    let index = "model.safetensors.index.json";
    for (text, part) in [
        ("{}", "weight_map"),
        ("{\"weight_map\": {}}", "empty"),
        ("{\"weight_map\": {\"x\": \"../../secret.safetensors\"}}", "plain name"),
        ("{\"weight_map\": {\"x\": 3}}", "`x`"),
        ("{\"weight", "JSON"),
    ] {
        let dir = Dir::new();
        copy(&dir);
        fs::write(dir.join(index), text).unwrap();
        dir.run(["compare", ".", "--ids", "1"]).fails(&[index, part]);
    }
    let dir = Dir::new();
    copy(&dir);
    let text = fs::read_to_string(dir.join(index)).unwrap();
    fs::write(dir.join(index), text.replacen("model.norm.weight", "model.norm.wait", 1)).unwrap();
    dir.run(["compare", ".", "--ids", "1"]).fails(&["model.norm.wait"]);
}

#[test]
fn ggufs_cut_short() {
    for name in ["tiny-llama.gguf", "tiny-llama-mixed.gguf"] {
        let whole = fs::read(fixture(name)).unwrap();
        let dir = Dir::new();
        let mut lengths = vec![0, 1, 3, 4, 7, 8, 15, 23, 24, 31, 40, 100, 333, 1000, 5000, 10_000, 20_000];
        lengths.extend([whole.len() / 2, whole.len() - 4096, whole.len() - 1]);
        for length in lengths {
            fs::write(dir.join("cut.gguf"), &whole[..length]).unwrap();
            let run = dir.run(["compare", "cut.gguf", "--ids", "1", "--out", "run"]);
            run.check(run.code == Some(1), &format!("{name} cut to {length} of {} bytes", whole.len()));
            run.fails(&["cut.gguf"]);
            assert_eq!(dir.listing(), ["cut.gguf"]);
        }
    }
}

/// One byte of the header at a time: a refusal or a run, never a crash.
#[test]
fn ggufs_with_a_wrong_byte() {
    let whole = fs::read(fixture("rope-llama3.gguf")).unwrap();
    let dir = Dir::new();
    let mut refused = 0;
    for at in (0..600).step_by(13) {
        let mut bytes = whole.clone();
        bytes[at] = bytes[at].wrapping_add(0x80);
        fs::write(dir.join("odd.gguf"), bytes).unwrap();
        let run = dir.run(["compare", "odd.gguf", "--ids", "1", "--quiet", "--sites", "lm_head"]);
        run.check(matches!(run.code, Some(0 | 1)), &format!("byte {at}"));
        if run.code == Some(1) {
            run.fails(&[]);
            refused += 1;
        }
    }
    assert!(refused > 5, "{refused} of 47 were refused");
}

#[test]
fn ggufs_that_announce_too_much() {
    let whole = fs::read(fixture("tiny-llama.gguf")).unwrap();
    let dir = Dir::new();
    // Magic, version, then the numbers of tensors and of metadata entries.
    for (at, value) in [(4, 99), (8, 1u64 << 60), (8, u64::MAX), (16, 1 << 60), (16, u64::MAX), (8, 0)] {
        let mut bytes = whole.clone();
        let width = if at == 4 { 4 } else { 8 };
        bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        fs::write(dir.join("big.gguf"), bytes).unwrap();
        dir.run(["compare", "big.gguf", "--ids", "1"]).fails(&["big.gguf"]);
    }
    fs::write(dir.join("page.gguf"), "<html>404</html>").unwrap();
    dir.run(["compare", "page.gguf"]).fails(&["page.gguf"]);
}

/// What git-lfs leaves in place of a file is said to be that, whichever file it is.
#[test]
fn git_lfs_pointers() {
    const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 269060552\n";
    let parts = |file| [file, "git-lfs pointer", "git lfs pull"];
    for file in ["model.safetensors", "config.json", "tokenizer.json"] {
        let dir = Dir::new();
        let path = Checkpoint::tiny().write(&dir, "model");
        fs::write(dir.join("model").join(file), POINTER).unwrap();
        dir.run(["compare", &path, "--prompt", "the"]).fails(&parts(file));
    }
    let dir = Dir::new();
    let path = Checkpoint::tiny().write(&dir, "model");
    fs::remove_file(dir.join("model/model.safetensors")).unwrap();
    let index = json!({ "weight_map": { "model.norm.weight": "a.safetensors" } });
    fs::write(dir.join("model/model.safetensors.index.json"), index.to_string()).unwrap();
    fs::write(dir.join("model/a.safetensors"), POINTER).unwrap();
    dir.run(["compare", &path]).fails(&parts("a.safetensors"));
    fs::write(dir.join("model/model.safetensors.index.json"), POINTER).unwrap();
    dir.run(["compare", &path]).fails(&parts("model.safetensors.index.json"));
    fs::write(dir.join("m.gguf"), POINTER).unwrap();
    dir.run(["compare", "m.gguf"]).fails(&parts("m.gguf"));
    dir.run(["diff", "m.gguf", "m.gguf"]).fails(&parts("m.gguf"));
    dir.run(["report", "m.gguf"]).fails(&parts("m.gguf"));
}

/// What lies under a name that promises something else is said, wherever a file is read.
#[test]
fn files_that_are_something_else() {
    let page = b"<!DOCTYPE html>\n<html><title>Sign in</title></html>";
    let zip = b"PK\x03\x04\x00\x00\x08\x08\x00\x00";
    for (bytes, part) in [(&page[..], "web page"), (&zip[..], "zip archive"), (b"\x80\x02}q", "pickle")] {
        for file in ["model.safetensors", "config.json", "tokenizer.json"] {
            let dir = Dir::new();
            let path = Checkpoint::tiny().write(&dir, "model");
            fs::write(dir.join("model").join(file), bytes).unwrap();
            dir.run(["compare", &path, "--prompt", "the"]).fails(&[file, part]);
        }
        let dir = Dir::new();
        fs::write(dir.join("m.gguf"), bytes).unwrap();
        dir.run(["compare", "m.gguf"]).fails(&["m.gguf", part]);
        dir.run(["diff", "m.gguf", "m.gguf"]).fails(&["m.gguf", part]);
        dir.run(["report", "m.gguf"]).fails(&["m.gguf", part]);
        fs::copy(format!("{}/model.safetensors", tiny()), dir.join("m.gguf")).unwrap();
        dir.run(["compare", "m.gguf"]).fails(&["m.gguf", "it is a safetensors file"]);
    }
}

/// A folder without a checkpoint is told what it holds.
#[test]
fn folders_of_something_else() {
    for (there, gone, part) in [
        ("adapter_model.safetensors", "model.safetensors", "merge_and_unload()"),
        ("adapter_config.json", "config.json", "merge_and_unload()"),
        ("consolidated.00.pth", "model.safetensors", "Meta's and Mistral's own layout"),
        ("params.json", "config.json", "Meta's and Mistral's own layout"),
        (
            "model-00001-of-00002.safetensors",
            "model.safetensors",
            "download model.safetensors.index.json, too",
        ),
        ("model.fp16.safetensors", "model.safetensors", "rename it model.safetensors"),
        ("pytorch_model.bin", "model.safetensors", "safe_serialization=True"),
        ("tf_model.h5", "model.safetensors", "another framework"),
        ("q8_0.gguf", "config.json", "give the path of that file"),
        ("notes.txt", "config.json", "is it the model's own directory?"),
        ("notes.txt", "model.safetensors", "download the weights too"),
    ] {
        let dir = Dir::new();
        let path = Checkpoint::tiny().write(&dir, "model");
        fs::write(dir.join("model").join(there), "x").unwrap();
        fs::remove_file(dir.join("model").join(gone)).unwrap();
        dir.run(["compare", &path, "--ids", "1"]).fails(&[gone, part]);
    }
}

/// A link whose file was deleted is no missing file.
#[cfg(unix)]
#[test]
fn links_that_lead_nowhere() {
    for file in ["model.safetensors", "config.json", "tokenizer.json"] {
        let dir = Dir::new();
        let path = Checkpoint::tiny().write(&dir, "model");
        let link = dir.join("model").join(file);
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("../blobs/e3b0c4", &link).unwrap();
        dir.run(["compare", &path, "--prompt", "the"]).fails(&[
            file,
            "a link to `../blobs/e3b0c4`",
            "fetch the model again",
        ]);
    }
    let dir = Dir::new();
    std::os::unix::fs::symlink("gone", dir.join("model")).unwrap();
    dir.run(["compare", "./model", "--ids", "1"]).fails(&["a link to `gone`"]);
}

/// A pipe that nobody writes to is not waited for, wherever a file is read.
#[cfg(unix)]
#[test]
fn pipes_in_place_of_files() {
    let dir = Dir::new();
    let path = Checkpoint::tiny().write(&dir, "model");
    fs::remove_file(dir.join("model/tokenizer.json")).unwrap();
    for pipe in ["model/tokenizer.json", "pipe", "m.gguf"] {
        let made = std::process::Command::new("mkfifo").arg(dir.join(pipe)).status().unwrap();
        assert!(made.success(), "mkfifo {pipe}");
    }
    let said = "device, pipe or socket";
    dir.run(["compare", &path, "--ids", "1,2"]).fails(&["tokenizer.json", said]);
    dir.run(["compare", &tiny(), "--text", "pipe"]).fails(&["pipe", said]);
    dir.run(["diff", "pipe", "pipe"]).fails(&["pipe", said]);
    dir.run(["explain", &tiny(), "--trace", "pipe"]).fails(&["pipe", said]);
    dir.run(["report", "pipe"]).fails(&["pipe", said]);
    dir.run(["sites", "m.gguf"]).fails(&["m.gguf", said]);
}
