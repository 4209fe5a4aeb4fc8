//! Bad arguments: status 2 for what is written wrongly, 1 for what does not fit the model.

use crate::util::{Dir, fixture, tiny, ulpscope};

#[test]
fn bad_usage_is_status_2() {
    for (args, part) in [
        (vec![], "Usage"),
        (vec!["explode"], "explode"),
        (vec!["compare"], "<MODEL>"),
        (vec!["compare", "a/b", "c/d", "e/f"], "e/f"),
        (vec!["compare", "a/b", "--attention", "flash"], "sdpa, eager"),
        (vec!["compare", "a/b", "--threads", "many"], "many"),
        (vec!["compare", "a/b", "--ids", "1,x"], "`x` is no token id"),
        (vec!["compare", "a/b", "--ids", "-1"], "-1"),
        (vec!["compare", "a/b", "--ids", "4294967296"], "4294967296"),
        (vec!["compare", "a/b", "--ids", ""], "no token id"),
        (vec!["compare", "a/b", "--sites", ""], "no pattern"),
        (vec!["compare", "a/b", "--svg"], "--out"),
        (vec!["compare", "a/b", "--arm", "load(f32)"], "name=RECIPE"),
        (vec!["compare", "a/b", "--arm", "../x=load(f32)"], "no name for an arm"),
        (vec!["compare", "a/b", "--a", "load(bf16)@flash"], "flash"),
        (vec!["trace", "a/b"], "--out"),
        (vec!["diff", "a"], "<B>"),
        (vec!["plot", "run", "--layer", "-1"], "-1"),
    ] {
        ulpscope(args).misused(&[part]);
    }
}

#[test]
fn a_recipe_that_goes_wrong_points_at_the_call() {
    for (recipe, column, part) in [
        ("load(f32).quantize(4)", 11, "unknown call `quantize`"),
        ("load(f32).to(int8)", 14, "unknown dtype `int8`"),
        ("load(f32).halv()", 11, "did you mean `half`?"),
        ("to(bf16)", 1, "begins with `load(DTYPE)`"),
        ("load(f32", 5, "never closed"),
        ("", 1, "load(DTYPE)"),
    ] {
        for flag in ["--a", "--b"] {
            let run = ulpscope(["compare", &tiny(), flag, recipe]).misused(&[part]);
            run.check(run.stderr.contains(&format!("column {column}:")), "the column");
            let lines: Vec<&str> = run.stderr.lines().collect();
            let caret = lines.iter().position(|l| l.trim_start().starts_with('^')).expect("a mark");
            assert_eq!(lines[caret].find('^'), Some(4 + column - 1), "{}", run.stderr);
            assert_eq!(lines[caret - 1].trim_end(), format!("    {recipe}").trim_end());
        }
    }
    ulpscope(["trace", &tiny(), "--recipe", "load(q4)", "--out", "t"]).misused(&["unknown dtype `q4`"]);
}

#[test]
fn what_pytorch_would_spell_is_understood() {
    for (long, short) in
        [("load(torch.bfloat16)", "load(bf16)"), (" load( float32 ).to( torch.half ) ", "load(f32).to(f16)")]
    {
        let run = ulpscope(["compare", &tiny(), "--ids", "1", "--a", long, "--json"]).ok();
        assert_eq!(run.json()["arms"][0]["recipe"], short);
    }
}

#[test]
fn models_that_are_not_there() {
    let dir = Dir::new();
    std::fs::write(dir.join("file"), "").unwrap();
    std::fs::create_dir(dir.join("empty")).unwrap();
    std::fs::create_dir(dir.join("folder.gguf")).unwrap();
    for (model, part) in [
        ("./absent", "does not exist"),
        ("/absent/model", "does not exist"),
        ("absent.gguf", "does not exist"),
        ("absent", "names no model"),
        ("", "names no model"),
        ("a/b/c", "names no model"),
        ("file", "not a .gguf"),
        ("./file", "file"),
        ("empty", "no config.json"),
        ("folder.gguf", "no config.json"),
        ("org/name", "hf download org/name"),
        ("org/name@main", "hf download org/name"),
        ("pypi:x==1/y.gguf", "pypi:"),
    ] {
        for command in ["compare", "weights", "sites"] {
            dir.run([command, model]).fails(&[part]);
        }
    }
    dir.run(["compare", &tiny(), "./absent"]).fails(&["./absent", "does not exist"]);
    dir.run(["compare", "./absent", "--fallback", "./gone"]).fails(&["./absent", "./gone"]);
}

