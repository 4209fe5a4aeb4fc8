//! `ulpscope explain --trace` on decoders of every family: our own traces with something done
//! otherwise.

use serde_json::{Value, json};

use crate::util::{Checkpoint, Dir, fixture, list};

/// Longer than every window, and than the length that scaling starts at.
fn ids() -> String {
    (0..40u32).map(|i| ((i * i * 5 + i * 7 + 3) % 68 + 3).to_string()).collect::<Vec<_>>().join(",")
}

/// What is found of a trace of `model` in this recipe, by `ours`.
fn explained(dir: &Dir, model: &str, recipe: &str, ours: &str, more: &[&str]) -> Value {
    dir.run(["trace", model, "--recipe", recipe, "--ids", &ids(), "--out", "t"]).ok();
    let args = ["explain", ours, "--trace", "t", "--json"];
    dir.run(args.iter().chain(more).copied()).explanation()
}

/// Id and site of the first cause.
fn first(e: &Value) -> [&str; 2] {
    let cause = &e["causes"][0];
    ["id", "site"].map(|field| cause[field].as_str().unwrap_or("-"))
}

#[test]
fn departures_of_a_trace_are_named_in_every_family() {
    let dir = Dir::new();
    for (model, departure, id, site) in [
        ("mistral-window", "mask=causal", "sliding-window", "0.self_attn.scores"),
        ("mistral-window", "mask=window-8", "sliding-window", "0.self_attn.scores"),
        ("mistral-window", "mask=window-6[1]", "sliding-window", "1.self_attn.scores"),
        ("mistral-window", "mask=window-17", "sliding-window", "0.self_attn.scores"),
        ("mistral-yarn", "mask=none", "causal-mask", "0.self_attn.scores"),
        ("mistral-tied", "mask=window-5", "causal-mask", "0.self_attn.scores"),
        ("ministral-mixed", "mask=causal", "sliding-window", "0.self_attn.scores"),
        ("ministral-mixed", "mask=causal[2]", "sliding-window", "2.self_attn.scores"),
        ("ministral3-yarn", "scale=twice", "attention-scale", "0.self_attn.scores"),
        ("ministral3-window", "rope=interleaved", "rotary-layout", "0.self_attn.q_rope"),
        ("qwen2-window", "mask=causal", "sliding-window", "1.self_attn.scores"),
        ("qwen2-dynamic", "norm=fused", "norm-rounding", "0.input_layernorm"),
        ("qwen3-heads", "qk_norm=none", "qk-norm", "0.self_attn.q_norm"),
        ("qwen3-bias", "qk_norm=all-heads", "qk-norm", "0.self_attn.q_norm"),
        ("qwen3-yarn", "qk_norm=none[1]", "qk-norm", "1.self_attn.q_norm"),
    ] {
        let path = fixture(&format!("families/{model}"));
        let e = explained(&dir, &path, &format!("load(bf16)@eager@{departure}"), &path, &[]);
        assert_eq!(
            (first(&e), &e["status"]),
            ([id, &format!("model.layers.{site}")], &json!("explained")),
            "{model} {departure}: {}",
            e["verdict"]
        );
    }
    // Fused attention shows its mask in what it makes of values.
    let path = fixture("families/mistral-window");
    for departure in ["mask=causal", "mask=window-8", "mask=window-17"] {
        let e = explained(&dir, &path, &format!("load(bf16)@sdpa@{departure}"), &path, &[]);
        assert_eq!(first(&e), ["sliding-window", "model.layers.0.self_attn.context"], "{departure}");
    }
}

#[test]
fn a_trace_of_another_checkpoint_is_told_from_ours() {
    type Change = fn(&mut Checkpoint);
    for (model, change, id, site) in [
        (
            "ministral3-yarn",
            (|model| model.config["rope_parameters"]["llama_4_scaling_beta"] = json!(0.5)) as Change,
            "query-temperature",
            "model.layers.0.self_attn.q_scaled",
        ),
        (
            "ministral3-yarn",
            |model| model.config["rope_parameters"]["llama_4_scaling_beta"] = json!(0.33),
            "query-temperature",
            "model.layers.0.self_attn.q_scaled",
        ),
        (
            "ministral3-yarn",
            |model| model.config["rope_parameters"]["original_max_position_embeddings"] = json!(16),
            "query-temperature",
            "model.layers.0.self_attn.q_scaled",
        ),
        (
            "ministral3-yarn",
            |model| model.config["rope_parameters"]["mscale_all_dim"] = json!(0.0),
            "rope-scaling",
            "model.rotary_emb.cos",
        ),
        (
            "qwen2-plain",
            |model| model.edit("model.layers.1.self_attn.v_proj.bias", |w| w.fill(0.0)),
            "bias-dropped",
            "model.layers.1.self_attn.v_proj",
        ),
        (
            "qwen3-heads",
            |model| {
                model.edit("model.layers.1.self_attn.k_norm.weight", |w| w.iter_mut().for_each(|x| *x += 1.0))
            },
            "norm-plus-one",
            "model.layers.1.self_attn.k_norm",
        ),
        (
            "qwen3-yarn",
            |model| model.config["rms_norm_eps"] = json!(1e-6),
            "rms-norm-eps",
            "model.layers.0.input_layernorm",
        ),
    ] {
        let (dir, ours) = (Dir::new(), fixture(&format!("families/{model}")));
        let mut theirs = Checkpoint::read(&ours);
        change(&mut theirs);
        let theirs = theirs.write(&dir, "theirs");
        let e = explained(&dir, &theirs, "load(bf16)@eager", &ours, &[]);
        assert_eq!((first(&e), &e["status"]), ([id, site], &json!("explained")), "{model}: {}", e["verdict"]);
    }
}

#[test]
fn honest_traces_raise_no_alarm_in_any_family() {
    let dir = Dir::new();
    for model in ["mistral-window", "ministral-mixed", "ministral3-window", "qwen2-window", "qwen3-bias"] {
        let path = fixture(&format!("families/{model}"));
        for recipe in ["load(bf16)@eager@reversed", "load(bf16)@sdpa@pairwise", "load(f16)@eager@exact"] {
            let e = explained(&dir, &path, recipe, &path, &["--accumulation", "tile32"]);
            assert_eq!(&e["origins"], &json!([]), "{model} {recipe}: {}", e["verdict"]);
            let faults = list(&e["causes"]).iter().filter(|c| c["fault"] == true).count();
            assert_eq!(faults, 0, "{model} {recipe}: {}", e["verdict"]);
        }
    }
}
