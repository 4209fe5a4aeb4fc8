//! GGUF files.

use std::collections::HashMap;
use std::path::Path;

use anamnesis::{GgufMetadataValue as V, GgufType, GgufWriteTensor, write_gguf};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use ulpscope_floats::{DType, Floats};
use ulpscope_weights::{Checkpoint, Format};

use crate::directory::f32s;
use crate::{fixture, refusal};

/// Metadata of the smallest Llama.
pub(crate) fn metadata() -> HashMap<String, V> {
    HashMap::from(
        [
            ("general.architecture", V::String("llama".into())),
            ("llama.block_count", V::U32(0)),
            ("llama.context_length", V::U32(8)),
            ("llama.embedding_length", V::U32(2)),
            ("llama.feed_forward_length", V::U32(2)),
            ("llama.attention.head_count", V::U32(1)),
            ("llama.attention.layer_norm_rms_epsilon", V::F32(1e-5)),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    )
}

/// Writes the smallest model with `rows` tokens and more tensors of f32.
pub(crate) fn write(path: &Path, metadata: &HashMap<String, V>, rows: usize, more: &[(&str, &[f32])]) {
    let (embedding, norm) = (f32s(&vec![0.5; rows * 2]), f32s(&[1.0, 1.0]));
    let data: Vec<Vec<u8>> = more.iter().map(|(_, values)| f32s(values)).collect();
    let shapes: Vec<[usize; 1]> = more.iter().map(|(_, values)| [values.len()]).collect();
    let tensor = |name, shape, data| GgufWriteTensor { name, shape, dtype: GgufType::F32, data };
    let (shape, width) = ([2, rows], [2]);
    let mut tensors = vec![
        tensor("token_embd.weight", &shape[..], &embedding[..]),
        tensor("output_norm.weight", &width[..], &norm[..]),
    ];
    tensors.extend(more.iter().zip(&shapes).zip(&data).map(|(((n, _), s), d)| tensor(n, &s[..], &d[..])));
    write_gguf(path, &tensors, metadata).unwrap();
}

fn smallest(change: impl FnOnce(&mut HashMap<String, V>)) -> (TempDir, std::path::PathBuf) {
    let mut table = metadata();
    change(&mut table);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    write(&path, &table, 4, &[]);
    (dir, path)
}

#[test]
fn an_f32_file_equals_the_directory_it_was_made_from() {
    let (gguf, directory) = (
        Checkpoint::open(&fixture("tiny-llama.gguf")).unwrap(),
        Checkpoint::open(&fixture("tiny-llama")).unwrap(),
    );
    assert_eq!((gguf.format(), gguf.auto_dtype()), (Format::Gguf, DType::F32));
    assert_eq!(gguf.names(), directory.names());
    for name in directory.names() {
        let (a, b) = (gguf.tensor(name).unwrap(), directory.tensor(name).unwrap());
        assert_eq!((&a.shape, a.values.bytes()), (&b.shape, b.values.bytes()), "{name}");
    }
    let same = [
        "hidden_size",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "intermediate_size",
        "rms_norm_eps",
        "max_position_embeddings",
        "vocab_size",
        "tie_word_embeddings",
        "rope_parameters",
        "attention_bias",
        "mlp_bias",
        "num_hidden_layers",
        "hidden_act",
        "bos_token_id",
        "eos_token_id",
    ];
    for key in same {
        assert_eq!(gguf.config_json()[key], directory.config_json()[key], "{key}");
    }
    assert_eq!(gguf.architecture(), directory.architecture());
}

#[test]
fn block_types_stand_for_the_reference_implementations_values() {
    let checkpoint = Checkpoint::open(&fixture("tiny-llama-mixed.gguf")).unwrap();
    let listing: Value =
        serde_json::from_slice(&std::fs::read(fixture("tiny-llama-mixed.json")).unwrap()).unwrap();
    let mut kinds = std::collections::BTreeSet::new();
    for (name, expected) in listing.as_object().unwrap() {
        let tensor = checkpoint.tensor(name).unwrap();
        let kind = expected["type"].as_str().unwrap();
        kinds.insert(kind.to_owned());
        let stored = if kind.starts_with('Q') { kind.to_owned() } else { kind.to_lowercase() };
        assert_eq!(tensor.stored, stored, "{name}");
        assert_eq!(json!(tensor.shape), expected["shape"], "{name}");
        let bytes = Floats::from(tensor.values.to_f32()).bytes().to_vec();
        let hash: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hash, expected["sha256"], "{name}, {kind}");
    }
    assert!(kinds.len() >= 8, "{kinds:?}");
}

