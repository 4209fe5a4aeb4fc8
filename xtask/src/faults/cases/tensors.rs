//! Tensors under other names, layers in other places, heads tied or not, biases lost.

use serde_json::json;

use super::super::checkpoint::Change;
use super::super::edit::Edit;
use super::weights::edited;
use super::{Case, Expected, Facts, at, fault};

pub(super) fn cases(
    cases: &mut Vec<Case>,
    llama: &Facts,
    gqa: &Facts,
    untied: &Facts,
    mha: &Facts,
    bias: &Facts,
) {
    let named = |layer: usize, tensor: &str| format!("{}.weight", at(layer, tensor));
    let exchanged: &[&str] = &["tensors-exchanged"];
    let layers: &[&str] = &["layers-exchanged"];
    for spec in ["load(bf16)@eager", "load(f16)@sdpa", "load(f32)@eager"] {
        let mut push = |facts: &Facts, key: &str, ids, site: String, changes: Vec<Change>| {
            let mut case = facts.case("tensors", key, spec, spec, &facts.ids(12), fault(ids, site));
            case.b.changes = changes;
            cases.push(case);
        };
        // Layers.
        let norm = |layer| at(layer, "input_layernorm");
        push(llama, "layers 1 and 2 exchanged", layers, norm(1), vec![Change::SwapLayers(1, 2)]);
        push(llama, "layers 0 and 3 exchanged", layers, norm(0), vec![Change::SwapLayers(0, 3)]);
        push(gqa, "layers 0 and 1 exchanged", layers, norm(0), vec![Change::SwapLayers(0, 1)]);
        push(llama, "layer 1 twice", layers, norm(2), vec![Change::CopyLayer { from: 1, to: 2 }]);
        push(llama, "layer 0 for the last", layers, norm(3), vec![Change::CopyLayer { from: 0, to: 3 }]);
        push(llama, "layers from 1 on off by one", layers, norm(1), vec![Change::SkipLayer(1)]);
        // Names within a layer.
        for (facts, layer, one, other) in [
            (llama, 1, "self_attn.k_proj", "self_attn.v_proj"),
            (llama, 2, "mlp.gate_proj", "mlp.up_proj"),
            (llama, 0, "self_attn.q_proj", "self_attn.o_proj"),
            (mha, 1, "self_attn.q_proj", "self_attn.k_proj"),
            (llama, 3, "input_layernorm", "post_attention_layernorm"),
            (gqa, 1, "mlp.gate_proj", "mlp.up_proj"),
        ] {
            // In forward order q, k, v, gate, up: the one named first comes first.
            let key = format!("{one} and {other} of layer {layer} exchanged");
            let swap = Change::Swap(named(layer, one), named(layer, other));
            push(facts, &key, exchanged, at(layer, one), vec![swap]);
        }
        let stale = Change::Double { from: named(0, "mlp.up_proj"), to: named(2, "mlp.up_proj") };
        push(llama, "up_proj of layer 0 in layer 2", exchanged, at(2, "mlp.up_proj"), vec![stale]);
        // A norm folded into what reads it: no fault by itself, named by either of its halves.
        let folded: &[&str] = &["weight-constant", "weights-scaled"];
        push(llama, "norm folded in layer 1", folded, norm(1), vec![Change::FoldNorm(1)]);
        push(gqa, "norm folded in layer 0", folded, norm(0), vec![Change::FoldNorm(0)]);
        // Heads.
        let head = || "lm_head".to_owned();
        let not_tied: &[&str] = &["head-not-tied"];
        let embedding = || "model.embed_tokens.weight".to_owned();
        let double = || Change::Double { from: embedding(), to: "lm_head.weight".to_owned() };
        let free = || Change::Field { key: "tie_word_embeddings", value: json!(false) };
        let edit = |edit| Change::Tensor { name: "lm_head.weight".to_owned(), edit };
        push(llama, "head of its own, random", not_tied, head(), vec![free(), double(), edit(Edit::Random)]);
        push(gqa, "head of its own, random", not_tied, head(), vec![free(), double(), edit(Edit::Random)]);
        let tie = Change::Field { key: "tie_word_embeddings", value: json!(true) };
        push(
            untied,
            "head tied that was not",
            not_tied,
            head(),
            vec![tie.clone(), Change::NoTensor("lm_head.weight")],
        );
        push(untied, "head is the embedding", not_tied, head(), vec![double()]);
        push(untied, "head never loaded", not_tied, head(), vec![edit(Edit::Random)]);
        push(untied, "head scaled", &["weights-scaled"], head(), vec![edit(Edit::Times(0.5))]);
        push(
            untied,
            "head shifted by a row",
            &["rows-permuted", "weight-shifted"],
            head(),
            vec![edit(Edit::RollRows)],
        );
        push(untied, "row of the head zero", &["weight-partly-zero"], head(), vec![edit(Edit::ZeroRow(9))]);
        push(untied, "head flipped in a bit", &["weight-corrupted"], head(), vec![edit(Edit::FlipBit)]);
        // Biases. One that is zero throughout was never loaded.
        for (layer, tensor, edit, ids) in [
            (0, "self_attn.q_proj", Edit::ZeroAll, &["bias-dropped"][..]),
            (1, "self_attn.v_proj", Edit::ZeroAll, &["bias-dropped"]),
            (1, "self_attn.k_proj", Edit::Negate, &["sign-flipped"]),
            (0, "self_attn.o_proj", Edit::Times8, &["weights-scaled"]),
            (1, "self_attn.q_proj", Edit::FlipBit, &["weight-corrupted"]),
        ] {
            let name = format!("{}.bias", at(layer, tensor));
            cases.push(edited(bias, &name, edit, ids, spec, &bias.ids(9)));
        }
    }
    refused(cases, llama, untied, bias);
}

/// Checkpoints that contradict their config are not compared but refused, and the error says why.
fn refused(cases: &mut Vec<Case>, llama: &Facts, untied: &Facts, bias: &Facts) {
    let spec = "load(bf16)@eager";
    for (facts, key, value) in [
        (llama, "num_hidden_layers", json!(3)),
        (llama, "num_attention_heads", json!(2)),
        (llama, "num_key_value_heads", json!(4)),
        (bias, "attention_bias", json!(false)),
        (llama, "vocab_size", json!(448)),
        // A head that is stored, and another that it is tied to.
        (untied, "tie_word_embeddings", json!(true)),
    ] {
        let case = facts.case("refused", key, spec, spec, &facts.ids(5), Expected::Refused);
        cases.push(case.with(Change::Field { key, value }));
    }
}
