//! `ulpscope explain --trace`: ports that were broken on purpose, recorded in PyTorch
//! (`fixtures/ports.py`).

use serde_json::{Value, json};

use crate::util::{Checkpoint, Dir, Run, fixture, list, number, tensors, tiny, ulpscope, write_tensors};

const MODEL: &str = "configs/explicit-head-dim";

fn port(name: &str) -> String {
    fixture(&format!("goldens/ports/{name}.safetensors"))
}

/// The run on one trace, in which the name of the fault is hidden.
fn run(model: &str, name: &str, more: &[&str]) -> Run {
    let dir = Dir::new();
    let (found, mut about) = tensors(port(name));
    assert_eq!(about.remove("fault").as_deref(), Some(name));
    crate::util::write_trace(dir.join("port.safetensors"), &found, &about);
    let model = fixture(model);
    let args = ["explain", model.as_str(), "--trace", "port.safetensors", "--json"];
    dir.run(args.iter().chain(more).copied())
}

fn explained(model: &str, name: &str) -> Value {
    run(model, name, &[]).explanation()
}

/// Each cause: id, what it is about, first site.
fn causes(e: &Value) -> Vec<[&str; 3]> {
    list(&e["causes"])
        .iter()
        .map(|c| ["id", "subject", "site"].map(|f| c[f].as_str().unwrap_or("-")))
        .collect()
}

#[test]
fn a_faithful_recording_has_no_difference() {
    for name in ["none-eager", "none-sdpa"] {
        let e = explained(MODEL, name);
        assert_eq!(e["status"], "no-difference", "{name}: {}", e["verdict"]);
        assert_eq!((list(&e["causes"]).len(), list(&e["origins"]).len()), (0, 0), "{name}");
        let verdict = e["verdict"].as_str().unwrap();
        assert!(verdict.contains("each of the") && verdict.contains("has the trace's bits"), "{verdict}");
    }
}

#[test]
fn broken_ports_are_localised_and_named() {
    for (name, id, subject, site) in [
        ("norm-without-eps", "rms-norm-eps", "rms_norm_eps", "model.layers.0.input_layernorm"),
        ("norm-eps-1e-3", "rms-norm-eps", "rms_norm_eps", "model.layers.0.input_layernorm"),
        ("rope-interleaved", "rotary-layout", "arithmetic: rope", "model.layers.0.self_attn.q_rope"),
        ("rope-theta", "rope-theta", "rope_theta", "model.rotary_emb.cos"),
        ("scale-missing", "attention-scale", "arithmetic: scale", "model.layers.0.self_attn.scores"),
        ("mask-off-by-one", "causal-mask", "arithmetic: mask", "model.layers.0.self_attn.scores"),
        ("window-of-3", "causal-mask", "arithmetic: mask", "model.layers.0.self_attn.scores"),
        ("gqa-tiled", "grouped-heads", "arithmetic: gqa", "model.layers.0.self_attn.scores"),
        ("gqa-tiled-sdpa", "grouped-heads", "arithmetic: gqa", "model.layers.0.self_attn.context"),
        ("gate-up-swapped", "gate-and-up-exchanged", "arithmetic: mlp", "model.layers.0.mlp.act_fn"),
        ("residual-skipped-in-1", "residual-term", "arithmetic: residual", "model.layers.1"),
        (
            "residual-from-norm",
            "reads-another-tensor",
            "the input of model.layers.*.resid_mid",
            "model.layers.0.resid_mid",
        ),
        (
            "row-negated",
            "sign-flipped",
            "model.layers.1.self_attn.q_proj.weight",
            "model.layers.1.self_attn.q_proj",
        ),
        (
            "rows-exchanged",
            "rows-permuted",
            "model.layers.0.mlp.down_proj.weight",
            "model.layers.0.mlp.down_proj",
        ),
        (
            "bit-flipped",
            "weight-corrupted",
            "model.layers.1.mlp.up_proj.weight",
            "model.layers.1.mlp.up_proj",
        ),
        (
            "k-proj-zero",
            "weight-constant",
            "model.layers.0.self_attn.k_proj.weight",
            "model.layers.0.self_attn.k_proj",
        ),
        (
            "o-proj-doubled",
            "weights-scaled",
            "model.layers.1.self_attn.o_proj.weight",
            "model.layers.1.self_attn.o_proj",
        ),
        ("norm-weight-plus-one", "norm-plus-one", "model.norm.weight", "model.norm"),
        ("inv-freq-rounded", "rotary-buffer-rounded", "model.rotary_emb.inv_freq", "model.rotary_emb.cos"),
        ("positions-plus-one", "positions", "arithmetic: positions", "model.rotary_emb.cos"),
        ("head-shifted", "rows-permuted", "lm_head.weight", "lm_head"),
    ] {
        let e = explained(MODEL, name);
        assert_eq!(causes(&e), [[id, subject, site]], "{name}: {}", e["verdict"]);
        assert_eq!(e["status"], "explained", "{name}: {}", e["verdict"]);
        assert_eq!(e["origins"][0]["site"], site, "{name}");
        assert!(list(&e["origins"]).iter().all(|o| o["cause"] == 0), "{name}: {}", e["origins"]);
        let cause = &e["causes"][0];
        // Ours can be run with it; the program that made the trace can't be run without it.
        assert_eq!((&cause["necessary"], &cause["sufficient"]), (&json!(true), &json!(false)), "{name}");
        let verdict = e["verdict"].as_str().unwrap();
        assert!(verdict.contains("Proved for the trace"), "{name}: {verdict}");
    }
}

