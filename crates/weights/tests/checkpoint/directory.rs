//! Directories in Hugging Face layout.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use ulpscope_floats::DType;
use ulpscope_weights::{Checkpoint, Format, Recipe};

use crate::{fixture, refusal, smallest_config};

/// One tensor of a file under construction: name, dtype, shape, bytes.
pub(crate) type Part<'a> = (&'a str, &'a str, Vec<usize>, Vec<u8>);

/// A safetensors file, by its specification.
pub(crate) fn safetensors(parts: &[Part<'_>]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, dtype, shape, bytes) in parts {
        let offsets = [data.len(), data.len() + bytes.len()];
        header.insert((*name).into(), json!({"dtype": dtype, "shape": shape, "data_offsets": offsets}));
        data.extend(bytes);
    }
    with_header(&Value::Object(header).to_string(), &data)
}

pub(crate) fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{header:<width$}", width = header.len().next_multiple_of(8));
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

pub(crate) fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn embedding() -> Part<'static> {
    ("model.embed_tokens.weight", "F32", vec![4, 2], f32s(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]))
}

fn norm() -> Part<'static> {
    ("model.norm.weight", "F32", vec![2], f32s(&[1.0, 0.5]))
}

pub(crate) fn write(dir: &Path, file: &str, bytes: &[u8]) {
    fs::write(dir.join(file), bytes).unwrap();
}

/// A directory with the smallest config and the given tensors.
fn model(parts: &[Part<'_>]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "config.json", smallest_config().to_string().as_bytes());
    write(dir.path(), "model.safetensors", &safetensors(parts));
    dir
}

#[test]
fn the_fixture_opens_and_every_parameter_is_reached() {
    let checkpoint = Checkpoint::open(&fixture("tiny-llama")).unwrap();
    assert_eq!(checkpoint.format(), Format::Directory);
    assert_eq!(checkpoint.auto_dtype(), DType::F32);
    assert_eq!(checkpoint.names().len(), 38);
    for parameter in checkpoint.architecture().parameters() {
        let (name, shape) = (&parameter.name, &parameter.param.shape);
        let tensor = checkpoint.tensor(name).unwrap();
        assert_eq!(
            (tensor.shape.clone(), tensor.values.len()),
            (shape.clone(), shape.iter().product()),
            "{name}"
        );
    }
    assert!(checkpoint.ignored().is_empty() && checkpoint.rope_factors().is_none());
    let names: Vec<_> = checkpoint.sha256().unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["config.json", "tokenizer.json", "model.safetensors"]);
}

#[test]
fn every_config_fixture_opens() {
    let mut seen = 0;
    for entry in fs::read_dir(fixture("configs")).unwrap() {
        let path = entry.unwrap().path();
        let checkpoint = Checkpoint::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        for name in checkpoint.names() {
            checkpoint.tensor(name).unwrap();
        }
        seen += 1;
    }
    assert!(seen >= 20, "{seen}");
}

#[test]
fn shards_hold_what_one_file_would() {
    let checkpoint = Checkpoint::open(&fixture("configs/sharded")).unwrap();
    let files: Vec<_> = checkpoint.sha256().unwrap().into_iter().map(|(name, _)| name).collect();
    assert!(files.iter().any(|f| f == "model.safetensors.index.json"), "{files:?}");
    assert!(files.iter().filter(|f| f.ends_with(".safetensors")).count() > 1, "{files:?}");
}

#[test]
fn the_hash_is_sha256() {
    let dir = model(&[embedding(), norm()]);
    write(dir.path(), "tokenizer.json", b"abc");
    let hashes = Checkpoint::open(dir.path()).unwrap().sha256().unwrap();
    let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(hashes[1], ("tokenizer.json".to_owned(), expected.to_owned()));
}

#[test]
fn aligned_tensors_are_not_copied() {
    let dir = model(&[embedding(), norm()]);
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let at = |name: &str| checkpoint.tensor(name).unwrap().values.bytes().as_ptr() as usize;
    // The same address twice: the map itself.
    assert_eq!(at("model.embed_tokens.weight"), at("model.embed_tokens.weight"));
    assert_eq!(at("model.norm.weight") - at("model.embed_tokens.weight"), 32);
}

