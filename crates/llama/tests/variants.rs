//! Variants: against a PyTorch that was changed in the same way
//! (tests/fixtures/goldens/variants.json, written by tests/fixtures/variants.py), and against what
//! they say of themselves.

use std::collections::{BTreeMap, HashMap};
use std::fs;

use burn::tensor::{Device, Tensor};
use serde_json::Value;
use ulpscope_decoder::departure::{Cache, Head, Norm, Positions};
use ulpscope_decoder::{Held, Tables};
use ulpscope_floats::{DType, Floats};
use ulpscope_llama::{
    Accumulation, Architecture, Arithmetic, AttentionKind, Departure, Llama, LlamaConfig, Probe,
    RotaryEmbedding, Semantics, Site, Variant, bridge,
};

use fixture::{Stored, fixtures, flips, stored};

mod fixture;

const ATTENTIONS: [AttentionKind; 2] = [AttentionKind::Eager, AttentionKind::Sdpa];

/// A checkpoint whose head width makes scaling round, with two query heads to a key head.
struct Model {
    of: Architecture,
    llama: Llama,
}

fn model(dtype: DType) -> Model {
    let folder = fixtures().join("configs/explicit-head-dim");
    let json = serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap();
    let config = LlamaConfig::from_json(&json).unwrap();
    let llama = Llama::new(&config, &mut Stored(stored(&folder), dtype)).unwrap();
    Model { of: config.architecture(), llama }
}

fn goldens() -> Value {
    let path = fixtures().join("goldens/variants.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn ids(goldens: &Value) -> Vec<u32> {
    serde_json::from_value(goldens["ids"].clone()).unwrap()
}

/// In the order of the CPU that the goldens were made on.
fn semantics(attention: AttentionKind) -> Semantics {
    Arithmetic { accumulation: Accumulation::Dot2, ..attention.into() }.into()
}

type Trace = BTreeMap<Site, Floats<'static>>;

/// Records every site; where `forced` has a site, goes on with what it has there.
struct Look<'a> {
    seen: Trace,
    forced: Option<&'a Trace>,
}

impl Probe for Look<'_> {
    fn at<const D: usize>(&mut self, site: Site, x: Tensor<D>) -> Tensor<D> {
        let own = bridge::floats(&x);
        let dtype = own.dtype();
        self.seen.insert(site, own);
        match self.forced {
            Some(forced) => bridge::tensor(forced[&site].cast(dtype), x.dims(), &x.device()),
            None => x,
        }
    }
}

fn run(model: &Model, ids: &[u32], semantics: &Semantics, forced: Option<&Trace>) -> Trace {
    let mut look = Look { seen: Trace::new(), forced };
    model.llama.forward(ids, semantics.clone(), &mut look);
    look.seen
}

/// FNV-1a, 64 bits.
fn hash(values: &Floats) -> String {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", values.bytes().iter().fold(0xcbf2_9ce4_8422_2325, step))
}

#[test]
fn variants_are_those_of_a_changed_pytorch_bit_for_bit() {
    let (model, goldens) = (model(DType::Bf16), goldens());
    let (ids, sites) = (ids(&goldens), goldens["sites"].as_array().unwrap());
    let (mut compared, mut different) = (0, Vec::new());
    for (arm, hashes) in goldens["traces"].as_object().unwrap() {
        let [_, attention, departure] = arm.split('@').collect::<Vec<_>>()[..] else { panic!("{arm}") };
        let mut semantics = semantics(attention.parse().unwrap());
        semantics.add(departure.parse().unwrap()).unwrap();
        let ours = run(&model, &ids, &semantics, None);
        for (site, theirs) in sites.iter().zip(hashes.as_array().unwrap()) {
            let site = model.of.site(site.as_str().unwrap()).unwrap();
            let Some(theirs) = theirs.as_str() else { continue };
            compared += 1;
            if hash(&ours[&site]) != theirs {
                different.push(format!("{arm} {site}"));
                break;
            }
        }
    }
    assert!(different.is_empty(), "first sites that differ:\n{}", different.join("\n"));
    assert!(compared > 1800, "{compared} sites");
}

#[test]
fn rounded_positions_are_pytorchs_where_they_alias() {
    let (model, goldens) = (model(DType::Bf16), goldens());
    let rotary = RotaryEmbedding::all(&model.of);
    for (name, golden) in goldens["tables"].as_object().unwrap() {
        let mut semantics = Semantics::default();
        semantics.add(name.parse().unwrap()).unwrap();
        let tokens = golden["tokens"].as_u64().unwrap() as usize;
        let table = |semantics: &Semantics| {
            let (device, outside) = (Device::flex(), semantics.at(None));
            let tables = Tables::new(
                &rotary,
                0..tokens,
                Held { dtype: DType::Bf16, device: &device },
                outside,
                &mut (),
            );
            [bridge::floats(&tables.ropes[0].cos), bridge::floats(&tables.ropes[0].sin)]
        };
        let ours = table(&semantics);
        assert_eq!(serde_json::json!(ours.each_ref().map(hash)), golden["hashes"], "{name}");
        assert_ne!(ours, table(&Semantics::default()), "{name} shows with {tokens} tokens");
    }
}

