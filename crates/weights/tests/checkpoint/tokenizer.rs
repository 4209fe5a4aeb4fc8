//! Tokenizers from GGUF metadata, against ids that transformers gives.

use std::collections::HashMap;

use anamnesis::{GgufMetadataArray as A, GgufMetadataValue as V};
use serde_json::Value;
use tempfile::TempDir;
use ulpscope_weights::{Checkpoint, Tokenizer};

use crate::fixture;
use crate::gguf::{metadata, write};

fn key(name: &str) -> String {
    format!("tokenizer.ggml.{name}")
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|s| s.as_str().unwrap().to_owned()).collect()
}

fn open(table: &HashMap<String, V>, tokens: usize) -> Result<Tokenizer, String> {
    let dir: TempDir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.gguf");
    write(&path, table, tokens, &[]);
    Checkpoint::open(&path).unwrap().tokenizer().map_err(|e| e.to_string())
}

fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode(text).unwrap()
}

#[test]
fn the_fixtures_two_forms_agree() {
    let gguf = Checkpoint::open(&fixture("tiny-llama.gguf")).unwrap().tokenizer().unwrap();
    let json = Checkpoint::open(&fixture("tiny-llama")).unwrap().tokenizer().unwrap();
    let texts = [
        "Gravity is",
        "",
        "  two  spaces",
        "1969, 2019.\n\n1. a",
        "naïve 日本 🙂",
        "<|im_start|>user<|im_end|>",
        "a\tb",
    ];
    for text in texts {
        assert_eq!(ids(&gguf, text), ids(&json, text), "{text:?}");
        let tokens = ids(&gguf, text);
        assert_eq!(gguf.decode(&tokens).unwrap(), json.decode(&tokens).unwrap());
    }
}

/// SmolLM2's own tokens and merges, as many of them as the texts need: merges that are never
/// applied can be left out without changing which are. `ids` has the tokens' numbers in the whole
/// vocabulary. The expected ids are those of the whole vocabulary in Python's `tokenizers`, with
/// digits cut off first as SmolLM2's tokenizer.json does. transformers 5.23 does not know the name
/// `smollm` when it reads a GGUF and skips that cut; the two then differ where several spaces or
/// line breaks precede a digit.
#[test]
fn smollm2_gives_its_own_ids() {
    let json: Value = serde_json::from_str(include_str!("smollm2-subset.json")).unwrap();
    let tokens = strings(&json["tokens"]);
    let whole: Vec<u64> = json["ids"].as_array().unwrap().iter().map(|i| i.as_u64().unwrap()).collect();
    let controls = json["controls"].as_u64().unwrap() as usize;
    let mut table = metadata();
    table.insert(key("model"), V::String("gpt2".into()));
    table.insert(key("pre"), V::String("smollm".into()));
    table.insert(
        key("token_type"),
        V::Array(Box::new(A::I32((0..tokens.len()).map(|i| if i < controls { 3 } else { 1 }).collect()))),
    );
    table.insert(key("merges"), V::Array(Box::new(A::String(strings(&json["merges"])))));
    table.insert(key("tokens"), V::Array(Box::new(A::String(tokens.clone()))));
    table.insert(key("add_bos_token"), V::Bool(false));
    table.insert(key("bos_token_id"), V::U32(1));
    let tokenizer = open(&table, tokens.len()).unwrap();
    let mut seen = 0;
    for case in json["cases"].as_array().unwrap() {
        let text = case[0].as_str().unwrap();
        let got: Vec<u64> = ids(&tokenizer, text).iter().map(|&i| whole[i as usize]).collect();
        let expected: Vec<u64> = case[1].as_array().unwrap().iter().map(|i| i.as_u64().unwrap()).collect();
        assert_eq!(got, expected, "{text:?}");
        seen += 1;
        if text == "Gravity is" {
            assert_eq!(got, [22007, 6463, 314]);
        }
    }
    assert!(seen > 80, "{seen}");
}

/// A vocabulary of 410 tokens with SentencePiece's scores and no merges; ids from transformers
/// 5.23.
#[test]
fn sentence_piece_gives_transformers_ids() {
    let json: Value = serde_json::from_str(include_str!("sentencepiece.json")).unwrap();
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    tokens.extend((0..256).map(|b| format!("<0x{b:02X}>")));
    tokens.extend(strings(&json["tokens"]));
    let mut scores = vec![0.0f32; 259];
    scores.extend(json["scores"].as_array().unwrap().iter().map(|s| s.as_f64().unwrap() as f32));
    let kind = |i: usize| match i {
        0 => 2,
        1 | 2 => 3,
        3..259 => 6,
        _ if tokens[i] == "<think>" => 4,
        _ => 1,
    };
    let mut table = metadata();
    table.insert(key("model"), V::String("llama".into()));
    table.insert(key("token_type"), V::Array(Box::new(A::I32((0..tokens.len()).map(kind).collect()))));
    table.insert(key("scores"), V::Array(Box::new(A::F32(scores))));
    table.insert(key("tokens"), V::Array(Box::new(A::String(tokens.clone()))));
    table.insert(key("bos_token_id"), V::U32(1));
    table.insert(key("unknown_token_id"), V::U32(0));
    let tokenizer = open(&table, tokens.len()).unwrap();
    for case in json["cases"].as_array().unwrap() {
        let text = case[0].as_str().unwrap();
        let expected: Vec<u32> =
            case[1].as_array().unwrap().iter().map(|i| i.as_u64().unwrap() as u32).collect();
        assert_eq!(ids(&tokenizer, text), expected, "{text:?}");
    }
}