#[test]
fn misaligned_tensors_are_read_all_the_same() {
    let header = r#"{"model.norm.weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"model.embed_tokens.weight":{"dtype":"BF16","shape":[4,2],"data_offsets":[8,24]}}"#;
    let mut data = f32s(&[1.0, 0.5]);
    data.extend((0..8u16).flat_map(|i| (0x3f80 + i).to_le_bytes()));
    for odd in 0..4 {
        let dir = model(&[]);
        let header = format!("{header}{}", " ".repeat(odd));
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
        write(dir.path(), "model.safetensors", &bytes);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        assert_eq!(checkpoint.tensor("model.norm.weight").unwrap().values.get(1), 0.5);
        assert_eq!(checkpoint.tensor("model.embed_tokens.weight").unwrap().values.get(1), 1.0078125);
        // No dtype in config.json: the first tensor's is taken, in the order of names.
        assert_eq!(checkpoint.auto_dtype(), DType::Bf16);
    }
}

#[test]
fn nan_weights_are_counted() {
    let part = ("model.norm.weight", "F32", vec![2], f32s(&[f32::NAN, f32::INFINITY]));
    let dir = model(&[embedding(), part]);
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let stored = checkpoint.tensor("model.norm.weight").unwrap();
    for recipe in ["load(f32)", "load(f32).to(bf16)"] {
        let recipe: Recipe = recipe.parse().unwrap();
        let (_, conversion) = recipe.parameter(&stored, checkpoint.auto_dtype());
        assert_eq!((conversion.nonfinite, conversion.changed), (2, 0));
    }
}

#[test]
fn old_buffers_and_repeated_heads_are_ignored_by_name() {
    let (_, dtype, shape, bytes) = embedding();
    let dir = model(&[
        embedding(),
        norm(),
        ("lm_head.weight", dtype, shape, bytes),
        ("model.layers.0.self_attn.rotary_emb.inv_freq", "F32", vec![1], f32s(&[1.0])),
    ]);
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(checkpoint.ignored(), ["lm_head.weight", "model.layers.0.self_attn.rotary_emb.inv_freq"]);
    assert_eq!(checkpoint.names(), ["model.embed_tokens.weight", "model.norm.weight"]);
    assert!(checkpoint.tensor("lm_head.weight").is_err());
}

#[test]
fn a_tied_head_may_be_the_only_copy_and_may_not_differ() {
    let (_, dtype, shape, bytes) = embedding();
    let head: Part<'_> = ("lm_head.weight", dtype, shape.clone(), bytes);
    let dir = model(&[head, norm()]);
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(checkpoint.tensor("model.embed_tokens.weight").unwrap().values.get(7), 8.0);
    let other = ("lm_head.weight", "F32", shape, f32s(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.5]));
    let message = refusal(model(&[embedding(), other, norm()]).path());
    assert!(message.contains("tie_word_embeddings") && message.contains("differs"), "{message}");
}

