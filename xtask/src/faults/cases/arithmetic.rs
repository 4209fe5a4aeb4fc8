//! Departures from Hugging Face's arithmetic.

use super::{Case, Expected, Facts, PROMPTS, at, fault};

/// What is written, the cause, the site below a block or a whole one, in eager attention.
const SEEN: [(&str, &[&str], &str); 29] = [
    ("norm=fused", &["norm-rounding"], "input_layernorm"),
    ("norm=storage", &["norm-rounding"], "input_layernorm"),
    ("norm=plus-one", &["norm-convention"], "input_layernorm"),
    ("norm=gemma", &["norm-convention"], "input_layernorm"),
    ("norm=no-weight", &["norm-convention"], "input_layernorm"),
    ("rope=fused", &["rotary-rounding"], "self_attn.q_rope"),
    ("rope=interleaved", &["rotary-layout"], "self_attn.q_rope"),
    ("rope=interleaved-fused", &["rotary-layout"], "self_attn.q_rope"),
    ("rope=negated", &["rotary-layout"], "self_attn.q_rope"),
    ("rope=none", &["rotary-layout"], "self_attn.q_rope"),
    ("scale=none", &["attention-scale"], "self_attn.scores"),
    ("scale=twice", &["attention-scale"], "self_attn.scores"),
    ("scale=1/D", &["attention-scale"], "self_attn.scores"),
    ("mask=none", &["causal-mask"], "self_attn.scores"),
    ("mask=strict", &["causal-mask"], "self_attn.scores"),
    ("mask=ahead", &["causal-mask"], "self_attn.scores"),
    ("gqa=tiled", &["grouped-heads"], "self_attn.scores"),
    ("softmax=storage", &["softmax-format"], "self_attn.probs"),
    ("cache=e4m3", &["cache-format"], "self_attn.scores"),
    ("cache=e5m2", &["cache-format"], "self_attn.scores"),
    ("act=rounded", &["activation-rounding"], "mlp.act_fn"),
    ("mlp=fused", &["gate-rounding"], "mlp.product"),
    ("mlp=swapped", &["gate-and-up-exchanged"], "mlp.act_fn"),
    ("residual=skip-attention", &["residual-term"], "resid_mid"),
    ("residual=drop-before-attention", &["residual-term"], "resid_mid"),
    ("residual=skip-mlp", &["residual-term"], ""),
    ("residual=drop-before-mlp", &["residual-term"], ""),
    ("positions=+1", &["positions"], "model.rotary_emb.cos"),
    ("embedding=scaled", &["embedding-scale"], "model.embed_tokens"),
];

const NEW: [(&str, &[&str], &str); 14] = [
    ("norm=divided", &["norm-rounding"], "input_layernorm"),
    ("table=bf16", &["rotary-table-format"], "model.rotary_emb.*"),
    ("table=f16", &["rotary-table-format"], "model.rotary_emb.*"),
    ("table=f32", &["rotary-table-format"], "model.rotary_emb.*"),
    ("positions=bf16", &["positions"], "model.rotary_emb.*"),
    ("positions=-3", &["positions"], "model.rotary_emb.cos"),
    ("positions=+200", &["positions"], "model.rotary_emb.cos"),
    ("scale=query", &["query-scaled"], "self_attn.scores"),
    ("scores=unrounded", &["score-rounding"], "self_attn.scores"),
    ("scores=f32", &["score-rounding"], "self_attn.scores"),
    ("cache=bf16", &["cache-format"], "self_attn.scores"),
    ("cache=f16", &["cache-format"], "self_attn.scores"),
    ("head=f32", &["logits-format"], "lm_head"),
    ("mask=window-4", &["causal-mask"], "self_attn.scores"),
];

/// Where in a block a departure shows: fused attention has neither scores nor probabilities.
fn below(site: &str, spec: &str) -> String {
    let inside = matches!(site, "self_attn.scores" | "self_attn.probs");
    (if inside && spec.contains("sdpa") { "self_attn.context" } else { site }).to_owned()
}