#[test]
fn rope_freqs_are_handed_over_and_sixteen_bits_stay_sixteen_bits() {
    let (gguf, directory) = (
        Checkpoint::open(&fixture("rope-llama3.gguf")).unwrap(),
        Checkpoint::open(&fixture("configs/rope-llama3")).unwrap(),
    );
    let factors = gguf.rope_factors().unwrap();
    assert_eq!(factors.len(), gguf.architecture().ropes[0].width / 2);
    assert_eq!(factors[0], 1.0);
    assert!(factors.last().unwrap() > &1.0, "{factors:?}");
    let q = "model.layers.0.self_attn.q_proj.weight";
    assert_eq!(
        (gguf.tensor(q).unwrap().values.dtype(), gguf.tensor(q).unwrap().stored.as_str()),
        (DType::Bf16, "bf16")
    );
    for name in directory.names() {
        let (a, b) = (gguf.tensor(name).unwrap(), directory.tensor(name).unwrap());
        assert_eq!(a.values.cast(DType::Bf16), b.values.cast(DType::Bf16), "{name}");
    }
    assert!(gguf.tokenizer().err().unwrap().to_string().contains("tokenizer.ggml.model"));
}

#[test]
fn metadata_become_a_config() {
    let (_dir, path) = smallest(|_| {});
    let checkpoint = Checkpoint::open(&path).unwrap();
    let config = checkpoint.config_json();
    // f32's 1e-5, not the double nearest to it.
    assert_eq!(config["rms_norm_eps"], json!(1e-5));
    assert_eq!(config["rope_parameters"], json!({"rope_theta": 10000.0, "rope_type": "default"}));
    assert_eq!((&config["vocab_size"], &config["tie_word_embeddings"]), (&json!(4), &json!(true)));

    let (_dir, path) = smallest(|m| {
        m.insert("llama.rope.scaling.type".into(), V::String("yarn".into()));
        m.insert("llama.rope.scaling.factor".into(), V::F32(4.0));
        m.insert("llama.rope.scaling.original_context_length".into(), V::U32(2));
        m.insert("llama.rope.freq_base".into(), V::F32(5e5));
    });
    let expected = json!({
        "rope_theta": 500000.0, "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2
    });
    assert_eq!(Checkpoint::open(&path).unwrap().config_json()["rope_parameters"], expected);

    let (_dir, path) = smallest(|m| {
        m.insert("llama.rope.scale_linear".into(), V::F32(2.5));
        m.insert("llama.expert_count".into(), V::U32(0));
    });
    let expected = json!({"rope_theta": 10000.0, "rope_type": "linear", "factor": 2.5});
    assert_eq!(Checkpoint::open(&path).unwrap().config_json()["rope_parameters"], expected);
}

