//! Small models of other families than Llama: each kind of case once, and what goes wrong with
//! these families.

use serde_json::{Map, Value, json};

use super::super::checkpoint::Change;
use super::super::edit::Edit;
use super::weights::edited;
use super::{Case, Expected, Facts, Prompt, arithmetic, at, fault, null, weights};

const SPECS: [&str; 4] = ["load(bf16)@eager", "load(bf16)@sdpa", "load(f16)@eager", "load(f32)@sdpa"];

const BUFFERS: &str = "model.rotary_emb.*";

/// Every case on the models of one family. In the bounded run, each in one arithmetic.
pub(super) fn cases(cases: &mut Vec<Case>, models: &[Facts]) {
    for (m, facts) in models.iter().enumerate() {
        departures(cases, facts, m, models.len());
        tensors(cases, facts, m, models.len());
        exchanged(cases, facts, SPECS[m % 4]);
        for (spec, short) in [(SPECS[m % 4], true), (SPECS[(m + 1) % 4], false)] {
            let before = cases.len();
            config(cases, facts, spec);
            windows(cases, facts, spec);
            heads(cases, facts, spec);
            biases(cases, facts, spec);
            temperature(cases, facts, spec);
            cases[before..].iter_mut().for_each(|case| case.short = short);
        }
        recipes(cases, facts, ["eager", "sdpa"][m % 2]);
        several(cases, facts, SPECS[m % 4]);
        nulls(cases, facts, m);
    }
}

impl Facts {
    /// A prompt that reaches behind every window, and behind the length that scaling starts at.
    fn far(&self) -> Prompt {
        let window = self.windows.iter().flatten().copied().max().unwrap_or(0);
        let original = self.rope_number("original_max_position_embeddings").unwrap_or(0.0) as usize;
        let reached = [window, original].into_iter().filter(|n| *n < 100).max().unwrap_or(0);
        self.ids((reached + 8).max(18))
    }

    /// `rope_parameters`, however they are spelled.
    fn rope(&self) -> Map<String, Value> {
        let theta = self.config.get("rope_theta").cloned().unwrap_or(json!(10_000.0));
        let mut rope = Map::from_iter([("rope_theta".to_owned(), theta)]);
        match (&self.config["rope_parameters"], &self.config["rope_scaling"]) {
            (Value::Object(said), _) | (_, Value::Object(said)) => rope.extend(said.clone()),
            // What Ministral 3 takes where nothing is said.
            _ if self.decoder == "ministral3" => {
                rope.insert("rope_theta".to_owned(), json!(1e6));
                for (key, value) in [
                    ("rope_type", json!("yarn")),
                    ("factor", json!(16.0)),
                    ("original_max_position_embeddings", json!(16384)),
                    ("mscale", json!(1.0)),
                    ("mscale_all_dim", json!(1.0)),
                    ("llama_4_scaling_beta", json!(0.1)),
                ] {
                    rope.insert(key.to_owned(), value);
                }
            }
            _ => {}
        }
        let kind = rope.remove("type").unwrap_or(json!("default"));
        rope.entry("rope_type").or_insert(kind);
        rope
    }

    /// A number of `rope_parameters`.
    fn rope_number(&self, key: &str) -> Option<f64> {
        self.rope().get(key)?.as_f64()
    }

    /// `rope_parameters` with these keys set, or removed where they are null; in the new spelling.
    fn with_rope(&self, set: &[(&str, Value)]) -> Vec<Change> {
        let mut rope = self.rope();
        for (key, value) in set {
            match value {
                Value::Null => _ = rope.remove(*key),
                value => _ = rope.insert((*key).to_owned(), value.clone()),
            }
        }
        let old = ["rope_theta", "rope_scaling"].into_iter().filter(|key| self.config.get(key).is_some());
        let new = Change::Field { key: "rope_parameters", value: rope.into() };
        old.map(Change::NoField).chain([new]).collect()
    }

    /// The tensors of this name of every layer changed.
    fn everywhere(&self, tensor: &str, edit: Edit) -> Vec<Change> {
        (0..self.layers).map(|n| Change::Tensor { name: at(n, tensor), edit }).collect()
    }

