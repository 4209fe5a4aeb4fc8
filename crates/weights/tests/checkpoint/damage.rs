//! Damaged files: an error for each, and never a panic.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use ulpscope_weights::Checkpoint;

use crate::directory::{Part, f32s, safetensors, with_header, write};
use crate::{fixture, refusal, smallest_config};

fn directory(weights: &[u8]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "config.json", smallest_config().to_string().as_bytes());
    write(dir.path(), "model.safetensors", weights);
    dir
}

fn sound() -> Vec<u8> {
    let parts: [Part<'_>; 2] = [
        ("model.embed_tokens.weight", "F32", vec![4, 2], f32s(&[0.5; 8])),
        ("model.norm.weight", "F32", vec![2], f32s(&[1.0; 2])),
    ];
    safetensors(&parts)
}

/// Reads everything, so that damage behind the header is met too.
fn read_all(path: &Path) -> Result<(), String> {
    let checkpoint = Checkpoint::open(path).map_err(|e| e.to_string())?;
    for name in checkpoint.names() {
        checkpoint.tensor(name).map_err(|e| e.to_string())?;
    }
    let _ = checkpoint.tokenizer();
    Ok(())
}

#[test]
fn safetensors_cut_anywhere_is_refused() {
    let bytes = sound();
    let dir = directory(&bytes);
    read_all(dir.path()).unwrap();
    for length in 0..bytes.len() {
        write(dir.path(), "model.safetensors", &bytes[..length]);
        assert!(refusal(dir.path()).contains("model.safetensors"), "{length}");
    }
}

#[test]
fn safetensors_with_any_byte_of_its_header_changed_never_panics() {
    let bytes = sound();
    let dir = directory(&bytes);
    let header = bytes.len() - 40;
    for at in 0..header {
        for change in [0x01, 0x20, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] ^= change;
            write(dir.path(), "model.safetensors", &bytes);
            let _ = read_all(dir.path());
        }
    }
}

#[test]
fn lying_headers_are_explained() {
    let tensor = |range: &str, shape: &str| {
        format!(
            r#"{{"model.embed_tokens.weight":{{"dtype":"F32","shape":[4,2],"data_offsets":[0,32]}},"model.norm.weight":{{"dtype":"F32","shape":{shape},"data_offsets":{range}}}}}"#
        )
    };
    let data = f32s(&[1.0; 10]);
    let huge = |n: u64| [&n.to_le_bytes()[..], b"{}"].concat();
    for (bytes, part) in [
        (Vec::new(), "it is empty"),
        (vec![1, 2, 3], "it has 3 bytes"),
        (huge(1 << 60), "100 MB is the limit"),
        (huge(u64::MAX), "100 MB is the limit"),
        (huge(1000), "announces a header of 1000 bytes, but has 10"),
        (with_header("[]", &data), "not the JSON"),
        (with_header("{", &data), "not the JSON"),
        (with_header(&tensor("[32,40]", "[2]"), &data[..39]), "do not end where the file does"),
        (
            with_header(&tensor("[32,40]", "[2]"), &[&data[..], &[0]].concat()),
            "do not end where the file does",
        ),
        (with_header(&tensor("[24,32]", "[2]"), &data), "does not begin where the one before it ends"),
        (with_header(&tensor("[36,44]", "[2]"), &data), "does not begin where the one before it ends"),
        (with_header(&tensor("[40,32]", "[2]"), &data), "model.safetensors"),
        (with_header(&tensor("[32,40]", "[3]"), &data), "do not fill the bytes"),
        (with_header(&tensor("[32,40]", "[4611686018427387904,4]"), &data), "overflow"),
        (with_header(&tensor("[32,18446744073709551615]", "[2]"), &data), "model.safetensors"),
    ] {
        let message = refusal(directory(&bytes).path());
        assert!(message.contains(part), "{message}");
    }
}

/// A GGUF file to damage: long enough to have everything, short enough to be written a thousand
/// times.
fn gguf(name: &str) -> (TempDir, std::path::PathBuf, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("damaged.gguf");
    (dir, path, fs::read(fixture(name)).unwrap())
}

#[test]
fn gguf_cut_anywhere_is_refused() {
    let (_dir, path, bytes) = gguf("rope-llama3.gguf");
    let places =
        (0..bytes.len()).step_by(bytes.len() / 400 + 1).chain([0, 1, 3, 4, 8, 23, 24, bytes.len() - 1]);
    for length in places {
        fs::write(&path, &bytes[..length]).unwrap();
        assert!(refusal(&path).contains("damaged.gguf"), "{length}");
    }
}

#[test]
fn gguf_with_bytes_changed_never_panics() {
    // A generator of our own, so that a failure is the same on every run.
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    let (_dir, path, bytes) = gguf("rope-llama3.gguf");
    // Metadata and tensor table; what follows are numbers, and any number is allowed.
    let front = bytes.len().min(1800);
    let rounds = if cfg!(debug_assertions) { 1500 } else { 4000 };
    let mut refused = 0;
    for _ in 0..rounds {
        let mut bytes = bytes.clone();
        for _ in 0..1 + random() % 3 {
            let at = random() % front;
            bytes[at] = match random() % 4 {
                0 => 0,
                1 => 0xff,
                2 => bytes[at].wrapping_add(1),
                _ => random() as u8,
            };
        }
        fs::write(&path, &bytes).unwrap();
        refused += usize::from(read_all(&path).is_err());
    }
    assert!(refused > rounds / 10, "{refused} of {rounds}");
}
