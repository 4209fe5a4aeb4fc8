//! Every string of every input, through every output: none of it is more than text there.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};
use ulpscope_fuzzing::{HOSTILE, hostile, injected};

use crate::util::{Checkpoint, Dir, Run, Stored, tensors, tiny, write_trace};

/// Both streams, and every page that was written, which is removed again.
#[track_caller]
fn clean(dir: &Dir, run: &Run) {
    let mut all = vec![run.stdout.clone(), run.stderr.clone()];
    let page = |name: &str| fs::read_to_string(dir.join("out").join(name));
    all.extend(["report.md", "summary.md"].into_iter().flat_map(page));
    // Ends of lines are spaces there.
    all.extend(["report.html", "layers.svg"].into_iter().flat_map(page).map(|page| page.replace('\n', " ")));
    _ = fs::remove_dir_all(dir.join("out"));
    for text in all {
        run.check(!text.contains("panicked"), "no panic expected");
        if let Some(what) = injected(&text) {
            run.check(false, &what);
        }
    }
}

fn about(changes: &[(&str, &str)], from: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let changes = changes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    from.clone().into_iter().chain(changes).collect()
}

#[test]
fn names_and_metadata_of_traces() {
    let dir = Dir::new();
    dir.run(["trace", &tiny(), "--out", "ours"]).ok();
    let (sites, said) = tensors(dir.join("ours"));
    let mut cases = Vec::new();
    for key in said.keys().map(String::as_str).chain(["prompt", "prefix_ids", "new"]) {
        let value = said.get(key).map_or(HOSTILE.to_owned(), |value| value.clone() + HOSTILE);
        cases.push((sites.clone(), about(&[(key, &value)], &said)));
        cases.push((sites.clone(), about(&[(&(key.to_owned() + HOSTILE), "x")], &said)));
    }
    let extra = Stored::f32(&[1, 2], &[1.0, f32::NAN]);
    let ids = Stored { dtype: safetensors::Dtype::I64, shape: vec![1], bytes: vec![0; 8] };
    for (name, stored) in [("x", extra.clone()), ("model.layers.0.mlp.", extra), ("ids", ids)] {
        let mut sites = sites.clone();
        sites.insert(name.to_owned() + HOSTILE, stored);
        cases.push((sites, said.clone()));
    }
    // Names on both sides, one of which differs, and names alone.
    let renamed = |more: f32| -> BTreeMap<String, Stored> {
        let stored = |n: usize| (format!("site {n}{HOSTILE}"), Stored::f32(&[2], &[n as f32 + more, 1.0]));
        (0..3).map(stored).collect()
    };
    write_trace(dir.join("named"), &renamed(0.0), &said);
    cases.push((renamed(1.0), said.clone()));
    for (sites, said) in cases {
        write_trace(dir.join("theirs"), &sites, &said);
        for other in ["ours", "named"] {
            for more in [&[][..], &["--all"], &["--json"]] {
                clean(&dir, &dir.run([&["diff", other, "theirs"], more].concat()));
            }
        }
        let explain = ["explain", &tiny(), "--trace", "theirs"];
        for more in [&["-v", "--out", "out", "--svg"][..], &["--json"]] {
            clean(&dir, &dir.run([&explain, more].concat()));
        }
    }
}

#[test]
fn names_and_values_of_checkpoints() {
    let dir = Dir::new();
    let mut model = Checkpoint::tiny();
    let config = model.config.to_string();
    let path = model.write(&dir, "model");
    let file = dir.join("model/config.json");
    let run = |args: &[&str]| clean(&dir, &dir.run(args));
    for config in hostile(&config, |_| true) {
        fs::write(&file, config).unwrap();
        run(&["compare", &path, "--out", "out"]);
        run(&["weights", &path, "--json"]);
    }
    // Keys.
    let keys: Vec<String> = model.config.as_object().unwrap().keys().cloned().collect();
    for key in keys {
        let mut config = model.config.clone();
        config[key.clone() + HOSTILE] = config[&key].clone();
        fs::write(&file, config.to_string()).unwrap();
        run(&["compare", &path, "-v"]);
    }
    fs::write(&file, config).unwrap();
    for name in ["model.norm.weight", "model.layers.0.mlp.up_proj.weight"] {
        let stored = model.tensors.remove(name).unwrap();
        model.tensors.insert(name.to_owned() + HOSTILE, stored.clone());
        crate::util::write_tensors(dir.join("model/model.safetensors"), &model.tensors);
        run(&["compare", &path]);
        model.tensors.insert(name.to_owned(), stored);
        crate::util::write_tensors(dir.join("model/model.safetensors"), &model.tensors);
        run(&["compare", &path, "--out", "out"]);
    }
}