    /// A fault in arm b.
    fn changed(
        &self,
        family: &'static str,
        key: &str,
        spec: &str,
        expected: Expected,
        changes: Vec<Change>,
    ) -> Case {
        let mut case = self.case(family, key, spec, spec, &self.far(), expected);
        case.b.changes = changes;
        case
    }
}

/// Where a mask shows.
fn scores(spec: &str) -> &'static str {
    if spec.contains("sdpa") { "self_attn.context" } else { "self_attn.scores" }
}

/// Departures in one layer or in all: each of the list on one of the models.
fn departures(cases: &mut Vec<Case>, facts: &Facts, m: usize, models: usize) {
    for (i, entry) in arithmetic::all().enumerate().filter(|(i, _)| i % models == m) {
        let layer = (!arithmetic::whole(entry.0) && i % 2 == 0).then(|| i / 2 % facts.layers);
        // On a model with windows, another window is no new rule but another width.
        let entry = match (entry.0, facts.window()) {
            ("mask=window-4", Some(_)) => (entry.0, &["sliding-window"][..], entry.2),
            _ => entry,
        };
        let one = |spec| arithmetic::one(facts, entry, spec, layer, &facts.far());
        cases.extend([one(SPECS[i % 2]), one(SPECS[2 + i / 2 % 2]).long()]);
    }
    let kind = ["eager against sdpa", "sdpa against eager"][m % 2];
    let (a, b) = kind.split_once(" against ").unwrap_or(("", ""));
    for dtype in ["bf16", "f32"] {
        let spec = |attention: &str| format!("load({dtype})@{attention}");
        let expected = fault(&["attention-implementation"], at(0, "self_attn.context"));
        cases.push(facts.case("arithmetic", kind, &spec(a), &spec(b), &facts.far(), expected));
    }
}

/// Edits of one tensor: each of the list on one of the models.
fn tensors(cases: &mut Vec<Case>, facts: &Facts, m: usize, models: usize) {
    let all = weights::edits(facts).into_iter().chain(weights::seen());
    for (i, (tensor, edit, ids)) in all.enumerate().filter(|(i, _)| i % models == m) {
        let name = if tensor.starts_with("model.") {
            format!("{tensor}.weight")
        } else {
            format!("{}.weight", at(i % facts.layers, tensor))
        };
        let one = |spec| edited(facts, &name, edit, ids, spec, &facts.far());
        cases.extend([one(SPECS[i / models % 2]), one(SPECS[2 + i / models % 2]).long()]);
    }
    // Meta's order of rows: adjacent pairs, where Hugging Face's are halves apart.
    let mut tensors = vec!["weight"];
    tensors.extend(facts.biases.then_some("bias"));
    for (key, direction) in [
        ("q and k rows interleaved everywhere", Edit::Interleave as fn(usize) -> Edit),
        ("q and k rows deinterleaved everywhere", Edit::Deinterleave),
    ] {
        let rows = [("q_proj", facts.heads), ("k_proj", facts.groups)];
        let changes = tensors.iter().flat_map(|kind| {
            rows.iter().flat_map(move |(tensor, heads)| {
                facts.everywhere(&format!("self_attn.{tensor}.{kind}"), direction(*heads))
            })
        });
        let expected = fault(&["qk-permutation"], at(0, "self_attn.q_proj"));
        cases.push(facts.changed("weights", key, SPECS[m % 2], expected, changes.collect()));
    }
}

/// Tensors under each other's names.
fn exchanged(cases: &mut Vec<Case>, facts: &Facts, spec: &str) {
    let last = facts.layers - 1;
    let expected = fault(&["layers-exchanged"], at(0, "input_layernorm"));
    let swap = vec![Change::SwapLayers(0, last)];
    cases.push(facts.changed("tensors", &format!("layers 0 and {last} exchanged"), spec, expected, swap));
    let mut pairs = vec![
        ("self_attn.k_proj", "self_attn.v_proj", "weight"),
        ("mlp.gate_proj", "mlp.up_proj", "weight"),
        ("input_layernorm", "post_attention_layernorm", "weight"),
    ];
    pairs.extend(facts.biases.then_some(("self_attn.k_proj", "self_attn.v_proj", "bias")));
    pairs.extend(facts.qk_norm.then_some(("self_attn.q_norm", "self_attn.k_norm", "weight")));
    for (i, (one, other, kind)) in pairs.into_iter().enumerate() {
        let layer = i % facts.layers;
        let key = format!("{one}.{kind} and {other}.{kind} of layer {layer} exchanged");
        let name = |tensor: &str| format!("{}.{kind}", at(layer, tensor));
        let expected = fault(&["tensors-exchanged"], at(layer, one));
        let swap = vec![Change::Swap(name(one), name(other))];
        cases.push(facts.changed("tensors", &key, spec, expected, swap));
    }
}

