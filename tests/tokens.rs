//! How texts become ids: other tokenizers, other readings, texts that are cut.

use std::fs;

use serde_json::{Value, json};

use crate::util::{Checkpoint, Dir, entry, list, tensors, tiny, ulpscope, write_trace};

/// A copy of the tiny model, whose tokenizer.json is changed.
fn with(dir: &Dir, change: impl FnOnce(&mut Value)) -> String {
    let path = Checkpoint::tiny().write(dir, "other");
    let file = dir.join("other/tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    change(&mut tokenizer);
    fs::write(file, tokenizer.to_string()).unwrap();
    path
}

/// A text on one line, wherever it was wrapped.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn exchange(tokenizer: &mut Value, a: u32, b: u32) {
    for id in tokenizer["model"]["vocab"].as_object_mut().unwrap().values_mut() {
        let other = [(a, b), (b, a)].into_iter().find(|(from, _)| *id == *from);
        *id = other.map_or(id.clone(), |(_, to)| to.into());
    }
}

#[test]
fn where_a_second_tokenizer_parts_is_said_before_anything_else() {
    let dir = Dir::new();
    // `T`, the second token of "Gravity is", and another letter.
    let path = with(&dir, |tokenizer| exchange(tokenizer, 84, 85));
    let said = "b's tokenizer gives other ids than a's: token 1 is 85";
    let run = dir.run(["compare", &tiny(), &path, "--out", "run", "--prompt", "Gravity is"]).ok();
    run.check(flat(&run.stdout).contains(said), "the tables say it");
    for page in ["report.md", "summary.md", "report.html"] {
        let text = fs::read_to_string(dir.join("run").join(page)).unwrap();
        assert!(flat(&text).replace("&#39;", "'").contains("other ids than a's"), "{page}: {text}");
    }
    let record: Value = serde_json::from_slice(&fs::read(dir.join("run/record.json")).unwrap()).unwrap();
    let other = entry(&record["tokenizers"], &[("arm", json!("b"))]);
    assert_eq!(other["vocabulary"], json!({ "sizes": [384, 384], "other_ids": 2, "alone": [0, 0] }));
    let parting = &other["partings"][0];
    assert_eq!((&parting["at"], &parting["lengths"]), (&json!(1), &json!([6, 6])));
    assert_eq!((&parting["ids"][0][0], &parting["ids"][1][0]), (&json!(84), &json!(85)));
    assert_eq!(parting["tokens"][0][0], parting["tokens"][1][0]);

    for quiet in [&[][..], &["-q"]] {
        let asked = ["explain", &tiny(), &path, "--prompt", "Gravity is"];
        let run = dir.run(asked.iter().chain(quiet).copied()).ok();
        let text = flat(&run.stdout);
        let (note, verdict) = (text.find(said), text.find("Every logit"));
        run.check(note.is_some() && note < verdict, "it is said before that nothing differs");
    }
}

#[test]
fn what_two_tokenizers_have_in_common_is_said_too() {
    let dir = Dir::new();
    let path = with(&dir, |tokenizer| exchange(tokenizer, 300, 301));
    let of = |more: &[&str]| {
        let asked = ["compare", &tiny(), &path, "--json"];
        dir.run(asked.iter().chain(more).copied()).ok().json()["tokenizers"].clone()
    };
    let texts = of(&["--prompt", "x", "--prompt", "y"]);
    assert_eq!((&texts[0]["texts"], list(&texts[0]["partings"]).len()), (&json!(2), 0));
    assert_eq!(texts[0]["vocabulary"]["other_ids"], 2);
    // Ids are no text, but what they stand for differs all the same.
    assert_eq!(of(&["--ids", "1,2"])[0]["vocabulary"]["other_ids"], 2);
    let run = dir.run(["compare", &tiny(), &path, "--prompt", "x"]).ok();
    run.check(flat(&run.stdout).contains("same ids as a's for 1 text"), "that the ids are the same");
    run.check(flat(&run.stdout).contains("2 have other ids"), "that tokens were exchanged");

    fs::remove_file(dir.join("other/tokenizer.json")).unwrap();
    let run = dir.run(["compare", &tiny(), &path, "--prompt", "x"]).ok();
    run.check(flat(&run.stdout).contains("b's tokenizer was not compared with a's"), "that one has none");
    let run = dir.run(["compare", &tiny(), &tiny(), "--prompt", "x"]).ok();
    run.check(flat(&run.stdout).contains("Both have the same 384 tokens"), "that they are the same");
    assert_eq!(dir.run(["compare", &tiny(), "--json"]).ok().json().get("tokenizers"), None);
}

