//! Folders as transformers reads them; tests/fixtures/tokenizing.py asked it.

use std::path::Path;

use serde_json::{Value, json};

use super::*;

/// tiny-llama's tokenizer.json with some keys replaced.
fn own(keys: &Value) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tiny-llama/tokenizer.json");
    let mut own: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for (key, value) in keys.as_object().unwrap() {
        own[key] = value.clone();
    }
    own
}

fn open(model_type: &str, tokenizer: &Value, files: &Value) -> Result<Tokenizer, WeightsError> {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, value: &Value| std::fs::write(dir.path().join(name), value.to_string()).unwrap();
    write("tokenizer.json", tokenizer);
    files.as_object().unwrap().iter().for_each(|(name, value)| write(name, value));
    let family = ulpscope_families::ALL.iter().find(|family| family.model_type == model_type).unwrap();
    Tokenizer::of_directory(dir.path(), family.tokenizer, &json!({ "model_type": model_type }))
}

#[test]
fn ids_are_those_of_transformers_or_said_to_be_others_or_refused() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tokenizing.json");
    let all: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let texts: Vec<&str> =
        all["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let variants = all["variants"].as_array().unwrap();
    let (mut differ, mut refused) = (0, 0);
    let mut wrong = Vec::new();
    for variant in variants {
        let model_type = variant["model_type"].as_str().unwrap();
        let opened = open(model_type, &own(&variant["tokenizer"]), &variant["files"]);
        let name = &variant["name"];
        let (tokenizer, ids) = match (opened, variant["ids"].as_array()) {
            (Ok(tokenizer), Some(ids)) => (tokenizer, ids),
            (Err(_), None) => {
                refused += 1;
                continue;
            }
            (opened, ids) => {
                wrong.push(format!("{name}: {:?}, transformers {ids:?}", opened.err()));
                continue;
            }
        };
        for (text, theirs) in texts.iter().zip(ids) {
            let theirs: Vec<u32> = serde_json::from_value(theirs.clone()).unwrap();
            let otherwise = tokenizer.otherwise(text).unwrap();
            differ += usize::from(otherwise.is_some());
            let ours = otherwise.map_or_else(|| tokenizer.encode(text).unwrap(), |(_, ids)| ids);
            if ours != theirs {
                wrong.push(format!("{name} {text:?}\n  {ours:?}\n  {theirs:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(variants.len() > 70 && differ > 20 && refused == 3, "{differ} {refused}");
}

#[test]
fn dropout_is_off_and_said_to_be() {
    let mut tokenizer = own(&json!({}));
    let plain = open("llama", &tokenizer, &json!({})).unwrap();
    tokenizer["model"]["dropout"] = json!(0.5);
    let without = open("llama", &tokenizer, &json!({})).unwrap();
    let text = "Gravity is the one that we notice first";
    for _ in 0..5 {
        assert_eq!(without.encode(text).unwrap(), plain.encode(text).unwrap());
    }
    assert!(without.notices()[0].contains("BPE dropout of 0.5") && plain.notices().is_empty());
}

#[test]
fn files_that_ask_for_another_tokenizer_are_refused() {
    let plain = own(&json!({}));
    for (name, content, part) in [
        ("tokenizer_config.json", json!([]), "no JSON object"),
        ("tokenizer_config.json", json!({ "fix_mistral_regex": true }), "`fix_mistral_regex` is true"),
        ("tokenizer_config.json", json!({ "fast_tokenizer_files": ["tokenizer.4.json"] }), "not implemented"),
        ("tokenizer_config.json", json!({ "split_special_tokens": "no" }), "`split_special_tokens`"),
        ("tokenizer_config.json", json!({ "b_token": "<b>", "a_token": "<a>" }), "`<a>` and `<b>`"),
        ("special_tokens_map.json", json!({ "split_special_tokens": true }), "`split_special_tokens`"),
        ("special_tokens_map.json", json!({ "add_bos_token": true }), "`add_bos_token`"),
        ("added_tokens.json", json!({ "<x>": "384" }), "`<x>`"),
    ] {
        let error = open("llama", &plain, &json!({ name: content })).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}
