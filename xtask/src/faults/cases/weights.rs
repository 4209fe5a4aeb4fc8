//! Edits of one tensor, and conversions of all.

use super::super::checkpoint::Change;
use super::super::edit::Edit;
use super::{Case, Facts, PROMPTS, Prompt, at, fault};

/// Tensors below a block that are edited.
const SEEN_TENSORS: [&str; 4] = ["self_attn.k_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj"];

/// What was done to them before there was a split, and the cause.
const SEEN: [(Edit, &[&str]); 9] = [
    (Edit::FlipSign, &["weight-corrupted"]),
    (Edit::FlipBit, &["weight-corrupted"]),
    (Edit::ZeroRows, &["weight-partly-zero"]),
    (Edit::Times8, &["weights-scaled"]),
    (Edit::Negate, &["sign-flipped"]),
    (Edit::Shift, &["weight-shifted"]),
    (Edit::Constant, &["weight-constant"]),
    (Edit::Random, &["weight-reinitialised"]),
    (Edit::SwapRows, &["rows-permuted"]),
];

/// A case in which one tensor of arm b is edited. It shows at `site`, which is its module's output.
pub(super) fn edited(
    facts: &Facts,
    name: &str,
    edit: Edit,
    ids: &'static [&'static str],
    spec: &str,
    prompt: &Prompt,
) -> Case {
    let site = name.rsplit_once('.').map_or(name, |(module, _)| module);
    let key = format!("{edit:?} of {name}");
    let case = facts.case("weights", &key, spec, spec, prompt, fault(ids, site));
    case.with(Change::Tensor { name: name.to_owned(), edit })
}

