//! `trace` and `diff`.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::util::{Dir, Stored, list, number, tensors, tiny, write_tensors};

fn traced(dir: &Dir, out: &str, more: &[&str]) {
    dir.run(["trace", &tiny(), "--out", out].iter().chain(more).copied()).ok();
}

#[test]
fn a_trace_says_what_it_is_of() {
    let dir = Dir::new();
    traced(&dir, "t", &["--recipe", "load(f32).to(bf16)", "--attention", "eager"]);
    assert_eq!(dir.listing(), ["t"]);
    let (found, about) = tensors(dir.join("t"));
    assert_eq!(found.keys().map(String::as_str).collect::<std::collections::BTreeSet<_>>().len(), 77);
    for (key, value) in [("model", "tiny-llama"), ("recipe", "load(f32).to(bf16)"), ("attention", "eager")] {
        assert_eq!(about[key], value);
    }
    let ids: Value = serde_json::from_str(&about["ids"]).unwrap();
    assert_eq!(ids, json!([41, 84, 366, 325, 91, 264]));
    assert!(about.contains_key("sha256:model.safetensors"));
    let shape = |site: &str| found[site].shape.clone();
    assert_eq!(shape("lm_head"), [1, 6, 384]);
    assert_eq!(shape("model.layers.3.self_attn.k_rope"), [1, 2, 6, 16]);
    assert_eq!(shape("model.layers.3.self_attn.scores"), [1, 4, 6, 6]);
    assert!(found.values().all(|t| t.dtype == safetensors::Dtype::BF16));
}

#[test]
fn the_same_trace_twice() {
    let dir = Dir::new();
    traced(&dir, "a", &["--threads", "1"]);
    traced(&dir, "b", &["--threads", "2"]);
    assert!(fs::read(dir.join("a")).unwrap() == fs::read(dir.join("b")).unwrap(), "bit for bit");
    let run = dir.run(["diff", "a", "b"]).ok();
    run.check(run.stdout.contains("no site differs: all 69 are bit-equal"), "no difference");
    assert_eq!(dir.run(["diff", "a", "b", "--json"]).ok().json()["first"], Value::Null);
}

#[test]
fn some_sites_only() {
    let dir = Dir::new();
    traced(&dir, "t", &["--sites", "model.layers.2.mlp.*"]);
    assert_eq!(tensors(dir.join("t")).0.len(), 5);
    dir.run(["trace", &tiny(), "--out", "u", "--sites", "no.such"]).fails(&["no.such", "ulpscope sites"]);
    assert_eq!(dir.listing(), ["t"]);
}

#[test]
fn a_foreign_trace_is_compared_where_it_can_be() {
    let dir = Dir::new();
    traced(&dir, "ours", &[]);
    let (mut theirs, _) = tensors(dir.join("ours"));
    theirs.remove("model.norm");
    theirs.insert("visual.patch_embed".to_owned(), Stored::f32(&[2], &[1.0, 2.0]));
    theirs.get_mut("lm_head").unwrap().shape = vec![6, 384];
    let ids = Stored { dtype: safetensors::Dtype::I64, shape: vec![1], bytes: vec![0; 8] };
    theirs.insert("input_ids".to_owned(), ids);
    // The lowest bit of one number.
    theirs.get_mut("model.layers.1.self_attn.q_proj").unwrap().bytes[0] ^= 1;
    write_tensors(dir.join("theirs"), &theirs);

    let found = dir.run(["diff", "ours", "theirs", "--json"]).ok().json();
    assert_eq!(found["first"], "model.layers.1.self_attn.q_proj");
    let different: Vec<&Value> = list(&found["sites"]).iter().filter(|s| number(&s["equal"]) < 1.0).collect();
    assert_eq!(different.len(), 1, "one bit in one site");
    let left_out = found["not_compared"].to_string();
    for part in ["lm_head", "model.norm", "visual.patch_embed", "input_ids"] {
        assert!(left_out.contains(part), "{part} is missing in {left_out}");
    }
    assert_eq!(list(&found["not_compared"]).len(), 4);
}