/// On the inputs that it has without variants, an operation gives other bits exactly where the
/// variant says so.
#[test]
fn a_variant_introduces_differences_where_it_says() {
    let ids = ids(&goldens());
    for dtype in [DType::Bf16, DType::F16, DType::F32, DType::F64] {
        let model = model(dtype);
        for attention in ATTENTIONS {
            let plain = run(&model, &ids, &semantics(attention), None);
            for variant in Variant::all() {
                let varied = semantics(attention).with(variant);
                let forced = run(&model, &ids, &varied, Some(&plain));
                let found: Vec<Site> =
                    plain.keys().copied().filter(|site| flips(&forced[site], &plain[site]) > 0).collect();
                let said = Departure::from(variant).touches(&model.of, attention, dtype);
                // What depends on the numbers, and does not occur among these.
                let needs_more = matches!(variant, Variant::Positions(Positions::Bf16 | Positions::F16))
                    || (variant == Variant::Cache(Cache::F16) && dtype == DType::Bf16)
                    || (variant == Variant::Norm(Norm::Divided) && dtype.size() < 4);
                if needs_more {
                    assert!(found.iter().all(|site| said.contains(site)), "{variant} {dtype}: {found:?}");
                } else {
                    assert_eq!(found, said, "{variant} {attention} {dtype}");
                }
                let free = run(&model, &ids, &varied, None);
                assert_eq!(free.len(), plain.len(), "{variant}: the same sites");
                let shape = |trace: &Trace| trace.values().map(Floats::len).collect::<Vec<_>>();
                assert_eq!(shape(&free), shape(&plain), "{variant}: the same shapes");
            }
        }
    }
}

#[test]
fn sites_have_the_shapes_that_they_say() {
    struct Shapes(BTreeMap<Site, Vec<usize>>);
    impl Probe for Shapes {
        fn at<const D: usize>(&mut self, site: Site, x: Tensor<D>) -> Tensor<D> {
            self.0.insert(site, x.dims().to_vec());
            x
        }
    }
    let model = model(DType::Bf16);
    let ids = ids(&goldens());
    for attention in ATTENTIONS {
        let mut shapes = Shapes(BTreeMap::new());
        model.llama.forward(&ids, semantics(attention), &mut shapes);
        for site in model.of.sites(attention) {
            assert_eq!(shapes.0.get(&site), Some(&model.of.shape(site, ids.len())), "{site}");
        }
    }
}

#[test]
fn layers_restrict_a_variant_and_a_probe_changes_nothing() {
    let (model, ids) = (model(DType::Bf16), ids(&goldens()));
    for attention in ATTENTIONS {
        let plain = run(&model, &ids, &semantics(attention), None);
        for variant in Variant::all() {
            let varied = semantics(attention).with(variant);
            let looked = run(&model, &ids, &varied, None);
            let logits = bridge::floats(&model.llama.forward(&ids, varied, &mut ()));
            assert_eq!(logits.bytes(), looked[&model.of.logits()].bytes(), "{variant} without a probe");
            if !variant.in_blocks() {
                continue;
            }
            let departure = Departure { variant, layers: Some("[1]".parse().unwrap()) };
            let forced = run(&model, &ids, &semantics(attention).with(departure), Some(&plain));
            let said = departure.touches(&model.of, attention, DType::Bf16);
            assert!(said.iter().all(|site| site.layer() == Some(1)), "{departure}: {said:?}");
            for (site, values) in &plain {
                let differs = flips(&forced[site], values) > 0;
                assert!(!differs || said.contains(site), "{departure} {site}");
            }
        }
    }
}

#[test]
fn wide_logits_are_the_logits_before_they_are_rounded() {
    let (model, ids) = (model(DType::Bf16), ids(&goldens()));
    let plain = semantics(AttentionKind::Eager);
    let logits = |s: Semantics| bridge::floats(&model.llama.forward(&ids, s, &mut ()));
    let wide = logits(plain.clone().with(Variant::Head(Head::F32)));
    assert_eq!(wide.dtype(), DType::F32);
    assert_eq!(wide.cast(DType::Bf16), logits(plain));
}

#[test]
fn what_a_probe_puts_in_place_of_a_fused_activation_is_multiplied() {
    struct Zero;
    impl Probe for Zero {
        fn at<const D: usize>(&mut self, site: Site, x: Tensor<D>) -> Tensor<D> {
            let name = site.to_string();
            if name.ends_with(".product") {
                assert!(bridge::floats(&x).to_f32().iter().all(|x| *x == 0.0));
            }
            if name.ends_with(".act_fn") { x.zeros_like() } else { x }
        }
    }
    let model = model(DType::Bf16);
    let fused = semantics(AttentionKind::Eager).with("mlp=fused".parse::<Variant>().unwrap());
    model.llama.forward(&[1, 2, 3], fused, &mut Zero);
}

/// Each variant of this engine that PyTorch was asked for is a variant of some name here.
#[test]
fn every_variant_has_a_golden_or_a_reason() {
    let goldens = goldens();
    let mut checked: HashMap<String, usize> = HashMap::new();
    for arm in goldens["traces"].as_object().unwrap().keys() {
        *checked.entry(arm.rsplit('@').next().unwrap().to_owned()).or_default() += 1;
    }
    let without: Vec<String> =
        Variant::all().map(|v| v.to_string()).filter(|name| !checked.contains_key(name)).collect();
    // Logits in f32 are a sum whose order in PyTorch is not known; bf16 holds what bf16 holds.
    // The rest is what a Llama does anyway, or of norms that it has not.
    assert_eq!(without, ["qk_norm=none", "qk_norm=all-heads", "cache=bf16", "mask=causal", "head=f32"]);
}
