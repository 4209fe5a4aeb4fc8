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

    let run = dir.run(["diff", "ours", "theirs", "--json"]);
    let found = run
        .undecided(&["4 of 71 sites were not compared (1 only in a, 1 only in b, 2 in", "no `ids`"])
        .json();
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

/// Equal, different, not looked at: what was not compared is not called equal, and is counted.
#[test]
fn nothing_compared_is_never_equal() {
    let dir = Dir::new();
    traced(&dir, "ours", &[]);
    let (whole, about) = tensors(dir.join("ours"));
    let (up, rope) = ("model.layers.1.mlp.up_proj", "model.layers.1.self_attn.q_rope");
    type Change<'a> = &'a dyn Fn(&mut BTreeMap<String, Stored>);
    let widen = |t: &mut Stored| {
        *t = Stored::f32(&t.shape, &t.values().iter().map(|x| *x as f32).collect::<Vec<_>>())
    };
    let as_dtype = |dtype: safetensors::Dtype, size: usize| {
        move |t: &mut BTreeMap<String, Stored>| {
            let stored = t.get_mut(up).unwrap();
            let bytes = vec![1; stored.shape.iter().product::<usize>() * size];
            *stored = Stored { dtype, shape: stored.shape.clone(), bytes };
        }
    };
    let cases: &[(&str, Change, &str, [u64; 4])] = &[
        (
            "batch of 2",
            &|t| {
                t.values_mut().for_each(|x| {
                    x.shape[0] = 2;
                    x.bytes.extend_from_within(..);
                })
            },
            "nothing was compared: none of 69",
            [0, 0, 0, 69],
        ),
        (
            "one site",
            &|t| t.retain(|name, _| name == "lm_head"),
            "68 of 69 sites were not compared (68 only in a)",
            [1, 0, 0, 68],
        ),
        ("a site less", &|t| _ = t.remove(up), "1 of 69", [68, 0, 0, 1]),
        (
            "a site more",
            &|t| _ = t.insert("x".into(), Stored::f32(&[1], &[1.0])),
            "1 only in b",
            [69, 0, 0, 1],
        ),
        ("i32", &as_dtype(safetensors::Dtype::I32, 4), "1 of 69 sites were not compared", [68, 0, 0, 1]),
        ("fp8", &as_dtype(safetensors::Dtype::F8_E4M3, 1), "1 of 69 sites were not compared", [68, 0, 0, 1]),
        ("bool", &as_dtype(safetensors::Dtype::BOOL, 1), "1 of 69 sites were not compared", [68, 0, 0, 1]),
        (
            "heads exchanged",
            &|t| t.get_mut(rope).unwrap().shape.swap(1, 2),
            "in another shape",
            [68, 0, 0, 1],
        ),
        ("no batch", &|t| _ = t.get_mut(up).unwrap().shape.remove(0), "in another shape", [68, 0, 0, 1]),
        (
            "widened",
            &|t| widen(t.get_mut(up).unwrap()),
            "1 of 69 sites differ in format (first model.layers.1.mlp.up_proj, bf16 against f32)",
            [68, 1, 0, 0],
        ),
        (
            "all widened",
            &|t| t.values_mut().for_each(widen),
            "69 of 69 sites differ in format",
            [0, 69, 0, 0],
        ),
        (
            "no elements",
            &|t| {
                t.values_mut().for_each(|x| {
                    x.shape[0] = 0;
                    x.bytes.clear();
                })
            },
            "nothing was compared",
            [0, 0, 0, 69],
        ),
    ];
    for (what, change, said, counts) in cases {
        let mut theirs = whole.clone();
        change(&mut theirs);
        crate::util::write_trace(dir.join("theirs"), &theirs, &about);
        for (a, b) in [("ours", "theirs"), ("theirs", "ours")] {
            let run = dir.run(["diff", a, b]);
            run.check(!run.stdout.contains("no site differs"), what);
            let run = run.undecided(&[]);
            run.check(a == "theirs" || run.stderr.contains(said), &format!("{what}: {said}"));
            let found = dir.run(["diff", a, b, "--json"]).undecided(&[]).json();
            let found = &found["counts"];
            let found = ["equal", "equal_in_another_format", "differ", "not_compared"]
                .map(|key| found[key].as_u64().unwrap());
            assert_eq!(found, *counts, "{what}");
        }
        // Neither is it equal to itself where it holds nothing.
        if *what == "no elements" {
            dir.run(["diff", "theirs", "theirs"]).undecided(&["has no elements"]);
        }
    }
    // Of which tokens, has to be said.
    crate::util::write_tensors(dir.join("theirs"), &whole);
    dir.run(["diff", "ours", "theirs"]).undecided(&["b has no `ids`"]);
    dir.run(["diff", "theirs", "ours"]).undecided(&["a has no `ids`"]);
    dir.run(["diff", "theirs", "theirs"]).undecided(&["neither trace has `ids`"]);
    // Only what was asked for counts.
    dir.run(["trace", &tiny(), "--out", "one", "--sites", "lm_head"]).ok();
    dir.run(["diff", "ours", "one", "--sites", "lm_head"]).ok();
}

/// What the trace holds in another format is said, and what reads a NaN is counted as not compared.
#[test]
fn explain_says_what_it_could_not_look_at() {
    let dir = Dir::new();
    traced(&dir, "ours", &[]);
    let (whole, about) = tensors(dir.join("ours"));
    let up = "model.layers.1.mlp.up_proj";
    let mut wide = whole.clone();
    let stored = wide.get_mut(up).unwrap();
    let values: Vec<f32> = stored.values().iter().map(|x| *x as f32).collect();
    *stored = Stored::f32(&stored.shape, &values);
    crate::util::write_trace(dir.join("wide"), &wide, &about);
    let e = dir.run(["explain", &tiny(), "--trace", "wide", "--json"]).explanation();
    let verdict = e["verdict"].as_str().unwrap();
    assert!(
        verdict.contains("In another format at 1 site: model.layers.1.mlp.up_proj is in f32"),
        "{verdict}"
    );
    assert!(!verdict.contains("has the trace's bits"), "{verdict}");
    let headline = e["judgement"]["headline"].as_str().unwrap();
    assert!(headline.contains("numbers") && !headline.contains("bits"), "{headline}");

    let mut odd = whole.clone();
    let stored = odd.get_mut(up).unwrap();
    stored.bytes[..2].copy_from_slice(&0x7fc0u16.to_le_bytes());
    crate::util::write_trace(dir.join("odd"), &odd, &about);
    let run = dir.run(["explain", &tiny(), "--trace", "odd", "--json"]).undecided(&["incomplete"]);
    let record = run.json();
    assert_eq!((&record["coverage"]["compared"], &record["coverage"]["sites"]), (&json!(68), &json!(69)));
    let verdict = record["explanation"]["verdict"].as_str().unwrap();
    assert!(verdict.contains("Incomplete: 1 of 69 sites could not be compared"), "{verdict}");

    let mut less = whole;
    less.remove(up);
    crate::util::write_trace(dir.join("less"), &less, &about);
    let run = dir.run(["explain", &tiny(), "--trace", "less", "--json"]).undecided(&[]);
    let headline = run.json()["explanation"]["judgement"]["headline"].clone();
    assert!(
        headline.as_str().unwrap().contains("67 of 69 sites; the others were not compared"),
        "{headline}"
    );
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
    let found =
        dir.run(["diff", "a", "b", "--json"]).undecided(&["a holds NaN or infinity at 1 of 1"]).json();
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