/// Fields that every family has.
fn config(cases: &mut Vec<Case>, facts: &Facts, spec: &str) {
    let mut push = |key: &str, ids: &'static [&'static str], site: &str, changes: Vec<Change>| {
        cases.push(facts.changed("config", key, spec, fault(ids, site), changes));
    };
    let theta = facts.rope_number("rope_theta").unwrap_or(1e4);
    for (said, times) in [("a tenth of theta", 0.1), ("theta times 50", 50.0), ("theta off by 1 %", 1.01)] {
        push(said, &["rope-theta"], BUFFERS, facts.with_rope(&[("rope_theta", json!(theta * times))]));
    }
    let rope = facts.rope();
    let scaling: &[&str] = &["rope-scaling"];
    match rope.get("rope_type").and_then(Value::as_str).unwrap_or("default") {
        "default" => {
            let linear = facts.with_rope(&[("rope_type", json!("linear")), ("factor", json!(2.0))]);
            push("positions divided by 2", scaling, BUFFERS, linear);
        }
        kind => {
            let factor = facts.rope_number("factor").unwrap_or(1.0);
            let twice = facts.with_rope(&[("factor", json!(2.0 * factor))]);
            push("twice the factor of scaling", scaling, BUFFERS, twice);
            // Ministral 3 needs the length that it starts at.
            let linear = facts.with_rope(&[
                ("rope_type", json!("linear")),
                ("mscale", Value::Null),
                ("mscale_all_dim", Value::Null),
                ("beta_fast", Value::Null),
                ("beta_slow", Value::Null),
            ]);
            // Prompts that a dynamic scaling lets grow are too long without it.
            if kind != "dynamic" {
                push(&format!("linear for {kind}"), scaling, BUFFERS, linear);
            }
        }
    }
    // A small one is lost in the roundings of most norms.
    let norm = at(0, "input_layernorm");
    for (value, site) in [(0.1, &norm[..]), (1e-2, &norm), (1e-7, "*norm")] {
        let field = vec![Change::Field { key: "rms_norm_eps", value: json!(value) }];
        push(&format!("eps {value:e}"), &["rms-norm-eps"], site, field);
    }
    let act = if facts.config["hidden_act"] == "silu" { "gelu_pytorch_tanh" } else { "silu" };
    let field = vec![Change::Field { key: "hidden_act", value: json!(act) }];
    push(&format!("{act} for the activation"), &["hidden-act"], &at(0, "mlp.act_fn"), field);
}