/// What other architectures and runtimes do is no operation of ours; the formula is evaluated on
/// the trace's inputs.
#[test]
fn formulas_of_others_are_named() {
    const SCORES: &str = "self_attn.scores";
    for (name, id, places, relation) in [
        ("scores-capped", "soft-cap", &[SCORES][..], "0.05·tanh(x/0.05)"),
        ("logits-capped", "soft-cap", &["lm_head"], "0.25·tanh(x/0.25)"),
        (
            "alibi",
            "position-bias",
            &[SCORES],
            "less a multiple of the distance, as ALiBi has it: 0.25, 0.0625",
        ),
        ("keys-in-int8", "cache-format", &[SCORES], "keys in int8, one scale for each token and head"),
        ("keys-one-before", "cache-shifted", &[SCORES], "keys of the position before"),
        ("chunks-of-4", "causal-mask", &[SCORES], "a query sees the keys up to its own in its chunk of 4"),
        (
            "layer-norm",
            "norm-kind",
            &["input_layernorm", "post_attention_layernorm", "model.norm"],
            "LayerNorm, the mean subtracted",
        ),
        (
            "queries-normalised",
            "norm-kind",
            &["self_attn.q_rope", "self_attn.k_rope"],
            "ours normalised to a root mean square of 1 by vectors of 12",
        ),
        (
            "half-rotated",
            "partial-rotary",
            &["self_attn.q_rope", "self_attn.k_rope"],
            "only the first 6 of 12 elements of a head are rotated",
        ),
        ("sum-in-halves", "summation-order", &["mlp.down_proj"], "the sum of 2 parts, each rounded to bf16"),
        ("half-of-down", "sum-of-a-part", &["mlp.down_proj"], "the sum of the inputs 0 to 19 of 40"),
        ("quick-gelu", "hidden-act", &["mlp.act_fn"], "quick_gelu, x·sigmoid(1.702·x)"),
        ("gate-alone", "gated-product", &["mlp.product"], "the activation alone, without up_proj"),
        (
            "keys-one-ahead",
            "positions",
            &["self_attn.k_rope"],
            "rotated at the position behind, t + 1, the last at its own",
        ),
        (
            "slot-overwritten",
            "cache-shifted",
            &[SCORES, "self_attn.context"],
            "position 6 holds what belongs to 5",
        ),
        ("mask-leaking", "causal-mask", &[SCORES], "what lies ahead is lowered by 8, not hidden"),
        ("first-key-hidden", "causal-mask", &[SCORES], "the first key is hidden from all queries behind"),
        (
            "heads-not-exchanged",
            "activation-rearranged",
            &["self_attn.context"],
            "without exchanging heads and tokens",
        ),
        (
            "cos-and-sin-exchanged",
            "rotary-layout",
            &["self_attn.q_rope", "self_attn.k_rope"],
            "cos and sin exchanged",
        ),
        // SiLU of ReLU is ReLU of SiLU.
        ("act-of-relu", "activation-mapped", &["mlp.act_fn"], "relu of ours"),
        (
            "softmax-over-queries",
            "softmax-kind",
            &["self_attn.probs"],
            "a softmax over queries, not over keys",
        ),
        (
            "angles-in-bf16",
            "rotary-angles-format",
            &["model.rotary_emb.cos", "model.rotary_emb.sin"],
            "angles in bf16",
        ),
    ] {
        let e = explained(MODEL, name);
        let outside = |place: &&str| place.starts_with("model.") || *place == "lm_head";
        let first =
            if outside(&places[0]) { places[0].to_owned() } else { format!("model.layers.0.{}", places[0]) };
        let place = |place: &&str| {
            if outside(place) { (*place).to_owned() } else { format!("model.layers.*.{place}") }
        };
        let subject: Vec<String> = places.iter().map(place).collect();
        let subject = format!("the output of {}", subject.join(", "));
        assert_eq!(causes(&e), [[id, &subject, &first]], "{name}: {}", e["verdict"]);
        let cause = &e["causes"][0];
        assert_eq!((&e["status"], &cause["necessary"]), (&json!("explained"), &json!(false)), "{name}");
        assert!(cause["relation"].as_str().unwrap().contains(relation), "{name}: {cause}");
    }
    let e = explained(MODEL, "mlp-in-f16");
    let sites = "mlp.gate_proj, model.layers.1.mlp.up_proj, model.layers.1.mlp.act_fn, model.layers.1.mlp.product and 1 more";
    let subject = format!("the output of model.layers.1.{sites}");
    assert_eq!(causes(&e), [["layer-format", &subject, "model.layers.1.mlp.gate_proj"]], "{}", e["verdict"]);
    let e = explained(MODEL, "ids-plus-one");
    let wanted = [["token-ids-shifted", "model.embed_tokens.weight", "model.embed_tokens"]];
    assert_eq!(
        (causes(&e), &e["causes"][0]["necessary"]),
        (wanted.to_vec(), &json!(true)),
        "{}",
        e["verdict"]
    );
    let e = explained(MODEL, "branch-of-all");
    let wanted = [["reads-another-tensor", "the output of model.layers.*", "model.layers.0"]];
    assert_eq!(causes(&e), wanted, "{}", e["verdict"]);
    let relation = "the block's input plus model.layers.*.resid_mid plus model.layers.*.mlp.down_proj";
    assert_eq!(e["causes"][0]["relation"], format!("trace: {relation}"));
    let e = explained(MODEL, "branches-multiplied");
    let (attention, mlp) = ("model.layers.*.resid_mid", "model.layers.*");
    let subjects = [attention, mlp].map(|site| format!("the output of {site}"));
    let wanted = [
        ["residual-branch", &subjects[0], "model.layers.0.resid_mid"],
        ["residual-branch", &subjects[1], "model.layers.0"],
    ];
    assert_eq!(causes(&e), wanted, "{}", e["verdict"]);
    assert!(list(&e["causes"]).iter().all(|c| c["relation"].as_str().unwrap().contains("times 0.22")));
}

