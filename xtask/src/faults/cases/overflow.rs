//! Numbers beyond the range of f16, where bf16 holds them.

use super::super::checkpoint::Change;
use super::super::edit::Edit;
use super::{Case, Facts, at, fault};

pub(super) fn cases(cases: &mut Vec<Case>, llama: &Facts) {
    let weight =
        |layer, tensor: &str, edit| Change::Tensor { name: format!("{}.weight", at(layer, tensor)), edit };
    let scores = |layer| {
        ["self_attn.q_proj", "self_attn.k_proj"]
            .map(|tensor| weight(layer, tensor, Edit::Times(512.0)))
            .to_vec()
    };
    // The first site that is not finite: where a sum or a product leaves the range.
    for (key, attention, site, changes) in [
        (
            "a large weight of down_proj[1]",
            "eager",
            at(1, "mlp.down_proj"),
            vec![weight(1, "mlp.down_proj", Edit::Large)],
        ),
        (
            "a large weight of o_proj[2]",
            "sdpa",
            at(2, "self_attn.o_proj"),
            vec![weight(2, "self_attn.o_proj", Edit::Large)],
        ),
        ("large scores in layer 0", "eager", at(0, "self_attn.scores"), scores(0)),
        ("large scores in layer 3", "eager", at(3, "self_attn.scores"), scores(3)),
        (
            "a large product in layer 2",
            "sdpa",
            at(2, "mlp.product"),
            vec![
                weight(2, "mlp.gate_proj", Edit::Times(512.0)),
                weight(2, "mlp.up_proj", Edit::Times(512.0)),
            ],
        ),
    ] {
        for a in ["bf16", "f32"] {
            let spec = |dtype: &str| format!("load({dtype})@{attention}");
            let expected = fault(&["f16-overflow"], site.clone());
            let mut case = llama.case("overflow", key, &spec(a), &spec("f16"), &llama.ids(12), expected);
            case.a.changes.clone_from(&changes);
            case.b.changes.clone_from(&changes);
            cases.push(case);
        }
    }
}