/// Sliding windows.
fn windows(cases: &mut Vec<Case>, facts: &Facts, spec: &str) {
    let ids: &[&str] = &["sliding-window"];
    let expected = |layer: usize| fault(ids, at(layer, scores(spec)));
    let width = |width: usize| Change::Field { key: "sliding_window", value: json!(width) };
    let switch = |on: bool| Change::Field { key: "use_sliding_window", value: json!(on) };
    let qwen = facts.decoder.starts_with("qwen");
    let Some((first, window)) = facts.window() else {
        let mut changes = vec![width(6)];
        if qwen {
            changes.extend([
                switch(true),
                Change::Field { key: "max_window_layers", value: json!(facts.layers - 1) },
            ]);
        }
        let layer = if qwen { facts.layers - 1 } else { 0 };
        cases.push(facts.changed("config", "a window switched on", spec, expected(layer), changes));
        return;
    };
    let last = facts.windows.iter().rposition(Option::is_some).unwrap_or(first);
    let mut depart = |key: &str, layer: usize| {
        cases.push(facts.case(
            "arithmetic",
            key,
            spec,
            &format!("{spec}@{key}"),
            &facts.far(),
            expected(layer),
        ));
    };
    depart("mask=causal", first);
    depart(&format!("mask=causal[{last}]"), last);
    depart(&format!("mask=window-{}[{first}]", window + 1), first);
    depart(&format!("mask=window-{}[{first}]", window - 1), first);
    let mut push = |key: &str, layer: usize, changes: Vec<Change>| {
        cases.push(facts.changed("config", key, spec, expected(layer), changes));
    };
    push("a window one wider", first, vec![width(window + 1)]);
    push("a window one narrower", first, vec![width(window - 1)]);
    push("half the window", first, vec![width(window / 2)]);
    if qwen {
        let full = Change::Field { key: "layer_types", value: json!(vec!["full_attention"; facts.layers]) };
        push("the window switched off", first, vec![switch(false), full]);
    } else if facts.decoder != "ministral" {
        let none = vec![Change::Field { key: "sliding_window", value: Value::Null }];
        push("no window", first, none);
    }
    if facts.windows.contains(&None) {
        let types: Vec<&str> = facts
            .windows
            .iter()
            .map(|window| if window.is_some() { "full_attention" } else { "sliding_attention" })
            .collect();
        let field = |types: Vec<&str>| vec![Change::Field { key: "layer_types", value: json!(types) }];
        push("windows on the other layers", 0, field(types));
        let full = facts.windows.iter().position(Option::is_none).unwrap_or(0);
        push("windows on all layers", full, field(vec!["sliding_attention"; facts.layers]));
    }
}

/// Norms of queries and keys.
fn heads(cases: &mut Vec<Case>, facts: &Facts, spec: &str) {
    if !facts.qk_norm {
        return;
    }
    let ids: &[&str] = &["qk-norm"];
    for (departure, layer) in [
        ("qk_norm=none".to_owned(), 0),
        ("qk_norm=all-heads".to_owned(), 0),
        (format!("qk_norm=none[{}]", facts.layers - 1), facts.layers - 1),
        ("qk_norm=all-heads[1]".to_owned(), 1),
    ] {
        let expected = fault(ids, at(layer, "self_attn.q_norm"));
        let b = format!("{spec}@{departure}");
        cases.push(facts.case("arithmetic", &departure, spec, &b, &facts.far(), expected));
    }
    for (layer, norm, edit, ids) in [
        (0, "q_norm", Edit::PlusOne, &["norm-plus-one"][..]),
        (1, "k_norm", Edit::PlusOne, &["norm-plus-one"]),
        (1, "q_norm", Edit::MinusOne, &["norm-plus-one"]),
        (0, "k_norm", Edit::Times(1.5), &["weights-scaled"]),
        (0, "q_norm", Edit::FlipFraction, &["weight-corrupted"]),
        (1, "k_norm", Edit::FlipBit, &["weight-corrupted"]),
        (0, "k_norm", Edit::Constant, &["weight-constant"]),
        (1, "q_norm", Edit::ReverseRows, &["rows-permuted"]),
        (1, "k_norm", Edit::ZeroAll, &["weight-constant"]),
    ] {
        let name = format!("{}.weight", at(layer, &format!("self_attn.{norm}")));
        cases.push(edited(facts, &name, edit, ids, spec, &facts.far()));
    }
    for (norm, edit) in [("q_norm", Edit::PlusOne), ("k_norm", Edit::PlusOne)] {
        let expected = fault(&["norm-plus-one"], at(0, &format!("self_attn.{norm}")));
        let changes = facts.everywhere(&format!("self_attn.{norm}.weight"), edit);
        let key = format!("{edit:?} of every {norm}");
        cases.push(facts.changed("weights", &key, spec, expected, changes));
    }
    // Rows of queries in Meta's order, and the norm's weight as well.
    let both = [("q_proj", facts.heads), ("q_norm", 1), ("k_proj", facts.groups), ("k_norm", 1)];
    let changes: Vec<Change> = both
        .iter()
        .flat_map(|(tensor, heads)| {
            facts.everywhere(&format!("self_attn.{tensor}.weight"), Edit::Interleave(*heads))
        })
        .collect();
    let expected = fault(&["qk-permutation"], at(0, "self_attn.q_proj"));
    if !facts.biases {
        cases.push(facts.changed("weights", "q and k interleaved with their norms", spec, expected, changes));
    }
}