#[test]
fn every_difference_is_in_one_message() {
    let misshapen = ("model.norm.weight", "F32", vec![1, 2], f32s(&[1.0, 0.5]));
    let misspelt = ("model.embed_token.weight", "F32", vec![1], f32s(&[1.0]));
    let message = refusal(model(&[misshapen, misspelt]).path());
    for part in [
        "1 missing: `model.embed_tokens.weight` (stored: `model.embed_token.weight`?)",
        "1 surplus: `model.embed_token.weight`",
        "1 misshapen: `model.norm.weight` is [1, 2], expected [2]",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_parameter_must_be_a_float() {
    for (dtype, size) in [("I64", 8), ("F8_E4M3", 1), ("U8", 1), ("BOOL", 1)] {
        let message =
            refusal(model(&[embedding(), ("model.norm.weight", dtype, vec![2], vec![0; 2 * size])]).path());
        assert!(message.contains("model.norm.weight") && message.contains(dtype), "{message}");
    }
}

#[test]
fn what_is_no_checkpoint_is_refused_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let says = |part: &str| {
        let message = refusal(path);
        assert!(message.contains(part), "{message}");
    };
    says("no config.json");
    write(path, "config.json", b"{ \"model_type\": ");
    says("not valid JSON");
    write(path, "config.json", b"[]");
    says("not a JSON object");
    write(path, "config.json", json!({"model_type": "gemma2"}).to_string().as_bytes());
    says("model_type");
    write(path, "config.json", smallest_config().to_string().as_bytes());
    says("no model.safetensors");
    write(path, "pytorch_model.bin", b"");
    says("save_pretrained");
    fs::create_dir(path.join("model.safetensors")).unwrap();
    says("model.safetensors");
    assert!(refusal(&path.join("nowhere")).contains("does not exist"));
    assert!(refusal(&path.join("config.json")).contains("neither a directory nor a .gguf"));
}

#[test]
fn an_index_cannot_lead_out_of_its_directory() {
    let outside = tempfile::tempdir().unwrap();
    write(outside.path(), "secret.safetensors", &safetensors(&[embedding(), norm()]));
    let absolute = outside.path().join("secret.safetensors").display().to_string();
    let evil = [
        "../secret.safetensors",
        "a/b.safetensors",
        "..",
        ".",
        "",
        "a\\b.safetensors",
        "x.bin",
        "a\0.safetensors",
        &absolute,
    ];
    for file in evil {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "config.json", smallest_config().to_string().as_bytes());
        let index = json!({"weight_map": {"model.norm.weight": file}}).to_string();
        write(dir.path(), "model.safetensors.index.json", index.as_bytes());
        let message = refusal(dir.path());
        assert!(message.contains("not the plain name"), "{file}: {message}");
    }
}

#[test]
fn an_index_must_agree_with_its_shards() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "config.json", smallest_config().to_string().as_bytes());
    write(dir.path(), "a.safetensors", &safetensors(&[embedding()]));
    write(dir.path(), "b.safetensors", &safetensors(&[norm()]));
    let (e, n) = ("model.embed_tokens.weight", "model.norm.weight");
    let open = |index: Value| {
        write(dir.path(), "model.safetensors.index.json", index.to_string().as_bytes());
        Checkpoint::open(dir.path())
    };
    assert!(open(json!({"weight_map": {e: "a.safetensors", n: "b.safetensors"}})).is_ok());
    for (index, part) in [
        (json!({"weight_map": {e: "a.safetensors", n: "a.safetensors"}}), "does not hold it"),
        (json!({"weight_map": {e: "b.safetensors", n: "a.safetensors"}}), "another shard"),
        (json!({"weight_map": {e: "a.safetensors", "x": "b.safetensors"}}), "`x`"),
        (json!({"weight_map": {e: "a.safetensors"}}), "1 missing: `model.norm.weight`"),
        (json!({"weight_map": {e: "a.safetensors", n: "c.safetensors"}}), "c.safetensors"),
        (json!({"weight_map": {e: 1}}), "not a name"),
        (json!({"weight_map": {}}), "empty"),
        (json!({"weight_map": []}), "weight_map"),
        (json!({}), "weight_map"),
    ] {
        let message = open(index).err().unwrap().to_string();
        assert!(message.contains(part), "{message}");
    }
    write(dir.path(), "b.safetensors", &safetensors(&[embedding(), norm()]));
    let message =
        open(json!({"weight_map": {e: "a.safetensors", n: "b.safetensors"}})).err().unwrap().to_string();
    assert!(message.contains("is also in"), "{message}");
}

#[test]
fn a_file_that_shrinks_is_reported_and_not_read() {
    let dir = model(&[embedding(), norm()]);
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let file = fs::OpenOptions::new().write(true).open(dir.path().join("model.safetensors")).unwrap();
    file.set_len(20).unwrap();
    let message = checkpoint.tensor("model.norm.weight").unwrap_err().to_string();
    assert!(message.contains("is 20 now"), "{message}");
}

#[test]
fn unknown_parameters_are_refused_with_a_suggestion() {
    let checkpoint = Checkpoint::open(&fixture("tiny-llama")).unwrap();
    let message = checkpoint.tensor("model.layers.0.self_attn.qproj.weight").unwrap_err().to_string();
    assert!(message.contains("did you mean `model.layers.0.self_attn.q_proj.weight`?"), "{message}");
}