#[test]
fn a_token_before_every_text_is_a_parting() {
    let dir = Dir::new();
    let path = with(&dir, |tokenizer| {
        tokenizer["post_processor"] = json!({
            "type": "TemplateProcessing",
            "single": [{ "SpecialToken": { "id": "<|im_start|>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }],
            "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
            "special_tokens": { "<|im_start|>": { "id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"] } },
        });
    });
    let run = dir.run(["compare", &tiny(), &path, "--json"]).ok();
    let parting = run.json()["tokenizers"][0]["partings"][0].clone();
    assert_eq!((&parting["at"], &parting["lengths"]), (&json!(0), &json!([6, 7])));
    // Of a text that was cut, only what was run counts.
    let run = dir.run(["compare", &tiny(), &path, "--truncate", "2", "--json"]).ok();
    assert_eq!(run.json()["tokenizers"][0]["partings"][0]["lengths"], json!([2, 2]));
}

#[test]
fn a_class_that_reads_the_folder_otherwise_is_named() {
    let dir = Dir::new();
    let path = with(&dir, |_| ());
    fs::write(dir.join("other/tokenizer_config.json"), r#"{"tokenizer_class": "Qwen2Tokenizer"}"#).unwrap();
    let record = dir.run(["compare", &path, "--prompt", "e\u{301}", "--json"]).ok().json();
    assert_eq!(record["tokenizers"][0]["class"], "Qwen2Tokenizer");
    assert_eq!(dir.run(["compare", &path, "--prompt", "Hi", "--json"]).ok().json().get("tokenizers"), None);
    let run = dir.run(["trace", &path, "--prompt", "e\u{301}", "--out", "t"]);
    run.check(run.stderr.contains("transformers' Qwen2Tokenizer"), "a trace says it");
}

#[test]
fn files_beside_a_tokenizer_are_read_and_chance_is_off() {
    let dir = Dir::new();
    let path = with(&dir, |tokenizer| tokenizer["model"]["dropout"] = json!(0.9));
    fs::write(dir.join("other/added_tokens.json"), r#"{"vity": 384}"#).unwrap();
    let run = dir.run(["trace", &path, "--out", "t"]);
    run.check(run.stderr.contains("token id 384 is not in the vocabulary"), "the added token is read");
    fs::remove_file(dir.join("other/added_tokens.json")).unwrap();
    let run = dir.run(["compare", &path, "--json"]);
    run.check(run.stderr.contains("BPE dropout of 0.9"), "that it is off");
    assert_eq!(run.json()["prompts"][0]["ids"], json!([41, 84, 366, 325, 91, 264]));
}

#[test]
fn a_cut_text_is_not_called_ids() {
    let dir = Dir::new();
    for (flags, said, not) in [
        (&["--prompt", "Gravity is", "--truncate", "2"][..], "cut text", "token ids"),
        (&["--ids", "1,2,3", "--truncate", "2"], "token ids", "cut text"),
    ] {
        let asked = ["compare", &tiny(), "--out", "run"];
        let run = dir.run(asked.iter().chain(flags).copied()).ok();
        run.check(run.stdout.contains(&format!("prompt 0: {said}, 2 tokens")), said);
        for page in ["summary.md", "report.html"] {
            let text = fs::read_to_string(dir.join("run").join(page)).unwrap();
            assert!(text.contains(said) && !text.contains(not), "{page}");
        }
    }
}

#[test]
fn what_a_trace_says_of_itself_is_held_against_what_it_is_compared_with() {
    let dir = Dir::new();
    dir.run(["trace", &tiny(), "--out", "t", "--prompt", "Gravity is"]).ok();
    let explained = |model: &str, more: &[&str]| {
        let asked = ["explain", model, "--trace", "t", "--json"];
        let run = dir.run(asked.iter().chain(more).copied());
        let claims = run.json().get("contradicted").cloned().unwrap_or(json!([]));
        list(&claims).iter().map(|claim| claim["key"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(explained(&tiny(), &[]), Vec::<String>::new());
    assert_eq!(explained(&tiny(), &["--recipe", "load(f32).to(bf16)@eager"]), ["recipe", "attention"]);
    assert_eq!(explained(&tiny(), &["--recipe", "load(bf16)@norm=fused@dot2"]), ["variants", "accumulation"]);
    let mut model = Checkpoint::tiny();
    model.config["unsloth_version"] = json!("2026.1");
    let changed = explained(&model.write(&dir, "copy"), &[]);
    assert_eq!(changed, ["sha256:config.json", "sha256:model.safetensors"]);

    let (found, mut about) = tensors(dir.join("t"));
    about.insert("prompt".into(), "Levity was".into());
    about.insert("attention".into(), "flash_attention_2".into());
    write_trace(dir.join("t"), &found, &about);
    assert_eq!(explained(&tiny(), &[]), ["attention", "prompt"]);
    let run = dir.run(["explain", &tiny(), "--trace", "t"]);
    run.check(flat(&run.stdout).contains("NOTE t says that its attention is"), "the screen says it");

    dir.run(["trace", &tiny(), "--out", "u", "--attention", "eager"]).ok();
    let run = dir.run(["diff", "t", "u"]).undecided(&["8 of 77 sites"]);
    run.check(run.stdout.contains("attention differs: \"flash_attention_2\" and \"eager\""), "diff says it");
    let keys = dir.run(["diff", "t", "u", "--json"]).json()["about"].clone();
    assert_eq!(list(&keys).iter().map(|of| &of["key"]).collect::<Vec<_>>(), ["attention", "prompt"]);
}

#[test]
fn attention_is_the_one_of_the_config_unless_another_is_asked_for() {
    for (asked, flags, attention, said) in [
        (json!({ "attn_implementation": "eager" }), &[][..], "eager", ""),
        (json!({ "_attn_implementation": null, "attn_implementation": "eager" }), &[], "sdpa", ""),
        (json!({ "_attn_implementation": "eager" }), &["--attention", "sdpa"], "sdpa", ""),
        (json!({ "_attn_implementation": "flash_attention_2" }), &[], "sdpa", "not implemented"),
    ] {
        let dir = Dir::new();
        let mut model = Checkpoint::tiny();
        asked.as_object().unwrap().iter().for_each(|(key, value)| model.config[key] = value.clone());
        let path = model.write(&dir, "model");
        let run = dir.run(["compare", &path, "--json"].iter().chain(flags).copied());
        run.check(run.stderr.contains(said) && run.stderr.is_empty() == said.is_empty(), said);
        assert_eq!(run.json()["arms"][1]["attention"], attention, "{asked}");
    }
}

#[test]
fn keys_of_a_config_are_listed_for_each_family() {
    let families = ulpscope(["families", "--json"]).ok().json();
    for family in list(&families["families"]) {
        let read = list(&family["config_keys"]["read"]);
        for key in ["is_causal", "hidden_size", "rope_theta", "torch_dtype", "text_config"] {
            assert!(read.contains(&json!(key)), "{key}: {family}");
        }
        assert!(list(&family["config_keys"]["without_effect"]).contains(&json!("use_cache")));
    }
}