/// Which one it is, no recording of so large numbers tells.
#[test]
fn of_epsilons_that_all_fit_none_is_named() {
    let e = explained(MODEL, "norm-without-eps");
    let cause = &e["causes"][0];
    assert_eq!(cause["relation"], "trace: smaller than ours, any of 0 … 1e-6 fits; ours: 1e-5");
    assert_eq!(cause["about"], json!({ "kind": "setting", "key": "rms_norm_eps" }));
    assert_eq!(number(&cause["finding"]["values"]["most"]), 1e-6);
    assert_eq!(e["ruled_out"], json!([]), "no ties besides");
}

/// Tensor by tensor it would be eighteen causes.
#[test]
fn layers_in_each_other_s_place_are_one_cause() {
    let e = explained(MODEL, "layers-exchanged");
    assert_eq!(
        causes(&e),
        [["layers-exchanged", "layers 0 and 1", "model.layers.0.input_layernorm"]],
        "{}",
        e["verdict"]
    );
    assert_eq!((&e["status"], &e["causes"][0]["necessary"]), (&json!("explained"), &json!(true)));
    assert!((number(&e["causes"][0]["kl_share"]) - 1.0).abs() < 0.01, "{}", e["causes"][0]);
}

#[test]
fn two_tensors_in_each_other_s_place_are_one_cause() {
    let dir = Dir::new();
    let mut model = Checkpoint::tiny();
    let names = ["input_layernorm", "post_attention_layernorm"].map(|n| format!("model.layers.3.{n}.weight"));
    let pair = names.clone().map(|name| model.tensors[&name].clone());
    model.tensors.insert(names[0].clone(), pair[1].clone());
    model.tensors.insert(names[1].clone(), pair[0].clone());
    let folder = model.write(&dir, "swapped");
    let prompt = "the quick brown fox jumps over the lazy dog";
    dir.run(["trace", &folder, "--recipe", "load(bf16)", "--prompt", prompt, "--out", "t"]).ok();
    let e = dir.run(["explain", &tiny(), "--trace", "t", "--json"]).explanation();
    assert_eq!(
        causes(&e),
        [["tensors-exchanged", &*names.join(", "), "model.layers.3.input_layernorm"]],
        "{}",
        e["verdict"]
    );
    let cause = &e["causes"][0];
    assert_eq!(cause["about"], json!({ "kind": "tensors", "names": names }));
    assert_eq!(cause["finding"]["rule"], "hold-each-other");
    assert_eq!(number(&cause["kl_share"]), 1.0);
}