#[test]
fn tokens_prompts_and_file_names() {
    let dir = Dir::new();
    let run = |args: &[&str]| clean(&dir, &dir.run(args));
    // A tokenizer whose every token ends so.
    let path = Checkpoint::tiny().write(&dir, "model");
    let file = dir.join("model/tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    for token in tokenizer["added_tokens"].as_array_mut().into_iter().flatten() {
        let content = token["content"].as_str().unwrap().to_owned() + HOSTILE;
        token["content"] = json!(content);
    }
    fs::write(&file, tokenizer.to_string()).unwrap();
    run(&["explain", &path, "--ids", "1,2,0,1", "-v", "--out", "out", "--svg"]);
    run(&["compare", &path, "--ids", "1,2,0", "--out", "out"]);
    for prompt in [HOSTILE, "a\nb\u{202e}"] {
        run(&["explain", &tiny(), "--prompt", prompt, "-v", "--out", "out", "--svg"]);
        run(&["compare", &tiny(), "--prompt", prompt, "--json"]);
    }
    let name = "m\n# INJECTED\r\u{1b}[2J\u{9b}\u{202e}`|<img>";
    let odd = Checkpoint::tiny().write(&dir, name);
    run(&["explain", &odd, "-v", "--out", "out", "--svg"]);
    run(&["compare", &odd, "--out", "out"]);
    run(&["compare", &odd, &tiny()]);
    run(&["weights", &odd, "--json"]);
    run(&["trace", &odd, "--out", &format!("t{name}"), "-v"]);
    run(&["diff", &format!("t{name}"), "gone"]);
    run(&["explain", &odd, "--trace", &format!("t{name}"), "--out", "out"]);
    run(&["compare", &tiny(), "--out", &format!("out{name}")]);
    for args in [["report", "plot"], ["plot", "plot"]] {
        run(&[args[0], &format!("out{name}")]);
        run(&[args[0], &format!("gone{name}")]);
    }
    // Wrong in every way.
    for args in [
        &["compare", HOSTILE][..],
        &["compare", &tiny(), "--a", HOSTILE],
        &["compare", &tiny(), "--text", HOSTILE],
        &["compare", &tiny(), "--sites", HOSTILE],
        &["compare", &tiny(), "--device", HOSTILE],
        &["compare", &tiny(), "--fail-on", HOSTILE],
        &["weights", &tiny(), "--tensor", HOSTILE],
        &["diff", HOSTILE, HOSTILE],
        &[HOSTILE],
    ] {
        let said = dir.run(args);
        // What was typed may have lines.
        let said = Run::new(
            Vec::new(),
            std::process::Output {
                status: Default::default(),
                stdout: said.stdout.into_bytes(),
                stderr: said.stderr.replace("\n# INJECTED", "").into_bytes(),
            },
        );
        clean(&dir, &said);
    }
}

/// Records that others made, or changed.
#[test]
fn every_string_of_a_record() {
    let dir = Dir::new();
    let json = dir.run(["explain", &tiny(), "--ids", "1,2,3,4", "--json"]).stdout;
    let all = hostile(&json, |_| true);
    fs::create_dir(dir.join("out")).unwrap();
    // All at once does not parse: the words that stand for themselves are among them.
    for json in all.iter().step_by(1 + all.len() / 40) {
        fs::create_dir_all(dir.join("out")).unwrap();
        fs::write(dir.join("out/record.json"), json).unwrap();
        clean(&dir, &dir.run(["report", "out"]));
    }
}