/// A recording whose weight is another in layer 3, and which sums in another order from the first
/// product on.
#[test]
fn an_order_of_summation_is_not_where_the_fault_is() {
    let dir = Dir::new();
    let ids = ["--ids", "17,3,250,99,41,7,200,13,55,121,8,64"];
    let mut model = crate::util::Checkpoint::tiny();
    model.edit("model.layers.3.self_attn.q_proj.weight", |w| w[..64].iter_mut().for_each(|x| *x *= -1.0));
    let other = model.write(&dir, "other");
    dir.run(["trace", &tiny(), "--out", "a"].iter().chain(&ids).copied()).ok();
    let order = ["--accumulation", "sequential"];
    dir.run(["trace", &other, "--out", "b"].iter().chain(&ids).chain(&order).copied()).ok();
    dir.run(["trace", &tiny(), "--out", "c"].iter().chain(&ids).chain(&order).copied()).ok();

    let found = dir.run(["diff", "a", "b", "--json"]).ok().json();
    assert_eq!(found["first_jump"], "model.layers.3.self_attn.q_proj", "{}", found["jumps"]);
    assert_ne!(found["first"], found["first_jump"]);
    assert!(number(&found["logits"]["kl"]) > 0.0);
    let text = dir.run(["diff", "a", "b"]).ok().stdout;
    for part in
        ["by single steps of the format", "beyond that: model.layers.3.self_attn.q_proj", "KL(a || b)"]
    {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(text.lines().count() < 16, "{text}");
    assert!(dir.run(["diff", "a", "b", "--all"]).ok().stdout.lines().count() > 69);

    // The order alone makes no jump.
    let found = dir.run(["diff", "a", "c", "--json"]).ok().json();
    assert_eq!(list(&found["jumps"]).len(), 0, "{}", found["jumps"]);
    assert!(dir.run(["diff", "a", "c"]).ok().stdout.contains("no site is beyond"));
}

#[test]
fn nothing_in_common_is_an_error() {
    let dir = Dir::new();
    traced(&dir, "ours", &["--sites", "lm_head"]);
    let foreign = BTreeMap::from([("encoder.out".to_owned(), Stored::f32(&[1], &[1.0]))]);
    write_tensors(dir.join("theirs"), &foreign);
    for (args, part) in [
        (&["diff", "ours", "theirs"][..], "no site in common"),
        (&["diff", "ours", "ours", "--sites", "model.*"], "`model.*` matches"),
    ] {
        let run = dir.run(args.iter().copied());
        run.check(run.code == Some(4) && run.stdout.is_empty(), "nothing was compared");
        run.check(run.stderr.contains(part), part);
    }
    traced(&dir, "other", &["--ids", "1,2,3"]);
    dir.run(["diff", "ours", "other"]).fails(&["different prompts", "[1,2,3]"]);
}

#[test]
fn broken_traces_are_refused() {
    let dir = Dir::new();
    traced(&dir, "t", &["--sites", "lm_head"]);
    let whole = fs::read(dir.join("t")).unwrap();
    for length in [0, 7, 8, 9, 100, whole.len() - 1] {
        fs::write(dir.join("cut"), &whole[..length]).unwrap();
        dir.run(["diff", "t", "cut"]).fails(&["cut is no trace"]);
    }
    dir.run(["diff", "t", "absent"]).fails(&["absent", "no such file"]);
    dir.run(["diff", "t", "."]).fails(&["directory"]);
}

/// NaN and infinities come through, and are counted.
#[test]
fn traces_with_nan() {
    let dir = Dir::new();
    let one = |x: &[f32]| BTreeMap::from([("lm_head".to_owned(), Stored::f32(&[1, 1, x.len()], x))]);
    write_tensors(dir.join("a"), &one(&[1.0, f32::NAN, 2.0, f32::INFINITY]));
    write_tensors(dir.join("b"), &one(&[1.0, 1.0, 2.0, f32::INFINITY]));
    let found = dir.run(["diff", "a", "b", "--json"]).ok().json();
    assert_eq!(found["sites"][0]["nonfinite"], json!([2, 1]));
    assert_eq!(number(&found["sites"][0]["equal"]), 0.75);
    assert_eq!(found["first"], "lm_head");
}

#[test]
fn where_a_trace_can_not_be_written() {
    let dir = Dir::new();
    fs::write(dir.join("file"), "precious").unwrap();
    fs::create_dir(dir.join("folder")).unwrap();
    for (out, part) in
        [("file/t", "Not a directory"), ("folder", "directory"), ("no/folder/t", "No such file")]
    {
        dir.run(["trace", &tiny(), "--out", out]).fails(&[part]);
        assert_eq!(dir.listing(), ["file", "folder/"], "--out {out}");
    }
    assert_eq!(fs::read_to_string(dir.join("file")).unwrap(), "precious");
    dir.run(["trace", &tiny(), "--prompt", "a", "--prompt", "b", "--out", "t"]).fails(&["one prompt", "2"]);
    dir.run(["trace", &tiny(), "--ids", "384", "--out", "t"]).fails(&["384"]);
    assert_eq!(dir.listing(), ["file", "folder/"]);
}

/// What is no regular file is left alone: a rename over `/dev/null` would take it from the whole
/// system.
#[cfg(unix)]
#[test]
fn devices_and_sockets_are_not_replaced() {
    use std::os::unix::fs::FileTypeExt;
    let dir = Dir::new();
    let _socket = std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap();
    dir.run(["trace", &tiny(), "--out", "socket"]).fails(&["socket", "device, pipe or socket"]);
    assert!(dir.join("socket").symlink_metadata().unwrap().file_type().is_socket());
    assert_eq!(dir.listing(), ["socket"]);
}

/// The umask decides who may read a trace, as with any result.
#[cfg(unix)]
#[test]
fn a_trace_is_as_readable_as_any_file() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Dir::new();
    traced(&dir, "t", &["--sites", "lm_head"]);
    fs::write(dir.join("plain"), "").unwrap();
    let mode = |name: &str| fs::metadata(dir.join(name)).unwrap().permissions().mode();
    assert_eq!(mode("t"), mode("plain"));
}
