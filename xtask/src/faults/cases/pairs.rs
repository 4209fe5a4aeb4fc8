//! Two faults at once.

use serde_json::json;

use super::super::checkpoint::Change;
use super::super::edit::Edit;
use super::{Case, Expected, Facts, PROMPTS, at};

pub(super) fn cases(cases: &mut Vec<Case>, llama: &Facts) {
    let weight = |layer: usize, tensor: &str| format!("{}.weight", at(layer, tensor));
    let edit = |layer, tensor, edit| Change::Tensor { name: weight(layer, tensor), edit };
    let eps = || Change::Field { key: "rms_norm_eps", value: json!(1e-2) };
    let base = || Change::Field {
        key: "rope_parameters",
        value: json!({ "rope_type": "default", "rope_theta": 10_000.0 }),
    };
    for spec in ["load(bf16)@eager", "load(f16)@sdpa", "load(f32)@eager"] {
        let mut push = |key: &str, ids: [&'static str; 2], site: &str, more: &str, changes: Vec<Change>| {
            let expected = Expected::Both { ids, site: site.to_owned() };
            let b = format!("{spec}{more}");
            let mut case = llama.case("two at once", key, spec, &b, &PROMPTS[1], expected);
            case.b.changes = changes;
            cases.push(case);
        };
        let flip = || edit(2, "mlp.down_proj", Edit::FlipBit);
        push(
            "theta and a flipped bit",
            ["rope-theta", "weight-corrupted"],
            "model.rotary_emb.cos",
            "",
            vec![base(), flip()],
        );
        push(
            "eps and a scale",
            ["rms-norm-eps", "weights-scaled"],
            &at(0, "input_layernorm"),
            "",
            vec![eps(), edit(1, "mlp.up_proj", Edit::Times8)],
        );
        push(
            "permuted keys and zero rows",
            ["qk-permutation", "weight-partly-zero"],
            &at(0, "self_attn.k_proj"),
            "",
            vec![
                edit(0, "self_attn.k_proj", Edit::Interleave(llama.groups)),
                edit(3, "mlp.gate_proj", Edit::ZeroRows),
            ],
        );
        push(
            "mask in layer 1 and a constant",
            ["causal-mask", "weight-constant"],
            &at(0, "mlp.up_proj"),
            "@mask=none[1]",
            vec![edit(0, "mlp.up_proj", Edit::Constant)],
        );
        push(
            "theta and eps",
            ["rope-theta", "rms-norm-eps"],
            "model.rotary_emb.cos",
            "",
            vec![base(), eps()],
        );
        push(
            "grouped heads and a shift",
            ["grouped-heads", "weight-shifted"],
            &at(2, "self_attn.v_proj"),
            "@gqa=tiled[3]",
            vec![edit(2, "self_attn.v_proj", Edit::Shift)],
        );
        push(
            "norm plus one and rotation",
            ["norm-plus-one", "rotary-layout"],
            &at(1, "input_layernorm"),
            "@rope=interleaved[2]",
            vec![edit(1, "input_layernorm", Edit::PlusOne)],
        );
        push(
            "two tensors of one layer",
            ["sign-flipped", "weight-reinitialised"],
            &at(1, "self_attn.v_proj"),
            "",
            vec![edit(1, "self_attn.v_proj", Edit::Negate), edit(1, "mlp.down_proj", Edit::Random)],
        );
    }
}
