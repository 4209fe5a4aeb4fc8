//! Cases on a real model, some of each kind, at layers near the start, in the middle and at the
//! end.

use serde_json::json;

use super::super::checkpoint::Change;
use super::super::edit::Edit;
use super::{Case, Expected, Facts, PROMPTS, Prompt, arithmetic, fault, weights};

const TEXTS: [Prompt; 3] = [
    Prompt::Text("Gravity is"),
    Prompt::Text("The capital of France is Paris, and the capital of Italy is"),
    Prompt::Text("fn main() {\n    let x: u32 = 7;\n    println!("),
];

/// In the bounded run, every one of this many.
const STRIDE: usize = 2;

pub(super) fn cases(facts: &Facts, folder: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    let places = [None, Some(0), Some(facts.layers / 2), Some(facts.layers - 1)];
    let specs = ["load(bf16)@eager", "load(bf16)@sdpa", "load(f16)@eager", "load(f32)@sdpa"];
    for (i, departure) in [
        "norm=fused",
        "rope=fused",
        "rope=interleaved",
        "rope=negated",
        "scale=none",
        "mask=ahead",
        "gqa=tiled",
        "softmax=storage",
        "cache=e4m3",
        "act=rounded",
        "mlp=fused",
        "mlp=swapped",
        "residual=skip-mlp",
        "positions=-3",
        "norm=plus-one",
        "table=f32",
        "embedding=scaled",
        "scores=f32",
        "head=f32",
        "cache=f16",
    ]
    .into_iter()
    .enumerate()
    {
        let Some(entry) = arithmetic::known(departure) else { continue };
        let whole = entry.2.starts_with("model.") || entry.2 == "lm_head";
        let layer = if whole { None } else { places[i % 4] };
        // A wide format does not show where a narrow one would round.
        let spec = specs[if departure.contains('f') { i % 2 } else { i % 4 }];
        cases.push(arithmetic::one(facts, entry, spec, layer, &TEXTS[i % 3]));
    }
    let buffer = || fault(&["rotary-buffer-rounded"], "model.rotary_emb.*");
    for (i, (a, b)) in [
        ("load(bf16)@eager", "load(f32).to(bf16)@eager"),
        ("load(bf16)@sdpa", "load(bf16).bfloat16()@sdpa"),
        ("load(f16)@sdpa", "load(f32).half()@sdpa"),
    ]
    .into_iter()
    .enumerate()
    {
        cases.push(facts.case("recipe", b, a, b, &TEXTS[(i + 1) % 3], buffer()));
    }
    null(&mut cases, facts);
    if folder {
        changed(&mut cases, facts);
    }
    // Each weighs as much as a hundred on a tiny model.
    cases.into_iter().enumerate().map(|(i, case)| if i % STRIDE == 0 { case } else { case.long() }).collect()
}

fn null(cases: &mut Vec<Case>, facts: &Facts) {
    for (i, (a, b)) in [
        ("load(bf16)@eager@tile32", "load(bf16)@eager@dot2"),
        ("load(bf16)@sdpa@tile32", "load(bf16)@sdpa@sequential"),
        ("load(bf16)@sdpa@pairwise", "load(bf16)@sdpa@split-k(4)"),
        ("load(f32)@sdpa@sequential", "load(f32)@sdpa@pairwise"),
        ("load(f16)@eager@exact", "load(f16)@eager@reversed"),
        ("load(bf16)@eager@exact@norm=fused", "load(bf16)@eager@tile32@norm=fused"),
        ("load(f32).to(bf16)@sdpa", "load(f32).bfloat16()@sdpa"),
        ("load(bf16)@sdpa", "load(bf16)@sdpa"),
    ]
    .into_iter()
    .enumerate()
    {
        cases.push(facts.case("null", &format!("{a} and {b}"), a, b, &TEXTS[i % 3], Expected::Nothing));
    }
}

fn changed(cases: &mut Vec<Case>, facts: &Facts) {
    let layers = [0, facts.layers / 2, facts.layers - 1, 1];
    let all = weights::edits(facts);
    // Every third edit, in a format and on a prompt of its turn.
    for (i, (tensor, edit, ids)) in all.into_iter().skip(1).step_by(3).enumerate() {
        let name = if tensor.starts_with("model.") {
            format!("{tensor}.weight")
        } else {
            format!("model.layers.{}.{tensor}.weight", layers[i % 4])
        };
        let spec = ["load(bf16)@sdpa", "load(bf16)@eager", "load(f32)@sdpa"][i % 3];
        cases.push(weights::edited(facts, &name, edit, ids, spec, &TEXTS[i % 3]));
    }
    let spec = "load(bf16)@sdpa";
    let mut push = |key: &str, ids, site: &str, change: Change| {
        cases.push(facts.case("tensors", key, spec, spec, &PROMPTS[0], fault(ids, site)).with(change));
    };
    push(
        "layers 0 and 1 exchanged",
        &["layers-exchanged"],
        "model.layers.0.input_layernorm",
        Change::SwapLayers(0, 1),
    );
    push(
        "layer 1 twice",
        &["layers-exchanged"],
        "model.layers.2.input_layernorm",
        Change::CopyLayer { from: 1, to: 2 },
    );
    push(
        "linears in Q4_0",
        &["weights-quantised"],
        "model.layers.0.self_attn.q_proj",
        Change::Linears(Edit::Q40),
    );
    push(
        "all by way of f16",
        &["weights-rounded-twice", "weights-rounded"],
        "model.*",
        Change::All(Edit::ViaF16),
    );
    let eps = Change::Field { key: "rms_norm_eps", value: json!(1e-3) };
    push("rms_norm_eps = 0.001", &["rms-norm-eps"], "model.layers.0.input_layernorm", eps);
    let value = json!({ "rope_type": "default", "rope_theta": 10_000.0 });
    push(
        "rope_parameters of 10000",
        &["rope-theta"],
        "model.rotary_emb.cos",
        Change::Field { key: "rope_parameters", value },
    );
    cases.push(
        facts
            .case("null", "in nine files", spec, spec, &PROMPTS[0], Expected::Nothing)
            .with(Change::Shards(9)),
    );
}