/// Biases of queries, keys and values.
fn biases(cases: &mut Vec<Case>, facts: &Facts, spec: &str) {
    if !facts.biases {
        return;
    }
    for (i, (tensor, edit, ids)) in [
        ("q_proj", Edit::ZeroAll, &["bias-dropped"][..]),
        ("k_proj", Edit::ZeroAll, &["bias-dropped"]),
        ("v_proj", Edit::ZeroAll, &["bias-dropped"]),
        ("k_proj", Edit::Times8, &["weights-scaled"]),
        ("q_proj", Edit::Negate, &["sign-flipped"]),
        ("v_proj", Edit::FlipBit, &["weight-corrupted"]),
        ("k_proj", Edit::Random, &["weight-reinitialised"]),
        ("q_proj", Edit::ReverseRows, &["rows-permuted"]),
        ("k_proj", Edit::Interleave(facts.groups), &["qk-permutation"]),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("{}.bias", at(i % facts.layers, &format!("self_attn.{tensor}")));
        cases.push(edited(facts, &name, edit, ids, spec, &facts.far()));
    }
    let all: Vec<Change> = ["q_proj", "k_proj", "v_proj"]
        .iter()
        .flat_map(|tensor| facts.everywhere(&format!("self_attn.{tensor}.bias"), Edit::ZeroAll))
        .collect();
    let expected = fault(&["bias-dropped"], at(0, "self_attn.q_proj"));
    cases.push(facts.changed("weights", "every bias dropped", spec, expected, all));
    let keys = facts.everywhere("self_attn.k_proj.bias", Edit::ZeroAll);
    let expected = fault(&["bias-dropped"], at(0, "self_attn.k_proj"));
    cases.push(facts.changed("weights", "every bias of keys dropped", spec, expected, keys));
    // Scores beyond f16 by biases alone.
    let large = ["q_proj", "k_proj"].map(|tensor| Change::Tensor {
        name: format!("{}.bias", at(0, &format!("self_attn.{tensor}"))),
        edit: Edit::Times(1024.0),
    });
    if !facts.qk_norm {
        let expected = fault(&["f16-overflow"], at(0, "self_attn.scores"));
        let (a, b) = ("load(bf16)@eager", "load(f16)@eager");
        let mut case = facts.case("overflow", "large biases in layer 0", a, b, &facts.far(), expected);
        case.a.changes = large.to_vec();
        case.b.changes = large.to_vec();
        // Once is enough.
        if spec == SPECS[0] {
            cases.push(case);
        }
    }
}

/// Queries that are scaled by their positions, and YaRN's factors.
fn temperature(cases: &mut Vec<Case>, facts: &Facts, spec: &str) {
    if facts.decoder != "ministral3" {
        return;
    }
    let original = facts.rope_number("original_max_position_embeddings").unwrap_or(0.0);
    let mut push = |key: &str, expected: Expected, set: &[(&str, Value)]| {
        cases.push(facts.changed("config", key, spec, expected, facts.with_rope(set)));
    };
    let beta = "llama_4_scaling_beta";
    for value in [0.0, 0.5, 0.01] {
        // Positions within the original length are not scaled: then it is without effect.
        let expected = fault(&["query-temperature"], at(0, "self_attn.q_scaled"));
        push(&format!("{beta} = {value}"), expected, &[(beta, json!(value))]);
    }
    // Both scalings go by this length; half of it leaves the ramp of YaRN's few frequencies where
    // it was.
    let length = "original_max_position_embeddings";
    if original > 1000.0 {
        let both = Expected::Both { ids: ["rope-scaling", "query-temperature"], site: BUFFERS.to_owned() };
        push("an original length of 6", both, &[(length, json!(6))]);
    } else {
        let scaled = fault(&["query-temperature"], at(0, "self_attn.q_scaled"));
        push("half the original length", scaled, &[(length, json!(original / 2.0))]);
    }
    let factor = || fault(&["rope-scaling"], "model.rotary_emb.cos");
    push("both mscales left out", factor(), &[("mscale", Value::Null), ("mscale_all_dim", Value::Null)]);
    push("another attention factor", factor(), &[("attention_factor", json!(1.277))]);
    let fast = fault(&["rope-scaling"], BUFFERS);
    push("another beta_fast", fast, &[("beta_fast", json!(2.0))]);
}