/// What is no operation of ours is read off the values that it gave.
#[test]
fn what_was_done_to_an_output_is_named() {
    for (name, id, site, relation) in [
        ("block-halved", "activation-scaled", "model.layers.1", "b = 0.5*a"),
        (
            "clamped",
            "activation-clamped",
            "model.layers.0.mlp.down_proj",
            "clamped to at most 0.125 in magnitude",
        ),
        ("dropout", "dropout-active", "model.layers.0.self_attn.o_proj", "b = 1.25"),
        ("adapter", "adapter-active", "model.layers.1.self_attn.q_proj", "a matrix of rank 1"),
    ] {
        let e = explained(MODEL, name);
        assert_eq!(causes(&e), [[id, &format!("the output of {site}"), site]], "{name}: {}", e["verdict"]);
        let cause = &e["causes"][0];
        assert_eq!((&e["status"], &cause["necessary"]), (&json!("explained"), &json!(false)), "{name}");
        assert!(cause["relation"].as_str().unwrap().contains(relation), "{name}: {cause}");
        assert!(e["verdict"].as_str().unwrap().contains("Not shown by running it"), "{}", e["verdict"]);
    }
    // GELU in other last bits than ours, of one library or the other.
    let e = explained(MODEL, "gelu");
    assert_eq!(causes(&e), [["hidden-act", "hidden_act", "model.layers.0.mlp.act_fn"]], "{}", e["verdict"]);
    assert_eq!((&e["status"], &e["causes"][0]["necessary"]), (&json!("explained"), &json!(true)));
}

/// Where a norm stands behind its layer, three operations read other tensors than ours do.
#[test]
fn a_norm_behind_its_layer_is_told_by_what_is_read() {
    let e = explained(MODEL, "norm-after");
    assert_eq!(e["status"], "explained", "{}", e["verdict"]);
    assert!(causes(&e).iter().all(|[id, ..]| *id == "reads-another-tensor"), "{}", e["verdict"]);
    let said: Vec<(&str, &str)> = list(&e["causes"])
        .iter()
        .map(|c| (c["subject"].as_str().unwrap(), c["relation"].as_str().unwrap()))
        .collect();
    for (subject, relation) in [
        (
            "the input of model.layers.*.input_layernorm",
            "trace: model.layers.*.self_attn.o_proj, ours: the block's input",
        ),
        (
            "the input of model.layers.*.self_attn.q_proj",
            "trace: the block's input, ours: model.layers.*.input_layernorm",
        ),
        (
            "the input of model.layers.*.resid_mid",
            "trace: model.layers.*.input_layernorm, ours: model.layers.*.self_attn.o_proj",
        ),
    ] {
        assert!(said.contains(&(subject, relation)), "{subject}: {said:?}");
    }
}

#[test]
fn a_bias_that_was_dropped_is_one_cause_for_all_layers() {
    let e = explained("configs/attention-bias", "bias-dropped");
    assert_eq!(e["status"], "explained", "{}", e["verdict"]);
    assert_eq!(
        causes(&e),
        ["q", "k", "v"].map(|m| {
            let names = [
                format!("model.layers.*.self_attn.{m}_proj.bias"),
                format!("model.layers.0.self_attn.{m}_proj"),
            ]
            .map(|name| &*name.leak());
            ["bias-dropped", names[0], names[1]]
        }),
        "{}",
        e["verdict"]
    );
}