#[test]
fn what_would_change_the_result_is_refused_by_name() {
    let string = |s: &str| V::String(s.to_owned());
    for (key, value) in [
        ("general.architecture", string("gemma2")),
        ("llama.expert_count", V::U32(8)),
        ("llama.attention.sliding_window", V::U32(4096)),
        ("llama.final_logit_softcapping", V::F32(30.0)),
        ("llama.attention.causal", V::Bool(false)),
        ("llama.rope.scaling.type", string("longrope")),
        ("llama.rope.dimension_count", V::U32(4)),
        ("llama.attention.value_length", V::U32(4)),
        ("llama.something_new", V::Bool(true)),
        ("llama.attention.head_count", string("many")),
        ("llama.attention.head_count", V::I32(-1)),
        ("llama.attention.layer_norm_rms_epsilon", V::F32(f32::NAN)),
    ] {
        let (_dir, path) = smallest(|m| {
            m.insert("llama.rope.scaling.factor".into(), V::F32(2.0));
            m.insert("llama.attention.key_length".into(), V::U32(2));
            m.insert(key.into(), value);
        });
        let message = refusal(&path);
        assert!(message.contains(key), "{key}: {message}");
    }
    for key in ["llama.block_count", "llama.embedding_length", "llama.attention.layer_norm_rms_epsilon"] {
        let (_dir, path) = smallest(|m| {
            m.remove(key);
        });
        assert!(refusal(&path).contains(key), "{key}");
    }
    let (_dir, path) = smallest(|m| {
        m.insert("llama.attention.head_count".into(), V::U32(0));
    });
    assert!(refusal(&path).contains("head_count"));
}

#[test]
fn metadata_that_contradict_each_other_or_the_tensors_are_refused() {
    let (factor, old) = ("llama.rope.scaling.factor", "llama.rope.scale_linear");
    let kind = |kind: &str| ("llama.rope.scaling.type", V::String(kind.into()));
    let tokens = anamnesis::GgufMetadataArray::String(vec!["a".into(); 3]);
    let layers = anamnesis::GgufMetadataArray::U32(vec![1, 1, 1]);
    for (changes, part) in [
        (vec![("llama.vocab_size", V::U32(5))], "`llama.vocab_size` makes a vocabulary of 5"),
        (
            vec![("tokenizer.ggml.tokens", V::Array(Box::new(tokens)))],
            "`tokenizer.ggml.tokens` makes a vocabulary of 3",
        ),
        (vec![("general.quantization_version", V::U32(1))], "general.quantization_version = 1"),
        (
            vec![("llama.attention.head_count_kv", V::Array(Box::new(layers)))],
            "has 3 entries, but `llama.block_count` is 0",
        ),
        (vec![kind("none"), (factor, V::F32(2.0))], factor),
        (vec![kind("none"), (old, V::F32(2.0))], old),
        (vec![kind("yarn"), (old, V::F32(2.0)), (factor, V::F32(2.0))], factor),
        (vec![(old, V::F32(4.0)), (factor, V::F32(2.0))], factor),
        (vec![("llama.block_count", V::U32(1))], "9 missing"),
        (vec![("llama.embedding_length", V::U32(4))], "shape"),
    ] {
        let (_dir, path) = smallest(|m| m.extend(changes.into_iter().map(|(k, v)| (k.to_owned(), v))));
        let message = refusal(&path);
        assert!(message.contains(part), "{part}: {message}");
    }
    let (_dir, path) = smallest(|_| {});
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend([0; 32]);
    std::fs::write(&path, bytes).unwrap();
    assert!(
        refusal(&path).contains("follow its last tensor; was it written with another `general.alignment`")
    );
    // As in llama.cpp, a factor alone scales linearly.
    let (_dir, path) = smallest(|m| _ = m.insert(factor.into(), V::F32(2.0)));
    let expected = json!({"rope_theta": 10000.0, "rope_type": "linear", "factor": 2.0});
    assert_eq!(Checkpoint::open(&path).unwrap().config_json()["rope_parameters"], expected);
}

#[test]
fn surplus_tensors_and_wrong_divisors_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let refused = |name: &str, values: &[f32]| {
        write(&path, &metadata(), 4, &[(name, values)]);
        refusal(&path)
    };
    assert!(refused("blk.0.attn_q.scale", &[1.0]).contains("surplus: `blk.0.attn_q.scale`"));
    assert!(refused("rope_freqs.weight", &[1.0, 2.0]).contains("expected 1"));
    assert!(refused("rope_freqs.weight", &[0.0]).contains("positive"));
    assert!(refused("rope_freqs.weight", &[f32::NAN]).contains("positive"));
}
