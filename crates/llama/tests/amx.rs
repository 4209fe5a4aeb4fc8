//! A whole forward pass by AMX tiles, executed in software where the CPU has none, against the
//! portable path.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a child process talks to its parent, and a test to its reader
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

#[path = "../../kernels/tests/emulator/mod.rs"]
mod emulator;

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use burn::tensor::{Device, Tensor};
use safetensors::SafeTensors;
use ulpscope_floats::{DType, Floats};
use ulpscope_llama::{
    Accumulation, Arithmetic, AttentionKind, Llama, LlamaConfig, Parameters, Probe, Site, bridge,
};

/// Tells a child process to run the model, and by which path.
const CHILD: &str = "ULPSCOPE_TEST_FORWARD";

struct Stored(HashMap<String, Floats<'static>>);

impl Parameters for Stored {
    type Error = String;
    fn tensor<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Result<Tensor<D>, String> {
        let values = self.0.get(name).ok_or_else(|| format!("no {name}"))?;
        Ok(bridge::tensor(values.view(), shape, &Device::flex()))
    }
}

/// Prints a line for each site: its name, and a hash of its bytes.
struct Print;

impl Probe for Print {
    fn at<const D: usize>(&mut self, site: Site, x: Tensor<D>) -> Tensor<D> {
        let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        let hash = bridge::floats(&x).bytes().iter().fold(0xcbf2_9ce4_8422_2325, fnv);
        println!("site {site} {hash:016x}");
        x
    }
}

/// Runs the tiny model, its weights rounded to bf16, in both attentions and both orders of tiles.
fn forward() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tiny-llama");
    let json = serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
    let config = LlamaConfig::from_json(&json).unwrap();
    let mut stored = HashMap::new();
    for path in std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()) {
        if path.extension().is_some_and(|e| e == "safetensors") {
            let bytes = std::fs::read(path).unwrap();
            for (name, view) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
                let dtype = match view.dtype() {
                    safetensors::Dtype::F32 => DType::F32,
                    safetensors::Dtype::BF16 => DType::Bf16,
                    other => panic!("{name} is {other:?}"),
                };
                stored.insert(name, Floats::from_bytes(dtype, view.data()).cast(DType::Bf16));
            }
        }
    }
    let model = Llama::new(&config, &mut Stored(stored)).unwrap();
    for attention in [AttentionKind::Eager, AttentionKind::Sdpa] {
        for accumulation in [Accumulation::Tile32, Accumulation::Tile32Blocked] {
            let arithmetic = Arithmetic { accumulation, ..attention.into() };
            for ids in [&[5u32, 17, 3][..], &[1; 1], &[9; 37]] {
                let logits = bridge::floats(&model.forward(ids, arithmetic, &mut Print));
                assert_eq!(bridge::floats(&model.forward(ids, arithmetic, &mut ())), logits);
            }
        }
    }
}

#[test]
fn a_forward_pass_by_tiles_has_the_bits_of_any_other() {
    if let Ok(path) = std::env::var(CHILD) {
        if path == "amx-bf16" && !ulpscope_kernels::Path::AmxBf16.is_available() {
            if !emulator::install() || !ulpscope_kernels::Path::Avx512Bf16.is_available() {
                println!("site none");
                return;
            }
            // SAFETY: the handler is installed.
            #[allow(unsafe_code)]
            unsafe {
                ulpscope_kernels::Path::assume_amx();
            }
        }
        forward();
        println!("executed {}", emulator::executed());
        return;
    }
    let run = |path: &str| {
        let name = "a_forward_pass_by_tiles_has_the_bits_of_any_other";
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([name, "--exact", "--nocapture"]).env(CHILD, path).env("ULPSCOPE_CPU", path);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{path}: {text}{}", String::from_utf8_lossy(&output.stderr));
        let lines = |start: &str| -> Vec<String> {
            text.lines().filter(|line| line.starts_with(start)).map(str::to_owned).collect()
        };
        (lines("site"), lines("executed"))
    };
    let (portable, _) = run("portable");
    assert!(portable.len() > 300, "{} sites", portable.len());
    let (tiles, executed) = run("amx-bf16");
    if tiles == ["site none"] {
        eprintln!("this CPU lacks AVX512_BF16, which the path needs besides tiles");
        return;
    }
    for (a, b) in portable.iter().zip(&tiles) {
        assert_eq!(a, b);
    }
    assert_eq!(portable.len(), tiles.len());
    let native = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default().contains("amx_bf16");
    assert_eq!(native, executed == ["executed 0"], "products of tiles in software: {executed:?}");
}