#[test]
fn several_faults_are_told_apart() {
    let e = explained(MODEL, "two-faults");
    assert_eq!(
        causes(&e),
        [
            ["rms-norm-eps", "rms_norm_eps", "model.layers.0.input_layernorm"],
            ["attention-scale", "arithmetic: scale", "model.layers.0.self_attn.scores"],
        ],
        "{}",
        e["verdict"]
    );
    let e = explained(MODEL, "three-faults");
    assert_eq!(
        causes(&e),
        [
            ["grouped-heads", "arithmetic: gqa", "model.layers.0.self_attn.scores"],
            ["residual-term", "arithmetic: residual", "model.layers.0.resid_mid"],
            ["sign-flipped", "model.layers.1.self_attn.q_proj.weight", "model.layers.1.self_attn.q_proj"],
        ],
        "{}",
        e["verdict"]
    );
    // They act on each other: what each takes away alone comes to more than the whole.
    assert!(list(&e["causes"]).iter().all(|c| number(&c["kl_share"]).is_nan()), "{}", e["causes"]);
    assert!(
        list(&e["guards"]).iter().any(|g| g.as_str().unwrap().contains("do not add up")),
        "{}",
        e["guards"]
    );
    // Ours, run freely with all of them, is the port.
    let all = |c: &&Value| c["factor"] == "everything" && c["direction"] == "restored";
    let all = list(&e["counterfactuals"]).iter().find(all).unwrap();
    assert_eq!(all["bit_equal"], true, "{all}");
}

#[test]
fn what_is_not_known_is_said_with_what_was_tried() {
    let site = "model.layers.0.mlp.act_fn";
    let e = explained(MODEL, "waves");
    assert_eq!(e["status"], "unexplained", "{}", e["verdict"]);
    assert_eq!((list(&e["causes"]).len(), &e["origins"][0]["site"]), (0, &json!(site)), "{}", e["verdict"]);
    let verdict = e["verdict"].as_str().unwrap();
    assert!(verdict.contains(site) && verdict.contains("cosine"), "{verdict}");
    let ruled_out = e["ruled_out"][0].as_str().unwrap();
    assert!(ruled_out.contains("hypotheses were run") && ruled_out.contains("ours: silu"), "{ruled_out}");
    // Of a layer it can be said what is likely.
    let e = explained(MODEL, "head-initialised");
    assert_eq!(causes(&e), [["layer-unrelated", "the output of lm_head", "lm_head"]], "{}", e["verdict"]);
    assert_eq!(e["causes"][0]["necessary"], false, "{}", e["causes"]);
}

/// Below full coverage of what was asked for there is no verdict, and another exit status.
#[test]
fn a_trace_that_lacks_sites_is_incomplete() {
    let all = run(MODEL, "positions-bf16", &[]);
    all.check(all.code == Some(4), "status 4 expected");
    let e = &all.json()["explanation"];
    assert_eq!(e["status"], "incomplete");
    let verdict = e["verdict"].as_str().unwrap();
    for part in
        ["Incomplete: 39 of 41 sites could not be compared", "model.embed_tokens", "Position ids rounded"]
    {
        assert!(verdict.contains(part), "{part}: {verdict}");
    }
    // What was asked for is all there.
    let tables = run(MODEL, "positions-bf16", &["--sites", "model.rotary_emb.*"]).ok();
    let e = &tables.json()["explanation"];
    assert_eq!(e["status"], "explained", "{}", e["verdict"]);
    assert_eq!(
        causes(e),
        [["positions", "arithmetic: positions", "model.rotary_emb.cos"]],
        "{}",
        e["verdict"]
    );
    assert_eq!(e["causes"][0]["relation"], "trace: positions=bf16, ours: Hugging Face's");
}

#[test]
fn a_recording_in_integers_is_told_from_a_foreign_one() {
    let dir = Dir::new();
    let (mut found, mut about) = tensors(port("quick-gelu"));
    about.remove("fault");
    found.get_mut("model.layers.0.mlp.act_fn").unwrap().dtype = safetensors::Dtype::I16;
    crate::util::write_trace(dir.join("port.safetensors"), &found, &about);
    let run = dir.run(["explain", fixture(MODEL).as_str(), "--trace", "port.safetensors"]);
    run.check(run.code == Some(4), "status 4 expected");
    let said = "holds 1 tensor not in f64, f32, bf16 or f16: model.layers.0.mlp.act_fn";
    run.check(run.stderr.contains("incomplete") && run.stderr.lines().count() == 1, "one sentence");
    let run = dir.run(["explain", "-v", fixture(MODEL).as_str(), "--trace", "port.safetensors"]);
    let words: Vec<&str> = run.stdout.split_whitespace().collect();
    assert!(words.join(" ").contains(said), "{}", run.stdout);
}