/// The same checkpoint by another chain of calls.
fn recipes(cases: &mut Vec<Case>, facts: &Facts, attention: &str) {
    // The cosines of a short prompt may all round to the same, and of scaled ones those of a long
    // one.
    let prompt = facts.ids(48.min(facts.longest));
    for (a, b) in [
        ("load(bf16)", "load(f32).to(bf16)"),
        ("load(bf16)", "load(bf16).bfloat16()"),
        ("load(f16)", "load(f32).half()"),
    ] {
        let [a, with] = [a, b].map(|recipe| format!("{recipe}@{attention}"));
        let expected = fault(&["rotary-buffer-rounded"], BUFFERS);
        cases.push(facts.case("recipe", b, &a, &with, &prompt, expected));
    }
    for (a, b) in [("f32", "bf16"), ("bf16", "f16")] {
        let key = format!("load({a}) against load({b})");
        let (a, b) = (format!("load({a})@{attention}"), format!("load({b})@{attention}"));
        let expected = fault(&["compute-format", "weights-rounded"], "model.*");
        cases.push(facts.case("recipe", &key, &a, &b, &prompt, expected));
    }
    let (a, b) = (format!("load(f32).to(bf16)@{attention}"), format!("load(f16).to(bf16)@{attention}"));
    let twice = fault(&["weights-rounded-twice"], "model.embed_tokens");
    cases.push(facts.case("recipe", "by way of f16", &a, &b, &prompt, twice));
}

/// Two faults at once.
fn several(cases: &mut Vec<Case>, facts: &Facts, spec: &str) {
    let flip = Change::Tensor {
        name: format!("{}.weight", at(facts.layers - 1, "mlp.down_proj")),
        edit: Edit::FlipBit,
    };
    let mut push = |key: &str, ids: [&'static str; 2], site: &str, more: &str, changes: Vec<Change>| {
        let expected = Expected::Both { ids, site: site.to_owned() };
        let mut case = facts.case("two at once", key, spec, &format!("{spec}{more}"), &facts.far(), expected);
        case.b.changes = changes;
        cases.push(case);
    };
    let theta = facts.rope_number("rope_theta").unwrap_or(1e4) * 0.1;
    let mut changes = facts.with_rope(&[("rope_theta", json!(theta))]);
    changes.push(flip.clone());
    push("theta and a flipped bit", ["rope-theta", "weight-corrupted"], BUFFERS, "", changes);
    if let Some((first, _)) = facts.window() {
        push(
            "no window and a flipped bit",
            ["sliding-window", "weight-corrupted"],
            &at(first, scores(spec)),
            "@mask=causal",
            vec![flip.clone()],
        );
    }
    if facts.qk_norm {
        push(
            "no norm of queries and a flipped bit",
            ["qk-norm", "weight-corrupted"],
            &at(0, "self_attn.q_norm"),
            "@qk_norm=none",
            vec![flip.clone()],
        );
    }
    if facts.biases {
        let name = format!("{}.bias", at(0, "self_attn.k_proj"));
        let dropped = Change::Tensor { name, edit: Edit::ZeroAll };
        push(
            "a bias dropped and a flipped bit",
            ["bias-dropped", "weight-corrupted"],
            &at(0, "self_attn.k_proj"),
            "",
            vec![dropped, flip],
        );
    }
}

