//! `cargo xtask memory`: peak memory of a two-arm comparison as the model grows.
//!
//! The checkpoints are random bf16 weights in the shapes of well-known Llamas, made on disk and
//! removed again.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Map, json};

use crate::shell;

/// Arguments of `memory`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The largest model, in billions of parameters; each takes twice as many gigabytes of disk
    /// while it is measured
    #[arg(long, default_value_t = 7.0)]
    largest: f64,
}

/// The shape of a Llama.
struct Shape {
    name: &'static str,
    hidden: usize,
    intermediate: usize,
    layers: usize,
    heads: usize,
    groups: usize,
    vocabulary: usize,
}

const SHAPES: [Shape; 4] = [
    Shape {
        name: "SmolLM2-135M",
        hidden: 576,
        intermediate: 1536,
        layers: 30,
        heads: 9,
        groups: 3,
        vocabulary: 49152,
    },
    Shape {
        name: "TinyLlama-1.1B",
        hidden: 2048,
        intermediate: 5632,
        layers: 22,
        heads: 32,
        groups: 4,
        vocabulary: 32000,
    },
    Shape {
        name: "Llama-3.2-3B",
        hidden: 3072,
        intermediate: 8192,
        layers: 28,
        heads: 24,
        groups: 8,
        vocabulary: 128_256,
    },
    Shape {
        name: "Llama-2-7B",
        hidden: 4096,
        intermediate: 11008,
        layers: 32,
        heads: 32,
        groups: 32,
        vocabulary: 32000,
    },
];

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let ulpscope = shell::ulpscope(&[])?;
    let folder = shell::root().join("target/memory");
    println!("| shape | parameters | file | peak beyond the page cache | time |\n|---|---|---|---|---|");
    for shape in SHAPES {
        let billions =
            shape.parameters().iter().map(|(_, s)| s.iter().product::<usize>()).sum::<usize>() as f64 / 1e9;
        if billions > args.largest {
            continue;
        }
        fs::create_dir_all(&folder)?;
        let result = shape.write(&folder).and_then(|bytes| Ok((bytes, measure(&ulpscope, &folder)?)));
        fs::remove_dir_all(&folder).context("removing the random checkpoint")?;
        let (bytes, (peak, time)) = result?;
        println!(
            "| {} | {billions:.2} B | {:.1} GB | {peak} MiB | {:.1} s |",
            shape.name,
            bytes as f64 / 1e9,
            time.as_secs_f64()
        );
    }
    Ok(ExitCode::SUCCESS)
}

impl Shape {
    fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let (c, f, kv) = (self.hidden, self.intermediate, self.hidden / self.heads * self.groups);
        let mut all = vec![("model.embed_tokens.weight".to_owned(), vec![self.vocabulary, c])];
        for n in 0..self.layers {
            let block = [
                ("self_attn.q_proj", vec![c, c]),
                ("self_attn.k_proj", vec![kv, c]),
                ("self_attn.v_proj", vec![kv, c]),
                ("self_attn.o_proj", vec![c, c]),
                ("mlp.gate_proj", vec![f, c]),
                ("mlp.up_proj", vec![f, c]),
                ("mlp.down_proj", vec![c, f]),
                ("input_layernorm", vec![c]),
                ("post_attention_layernorm", vec![c]),
            ];
            all.extend(block.map(|(name, shape)| (format!("model.layers.{n}.{name}.weight"), shape)));
        }
        all.push(("model.norm.weight".to_owned(), vec![c]));
        all.push(("lm_head.weight".to_owned(), vec![self.vocabulary, c]));
        all
    }

    /// Writes config.json and model.safetensors, and gives the size of the latter.
    fn write(&self, folder: &Path) -> Result<u64> {
        let config = json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16",
            "vocab_size": self.vocabulary, "hidden_size": self.hidden, "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers, "num_attention_heads": self.heads, "num_key_value_heads": self.groups,
            "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "tie_word_embeddings": false,
        });
        fs::write(folder.join("config.json"), config.to_string())?;
        let parameters = self.parameters();
        let (mut header, mut end) = (Map::new(), 0);
        for (name, shape) in &parameters {
            let start = end;
            end += 2 * shape.iter().product::<usize>();
            header.insert(
                name.clone(),
                json!({ "dtype": "BF16", "shape": shape, "data_offsets": [start, end] }),
            );
        }
        let mut header = serde_json::to_string(&header)?;
        header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
        let path = folder.join("model.safetensors");
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&path)?);
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        for _ in 0..end / 8 {
            // xorshift64: four weights of random sign and mantissa, of size 2^-6 to 2^-5.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let weights = (state & 0x807f_807f_807f_807f) | 0x3c80_3c80_3c80_3c80;
            file.write_all(&weights.to_le_bytes())?;
        }
        file.write_all(&vec![0; end % 8])?;
        file.flush()?;
        Ok(path.metadata()?.len())
    }
}

/// Peak of anonymous and shared memory in MiB, sampled every 5 ms, and the time.
fn measure(ulpscope: &Path, checkpoint: &Path) -> Result<(u64, Duration)> {
    let begun = Instant::now();
    let mut command = Command::new(ulpscope);
    command
        .arg("compare")
        .arg(checkpoint)
        .args(["--ids", "1,2,3,4,5,6,7,8", "--quiet"])
        .stdout(Stdio::null());
    let mut child = command.spawn().context("starting ulpscope")?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let exit = loop {
        if let Some(exit) = child.try_wait()? {
            break exit;
        }
        let text = fs::read_to_string(&status).unwrap_or_default();
        let field = |name: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        peak = peak.max(field("RssAnon:") + field("RssShmem:"));
        std::thread::sleep(Duration::from_millis(5));
    };
    if !exit.success() {
        bail!("ulpscope failed: {exit}");
    }
    if peak == 0 {
        bail!("this system has no /proc/PID/status to read memory from");
    }
    Ok((peak / 1024, begun.elapsed()))
}