/// PyTorch's own traces, in orders of summation that are ours or are not, have no fault.
#[test]
fn faithful_recordings_raise_no_alarm() {
    for name in
        ["load-bf16.eager", "load-f32-to-bf16.eager", "load-bf16.sdpa", "load-f16.eager", "load-f32.eager"]
    {
        let trace = fixture(&format!("goldens/tiny-llama/{name}.short.safetensors"));
        let e = ulpscope(["explain", &tiny(), "--trace", &trace, "--json"]).explanation();
        assert!(
            ["explained", "no-difference"].contains(&e["status"].as_str().unwrap()),
            "{name}: {}",
            e["verdict"]
        );
        assert!(list(&e["causes"]).iter().all(|c| c["fault"] == false), "{name}: {}", e["verdict"]);
    }
    // Of this one there are the logits alone, and nothing of what they are made of.
    let trace = fixture("goldens/tiny-llama/load-f16.eager.long.safetensors");
    let run = ulpscope(["explain", &tiny(), "--trace", &trace, "--json"]);
    run.check(run.code == Some(4), "status 4 expected");
    let e = &run.json()["explanation"];
    assert_eq!((&e["origins"], &e["causes"]), (&json!([]), &json!([])), "{}", e["verdict"]);
    assert!(e["verdict"].as_str().unwrap().contains("lacks what 1 of its sites read"), "{}", e["verdict"]);
}

/// Our own trace of a departure is a port, too; of another order of summation, it is none.
#[test]
fn our_own_traces_are_explained() {
    let dir = Dir::new();
    let prompt = ["--prompt", "the quick brown fox jumps over the lazy dog"];
    let trace = |recipe: &str, out: &str| {
        dir.run(["trace", &tiny(), "--recipe", recipe, "--out", out].iter().chain(&prompt).copied()).ok();
    };
    trace("load(bf16)@norm=fused[2-3]", "fused");
    let e = dir.run(["explain", &tiny(), "--trace", "fused", "--json"]).explanation();
    assert_eq!(
        causes(&e),
        [["norm-rounding", "arithmetic: norm", "model.layers.2.input_layernorm"]],
        "{}",
        e["verdict"]
    );
    // Its tables are wider than the rest, and are read so.
    trace("load(bf16)@table=f32", "table");
    let e = dir.run(["explain", &tiny(), "--trace", "table", "--json"]).explanation();
    assert_eq!(
        causes(&e),
        [["rotary-table-format", "arithmetic: table", "model.rotary_emb.cos"]],
        "{}",
        e["verdict"]
    );
    assert_eq!(e["status"], "explained", "{}", e["verdict"]);
    for order in ["reversed", "pairwise", "exact"] {
        trace(&format!("load(bf16)@{order}"), order);
        let args = ["explain", &tiny(), "--trace", order, "--accumulation", "tile32", "--json"];
        let e = dir.run(args).explanation();
        assert_eq!(
            (&e["origins"], &e["status"]),
            (&json!([]), &json!("explained")),
            "{order}: {}",
            e["verdict"]
        );
        assert!(list(&e["causes"]).iter().all(|c| c["fault"] == false), "{order}: {}", e["verdict"]);
        assert!(e["verdict"].as_str().unwrap().starts_with("No fault"), "{order}: {}", e["verdict"]);
    }
}

/// Transformers with its own cache, on a CPU that sums a single row in another order.
#[test]
fn a_recording_from_a_cache_has_no_fault() {
    for more in [&[][..], &["--accumulation", "dot2"]] {
        let trace = fixture("goldens/cached.safetensors");
        let e = ulpscope(["explain", &tiny(), "--trace", &trace, "--json"].iter().chain(more).copied());
        let e = e.explanation();
        assert_eq!((&e["origins"], &e["status"]), (&json!([]), &json!("explained")), "{}", e["verdict"]);
        let ids: Vec<&str> = causes(&e).iter().map(|[id, ..]| *id).collect();
        assert_eq!(ids, ["summation-order"], "{}", e["verdict"]);
    }
}