#[test]
fn what_cannot_be_built_is_named() {
    let tokens = || V::Array(Box::new(A::String(vec!["a".into(), "b".into(), "ab".into(), "c".into()])));
    let merges = |m: &str| V::Array(Box::new(A::String(vec![m.to_owned()])));
    let string = |s: &str| V::String(s.to_owned());
    let base = || {
        let mut table = metadata();
        table.insert(key("model"), string("gpt2"));
        table.insert(key("tokens"), tokens());
        table.insert(key("merges"), merges("a b"));
        table
    };
    assert_eq!(ids(&open(&base(), 4).unwrap(), "abc"), [2, 3]);
    for (name, value, part) in [
        ("pre", string("klingon"), "`klingon`"),
        ("model", string("bert"), "`bert`"),
        ("merges", merges("ab"), "merges"),
        ("merges", merges("a x"), "out of vocabulary"),
        ("tokens", V::U32(1), "tokens"),
        ("token_type", V::Array(Box::new(A::I32(vec![1]))), "1 token types"),
    ] {
        let mut table = base();
        table.insert(key(name), value);
        let message = open(&table, 4).expect_err(name);
        assert!(message.contains(part), "{name}: {message}");
    }
    let mut table = base();
    table.insert(key("add_bos_token"), V::Bool(true));
    table.insert(key("bos_token_id"), V::U32(99));
    assert!(open(&table, 4).unwrap_err().contains("99"));
    let none = tempfile::tempdir().unwrap();
    std::fs::copy(fixture("tiny-llama/config.json"), none.path().join("config.json")).unwrap();
    std::fs::copy(fixture("tiny-llama/model.safetensors"), none.path().join("model.safetensors")).unwrap();
    let checkpoint = Checkpoint::open(none.path()).unwrap();
    assert!(checkpoint.tokenizer().unwrap_err().to_string().contains("no tokenizer.json"));
    std::fs::write(none.path().join("tokenizer.json"), b"{}").unwrap();
    assert!(checkpoint.tokenizer().unwrap_err().to_string().contains("tokenizer.json is not usable"));
}

/// A copy of the tiny model whose tokenizer.json is another text.
fn with_tokenizer(text: &str) -> (TempDir, Checkpoint) {
    let dir = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(fixture("tiny-llama").join(file), dir.path().join(file)).unwrap();
    }
    std::fs::write(dir.path().join("tokenizer.json"), text).unwrap();
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    (dir, checkpoint)
}

/// transformers, called with a text alone, neither cuts nor pads, whatever tokenizer.json says of
/// it.
#[test]
fn truncation_and_padding_are_left_out() {
    let text = std::fs::read_to_string(fixture("tiny-llama").join("tokenizer.json")).unwrap();
    let mut json: Value = serde_json::from_str(&text).unwrap();
    json["truncation"] =
        serde_json::json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
    json["padding"] = serde_json::json!({
        "strategy": {"Fixed": 1u64 << 60}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
        "pad_type_id": 0, "pad_token": "<|endoftext|>"
    });
    let (_dir, checkpoint) = with_tokenizer(&json.to_string());
    let found = ids(&checkpoint.tokenizer().unwrap(), "Gravity is everywhere");
    // By transformers 5.23 on these two files, and on those of the fixture.
    assert_eq!(found, [41, 84, 366, 325, 91, 264, 223, 71, 88, 268, 91, 89, 260, 277]);
}

/// The library panics where a decoder is no JSON; here it is an error, and stderr stays clean.
#[test]
fn a_tokenizer_that_its_library_panics_on_is_refused() {
    let text = std::fs::read_to_string(fixture("tiny-llama").join("tokenizer.json")).unwrap();
    let broken = text.replacen("\"decoder\": {", "\"decoder\": {,", 1);
    assert_ne!(broken, text);
    let (_dir, checkpoint) = with_tokenizer(&broken);
    let error = checkpoint.tokenizer().unwrap_err().to_string();
    assert!(error.contains("tokenizer.json is not usable"), "{error}");
}