/// Pairs without a fault.
fn nulls(cases: &mut Vec<Case>, facts: &Facts, m: usize) {
    let pair = |key: &str, a: &str, b: &str, tokens: usize| {
        facts.case("null", key, a, b, &facts.ids(tokens.min(facts.longest)), Expected::Nothing)
    };
    for (i, dtype) in ["bf16", "f16", "f32"].iter().enumerate() {
        for j in 0..4 {
            let at = m + i + 2 * j;
            let (a, b) = (null::ORDERS[at % 7], null::ORDERS[(at + 1 + m % 3) % 7]);
            let attention = ["eager", "sdpa"][(m + j) % 2];
            let spec = |order: &str| format!("load({dtype})@{attention}@{order}");
            let key = format!("{dtype} {attention} {a} {b} on {}", facts.short());
            cases.push(pair(&key, &spec(a), &spec(b), [9, 50, 70, 1][j]));
        }
    }
    // The same numbers and rules in other words.
    let mut files = vec![
        ("copied", vec![Change::Copy]),
        ("in three files", vec![Change::Shards(3)]),
        ("in reverse", vec![Change::Reversed]),
        ("an old buffer", vec![Change::OldBuffer]),
        ("rope by new keys", facts.with_rope(&[])),
        ("a field of no effect", vec![Change::Field { key: "initializer_range", value: json!(0.5) }]),
    ];
    if facts.decoder.starts_with("qwen") {
        let types: Vec<&str> = facts
            .windows
            .iter()
            .map(|window| if window.is_some() { "sliding_attention" } else { "full_attention" })
            .collect();
        files.push((
            "windows layer by layer",
            vec![Change::Field { key: "layer_types", value: json!(types) }],
        ));
        let unread = vec![
            Change::Field { key: "use_sliding_window", value: json!(false) },
            Change::Field { key: "sliding_window", value: json!(3) },
        ];
        files.extend(facts.window().is_none().then_some(("a window that is switched off", unread)));
    }
    if facts.window().is_some() && !facts.windows.contains(&None) {
        // Wider than the prompt: it is not seen.
        let wide = |width: usize| Change::Field { key: "sliding_window", value: json!(width) };
        let mut case = pair("windows wider than the prompt", SPECS[m % 4], SPECS[m % 4], 12);
        (case.a.changes, case.b.changes) = (vec![wide(12)], vec![wide(60)]);
        cases.push(case);
    }
    for (i, (key, changes)) in files.into_iter().enumerate() {
        let spec = SPECS[(i + m) % 4];
        let mut case = pair(&format!("{key} {}", facts.short()), spec, spec, 40);
        case.b.changes = changes;
        cases.push(case);
    }
    let mut shared = vec!["rope=interleaved", "norm=fused", "mask=causal", "scale=none", "cache=e4m3"];
    shared.extend(facts.qk_norm.then_some("qk_norm=none"));
    for (i, departure) in shared.into_iter().enumerate() {
        let (a, b) = [("tile32", "dot2"), ("sequential", "pairwise")][i % 2];
        let spec = |order: &str| format!("load(bf16)@eager@{order}@{departure}");
        cases.push(pair(&format!("shared {departure}"), &spec(a), &spec(b), 45));
    }
    let weight = |layer, tensor: &str| format!("{}.weight", at(layer, tensor));
    for (key, change) in [
        ("shared flipped bit", Change::Tensor { name: weight(1, "mlp.up_proj"), edit: Edit::FlipBit }),
        ("shared noise", Change::Linears(Edit::Noise)),
        ("shared window", Change::Field { key: "sliding_window", value: json!(3) }),
    ] {
        let (a, b) = ("load(f16)@sdpa@sequential", "load(f16)@sdpa@pairwise");
        cases.push(pair(key, a, b, 45).both(change));
    }
    for (a, b) in [("load(f32).to(bf16)", "load(f64).bfloat16()"), ("load(f32)", "load(auto)")] {
        cases.push(pair(&format!("{a} is {b}"), a, b, 45));
    }
    if facts.short() == "mistral-window" {
        // Nothing in a GGUF says that there is a window.
        for spec in [SPECS[0], SPECS[3]] {
            let expected = fault(&["sliding-window"], at(0, scores(spec)));
            let mut gguf = facts.case("config", "a window lost in GGUF", spec, spec, &facts.far(), expected);
            gguf.b.other = Some("families/mistral-window.gguf");
            cases.push(gguf);
        }
    }
    let converted = match facts.short() {
        "ministral3-yarn" => "families/ministral3-yarn.gguf",
        "qwen2-plain" => "families/qwen2-plain.gguf",
        "qwen3-heads" => "families/qwen3-heads.gguf",
        _ => return,
    };
    for spec in [SPECS[0], SPECS[3]] {
        let mut gguf = pair(&format!("in GGUF {spec}"), spec, spec, 45);
        gguf.b.other = Some(converted);
        cases.push(gguf);
    }
}
