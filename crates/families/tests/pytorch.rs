//! Every family against what PyTorch computes (tests/fixtures/goldens/families, written by
//! tests/fixtures/families.py).

use std::collections::BTreeMap;
use std::fs;

use burn::tensor::Tensor;
use serde_json::Value;
use ulpscope_decoder::{
    Accumulation, Architecture, Arithmetic, AttentionKind, Model, Op, Probe, RotaryEmbedding, Site, bridge,
};
use ulpscope_floats::{DType, Floats};

use fixture::{Stored, fixtures, flips, stored};

#[path = "../../llama/tests/fixture/mod.rs"]
mod fixture;

/// A tiny checkpoint and its golden.
struct Case {
    name: String,
    golden: Value,
    architecture: Architecture,
}

/// One way in which PyTorch ran a checkpoint.
struct Run {
    recipe: String,
    attention: AttentionKind,
    ids: Vec<u32>,
    hashes: BTreeMap<String, String>,
}

fn cases() -> Vec<Case> {
    let mut paths: Vec<_> = fs::read_dir(fixtures().join("goldens/families"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect();
    paths.sort();
    let json = |bytes: Vec<u8>| serde_json::from_slice::<Value>(&bytes).unwrap();
    let case = |path: &std::path::PathBuf| {
        let golden = json(fs::read(path).unwrap());
        let folder = fixtures().join(golden["model"].as_str().unwrap());
        let architecture = ulpscope_families::read(&json(fs::read(folder.join("config.json")).unwrap()));
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        Case { architecture: architecture.unwrap_or_else(|e| panic!("{name}: {e}")), name, golden }
    };
    paths.iter().map(case).collect()
}

impl Case {
    fn ids(&self, prompt: &str) -> Vec<u32> {
        serde_json::from_value(self.golden["prompts"][prompt]["ids"].clone()).unwrap()
    }

    /// The model that a recipe makes of the checkpoint.
    fn model(&self, recipe: &str) -> Model {
        let folder = fixtures().join(self.golden["model"].as_str().unwrap());
        let mut rotary = RotaryEmbedding::all(&self.architecture);
        let dtype = match recipe {
            "load(f32)" => DType::F32,
            "load(bf16)" => DType::Bf16,
            "load(f32).to(bf16)" => {
                for table in &mut rotary {
                    table.inv_freq = table.inv_freq.cast(DType::Bf16);
                    table.original_inv_freq = table.original_inv_freq.cast(DType::Bf16);
                }
                DType::Bf16
            }
            other => panic!("{other}"),
        };
        Model::new(&self.architecture, rotary, &mut Stored(stored(&folder), dtype)).unwrap()
    }

    fn sites(&self) -> Vec<String> {
        serde_json::from_value(self.golden["sites"].clone()).unwrap()
    }

    fn runs(&self) -> Vec<Run> {
        let sites = self.sites();
        let run = |(run, hashes): (&String, &Value)| {
            let [recipe, attention, prompt] = run.split('@').collect::<Vec<_>>()[..] else { panic!("{run}") };
            let hashes: Vec<String> = serde_json::from_value(hashes.clone()).unwrap();
            Run {
                recipe: recipe.to_owned(),
                attention: attention.parse().unwrap(),
                ids: self.ids(prompt),
                hashes: sites.iter().cloned().zip(hashes).collect(),
            }
        };
        self.golden["hashes"].as_object().unwrap().iter().map(run).collect()
    }
}

/// FNV-1a, 64 bits.
fn hash(values: &Floats) -> String {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", values.bytes().iter().fold(0xcbf2_9ce4_8422_2325, step))
}

/// Compares every site with PyTorch's hash.
struct Hashes<'a> {
    theirs: &'a BTreeMap<String, String>,
    compared: usize,
    first: Option<Site>,
}

impl Probe for Hashes<'_> {
    fn at<const D: usize>(&mut self, site: Site, x: Tensor<D>) -> Tensor<D> {
        if let Some(theirs) = self.theirs.get(&site.to_string()) {
            self.compared += 1;
            if self.first.is_none() && hash(&bridge::floats(&x)) != *theirs {
                self.first = Some(site);
            }
        }
        x
    }
}

/// In the order of the CPU that the goldens were made on.
fn arithmetic(attention: AttentionKind) -> Arithmetic {
    Arithmetic { accumulation: Accumulation::Dot2, ..attention.into() }
}

#[test]
fn every_family_has_three_checkpoints() {
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for case in cases() {
        *found.entry(case.architecture.family.model_type).or_default() += 1;
    }
    // Ministral is Mistral but for the layers that have a window.
    *found.get_mut("mistral").unwrap() += found.remove("ministral").unwrap();
    assert!(found.values().all(|n| *n >= 3), "{found:?}");
    let beyond_llama = ulpscope_families::ALL.len() - 2;
    assert_eq!(found.len(), beyond_llama, "{found:?}");
}

