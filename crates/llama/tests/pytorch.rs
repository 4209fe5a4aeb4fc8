//! The model against PyTorch's own activations (tests/fixtures/goldens, written by
//! tests/fixtures/make.py).

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use burn::tensor::Tensor;
use ulpscope_floats::{DType, Floats};
use ulpscope_llama::{
    Accumulation, Arithmetic, AttentionKind, Llama, LlamaConfig, Probe, RotaryEmbedding, Site, bridge,
};

use fixture::{Arrays, Stored, arrays, fixtures, flips, stored};

mod fixture;

/// One golden file: a model, a recipe, a prompt, and what PyTorch computed.
struct Golden {
    name: String,
    model: Llama,
    dtype: DType,
    arithmetic: Arithmetic,
    ids: Vec<u32>,
    sites: Arrays,
}

fn golden(path: &Path) -> Golden {
    let (sites, about) = arrays(path);
    let folder = fixtures().join(&about["model"]);
    let json = serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap();
    let config = LlamaConfig::from_json(&json).unwrap();
    let mut stored = stored(&folder);
    let auto = config.dtype.unwrap_or(DType::F32);
    let load = about["recipe"].strip_prefix("load(").unwrap();
    let (first, rest) = load.split_once(')').unwrap();
    let first = if first == "auto" { auto } else { first.parse().unwrap() };
    let cast = match rest {
        "" => None,
        ".to(bf16)" => Some(DType::Bf16),
        ".half()" => Some(DType::F16),
        other => panic!("recipe step {other}"),
    };
    for values in stored.values_mut() {
        *values = values.cast(first);
    }
    let dtype = cast.unwrap_or(first);
    let mut rotary = RotaryEmbedding::all(&config.architecture());
    if let Some(dtype) = cast {
        rotary[0].inv_freq = rotary[0].inv_freq.cast(dtype);
        rotary[0].original_inv_freq = rotary[0].original_inv_freq.cast(dtype);
    }
    Golden {
        name: path.file_stem().unwrap().to_string_lossy().into_owned(),
        model: Llama::with_rotary(&config, rotary, &mut Stored(stored, dtype)).unwrap(),
        dtype,
        arithmetic: about["attention"].parse::<AttentionKind>().unwrap().into(),
        ids: serde_json::from_str(&about["ids"]).unwrap(),
        sites,
    }
}

fn goldens(folder: &str) -> Vec<Golden> {
    let mut paths: Vec<_> =
        fs::read_dir(fixtures().join("goldens").join(folder)).unwrap().map(|f| f.unwrap().path()).collect();
    paths.sort();
    paths.retain(|p| !p.ends_with("buffers.safetensors"));
    assert!(paths.len() > 10, "{folder} has goldens");
    paths.iter().map(|p| golden(p)).collect()
}

fn relative_l2(ours: &Floats, theirs: &Floats) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let (mut noise, mut signal) = (0.0, 0.0);
    for i in 0..ours.len() {
        noise += (ours.get(i) - theirs.get(i)).powi(2);
        signal += theirs.get(i).powi(2);
    }
    (noise / signal).sqrt()
}

#[test]
fn f32_logits_are_pytorchs_to_1e_5() {
    let all: Vec<_> =
        ["configs", "tiny-llama"].into_iter().flat_map(goldens).filter(|g| g.dtype == DType::F32).collect();
    assert!(all.len() > 25);
    for g in all {
        let logits = bridge::floats(&g.model.forward(&g.ids, g.arithmetic, &mut ()));
        let error = relative_l2(&logits, &g.sites["lm_head"]);
        assert!(error < 1e-5, "{}: {error:e}", g.name);
    }
}

/// Feeds every operation PyTorch's own inputs, and counts what it makes of them.
struct Forced<'a> {
    golden: &'a Golden,
    judged: HashMap<Site, (usize, usize)>,
    /// Whether everything since the last judged site was forced, so that a difference is this
    /// site's own.
    complete: bool,
}

impl Probe for Forced<'_> {
    fn at<const D: usize>(&mut self, site: Site, x: Tensor<D>) -> Tensor<D> {
        let Some(theirs) = self.golden.sites.get(&site.to_string()) else {
            self.complete = false;
            return x;
        };
        let ours = bridge::floats(&x);
        assert_eq!(ours.dtype(), theirs.dtype(), "{} {site}", self.golden.name);
        // The tables depend on no tensor before them.
        if self.complete || self.golden.model.architecture().tables(0).contains(&site) {
            self.judged.insert(site, (flips(&ours, theirs), ours.len()));
        }
        self.complete |= site.is_output();
        bridge::tensor(theirs.view(), x.dims(), &x.device())
    }
}

/// What a forced pass through the 16-bit goldens finds.
#[derive(Default)]
struct Judgement {
    sites: usize,
    /// Outputs of matrix products that differ, and how many there are: of bf16 and of f16.
    products: [(usize, usize); 2],
    /// Elementwise sites that differ.
    elementwise: Vec<String>,
}

