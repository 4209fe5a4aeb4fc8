//! Families beyond Llama: their GGUF files, and checkpoints that lack what they need.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use ulpscope_decoder::Architecture;
use ulpscope_decoder::departure::Mask;
use ulpscope_floats::DType;
use ulpscope_weights::{Checkpoint, Format};

use crate::directory::{Part, safetensors};
use crate::{fixture, refusal};

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(&fixture("families").join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Compares parameters, whose matrices the GGUF may hold in bf16.
fn assert_same_parameters(gguf: &Checkpoint, directory: &Checkpoint, matrices: DType) {
    assert_eq!((gguf.format(), directory.format()), (Format::Gguf, Format::Directory));
    assert_eq!(gguf.names(), directory.names());
    for name in directory.names() {
        let (a, b) = (gguf.tensor(name).unwrap(), directory.tensor(name).unwrap());
        let dtype = if b.shape.len() == 2 { matrices } else { DType::F32 };
        let rounded = b.values.cast(dtype);
        assert_eq!((&a.shape, a.values.dtype()), (&b.shape, dtype), "{name}");
        assert_eq!(a.values.bytes(), rounded.bytes(), "{name}");
    }
}

/// Everything that is computed with, apart from the parameters.
fn assert_same_settings(gguf: &Architecture, directory: &Architecture) {
    assert_eq!(gguf.layers, directory.layers);
    assert_eq!(gguf.ropes, directory.ropes);
    assert_eq!(gguf.norm, directory.norm);
    assert_eq!((gguf.width, gguf.vocab), (directory.width, directory.vocab));
    assert_eq!((gguf.tied, gguf.max_positions), (directory.tied, directory.max_positions));
}

#[test]
fn a_gguf_of_a_mistral_is_read_as_a_llama_without_its_window() {
    let (gguf, directory) = (open("mistral-window.gguf"), open("mistral-window"));
    assert_same_parameters(&gguf, &directory, DType::F32);
    let families = [&gguf, &directory].map(|checkpoint| checkpoint.architecture().family.model_type);
    assert_eq!(families, ["llama", "mistral"]);
    let mut without = directory.architecture().clone();
    for layer in &mut without.layers {
        assert!(matches!(layer.attention.mask, Mask::Window(window) if window.get() == 7));
        layer.attention.mask = Mask::Causal;
    }
    assert_same_settings(gguf.architecture(), &without);
}

#[test]
fn a_gguf_of_each_other_family_equals_the_directory_it_was_made_from() {
    for name in ["ministral3-yarn", "qwen2-plain", "qwen3-heads"] {
        let (gguf, directory) = (open(&format!("{name}.gguf")), open(name));
        assert_eq!(gguf.architecture().family, directory.architecture().family, "{name}");
        assert_same_parameters(&gguf, &directory, DType::F32);
        assert_same_settings(gguf.architecture(), directory.architecture());
        let text = "What holds the sea to the shore";
        let ids = [&gguf, &directory].map(|of| of.tokenizer().unwrap().encode(text).unwrap());
        assert_eq!(ids[0], ids[1], "{name}");
    }
}

#[test]
fn a_bf16_gguf_holds_rounded_matrices_and_whole_norms() {
    let (gguf, directory) = (open("qwen3-heads-bf16.gguf"), open("qwen3-heads"));
    assert_same_parameters(&gguf, &directory, DType::Bf16);
    assert_same_settings(gguf.architecture(), directory.architecture());
}

/// A copy of a checkpoint with another config.json and another choice of tensors.
fn changed(name: &str, config: &[(&str, Value)], keep: impl Fn(&str) -> bool) -> TempDir {
    let original = open(name);
    let mut json = original.config_json().clone();
    for (key, value) in config {
        json[*key] = value.clone();
    }
    let parts: Vec<(String, Vec<usize>, Vec<u8>)> = original
        .names()
        .into_iter()
        .filter(|name| keep(name))
        .map(|name| {
            let tensor = original.tensor(name).unwrap();
            (name.to_owned(), tensor.shape.clone(), tensor.values.bytes().to_vec())
        })
        .collect();
    let parts: Vec<Part<'_>> =
        parts.iter().map(|(name, shape, data)| (&name[..], "F32", shape.clone(), data.clone())).collect();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.json"), json.to_string()).unwrap();
    fs::write(dir.path().join("model.safetensors"), safetensors(&parts)).unwrap();
    dir
}

fn assert_says(path: &Path, parts: &[&str]) {
    let message = refusal(path);
    assert!(parts.iter().all(|part| message.contains(part)), "{message}");
}

#[test]
fn a_missing_norm_of_heads_is_named() {
    let norm = "model.layers.1.self_attn.q_norm.weight";
    let dir = changed("qwen3-heads", &[], |name| name != norm);
    assert_says(dir.path(), &["1 missing", norm]);
}

#[test]
fn a_missing_bias_is_named() {
    let bias = "model.layers.0.self_attn.k_proj.bias";
    let dir = changed("qwen2-plain", &[], |name| name != bias);
    assert_says(dir.path(), &["1 missing", bias]);
}

#[test]
fn a_wrong_head_dim_shows_in_every_shape_that_it_is_in() {
    let dir = changed("qwen3-heads", &[("head_dim", json!(16))], |_| true);
    let norm = "`model.layers.0.self_attn.q_norm.weight` is [20], expected [16]";
    assert_says(dir.path(), &["misshapen", norm]);
    // Without the key, heads are as wide as in the model that the family is named after.
    let dir = changed("qwen3-heads", &[], |_| true);
    let path = dir.path().join("config.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    json.as_object_mut().unwrap().remove("head_dim");
    fs::write(&path, json.to_string()).unwrap();
    assert_says(dir.path(), &["misshapen", "is [20], expected [128]"]);
}
