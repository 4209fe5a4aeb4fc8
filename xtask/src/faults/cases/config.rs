//! Fields of the config.

use serde_json::{Value, json};

use super::super::checkpoint::Change;
use super::{Case, Facts, PROMPTS, Prompt, at, fault};

/// `rope_parameters` of this base and more fields.
fn rope(theta: f64, kind: Value) -> Value {
    let mut rope = json!({ "rope_type": "default", "rope_theta": theta });
    if let (Some(rope), Some(kind)) = (rope.as_object_mut(), kind.as_object()) {
        rope.extend(kind.clone());
    }
    rope
}

/// A field, its value, the causes that are right, the site.
type Entry<'a> = (&'static str, Value, &'static [&'static str], &'a String);

fn one(facts: &Facts, (key, value, ids, site): Entry, spec: &str, prompt: &Prompt) -> Case {
    let named = format!("{key} = {value}");
    let case = facts.case("config", &named, spec, spec, prompt, fault(ids, site.clone()));
    case.with(Change::Field { key, value })
}

pub(super) fn cases(cases: &mut Vec<Case>, llama: &Facts, others: &[Facts], ropes: &[Facts]) {
    let (cos, norm, act) = ("model.rotary_emb.cos".to_owned(), at(0, "input_layernorm"), at(0, "mlp.act_fn"));
    let (theta, scaling): (&[&str], &[&str]) = (&["rope-theta"], &["rope-scaling"]);
    let seen: [Entry; 7] = [
        ("rope_parameters", rope(10_000.0, json!({})), theta, &cos),
        ("rope_parameters", rope(500_000.0, json!({})), theta, &cos),
        ("rope_parameters", rope(100_000.0, json!({ "rope_type": "linear", "factor": 2.0 })), scaling, &cos),
        ("rms_norm_eps", json!(1e-2), &["rms-norm-eps"], &norm),
        ("rms_norm_eps", json!(1e-3), &["rms-norm-eps"], &norm),
        ("hidden_act", json!("gelu"), &["hidden-act"], &act),
        ("hidden_act", json!("gelu_pytorch_tanh"), &["hidden-act"], &act),
    ];

    for prompt in &PROMPTS {
        for entry in seen.clone() {
            cases.push(one(llama, entry, "load(bf16)@eager", prompt).seen());
        }
    }
    let tables = "model.rotary_emb.*".to_owned();
    let new: Vec<Entry> = vec![
        ("rope_parameters", rope(99_000.0, json!({})), theta, &tables),
        ("rope_parameters", rope(1_000_000.0, json!({})), theta, &tables),
        (
            "rope_parameters",
            rope(100_000.0, json!({ "rope_type": "linear", "factor": 1.001 })),
            scaling,
            &tables,
        ),
        (
            "rope_parameters",
            rope(
                100_000.0,
                json!({ "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128 }),
            ),
            scaling,
            &tables,
        ),
        (
            "rope_parameters",
            rope(
                100_000.0,
                json!({ "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 128 }),
            ),
            scaling,
            &tables,
        ),
        // Scaling that starts beyond the prompt: no effect.
        (
            "rope_parameters",
            rope(100_000.0, json!({ "rope_type": "dynamic", "factor": 4.0 })),
            scaling,
            &tables,
        ),
        ("rms_norm_eps", json!(1e-6), &["rms-norm-eps"], &norm),
        ("rms_norm_eps", json!(1e-1), &["rms-norm-eps"], &norm),
        ("hidden_act", json!("relu"), &["hidden-act"], &act),
        ("hidden_act", json!("gelu_new"), &["hidden-act"], &act),
    ];
    for spec in ["load(bf16)@sdpa", "load(f16)@eager", "load(f32)@sdpa"] {
        for entry in seen.iter().chain(&new).filter(|(_, value, ..)| *value != json!("relu")).cloned() {
            cases.push(one(llama, entry, spec, &PROMPTS[1]));
        }
    }
    for (m, facts) in others.iter().enumerate() {
        let spec = ["load(bf16)@sdpa", "load(bf16)@eager"][m % 2];
        for (key, value, ids, site) in [
            ("rope_parameters", rope(500_000.0, json!({})), theta, &tables),
            (
                "rope_parameters",
                rope(10_000.0, json!({ "rope_type": "linear", "factor": 4.0 })),
                scaling,
                &tables,
            ),
            ("rms_norm_eps", json!(1e-2), &["rms-norm-eps"], &norm),
        ] {
            cases.push(one(facts, (key, value, ids, site), spec, &facts.ids(14)));
        }
    }
    for facts in ropes {
        // What the config says of scaling is ignored. Models that are made for longer prompts show
        // it on those only.
        for (tokens, spec) in [
            (12, "load(bf16)@eager"),
            (30.min(facts.longest), "load(f32)@sdpa"),
            (48.min(facts.longest), "load(f16)@sdpa"),
        ] {
            let (ids, base) =
                if facts.short() == "theta-1e6" { (theta, 10_000.0) } else { (scaling, theta_of(facts)) };
            let key = format!("scaling ignored, {}", facts.short());
            let value = rope(base, json!({}));
            let case = facts.case("config", &key, spec, spec, &facts.ids(tokens), fault(ids, tables.clone()));
            cases.push(case.with(Change::Field { key: "rope_parameters", value }));
        }
    }
}

/// The base of a fixture with scaling.
fn theta_of(facts: &Facts) -> f64 {
    if facts.short() == "rope-llama3" { 500_000.0 } else { 10_000.0 }
}