#[test]
fn a_fallback_is_used_and_said() {
    let run = ulpscope(["compare", "./absent", "--fallback", &tiny(), "--json"]);
    run.check(run.code == Some(0), "status 0");
    run.check(run.stderr.starts_with("not available: ./absent") && run.stderr.lines().count() == 1, "why");
    let r = run.json();
    assert_eq!((&r["model"]["name"], &r["model"]["stand_in"]), (&"tiny-llama".into(), &true.into()));
    assert!(r["model"]["unavailable"][0].as_str().unwrap().contains("./absent"));
    let quiet = ulpscope(["compare", "./absent", "--fallback", &tiny(), "--quiet"]).ok();
    quiet.check(quiet.stdout.contains("stand-in"), "the table says so, too");
}

#[test]
fn prompts_that_do_not_fit() {
    let words = "Gravity is ".repeat(200);
    let ids = |n: usize| vec!["1"; n].join(",");
    for (args, part) in [
        (vec!["--prompt", ""], "not empty"),
        (vec!["--prompt", "Gravity is", "--prompt", ""], "not empty"),
        (vec!["--prompt", &words], "at most 512"),
        (vec!["--ids", &ids(513)], "513 tokens"),
        (vec!["--ids", "384"], "384"),
        (vec!["--ids", "1,2,4294967295"], "4294967295"),
    ] {
        for command in ["compare", "trace"] {
            let dir = Dir::new();
            dir.run([command, &tiny(), "--out", "out"].iter().copied().chain(args.iter().copied()))
                .fails(&[part]);
            assert_eq!(dir.listing(), [""; 0], "{command} {part}");
        }
    }
    ulpscope(["compare", &tiny(), "--ids", &ids(512), "--sites", "lm_head"]).ok();
    ulpscope(["compare", &fixture("configs/mha"), "--prompt", "x"]).fails(&["tokenizer", "--ids"]);
    // A leading dash belongs to the text.
    ulpscope(["compare", &tiny(), "--prompt", "-1 is less"]).ok();
}

#[test]
fn one_token() {
    let run = ulpscope(["compare", &tiny(), "--ids", "7", "--attention", "eager", "--json"]).ok();
    let r = run.json();
    assert_eq!(r["logits"][0]["by_position"].as_array().unwrap().len(), 1);
    // At position 0 every angle is 0, whatever the frequencies.
    assert_eq!(r["first"][0]["site"], serde_json::Value::Null);
    assert_eq!(r["buffers"][0]["identical"], false);
    ulpscope(["compare", &tiny(), "--ids", "7"]).ok();
}

#[test]
fn arms_that_do_not_go_together() {
    ulpscope(["compare", &tiny(), "--arm", "a=load(f32)"]).fails(&["two arms are called `a`"]);
    ulpscope(["compare", &tiny(), &fixture("configs/mha"), "--ids", "1"]).fails(&["num_hidden_layers"]);
    ulpscope(["weights", &tiny(), "--tensor", "model.layers.0.self_attn.q_proj"])
        .fails(&["did you mean `model.layers.0.self_attn.q_proj.weight`?"]);
}

#[test]
fn devices_that_are_not_there() {
    for (device, part) in [("gpu", "known are"), ("flex:1", "known are"), ("cuda:x", "`x` is no index")] {
        ulpscope(["compare", &tiny(), "--device", device]).fails(&[device, part]);
    }
    if !cfg!(feature = "cuda") {
        ulpscope(["compare", &tiny(), "--device", "cuda"]).fails(&["--features cuda"]);
    }
    ulpscope(["compare", &tiny(), "--threads", "0"]).fails(&["--threads 0"]);
}

#[test]
fn help_and_version_go_to_stdout() {
    for args in [vec!["--help"], vec!["compare", "--help"], vec!["--version"]] {
        let run = ulpscope(args).ok();
        run.check(!run.stdout.is_empty(), "something to read");
    }
}
