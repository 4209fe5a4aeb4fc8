//! Files whose values contradict each other: a sentence or a result, and never anything else.

use std::fs;
use std::path::Path;
use std::process::Output;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Bench, Tally};

pub(super) fn run(bench: &mut Bench) -> Result<()> {
    for attack in [configs, tokenizers, ggufs] {
        let tally = attack(bench)?;
        bench.done("contradictions", &tally);
    }
    Ok(())
}

/// What is wrong with an ending that is neither a result nor one sentence.
fn disorderly(output: &Output) -> Option<String> {
    let said = String::from_utf8_lossy(&output.stderr);
    let errors = said.lines().filter(|line| line.starts_with("ulpscope:")).count();
    let right = match output.status.code() {
        Some(0) => errors == 0,
        Some(1 | 4) => errors == 1,
        _ => false,
    };
    (!right || said.contains("panicked")).then(|| format!("{}: {said}", output.status))
}

/// Counts a run that reads what was changed, and what it was.
fn count(bench: &Bench, tally: &mut Tally, model: &Path, prompt: [&str; 2], what: &str) -> Result<()> {
    let mut command = bench.ulpscope();
    let output = command.arg("compare").arg(model).args(prompt).arg("--quiet").output();
    let output = output.context("ulpscope can't be started")?;
    tally.count(disorderly(&output).map(|wrong| format!("{what}: {wrong}")));
    Ok(())
}

const IDS: [&str; 2] = ["--ids", "1,2,3"];

/// Another value for one that there is: near to it, far from it, or of another kind.
fn other(value: &Value, choice: u64) -> Value {
    let number = value.as_f64().unwrap_or(1.0);
    match choice {
        0 => json!(0),
        1 => json!(number + 1.0),
        2 => json!(number as i64 + 1),
        3 => json!((number / 2.0) as i64),
        4 => json!(-1),
        5 => json!(u64::MAX),
        6 => json!(1e308),
        7 => Value::Null,
        8 => json!("x"),
        9 => json!([value]),
        10 => json!(!value.as_bool().unwrap_or(false)),
        _ => json!({ "rope_type": "llama3", "factor": number }),
    }
}

/// Every value of a document that holds no further ones.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            let key = key.replace('~', "~0").replace('/', "~1");
            leaves(value, &format!("{path}/{key}"), found);
        }),
        Value::Array(all) => {
            all.iter().enumerate().for_each(|(i, value)| leaves(value, &format!("{path}/{i}"), found));
        }
        _ => found.push(path.to_owned()),
    }
}

/// Changes one to three values of the document in `file`, over and over.
fn documents(
    bench: &mut Bench,
    tally: &mut Tally,
    file: &str,
    prompt: [&str; 2],
    cases: usize,
) -> Result<()> {
    let model = bench.copy_of_model("contradicting")?;
    let text = fs::read(model.join(file)).with_context(|| format!("reading {file}"))?;
    let whole: Value = serde_json::from_slice(&text)?;
    let mut places = Vec::new();
    leaves(&whole, "", &mut places);
    for _ in 0..cases {
        let (mut changed, mut what) = (whole.clone(), String::new());
        for _ in 0..1 + bench.random.below(3) {
            let place = &places[bench.random.below(places.len() as u64) as usize];
            let value = changed.pointer_mut(place);
            if let Some(value) = value {
                *value = other(value, bench.random.below(12));
                what += &format!("{file} {place} = {value} ");
            }
        }
        fs::write(model.join(file), changed.to_string())?;
        count(bench, tally, &model, prompt, &what)?;
    }
    Ok(())
}

fn configs(bench: &mut Bench) -> Result<Tally> {
    let mut tally = Tally::new("config.json against the weights");
    let cases = bench.count(40, 2000);
    documents(bench, &mut tally, "config.json", IDS, cases)?;
    Ok(tally)
}

fn tokenizers(bench: &mut Bench) -> Result<Tally> {
    let mut tally = Tally::new("tokenizer.json against the model and itself");
    let cases = bench.count(15, 1000);
    documents(bench, &mut tally, "tokenizer.json", ["--prompt", "Gravity is"], cases)?;
    documents(bench, &mut tally, "tokenizer_config.json", ["--prompt", "Gravity is"], cases)?;
    Ok(tally)
}

/// Metadata of a GGUF against its tensors: a key's number, or the number of a tensor's dimension.
fn ggufs(bench: &mut Bench) -> Result<Tally> {
    const KEYS: [&str; 10] = [
        "general.alignment",
        "llama.block_count",
        "llama.embedding_length",
        "llama.feed_forward_length",
        "llama.attention.head_count",
        "llama.attention.head_count_kv",
        "llama.rope.dimension_count",
        "llama.rope.freq_base",
        "llama.vocab_size",
        "tokenizer.ggml.bos_token_id",
    ];
    let mut tally = Tally::new("metadata of a GGUF against its tensors");
    let whole = fs::read(bench.model.with_file_name("tiny-llama.gguf")).context("the GGUF fixture")?;
    let file = bench.folder("contradicting")?.join("m.gguf");
    for case in 0..bench.count(30, 1500) {
        let key = KEYS[case % KEYS.len()];
        let Some(at) = whole.windows(key.len()).position(|bytes| bytes == key.as_bytes()) else { continue };
        // Behind the key, four bytes say of what kind the value is.
        let (kind, value) = (at + key.len(), at + key.len() + 4);
        let old = u32::from_le_bytes(whole[value..value + 4].try_into()?);
        let numbers = [0, 1, old.wrapping_add(1), old / 2, old.wrapping_mul(2), u32::MAX, 1 << 31];
        let new = numbers[bench.random.below(numbers.len() as u64) as usize];
        let mut bytes = whole.clone();
        bytes[value..value + 4].copy_from_slice(&new.to_le_bytes());
        if bench.random.below(8) == 0 {
            bytes[kind] = bench.random.below(14) as u8;
        }
        fs::write(&file, bytes)?;
        count(bench, &mut tally, &file, IDS, &format!("{key} = {new}"))?;
    }
    Ok(tally)
}
