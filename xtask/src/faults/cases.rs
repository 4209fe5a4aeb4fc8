//! The catalogue of cases: what is put in, and what is to be found.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::checkpoint::{Change, Edit};

/// One pair of arms.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) family: &'static str,
    pub(crate) a: String,
    pub(crate) b: String,
    pub(crate) prompt: String,
    /// What is done to arm b's checkpoint, if it has one of its own.
    pub(crate) change: Option<Change>,
    pub(crate) expected: Expected,
}

/// What is to be found.
pub(crate) enum Expected {
    /// Nothing: the pair differs by no more than noise.
    Nothing,
    /// This cause, first at this site; `prefix*` is any site that begins so.
    Fault { id: &'static str, site: String },
}

/// Whether a site is the one that was expected.
pub(crate) fn is(found: Option<&str>, expected: &str) -> bool {
    found.is_some_and(|found| match expected.strip_suffix('*') {
        Some(prefix) => found.starts_with(prefix),
        None => found == expected,
    })
}

const PROMPTS: [&str; 2] = ["Gravity is", "the quick brown fox jumps over the lazy dog and runs away"];

/// Departures from the arithmetic: what is written, the cause, the site below a block or a whole one.
const ARITHMETIC: [(&str, &str, &str); 29] = [
    ("norm=fused", "norm-rounding", "input_layernorm"),
    ("norm=storage", "norm-rounding", "input_layernorm"),
    ("norm=plus-one", "norm-convention", "input_layernorm"),
    ("norm=gemma", "norm-convention", "input_layernorm"),
    ("norm=no-weight", "norm-convention", "input_layernorm"),
    ("rope=fused", "rotary-rounding", "self_attn.q_rope"),
    ("rope=interleaved", "rotary-layout", "self_attn.q_rope"),
    ("rope=interleaved-fused", "rotary-layout", "self_attn.q_rope"),
    ("rope=negated", "rotary-layout", "self_attn.q_rope"),
    ("rope=none", "rotary-layout", "self_attn.q_rope"),
    ("scale=none", "attention-scale", "self_attn.scores"),
    ("scale=twice", "attention-scale", "self_attn.scores"),
    ("scale=1/D", "attention-scale", "self_attn.scores"),
    ("mask=none", "causal-mask", "self_attn.scores"),
    ("mask=strict", "causal-mask", "self_attn.scores"),
    ("mask=ahead", "causal-mask", "self_attn.scores"),
    ("gqa=tiled", "grouped-heads", "self_attn.scores"),
    ("softmax=storage", "softmax-format", "self_attn.probs"),
    ("cache=e4m3", "cache-format", "self_attn.scores"),
    ("cache=e5m2", "cache-format", "self_attn.scores"),
    ("act=rounded", "activation-rounding", "mlp.act_fn"),
    ("mlp=fused", "gate-rounding", "mlp.product"),
    ("mlp=swapped", "gate-and-up-exchanged", "mlp.act_fn"),
    ("residual=skip-attention", "residual-term", "resid_mid"),
    ("residual=drop-before-attention", "residual-term", "resid_mid"),
    ("residual=skip-mlp", "residual-term", ""),
    ("residual=drop-before-mlp", "residual-term", ""),
    ("positions=+1", "positions", "model.rotary_emb.cos"),
    ("embedding=scaled", "embedding-scale", "model.embed_tokens"),
];

/// Tensors whose weights are changed, below a block.
const TENSORS: [&str; 4] = ["self_attn.k_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj"];

/// What is done to one of them, and the cause.
const EDITS: [(Edit, &str); 9] = [
    (Edit::FlipSign, "weight-corrupted"),
    (Edit::FlipBit, "weight-corrupted"),
    (Edit::ZeroRows, "weight-partly-zero"),
    (Edit::Times8, "weights-scaled"),
    (Edit::Negate, "sign-flipped"),
    (Edit::Shift, "weight-shifted"),
    (Edit::Constant, "weight-constant"),
    (Edit::Random, "weight-reinitialised"),
    (Edit::SwapRows, "rows-permuted"),
];

const ORDERS: [&str; 7] = ["tile32", "dot2", "sequential", "reversed", "pairwise", "split-k(4)", "exact"];

/// Every case that the model allows.
pub(crate) fn all(model: &Path) -> Result<Vec<Case>> {
    let config = std::fs::read_to_string(model.join("config.json"));
    let config = config.with_context(|| format!("{} has no config.json", model.display()))?;
    let config: Value = serde_json::from_str(&config).context("config.json")?;
    let layers = config["num_hidden_layers"].as_u64().context("num_hidden_layers")? as usize;
    let mut cases = Vec::new();
    for prompt in PROMPTS {
        arithmetic(&mut cases, prompt, layers);
        recipes(&mut cases, prompt);
        null(&mut cases, prompt);
        if std::fs::metadata(model.join("model.safetensors")).is_ok_and(|file| file.len() < 1 << 26) {
            weights(&mut cases, prompt, layers);
            fields(&mut cases, prompt);
        }
    }
    Ok(cases)
}

fn case(family: &'static str, name: &str, b: &str, prompt: &str, expected: Expected) -> Case {
    Case {
        name: format!("{name} on {prompt:?}"),
        family,
        a: "load(bf16)@eager".to_owned(),
        b: b.to_owned(),
        prompt: prompt.to_owned(),
        change: None,
        expected,
    }
}

fn at(layer: usize, site: &str) -> String {
    format!("model.layers.{layer}{}{site}", if site.is_empty() { "" } else { "." })
}

fn arithmetic(cases: &mut Vec<Case>, prompt: &str, layers: usize) {
    for (departure, id, site) in ARITHMETIC {
        let everywhere = site.starts_with("model.");
        let places = if everywhere { vec![None] } else { vec![None, Some(layers / 2), Some(layers - 1)] };
        for place in places {
            let written = place.map_or(departure.to_owned(), |layer| format!("{departure}[{layer}]"));
            let site = if everywhere { site.to_owned() } else { at(place.unwrap_or(0), site) };
            let b = format!("load(bf16)@eager@{written}");
            cases.push(case("arithmetic", &written, &b, prompt, Expected::Fault { id, site }));
        }
    }
}

fn recipes(cases: &mut Vec<Case>, prompt: &str) {
    for recipe in ["load(f32).to(bf16)", "load(bf16).bfloat16()", "load(f64).bfloat16()"] {
        let b = format!("{recipe}@eager");
        // The cosines of a short prompt may all round to the same: then sines are the first that show it.
        let site = "model.rotary_emb.*".to_owned();
        cases.push(case("recipe", recipe, &b, prompt, Expected::Fault { id: "rotary-buffer-rounded", site }));
    }
    let site = "model.embed_tokens".to_owned();
    let mut twice = case(
        "recipe",
        "by way of f16",
        "load(f16).to(bf16)@eager",
        prompt,
        Expected::Fault { id: "weights-rounded-twice", site },
    );
    twice.a = "load(f32).to(bf16)@eager".to_owned();
    cases.push(twice);
}

fn null(cases: &mut Vec<Case>, prompt: &str) {
    for attention in ["eager", "sdpa"] {
        for (i, a) in ORDERS.iter().enumerate() {
            for b in &ORDERS[i..] {
                let (a, b) = (format!("load(bf16)@{attention}@{a}"), format!("load(bf16)@{attention}@{b}"));
                let mut pair = case("null", &format!("{a} and {b}"), &b, prompt, Expected::Nothing);
                pair.a = a;
                cases.push(pair);
            }
        }
    }
    for both in ["load(f32).to(bf16)", "load(f32)", "load(f16)", "load(bf16)@norm=fused"] {
        let mut pair = case("null", &format!("{both} twice"), both, prompt, Expected::Nothing);
        pair.a = both.to_owned();
        cases.push(pair);
    }
}

fn weights(cases: &mut Vec<Case>, prompt: &str, layers: usize) {
    for (edit, id) in EDITS {
        for (i, tensor) in TENSORS.iter().enumerate() {
            let layer = i % layers;
            let name = format!("{}.weight", at(layer, tensor));
            let site = at(layer, tensor);
            let mut changed = case(
                "weights",
                &format!("{edit:?} of {name}"),
                "load(bf16)@eager",
                prompt,
                Expected::Fault { id, site },
            );
            changed.change = Some(Change::Tensor { name, edit });
            cases.push(changed);
        }
    }
    for layer in [0, layers - 1] {
        let site = at(layer, "post_attention_layernorm");
        let name = format!("{site}.weight");
        let mut changed = case(
            "weights",
            &format!("1 + w of {name}"),
            "load(bf16)@eager",
            prompt,
            Expected::Fault { id: "norm-plus-one", site },
        );
        changed.change = Some(Change::Tensor { name, edit: Edit::PlusOne });
        cases.push(changed);
    }
}

fn fields(cases: &mut Vec<Case>, prompt: &str) {
    let rope = |theta: f64, kind: Value| {
        let mut rope = json!({ "rope_type": "default", "rope_theta": theta });
        if let (Some(rope), Some(kind)) = (rope.as_object_mut(), kind.as_object()) {
            rope.extend(kind.clone());
        }
        rope
    };
    let (cos, norm) = ("model.rotary_emb.cos".to_owned(), at(0, "input_layernorm"));
    for (key, value, id, site) in [
        ("rope_parameters", rope(10_000.0, json!({})), "rope-theta", &cos),
        ("rope_parameters", rope(500_000.0, json!({})), "rope-theta", &cos),
        (
            "rope_parameters",
            rope(100_000.0, json!({ "rope_type": "linear", "factor": 2.0 })),
            "rope-scaling",
            &cos,
        ),
        ("rms_norm_eps", json!(1e-2), "rms-norm-eps", &norm),
        ("rms_norm_eps", json!(1e-3), "rms-norm-eps", &norm),
        ("hidden_act", json!("gelu"), "hidden-act", &at(0, "mlp.act_fn")),
        ("hidden_act", json!("gelu_pytorch_tanh"), "hidden-act", &at(0, "mlp.act_fn")),
    ] {
        let expected = Expected::Fault { id, site: site.clone() };
        let mut changed = case("config", &format!("{key} = {value}"), "load(bf16)@eager", prompt, expected);
        changed.change = Some(Change::Field { key: key.to_owned(), value });
        cases.push(changed);
    }
}
