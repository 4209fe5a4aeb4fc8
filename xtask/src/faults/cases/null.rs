//! Pairs without a fault.

use serde_json::json;

use super::super::checkpoint::Change;
use super::super::edit::Edit;
use super::{Case, Expected, Facts, PROMPTS, Prompt, at};

pub(super) const ORDERS: [&str; 7] =
    ["tile32", "dot2", "sequential", "reversed", "pairwise", "split-k(4)", "exact"];

fn pair(facts: &Facts, key: &str, a: &str, b: &str, prompt: &Prompt) -> Case {
    facts.case("null", key, a, b, prompt, Expected::Nothing)
}

pub(super) fn cases(cases: &mut Vec<Case>, llama: &Facts, others: &[Facts], ropes: &[Facts]) {
    for prompt in &PROMPTS {
        for attention in ["eager", "sdpa"] {
            for (i, a) in ORDERS.iter().enumerate() {
                for b in &ORDERS[i..] {
                    let (a, b) =
                        (format!("load(bf16)@{attention}@{a}"), format!("load(bf16)@{attention}@{b}"));
                    cases.push(pair(llama, &format!("{a} and {b}"), &a, &b, prompt).seen());
                }
            }
        }
        for both in ["load(f32).to(bf16)", "load(f32)", "load(f16)", "load(bf16)@norm=fused"] {
            cases.push(pair(llama, &format!("{both} twice"), both, both, prompt).seen());
        }
    }
    orders(cases, llama, others, ropes);
    files(cases, llama, others);
    shared(cases, llama, others);
    observed(cases, llama);
}

/// Other orders, shapes and formats.
fn orders(cases: &mut Vec<Case>, llama: &Facts, others: &[Facts], ropes: &[Facts]) {
    for (m, facts) in [llama].into_iter().chain(others).chain(ropes).enumerate() {
        for (i, dtype) in ["bf16", "f16", "f32"].iter().enumerate() {
            for j in 0..2 {
                let at = m + i + 3 * j;
                let (a, b) = (ORDERS[at % 7], ORDERS[(at + 1 + m % 3) % 7]);
                let attention = ["eager", "sdpa"][(m + j) % 2];
                let spec = |order: &str| format!("load({dtype})@{attention}@{order}");
                let key = format!("{dtype} {attention} {a} {b} on {}", facts.short());
                cases.push(pair(facts, &key, &spec(a), &spec(b), &facts.ids([9, 40.min(facts.longest)][j])));
            }
        }
    }
    // What the number of tokens decides: blocks of the sum in long prompts, lanes for a single
    // token.
    for (key, a, b, tokens) in [
        ("blocks of long sums", "tile32", "tile32-blocked", 40),
        ("lanes for one token", "dot2", "dot2-lanes", 1),
        ("lanes for many", "dot2", "dot2-lanes", 70),
        ("a long prompt", "tile32", "dot2", 200),
    ] {
        for attention in ["eager", "sdpa"] {
            let spec = |order: &str| format!("load(bf16)@{attention}@{order}");
            cases.push(pair(llama, &format!("{key} {attention}"), &spec(a), &spec(b), &llama.ids(tokens)));
        }
    }
    for (a, b) in [("tile32", "sequential"), ("dot2", "exact"), ("pairwise", "reversed")] {
        let spec = |order: &str| format!("load(bf16)@sdpa@{order}");
        let mut several = pair(llama, &format!("four prompts {a} {b}"), &spec(a), &spec(b), &PROMPTS[1]);
        several.prompts = vec![llama.ids(2), PROMPTS[0].clone(), llama.ids(33), llama.ids(64)];
        cases.push(several);
    }
}

/// The same numbers in other files.
fn files(cases: &mut Vec<Case>, llama: &Facts, others: &[Facts]) {
    let embedding = "model.embed_tokens.weight".to_owned();
    let head = || Change::Double { from: embedding.clone(), to: "lm_head.weight".to_owned() };
    let kinds: Vec<(&str, Vec<Change>)> = vec![
        ("copied", vec![Change::Copy]),
        ("in three files", vec![Change::Shards(3)]),
        ("in eleven files", vec![Change::Shards(11)]),
        ("in reverse", vec![Change::Reversed]),
        ("tied head stored too", vec![head()]),
        ("an old buffer", vec![Change::OldBuffer]),
        ("stored in f32", vec![Change::Store("F32")]),
        (
            "head of its own, the same",
            vec![head(), Change::Field { key: "tie_word_embeddings", value: json!(false) }],
        ),
        ("a field of no effect", vec![Change::Field { key: "initializer_range", value: json!(0.5) }]),
    ];
    for facts in [llama, &others[0], &others[2], &others[3], &others[8]] {
        for (i, (key, changes)) in kinds.iter().enumerate() {
            let spec = ["load(bf16)@eager", "load(f32)@sdpa", "load(f16)@eager"][i % 3];
            let mut case = pair(facts, &format!("{key} {}", facts.short()), spec, spec, &facts.ids(11));
            case.b.changes = changes.clone();
            cases.push(case);
        }
    }
    // In other files and in another order at once.
    for (a, b) in [("tile32", "sequential"), ("dot2", "pairwise")] {
        let (a, b) = (format!("load(bf16)@eager@{a}"), format!("load(bf16)@eager@{b}"));
        cases.push(pair(llama, &format!("copied, {a} and {b}"), &a, &b, &PROMPTS[1]).with(Change::Shards(2)));
    }
    for spec in ["load(bf16)@eager", "load(f32)@sdpa", "load(f16)@sdpa"] {
        let mut gguf = pair(llama, &format!("in GGUF {spec}"), spec, spec, &llama.ids(11));
        gguf.b.other = Some("tiny-llama.gguf");
        cases.push(gguf);
    }
    // The same in other words.
    let spelled = [
        (
            "rope by old keys",
            vec![
                Change::NoField("rope_parameters"),
                Change::Field { key: "rope_theta", value: json!(100_000.0) },
                Change::Field { key: "rope_scaling", value: json!(null) },
            ],
        ),
        (
            "dtype by its old key",
            vec![Change::NoField("dtype"), Change::Field { key: "torch_dtype", value: json!("float32") }],
        ),
        ("head_dim left out", vec![Change::NoField("head_dim")]),
        (
            "theta as a whole number",
            vec![Change::Field {
                key: "rope_parameters",
                value: json!({ "rope_theta": 100_000, "rope_type": "default" }),
            }],
        ),
    ];
    for (key, changes) in spelled {
        for spec in ["load(bf16)@sdpa", "load(auto)@eager"] {
            let mut case = pair(llama, key, spec, spec, &llama.ids(11));
            case.b.changes.clone_from(&changes);
            cases.push(case);
        }
    }
}