#[test]
fn bf16_is_pytorchs_bit_for_bit_at_every_hookable_site() {
    let (mut compared, mut different) = (0, Vec::new());
    for case in cases() {
        for run in case.runs() {
            let model = case.model(&run.recipe);
            let mut probe = Hashes { theirs: &run.hashes, compared: 0, first: None };
            model.forward(&run.ids, arithmetic(run.attention), &mut probe);
            assert_eq!(probe.compared, run.hashes.len(), "{}: not every site was passed", case.name);
            compared += probe.compared;
            if let Some(site) = probe.first {
                let (recipe, attention, tokens) = (&run.recipe, run.attention, run.ids.len());
                different.push(format!("{} {recipe} {attention}, {tokens} tokens: {site}", case.name));
            }
        }
    }
    assert!(different.is_empty(), "first sites that differ:\n{}", different.join("\n"));
    assert!(compared > 3000, "{compared} sites");
}

/// What hooks see is what the description says that they see.
#[test]
fn modules_blocks_and_tables_are_the_hookable_sites() {
    for case in cases() {
        let mut theirs = case.sites();
        let seen =
            |site: &Site| site.op().is_module() || site.is_output() || matches!(site.op(), Op::Table(_));
        let all = case.architecture.sites(AttentionKind::Eager);
        let mut ours: Vec<String> = all.into_iter().filter(seen).map(|site| site.to_string()).collect();
        theirs.sort();
        ours.sort();
        assert_eq!(ours, theirs, "{}", case.name);
    }
}

#[test]
fn f32_logits_are_pytorchs_to_1e_5() {
    for case in cases() {
        let theirs: Vec<f64> = serde_json::from_value(case.golden["logits"].clone()).unwrap();
        let model = case.model("load(f32)");
        for attention in [AttentionKind::Eager, AttentionKind::Sdpa] {
            let ours =
                bridge::floats(&model.forward(&case.ids("short"), Arithmetic::from(attention), &mut ()));
            assert_eq!(ours.len(), theirs.len());
            let norm =
                |of: &dyn Fn(usize) -> f64| (0..theirs.len()).map(|i| of(i).powi(2)).sum::<f64>().sqrt();
            let error = norm(&|i| ours.get(i) - theirs[i]) / norm(&|i| theirs[i]);
            assert!(error < 1e-5, "{} {attention}: {error:e}", case.name);
        }
    }
}

/// Without a probe, blocks run as one kernel.
#[test]
fn logits_are_bit_equal_with_and_without_a_probe() {
    struct Look;
    impl Probe for Look {
        fn at<const D: usize>(&mut self, _: Site, x: Tensor<D>) -> Tensor<D> {
            x
        }
    }
    for case in cases() {
        for run in case.runs() {
            let model = case.model(&run.recipe);
            for accumulation in [Accumulation::Dot2, Accumulation::Tile32] {
                let arithmetic = Arithmetic { accumulation, ..run.attention.into() };
                let looked = bridge::floats(&model.forward(&run.ids, arithmetic, &mut Look));
                let free = bridge::floats(&model.forward(&run.ids, arithmetic, &mut ()));
                let (recipe, attention) = (&run.recipe, run.attention);
                assert_eq!(flips(&looked, &free), 0, "{} {recipe} {attention}", case.name);
            }
        }
    }
}

/// The experiment that this tool is named after: on the way through f32, nothing but rotary buffers
/// is rounded.
#[test]
fn the_two_ways_to_bf16_differ_by_rotary_buffers_alone() {
    for case in cases() {
        let apart = &case.golden["apart"];
        let ropes = case.architecture.ropes.iter().flat_map(|rope| rope.buffers);
        assert_eq!(apart["buffers"], serde_json::json!(ropes.collect::<Vec<_>>()), "{}", case.name);
        assert_eq!(apart["parameters"], serde_json::json!([]), "{}", case.name);
        for attention in [AttentionKind::Eager, AttentionKind::Sdpa] {
            for prompt in ["short", "long"] {
                let run = |recipe: &str| {
                    let logits =
                        case.model(recipe).forward(&case.ids(prompt), arithmetic(attention), &mut ());
                    bridge::floats(&logits)
                };
                let (first, second) = (run("load(bf16)"), run("load(f32).to(bf16)"));
                let share = flips(&first, &second) as f64 / first.len() as f64;
                let theirs = apart["logits"][format!("{attention}@{prompt}")].as_f64().unwrap();
                assert!(
                    (share - theirs).abs() < 1e-4,
                    "{} {attention} {prompt}: {share} {theirs}",
                    case.name
                );
            }
        }
    }
}