pub(super) fn whole(departure: &str) -> bool {
    ["table=", "positions=", "embedding=", "head="].iter().any(|class| departure.starts_with(class))
}

/// A departure in one layer, or in all.
pub(super) fn one(
    facts: &Facts,
    (departure, ids, site): (&str, &'static [&'static str], &str),
    spec: &str,
    layer: Option<usize>,
    prompt: &super::Prompt,
) -> Case {
    let key = layer.map_or(departure.to_owned(), |layer| format!("{departure}[{layer}]"));
    // A division for a multiplication changes a few outputs of 100,000: any norm may be the first.
    let site = if departure == "norm=divided" {
        "*norm".to_owned()
    } else if whole(departure) {
        site.to_owned()
    } else {
        at(layer.unwrap_or(0), &below(site, spec))
    };
    facts.case("arithmetic", &key, spec, &format!("{spec}@{key}"), prompt, fault(ids, site))
}

/// What is written, the cause, the site.
pub(super) type Entry = (&'static str, &'static [&'static str], &'static str);

/// All of them.
pub(super) fn all() -> impl Iterator<Item = Entry> {
    SEEN.into_iter().chain(NEW)
}

pub(super) fn known(departure: &str) -> Option<Entry> {
    all().find(|(name, ..)| *name == departure)
}

pub(super) fn cases(cases: &mut Vec<Case>, llama: &Facts, others: &[Facts], ropes: &[Facts]) {
    let bf16 = "load(bf16)@eager";
    for prompt in &PROMPTS {
        for (listed, seen) in [(&SEEN[..], true), (&NEW[..], false)] {
            for &entry in listed {
                let layers = if whole(entry.0) {
                    vec![None]
                } else {
                    vec![None, Some(llama.layers / 2), Some(llama.layers - 1)]
                };
                for layer in layers {
                    let case = one(llama, entry, bf16, layer, prompt);
                    cases.push(if seen { case.seen() } else { case });
                }
            }
        }
    }
    // Positions of 8 bits differ from the 257th on.
    let far = llama.ids(300);
    for spec in [bf16, "load(bf16)@sdpa", "load(f32)@sdpa"] {
        cases.extend(known("positions=bf16").map(|entry| one(llama, entry, spec, None, &far)));
    }
    for spec in ["load(bf16)@sdpa", "load(f16)@eager", "load(f16)@sdpa", "load(f32)@eager", "load(f32)@sdpa"]
    {
        for (i, &entry) in SEEN.iter().chain(&NEW).enumerate() {
            let layers = if whole(entry.0) { vec![None] } else { vec![None, Some(i % llama.layers)] };
            for layer in layers {
                cases.push(one(llama, entry, spec, layer, &PROMPTS[1]));
            }
        }
    }
    for (m, facts) in others.iter().chain(ropes).enumerate() {
        let spec = if m % 2 == 0 { bf16 } else { "load(bf16)@sdpa" };
        for (i, &entry) in SEEN.iter().chain(&NEW).enumerate() {
            let layer = (!whole(entry.0) && i % 2 == 0).then(|| i / 2 % facts.layers);
            cases.push(one(facts, entry, spec, layer, &facts.ids(14)));
        }
    }
    for (kind, b) in [("eager against sdpa", "sdpa"), ("sdpa against eager", "eager")] {
        let a = if b == "sdpa" { "eager" } else { "sdpa" };
        for dtype in ["bf16", "f16", "f32"] {
            let spec = |attention: &str| format!("load({dtype})@{attention}");
            let expected: Expected = fault(&["attention-implementation"], at(0, "self_attn.context"));
            cases.push(llama.case("arithmetic", kind, &spec(a), &spec(b), &PROMPTS[1], expected));
        }
    }
}