/// Both arms have the same fault; they round the same buffer by other calls; logits are near ties.
fn shared(cases: &mut Vec<Case>, llama: &Facts, others: &[Facts]) {
    for departures in [
        "rope=interleaved",
        "scale=none@norm=fused",
        "mask=none[2]",
        "cache=e4m3",
        "positions=+9",
        "act=rounded",
    ] {
        for (dtype, a, b) in
            [("bf16", "tile32", "dot2"), ("f32", "sequential", "sequential"), ("f16", "exact", "reversed")]
        {
            let spec = |order: &str| format!("load({dtype})@eager@{order}@{departures}");
            cases.push(pair(
                llama,
                &format!("shared {departures} {dtype}"),
                &spec(a),
                &spec(b),
                &llama.ids(13),
            ));
        }
    }
    let weight = |layer, tensor: &str| format!("{}.weight", at(layer, tensor));
    for (key, change) in [
        ("shared flipped bit", Change::Tensor { name: weight(1, "mlp.up_proj"), edit: Edit::FlipBit }),
        (
            "shared permutation",
            Change::Tensor { name: weight(0, "self_attn.q_proj"), edit: Edit::Interleave(llama.heads) },
        ),
        ("shared quantisation", Change::Linears(Edit::Q40)),
        (
            "shared theta",
            Change::Field {
                key: "rope_parameters",
                value: json!({ "rope_type": "default", "rope_theta": 7.0 }),
            },
        ),
        ("shared random tensor", Change::Tensor { name: weight(2, "mlp.down_proj"), edit: Edit::Random }),
    ] {
        for (a, b) in [
            ("load(bf16)@eager", "load(bf16)@eager"),
            ("load(f16)@sdpa@sequential", "load(f16)@sdpa@pairwise"),
        ] {
            cases.push(pair(llama, key, a, b, &llama.ids(13)).both(change.clone()));
        }
    }
    for (a, b) in [
        ("load(f32).to(bf16)", "load(f32).bfloat16()"),
        ("load(f32).to(bf16)", "load(f64).bfloat16()"),
        ("load(f32).half()", "load(f64).to(f16)"),
        ("load(f32)", "load(auto)"),
        ("load(f32)", "load(f32).to(f32)"),
        ("load(f32)", "load(f32).double().float()"),
        ("load(bf16).float()", "load(bf16).to(f32)"),
    ] {
        cases.push(pair(llama, &format!("{a} is {b}"), a, b, &llama.ids(13)));
    }
    // Rows of the embedding, and so logits, that are the same: every most likely token is a tie.
    for facts in [llama, &others[5]] {
        let head = if facts.short() == "untied" { "lm_head.weight" } else { "model.embed_tokens.weight" };
        for (i, edit) in [Edit::ZeroAll, Edit::Constant].into_iter().enumerate() {
            for (a, b) in [("tile32", "dot2"), ("sequential", "exact"), ("tile32", "tile32")] {
                let (a, b) = (format!("load(bf16)@eager@{a}"), format!("load(bf16)@eager@{b}"));
                let key = format!("ties {i} {}", facts.short());
                let change = Change::Tensor { name: head.to_owned(), edit };
                cases.push(pair(facts, &key, &a, &b, &facts.ids(13)).both(change));
            }
        }
        for (a, b) in [("tile32", "pairwise"), ("dot2", "split-k(4)")] {
            // A thousandth of the size: all logits within a few roundings of each other.
            let (a, b) = (format!("load(bf16)@sdpa@{a}"), format!("load(bf16)@sdpa@{b}"));
            let key = format!("near ties {}", facts.short());
            let change = Change::Tensor { name: "model.norm.weight".to_owned(), edit: Edit::Times(0.001) };
            cases.push(pair(facts, &key, &a, &b, &facts.ids(13)).both(change));
        }
    }
}

/// Looking more closely, or with another number of threads, changes nothing.
fn observed(cases: &mut Vec<Case>, llama: &Facts) {
    for (key, b) in [
        ("norm=fused", "load(bf16)@eager@norm=fused"),
        ("rotary buffer", "load(f32).to(bf16)@eager"),
        ("mask=none", "load(bf16)@eager@mask=none[1]"),
    ] {
        for with in [["--sites", "lm_head"], ["--sites", "model.layers.1.*"], ["--threads", "1"]] {
            let key = format!("{key} seen with {}", with.join(" "));
            let expected = Expected::SameWith(with.to_vec());
            cases.push(llama.case("null", &key, "load(bf16)@eager", b, &PROMPTS[1], expected));
        }
    }
}