/// What is no number, or a step of one, is named as that, and no weight is blamed for it.
#[test]
fn single_values_of_a_recording_are_named_as_what_they_are() {
    let (found, about) = tensors(port("none-sdpa"));
    for (site, value, id) in [
        ("lm_head", 0x7f80u16, "activation-not-finite"),
        ("model.layers.1.mlp.up_proj", 0xff80, "activation-not-finite"),
        ("model.layers.1.self_attn.o_proj", 0x7fc0, "activation-not-finite"),
        ("lm_head", 1, "function-last-bits"),
    ] {
        let dir = Dir::new();
        let mut found = found.clone();
        let bytes = &mut found.get_mut(site).unwrap().bytes;
        let own = u16::from_le_bytes([bytes[100], bytes[101]]);
        let changed = if value == 1 { own ^ 1 } else { value };
        bytes[100..102].copy_from_slice(&changed.to_le_bytes());
        crate::util::write_trace(dir.join("t"), &found, &about);
        let run = dir.run(["explain", &fixture(MODEL), "--trace", "t", "--json"]);
        let e = run.json()["explanation"].clone();
        let named = causes(&e);
        assert!(named.iter().any(|[cause, _, at]| *cause == id && *at == site), "{site}: {named:?}");
        assert!(named.iter().all(|[cause, ..]| !cause.starts_with("weight")), "{site}: {named:?}");
    }
}

/// The record is whole: pages and pictures are drawn from it.
#[test]
fn a_run_on_a_trace_is_reported() {
    let dir = Dir::new();
    let args = ["explain", &fixture(MODEL), "--trace", &port("row-negated"), "--out", "run"];
    let printed = dir.run(args).ok();
    for part in ["ours", "CAUSE", "model.layers.1.self_attn.q_proj.weight", "page: run"] {
        printed.check(printed.stdout.contains(part), part);
    }
    let printed = dir.run(["-v"].iter().chain(&args).copied().take(5));
    for part in ["arm trace", "arm ours", "cause sign-flipped"] {
        printed.check(printed.stdout.contains(part), part);
    }
    printed.check(!printed.stdout.contains("tensors of the state dict"), "no weights were compared");
    let page = std::fs::read_to_string(dir.join("run/report.html")).unwrap();
    assert!(page.contains("A trace holds activations alone"));
    let short = std::fs::read_to_string(dir.join("run/report.md")).unwrap();
    assert!(short.contains("--recipe 'load(bf16)@eager") && short.contains("--trace"), "{short}");
    let again: Value = serde_json::from_slice(&std::fs::read(dir.join("run/record.json")).unwrap()).unwrap();
    assert_eq!(again["arms"][0]["name"], "trace");
    assert!(number(&again["logits"][0]["kl"]) > 0.0);
}

#[test]
fn traces_that_can_not_be_explained_are_refused() {
    let dir = Dir::new();
    let model = fixture(MODEL);
    let (found, about) = tensors(port("none-eager"));
    write_tensors(dir.join("nameless"), &found);
    dir.run(["explain", &model, "--trace", "nameless"]).fails(&["nameless", "which tokens", "`ids`"]);
    let changed = |key: &str, value: &str| {
        let mut about = about.clone();
        about.insert(key.to_owned(), value.to_owned());
        crate::util::write_trace(dir.join("changed"), &found, &about);
        dir.run(["explain", &model, "--trace", "changed"])
    };
    changed("ids", "seventeen").fails(&["seventeen", "[1, 17, 250]"]);
    changed("ids", "[1, 99]").fails(&["token id 99", "64"]);
    // Fewer and more tokens than it was recorded of, and another model's.
    for ids in ["[1, 2]", "[1, 2, 3, 4, 5, 6]"] {
        changed("ids", ids).fails(&["sites are not of this model and these tokens", "[1, 5, 32]"]);
    }
    dir.run(["explain", &tiny(), "--trace", &port("none-eager")])
        .fails(&["sites are not of this model and these tokens", "[1, 5, 64]"]);
    changed("recipe", "torch.compile").fails(&["torch.compile", "--recipe"]);
    changed("recipe", "load(f32)").fails(&["it is in bf16", "f32", "--recipe"]);
    dir.run(["explain", &model, "--trace", &port("none-eager"), "--b", "load(f32)"]).misused(&["--trace"]);
    dir.run(["explain", &model, "--recipe", "load(f32)"]).misused(&["--trace"]);
    dir.run(["explain", &model, &model, "--trace", &port("none-eager")]).fails(&["one model"]);
}