fn judge(accumulation: Accumulation) -> Judgement {
    let mut judgement = Judgement::default();
    for mut g in ["configs", "tiny-llama"].into_iter().flat_map(goldens) {
        if !matches!(g.dtype, DType::Bf16 | DType::F16) || !g.sites.contains_key("model.layers.0.mlp.product")
        {
            continue;
        }
        g.arithmetic.accumulation = accumulation;
        let mut probe = Forced { golden: &g, judged: HashMap::new(), complete: true };
        g.model.forward(&g.ids, g.arithmetic, &mut probe);
        for (site, (flipped, of)) in probe.judged {
            judgement.sites += 1;
            let name = site.to_string();
            let product = ["_proj", "context", "scores", "lm_head"].iter().any(|end| name.ends_with(end));
            if product {
                let (differ, all) = &mut judgement.products[usize::from(g.dtype == DType::F16)];
                (*differ, *all) = (*differ + flipped, *all + of);
            } else if flipped > usize::from(g.name.starts_with("gelu.load-bf16")) {
                // PyTorch hands a bf16 GELU to oneDNN, which differs from the formula at six inputs
                // between -5.35 and -3.8 (and where it overflows or is subnormal). One of them
                // occurs here.
                judgement.elementwise.push(format!("{} {site}: {flipped} of {of}", g.name));
            }
        }
    }
    assert!(judgement.sites > 300, "{} sites were judged", judgement.sites);
    judgement
}

#[test]
fn sixteen_bit_operations_are_pytorchs_on_its_own_inputs() {
    let Judgement { products: [(flipped, of), f16], elementwise, .. } = judge(Accumulation::Tile32);
    assert!(elementwise.is_empty(), "elementwise sites differ:\n{}", elementwise.join("\n"));
    assert!(flipped as f64 <= 3e-4 * of as f64, "{flipped} of {of} outputs of bf16 products differ");
    // PyTorch sums f16 in some 64 lanes on the CPU that made the goldens, an order that has no name
    // here. With eight times the resolution of bf16, another order shows eight times as often.
    assert!(
        f16.0 as f64 <= 8.0 * 3e-4 * f16.1 as f64,
        "{} of {} outputs of f16 products differ",
        f16.0,
        f16.1
    );
}

/// The goldens were made on a CPU with AVX512_BF16 and without AMX. In the order of that CPU,
/// nothing differs.
#[test]
fn bf16_products_are_pytorchs_bit_for_bit_in_its_order() {
    let Judgement { products: [(flipped, of), _], elementwise, .. } = judge(Accumulation::Dot2);
    assert_eq!((flipped, elementwise), (0, Vec::new()), "of {of}");
}

/// A whole forward pass, nothing forced, every site that PyTorch's trace has.
#[test]
fn a_whole_bf16_forward_is_pytorchs_bit_for_bit_in_its_order() {
    struct Free<'a>(&'a Golden, usize);
    impl Probe for Free<'_> {
        fn at<const D: usize>(&mut self, site: Site, x: Tensor<D>) -> Tensor<D> {
            if let Some(theirs) = self.0.sites.get(&site.to_string()) {
                assert_eq!(flips(&bridge::floats(&x), theirs), 0, "{} {site}", self.0.name);
                self.1 += 1;
            }
            x
        }
    }
    let mut passes = 0;
    for mut g in goldens("tiny-llama").into_iter().filter(|g| g.dtype == DType::Bf16) {
        g.arithmetic.accumulation = Accumulation::Dot2;
        let mut free = Free(&g, 0);
        g.model.forward(&g.ids, g.arithmetic, &mut free);
        passes += usize::from(free.1 > 0);
    }
    assert!(passes >= 6, "{passes} passes");
}

#[test]
fn sixteen_bit_rotary_tables_are_pytorchs_bit_for_bit() {
    let (mut compared, mut f32_off, mut f32_of) = (0, 0, 0);
    for g in goldens("configs") {
        let mut probe = Forced { golden: &g, judged: HashMap::new(), complete: true };
        g.model.forward(&g.ids, g.arithmetic, &mut probe);
        for site in g.model.architecture().tables(0) {
            let Some((flipped, of)) = probe.judged.get(&site) else { continue };
            compared += 1;
            if g.dtype == DType::F32 {
                (f32_off, f32_of) = (f32_off + flipped, f32_of + of);
            } else {
                assert_eq!(*flipped, 0, "{} {site}: {flipped} of {of}", g.name);
            }
        }
    }
    // Ours are the nearest f32; PyTorch's vectorised sine and cosine are the neighbour in some 5 %
    // of cases.
    assert!(f32_off * 20 < f32_of * 2, "{f32_off} of {f32_of} f32 entries differ");
    assert!(compared > 60, "{compared} tables");
}

#[test]
fn logits_are_bit_equal_with_and_without_a_probe() {
    struct Look(usize);
    impl Probe for Look {
        fn at<const D: usize>(&mut self, _: Site, x: Tensor<D>) -> Tensor<D> {
            self.0 += bridge::floats(&x).len();
            x
        }
    }
    for g in goldens("tiny-llama") {
        let mut look = Look(0);
        let seen = bridge::floats(&g.model.forward(&g.ids, g.arithmetic, &mut look));
        assert_eq!(seen, bridge::floats(&g.model.forward(&g.ids, g.arithmetic, &mut ())), "{}", g.name);
        assert!(look.0 > 0);
    }
}