/// What is done to one tensor: below a block, or the whole name without `.weight`.
pub(super) fn edits(facts: &Facts) -> Vec<(&'static str, Edit, &'static [&'static str])> {
    let Facts { heads, groups, width, .. } = *facts;
    let mut edits: Vec<(&'static str, Edit, &'static [&'static str])> = vec![
        ("self_attn.q_proj", Edit::FlipFraction, &["weight-corrupted"]),
        ("mlp.gate_proj", Edit::FlipFraction, &["weight-corrupted"]),
        ("mlp.down_proj", Edit::SwapPair, &["weight-corrupted"]),
        ("self_attn.v_proj", Edit::SwapPair, &["weight-corrupted"]),
        // One number that is none is a corrupted element as well as weights that are not finite.
        ("mlp.up_proj", Edit::Nan, &["weights-not-finite", "weight-corrupted"]),
        ("self_attn.q_proj", Edit::ZeroHead(width), &["weight-partly-zero"]),
        // Of a single head the half: all of it would be the whole tensor.
        (
            "self_attn.v_proj",
            Edit::ZeroHead(if groups > 1 { width } else { width / 2 }),
            &["weight-partly-zero"],
        ),
        ("self_attn.o_proj", Edit::ZeroHeadColumns(width), &["weight-partly-zero"]),
        ("mlp.down_proj", Edit::ZeroAll, &["weight-constant"]),
        ("self_attn.o_proj", Edit::ZeroAll, &["weight-constant"]),
        ("self_attn.q_proj", Edit::Times(0.125), &["weights-scaled"]),
        ("mlp.up_proj", Edit::Times(3.361), &["weights-scaled"]),
        ("mlp.down_proj", Edit::TimesRow, &["weights-scaled"]),
        // Some of the elements times a constant: what happened to part of a tensor.
        ("mlp.gate_proj", Edit::TimesTile, &["weight-partly-changed", "weights-scaled"]),
        ("self_attn.q_proj", Edit::SwapBlocks(width), &["rows-permuted"]),
        ("self_attn.q_proj", Edit::ShardRows(2), &["rows-permuted"]),
        ("mlp.gate_proj", Edit::ShardRows(4), &["rows-permuted"]),
        ("self_attn.o_proj", Edit::ShardColumns(2), &["rows-permuted"]),
        ("mlp.down_proj", Edit::ShardColumns(4), &["rows-permuted"]),
        ("mlp.up_proj", Edit::RollRows, &["rows-permuted", "weight-shifted"]),
        ("self_attn.v_proj", Edit::ReverseRows, &["rows-permuted"]),
        ("self_attn.k_proj", Edit::ShuffleHead(width), &["rows-permuted"]),
        ("self_attn.q_proj", Edit::SwapHalves(width), &["rows-permuted"]),
        ("self_attn.k_proj", Edit::SwapHalves(width), &["rows-permuted"]),
        ("self_attn.q_proj", Edit::Interleave(heads), &["qk-permutation"]),
        ("self_attn.q_proj", Edit::Deinterleave(heads), &["qk-permutation"]),
        ("self_attn.k_proj", Edit::Interleave(groups), &["qk-permutation"]),
        ("mlp.up_proj", Edit::OffsetBlocks, &["weights-offset"]),
        ("self_attn.o_proj", Edit::OffsetBlocks, &["weights-offset"]),
        ("mlp.down_proj", Edit::Clamp, &["weights-clamped"]),
        ("mlp.gate_proj", Edit::Noise, &["weights-changed"]),
        ("self_attn.v_proj", Edit::Noise, &["weights-changed"]),
        ("self_attn.q_proj", Edit::LowRank, &["low-rank-update"]),
        ("mlp.down_proj", Edit::FlushSmall, &["weights-pruned"]),
        ("mlp.gate_proj", Edit::Q80, &["weights-quantised"]),
        ("self_attn.o_proj", Edit::Q40, &["weights-quantised"]),
        ("mlp.up_proj", Edit::Nf4, &["weights-quantised"]),
        ("mlp.down_proj", Edit::Int8Rows, &["weights-quantised"]),
        ("self_attn.v_proj", Edit::E4m3Tensor, &["weights-quantised"]),
        ("mlp.down_proj", Edit::E4m3Unscaled, &["weights-scaled"]),
        ("self_attn.q_proj", Edit::E4m3Unscaled, &["weights-scaled"]),
        ("input_layernorm", Edit::PlusOne, &["norm-plus-one"]),
        ("input_layernorm", Edit::MinusOne, &["norm-plus-one"]),
        ("post_attention_layernorm", Edit::MinusOne, &["norm-plus-one"]),
        ("post_attention_layernorm", Edit::Times(1.5), &["weights-scaled"]),
        ("model.norm", Edit::PlusOne, &["norm-plus-one"]),
        ("model.norm", Edit::FlipFraction, &["weight-corrupted"]),
        ("model.embed_tokens", Edit::Noise, &["weights-changed"]),
        ("model.embed_tokens", Edit::RollRows, &["rows-permuted", "weight-shifted"]),
        ("model.embed_tokens", Edit::Times(8.0), &["weights-scaled"]),
    ];
    let halves = (groups * width).is_multiple_of(2 * heads);
    if heads != groups && heads % groups == 0 && width % 4 == 0 && halves {
        // The number of query heads on keys.
        edits.push(("self_attn.k_proj", Edit::Interleave(heads), &["qk-permutation"]));
    }
    edits
}

/// What was done to tensors before there was a split, each to one of them.
pub(super) fn seen() -> impl Iterator<Item = (&'static str, Edit, &'static [&'static str])> {
    SEEN.into_iter().enumerate().map(|(i, (edit, ids))| (SEEN_TENSORS[i % 4], edit, ids))
}

pub(super) fn cases(cases: &mut Vec<Case>, llama: &Facts, others: &[Facts]) {
    let bf16 = "load(bf16)@eager";
    for prompt in &PROMPTS {
        for (edit, ids) in SEEN {
            for (i, tensor) in SEEN_TENSORS.iter().enumerate() {
                let name = format!("{}.weight", at(i % llama.layers, tensor));
                cases.push(edited(llama, &name, edit, ids, bf16, prompt).seen());
            }
        }
        for layer in [0, llama.layers - 1] {
            let name = format!("{}.weight", at(layer, "post_attention_layernorm"));
            cases.push(edited(llama, &name, Edit::PlusOne, &["norm-plus-one"], bf16, prompt).seen());
        }
    }
    for spec in ["load(f16)@sdpa", "load(f32)@eager"] {
        for (edit, ids) in SEEN {
            for (i, tensor) in SEEN_TENSORS.iter().enumerate().skip(1).step_by(2) {
                let name = format!("{}.weight", at(i % llama.layers, tensor));
                cases.push(edited(llama, &name, edit, ids, spec, &PROMPTS[1]));
            }
        }
    }
    let below = |facts: &Facts, i: usize, tensor: &str| {
        if tensor.starts_with("model.") {
            format!("{tensor}.weight")
        } else {
            format!("{}.weight", at(i % facts.layers, tensor))
        }
    };
    for spec in ["load(bf16)@eager", "load(bf16)@sdpa", "load(f16)@eager", "load(f32)@sdpa"] {
        for (i, (tensor, edit, ids)) in edits(llama).into_iter().enumerate() {
            cases.push(edited(llama, &below(llama, i, tensor), edit, ids, spec, &PROMPTS[i % 2]));
        }
    }
    for (m, facts) in others.iter().enumerate() {
        let spec = ["load(bf16)@sdpa", "load(bf16)@eager"][m % 2];
        for (i, (tensor, edit, ids)) in edits(facts).into_iter().enumerate().skip(m % 3).step_by(3) {
            cases.push(edited(facts, &below(facts, i, tensor), edit, ids, spec, &facts.ids(10)));
        }
    }
    special(cases, llama);
    conversions(cases, &[llama, &others[0]]);
}

/// Edits that show elsewhere than at their module, or on some models only.
fn special(cases: &mut Vec<Case>, llama: &Facts) {
    let prompt = Prompt::Ids(vec![5, 17, 42, 100, 7]);
    for spec in ["load(bf16)@eager", "load(f16)@sdpa", "load(f32)@eager"] {
        let transposed: &[&str] = &["weight-transposed"];
        for (layer, tensor) in [(1, "self_attn.q_proj"), (3, "self_attn.o_proj")] {
            let name = format!("{}.weight", at(layer, tensor));
            cases.push(edited(llama, &name, Edit::Transpose, transposed, spec, &PROMPTS[1]));
        }
        let name = "model.embed_tokens.weight";
        for (edit, ids, site) in [
            (Edit::RandomRow(42), &["weight-partly-changed"][..], "model.embed_tokens"),
            (Edit::ZeroRow(42), &["weight-partly-zero"], "model.embed_tokens"),
            // No token of the prompt: it shows where the embedding is tied to.
            (Edit::RandomRow(43), &["weight-partly-changed"], "lm_head"),
            (Edit::ZeroRow(44), &["weight-partly-zero"], "lm_head"),
        ] {
            let key = format!("{edit:?} of {name}");
            let case = llama.case("weights", &key, spec, spec, &prompt, fault(ids, site));
            cases.push(case.with(Change::Tensor { name: name.to_owned(), edit }));
        }
    }
}

/// What converters do to every tensor.
fn conversions(cases: &mut Vec<Case>, models: &[&Facts]) {
    use Edit::{NearestBf16, NearestF16, NineBits, Stochastic, TiesAway, Truncate, ViaF16};
    let (first, linear) = ("model.embed_tokens", at(0, "self_attn.q_proj"));
    for facts in models {
        for spec in ["load(bf16)@eager", "load(bf16)@sdpa", "load(f16)@eager", "load(f32)@sdpa"] {
            let prompt = facts.ids(12);
            let mut push =
                |key: &str, ids: &'static [&'static str], site: &str, a: &[Change], b: &[Change]| {
                    let mut case = facts.case("conversion", key, spec, spec, &prompt, fault(ids, site));
                    case.a.changes = a.to_vec();
                    case.b.changes = b.to_vec();
                    cases.push(case);
                };
            push("all truncated to bf16", &["weights-truncated"], first, &[], &[Change::All(Truncate)]);
            push("all by way of f16", &["weights-rounded-twice"], first, &[], &[Change::All(ViaF16)]);
            push(
                "all rounded by chance",
                &["weights-rounded-otherwise"],
                first,
                &[],
                &[Change::All(Stochastic)],
            );
            let ties = Change::All(NineBits);
            let away = [ties.clone(), Change::All(TiesAway)];
            push("ties away from zero", &["weights-rounded-otherwise"], first, &[ties], &away);
            push("all rounded to bf16", &["weights-rounded"], first, &[], &[Change::All(NearestBf16)]);
            push("all rounded to f16", &["weights-rounded"], first, &[], &[Change::All(NearestF16)]);
            for (key, edit) in [
                ("linears in Q8_0", Edit::Q80),
                ("linears in Q4_0", Edit::Q40),
                ("linears in nf4", Edit::Nf4),
                ("linears in int8 by row", Edit::Int8Rows),
                ("linears in e4m3 by tensor", Edit::E4m3Tensor),
            ] {
                push(key, &["weights-quantised"], &linear, &[], &[Change::Linears(edit)]);
            }
            let unscaled = [Change::Linears(Edit::E4m3Unscaled)];
            push("linears in e4m3 without scales", &["weights-scaled"], &linear, &[], &unscaled);
            push("linears with noise", &["weights-changed"], &linear, &[], &[Change::Linears(Edit::Noise)]);
            push(
                "linears with offsets",
                &["weights-offset"],
                &linear,
                &[],
                &[Change::Linears(Edit::OffsetBlocks)],
            );
        }
    }
}
