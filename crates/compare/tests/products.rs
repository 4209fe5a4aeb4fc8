//! What is computed once for several arms, and prompts that run side by side: what is found does
//! not show it.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use safetensors::SafeTensors;
use ulpscope_capture::{Activation, Force, Pattern, Recorder};
use ulpscope_compare::{Findings, NamedArm, Plan, compare};
use ulpscope_decoder::{Semantics, Site};
use ulpscope_weights::{Arm, Checkpoint};

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tiny-llama")
}

/// The tiny model with other numbers at the end of one tensor.
fn with_another(tensor: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "tokenizer.json"] {
        std::fs::copy(tiny().join(name), folder.path().join(name)).unwrap();
    }
    let mut bytes = std::fs::read(tiny().join("model.safetensors")).unwrap();
    let (header, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let end = 8 + header + metadata.info(tensor).unwrap().data_offsets.1;
    bytes[end - 64..end].reverse();
    std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    folder
}

/// The semantics of each arm are an order of summation, and departures behind it.
fn found(checkpoints: [&Checkpoint; 2], semantics: [&str; 2], prompts: Vec<Vec<u32>>) -> Findings {
    let arms = checkpoints.into_iter().zip(["a", "b"]).zip(semantics);
    let arm = |((checkpoint, name), text): ((_, &str), &str)| {
        let (mut semantics, mut words) = (Semantics::default(), text.split(' '));
        semantics.base.accumulation = words.next().unwrap().parse().unwrap();
        words.for_each(|departure| semantics.add(departure.parse().unwrap()).unwrap());
        NamedArm { name: name.to_owned(), arm: Arm::new(checkpoint, "load(f32)".parse().unwrap()), semantics }
    };
    let plan = Plan {
        arms: arms.map(arm).collect(),
        prompts,
        sites: Pattern::all(),
        device: Device::flex(),
        longest_watched: usize::MAX,
    };
    compare(&plan, |_| ()).unwrap()
}

/// Sites that introduce something on some prompt.
fn introducing(findings: &Findings) -> Vec<&str> {
    let mut sites: Vec<&str> = Vec::new();
    for site in findings.sites.iter().filter(|s| s.introduced.equal < 1.0) {
        if !sites.contains(&&*site.site) {
            sites.push(&site.site);
        }
    }
    sites
}

fn prompts(n: u32) -> Vec<Vec<u32>> {
    (0..n).map(|i| (0..i % 5 + 2).map(|t| (i * 37 + t * 11) % 300).collect()).collect()
}

#[test]
fn only_a_layer_with_a_weight_of_its_own_introduces_anything() {
    let reference = Checkpoint::open(&tiny()).unwrap();
    let layers = [
        "model.layers.1.self_attn.v_proj",
        "model.layers.0.mlp.down_proj",
        "model.layers.2.input_layernorm",
        "model.norm",
    ];
    for layer in layers {
        let folder = with_another(&format!("{layer}.weight"));
        let other = Checkpoint::open(folder.path()).unwrap();
        let findings = found([&reference, &other], ["tile32"; 2], prompts(2));
        assert_eq!(introducing(&findings), [layer]);
    }
    let folder = with_another("model.embed_tokens.weight");
    let other = Checkpoint::open(folder.path()).unwrap();
    // Its last rows: no prompt reads them, but they are outputs of the head, which is tied.
    assert_eq!(introducing(&found([&reference, &other], ["tile32"; 2], prompts(2))), ["lm_head"]);
}

#[test]
fn another_order_of_summation_is_another_product() {
    let checkpoint = Checkpoint::open(&tiny()).unwrap();
    let findings = found([&checkpoint; 2], ["tile32", "sequential"], prompts(2));
    let sites = introducing(&findings);
    assert!(sites.contains(&"model.layers.0.mlp.down_proj"), "{sites:?}");
    assert!(introducing(&found([&checkpoint; 2], ["pairwise"; 2], prompts(2))).is_empty());
}

#[test]
fn only_a_block_with_an_arithmetic_of_its_own_introduces_anything() {
    let checkpoint = Checkpoint::open(&tiny()).unwrap();
    let introduced = |departure: &str| -> Vec<String> {
        let findings = found([&checkpoint; 2], ["tile32", &format!("tile32 {departure}")], prompts(2));
        introducing(&findings).into_iter().map(str::to_owned).collect()
    };
    assert_eq!(introduced("scale=none[1]"), ["model.layers.1.self_attn.context"]);
    assert_eq!(introduced("residual=skip-mlp[2]"), ["model.layers.2"]);
}

/// A part that is the same function for both arms is not run for the second one on the first one's
/// inputs: it would give the first one's bits.
#[test]
fn what_is_not_run_again_would_show_nothing() {
    let checkpoint = Checkpoint::open(&tiny()).unwrap();
    let [a, b] = ["load(bf16)", "load(f32).to(bf16)"]
        .map(|recipe| Arm::new(&checkpoint, recipe.parse().unwrap()).load(&Device::flex()).unwrap().0);
    let (ids, arithmetic) = ([5, 200, 31, 77, 4, 12, 9], Semantics::default().at(None));
    let mut reference = Recorder::new(|_| true);
    a.forward(&ids, arithmetic, &mut reference);
    let reference = reference.activations;
    let mut differing: Vec<Site> = Vec::new();
    let mut seen = 0;
    let observe = |site, own: Activation| {
        seen += 1;
        if own.values.bytes() != reference[&site].values.bytes() {
            differing.push(site);
        }
    };
    b.forward(&ids, arithmetic, &mut Force::new(&reference, observe));
    assert_eq!((seen, differing), (reference.len(), a.architecture().tables(0).to_vec()));
}

#[test]
fn prompts_side_by_side_give_what_they_give_one_by_one() {
    let reference = Checkpoint::open(&tiny()).unwrap();
    let folder = with_another("model.layers.0.self_attn.q_proj.weight");
    let other = Checkpoint::open(folder.path()).unwrap();
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| format!("{:?}", found([&reference, &other], ["tile32"; 2], prompts(9))))
    };
    let one = on(1);
    assert!(one.contains("q_proj"));
    for threads in [2, 3, 4, 8] {
        assert!(on(threads) == one, "{threads} threads");
    }
}
