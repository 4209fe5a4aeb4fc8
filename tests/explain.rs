//! `ulpscope explain`: from divergence to a proved cause.

use serde_json::{Value, json};
use ulpscope_floats::{DType, Floats, Rounding};

use crate::util::{Checkpoint, Dir, Stored, list, number, tiny, ulpscope};

const PROMPT: &str = "the quick brown fox jumps over the lazy dog and runs";

fn explained(args: &[&str]) -> Value {
    let args = ["explain", "--json", "--prompt", PROMPT].into_iter().chain(args.iter().copied());
    ulpscope(args).explanation()
}

/// Causes by id, the largest first.
fn ids(explanation: &Value) -> Vec<&str> {
    list(&explanation["causes"]).iter().map(|c| c["id"].as_str().unwrap()).collect()
}

/// The tiny model against itself with a change.
fn changed(change: impl FnOnce(&mut Checkpoint)) -> Value {
    let mut model = Checkpoint::tiny();
    change(&mut model);
    let dir = Dir::new();
    let other = model.write(&dir, "changed");
    explained(&[&tiny(), &other, "--a", "load(bf16)", "--b", "load(bf16)"])
}

#[test]
fn the_founding_question_is_answered_and_proved() {
    let e = explained(&[&tiny()]);
    assert_eq!(e["status"], "explained");
    assert_eq!(ids(&e), ["rotary-buffer-rounded"]);
    let cause = &e["causes"][0];
    assert_eq!(cause["subject"], "model.rotary_emb.inv_freq");
    assert_eq!(cause["relation"], "b = round_bf16(a)");
    assert_eq!(cause["site"], "model.rotary_emb.cos");
    for field in ["necessary", "sufficient", "bit_equal", "fault"] {
        assert_eq!(cause[field], true, "{field}");
    }
    assert_eq!(number(&cause["kl_share"]), 1.0);
    assert!(number(&cause["intrinsic_kl"]) > 0.0);
    // Rotation only acts through distances, so that a token alone shows nothing.
    assert_eq!(e["signatures"]["position_0_equal"], true);
    let sites: Vec<&str> = list(&e["origins"]).iter().map(|o| o["site"].as_str().unwrap()).collect();
    assert_eq!(sites, ["model.rotary_emb.cos", "model.rotary_emb.sin"]);
    assert!(list(&e["floor"]["orders"]).len() >= 5);
    for run in list(&e["counterfactuals"]).iter().filter(|c| c["compute"] == "bf16") {
        assert_eq!(run["bit_equal"], json!(run["direction"] != "neither"), "{run}");
    }
    let verdict = e["verdict"].as_str().unwrap();
    for part in ["Rotary buffer rounded by a dtype cast", "Proved both ways", "model.rotary_emb.inv_freq"] {
        assert!(verdict.contains(part), "{verdict}");
    }
}

#[test]
fn an_explanation_is_one_screen_and_more_where_it_is_asked_for() {
    let explain = |more: &[&str]| ulpscope(["explain", &tiny(), "--prompt", PROMPT].iter().chain(more));
    let screen = explain(&[]).ok();
    screen.check(screen.stdout.lines().count() <= 24, "24 rows");
    screen.check(screen.stdout.lines().all(|line| line.chars().count() <= 80), "80 columns");
    for part in
        ["a  ", "b  ", "  KL   noise", "CAUSE  (", "WHERE", "FIX", "69 of 69 sites, exit 0; -v: all tables"]
    {
        screen.check(screen.stdout.contains(part), part);
    }
    let all = explain(&["-v"]);
    let tables =
        ["cause rotary-buffer-rounded", "origin model.rotary_emb.cos", "layer 0: accumulated", "CAUSE  ("];
    for part in tables {
        all.check(all.stdout.contains(part), part);
    }
    let verdict = explain(&["-q"]).ok();
    let first = verdict.stdout.lines().next().unwrap();
    screen.check(screen.stdout.contains(first), "the verdict is part of it");
    verdict.check(!verdict.stdout.contains("KL   noise"), "the verdict alone");
}

#[test]
fn what_is_no_fault_raises_no_alarm() {
    let same = explained(&[&tiny(), "--a", "load(bf16)", "--b", "load(bf16)"]);
    assert_eq!((same["status"].as_str(), ids(&same)), (Some("no-difference"), vec![]));
    let orders = ["tile32", "dot2", "sequential", "reversed", "pairwise", "split-k(4)", "exact"];
    for (a, b) in orders.iter().zip(&orders[1..]) {
        for attention in ["eager", "sdpa"] {
            let (a, b) = (format!("load(bf16)@{attention}@{a}"), format!("load(bf16)@{attention}@{b}"));
            let e = explained(&[&tiny(), "--a", &a, "--b", &b]);
            assert_eq!(list(&e["origins"]), &Vec::<Value>::new(), "{a} {b}");
            assert!(list(&e["causes"]).iter().all(|c| c["fault"] == false), "{a} {b}: {}", e["verdict"]);
            assert!(list(&e["growth"]).iter().all(|g| g["exceeds"] == false), "{a} {b}: {}", e["growth"]);
        }
    }
    // The same weights in another folder, loaded otherwise: what differs are the recipes.
    let dir = Dir::new();
    let copy = Checkpoint::tiny().write(&dir, "copy");
    let formats = explained(&[&tiny(), &copy, "--a", "load(bf16)", "--b", "load(f16)"]);
    assert!(list(&formats["causes"]).iter().all(|c| c["fault"] == false), "{}", formats["verdict"]);
    assert!(ids(&formats).contains(&"weights-rounded"), "{}", formats["verdict"]);
    // A fault that both arms share can't be seen in their difference, which is said.
    let shared = explained(&[&tiny(), "--a", "load(f32).to(bf16)"]);
    assert_eq!(shared["status"], "no-difference");
    assert!(shared["verdict"].as_str().unwrap().contains("both arms hold model.rotary_emb.inv_freq"));
}

#[test]
fn arithmetic_that_departs_is_named_with_the_site_where_it_first_shows() {
    for (departure, id, site) in [
        ("norm=fused", "norm-rounding", "model.layers.0.input_layernorm"),
        ("norm=plus-one[2]", "norm-convention", "model.layers.2.input_layernorm"),
        ("rope=interleaved", "rotary-layout", "model.layers.0.self_attn.q_rope"),
        ("rope=fused[1]", "rotary-rounding", "model.layers.1.self_attn.q_rope"),
        ("table=f16", "rotary-table-format", "model.rotary_emb.cos"),
        ("positions=+1", "positions", "model.rotary_emb.cos"),
        ("scale=none[3]", "attention-scale", "model.layers.3.self_attn.scores"),
        ("mask=ahead", "causal-mask", "model.layers.0.self_attn.scores"),
        ("gqa=tiled[1]", "grouped-heads", "model.layers.1.self_attn.scores"),
        ("softmax=storage", "softmax-format", "model.layers.0.self_attn.probs"),
        ("mlp=swapped[2]", "gate-and-up-exchanged", "model.layers.2.mlp.act_fn"),
        ("residual=skip-mlp[0]", "residual-term", "model.layers.0"),
        ("embedding=scaled", "embedding-scale", "model.embed_tokens"),
        ("cache=e4m3", "cache-format", "model.layers.0.self_attn.scores"),
    ] {
        let b = format!("load(bf16)@{departure}");
        let e = explained(&[&tiny(), "--a", "load(bf16)", "--b", &b, "--attention", "eager"]);
        assert_eq!((e["status"].as_str(), ids(&e)), (Some("explained"), vec![id]), "{departure}");
        assert_eq!(e["causes"][0]["site"], site, "{departure}");
        assert_eq!(e["origins"][0]["site"], site, "{departure}");
        assert_eq!(e["causes"][0]["bit_equal"], true, "{departure}");
    }
}

#[test]
fn a_changed_config_is_named() {
    for (key, value, id) in [
        ("rms_norm_eps", json!(1e-2), "rms-norm-eps"),
        ("hidden_act", json!("gelu"), "hidden-act"),
        ("rope_parameters", json!({ "rope_type": "default", "rope_theta": 500.0 }), "rope-theta"),
    ] {
        let e = changed(|model| model.config[key] = value);
        assert_eq!((e["status"].as_str(), ids(&e)), (Some("explained"), vec![id]), "{key}: {}", e["verdict"]);
        assert_eq!(e["causes"][0]["bit_equal"], true, "{key}");
        // Far above every order of summation, over however few tokens.
        assert_eq!(e["causes"][0]["exceeds_floor"], true, "{key}: {}", e["growth"]);
        assert!(!e["verdict"].as_str().unwrap().contains("within the floor over"), "{}", e["verdict"]);
    }
}

#[test]
fn what_happened_to_a_weight_is_named_with_the_weight() {
    type Edit = fn(&mut [f32]);
    let down = "model.layers.2.mlp.down_proj.weight";
    let query = "model.layers.1.self_attn.q_proj.weight";
    let norm = "model.layers.1.input_layernorm.weight";
    for (tensor, change, id) in [
        (down, (|w| w[77] = -w[77]) as Edit, "weight-corrupted"),
        (down, |w| w[..640].fill(0.0), "weight-partly-zero"),
        (down, |w| w.iter_mut().for_each(|x| *x *= 8.0), "weights-scaled"),
        (down, |w| w.rotate_right(1), "weight-shifted"),
        (down, |w| w.fill(0.5), "weight-constant"),
        (norm, |w| w.iter_mut().for_each(|x| *x += 1.0), "norm-plus-one"),
        (query, |w| w.iter_mut().for_each(|x| *x = -*x), "sign-flipped"),
        (query, interleave, "qk-permutation"),
    ] {
        let e = changed(|model| edit(model, tensor, |w| change(w)));
        assert_eq!((e["status"].as_str(), ids(&e)), (Some("explained"), vec![id]), "{}", e["verdict"]);
        let cause = &e["causes"][0];
        assert_eq!((&cause["subject"], &cause["bit_equal"]), (&json!(tensor), &json!(true)), "{id}");
        assert_eq!(cause["site"], json!(tensor.trim_end_matches(".weight")), "{id}");
    }
}

/// Changes a tensor's values in place.
fn edit(model: &mut Checkpoint, tensor: &str, change: impl FnOnce(&mut Vec<f32>)) {
    let stored = model.tensors.get_mut(tensor).unwrap();
    let mut values: Vec<f32> = stored.values().iter().map(|&x| x as f32).collect();
    change(&mut values);
    stored.bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
}

#[test]
fn what_cancels_out_is_an_equivalent_rewriting_and_no_fault() {
    let [up, down] = ["up", "down"].map(|name| format!("model.layers.1.mlp.{name}_proj.weight"));
    let scale = |by: f32| move |w: &mut Vec<f32>| w.iter_mut().for_each(|x| *x *= by);
    let rescaled = |model: &mut Checkpoint| {
        edit(model, &up, scale(2.0));
        edit(model, &down, scale(0.5));
    };
    // Each of the two alone turns every block's output; both together turn nothing.
    let negated = |model: &mut Checkpoint| {
        edit(model, &up, scale(-1.0));
        edit(model, &down, scale(-1.0));
    };
    for e in [changed(rescaled), changed(negated)] {
        let verdict = e["verdict"].as_str().unwrap();
        assert_eq!(e["status"], "explained", "{verdict}");
        assert!(verdict.starts_with("Every logit of b has the bits of a"), "{verdict}");
        assert!(verdict.contains("an equivalent rewriting") && !verdict.contains("% of the KL"), "{verdict}");
        assert!(list(&e["causes"]).iter().all(|c| c["fault"] == false && c["exceeds_floor"] == false));
    }
    // With a fault besides, the first site is not that fault's, which is said; and half of a
    // rewriting is a fault.
    let both = changed(|model| {
        rescaled(model);
        edit(model, "model.layers.2.mlp.down_proj.weight", scale(8.0));
    });
    let verdict = both["verdict"].as_str().unwrap();
    assert_eq!((ids(&both), &both["status"]), (vec!["weights-scaled"], &json!("explained")), "{verdict}");
    assert_eq!(both["causes"][0]["subject"], "model.layers.2.mlp.down_proj.weight");
    assert_eq!(both["origins"][0]["site"], "model.layers.1.mlp.up_proj", "{verdict}");
    assert!(
        verdict.contains("what differs there cancels out") && verdict.contains("Proved both ways"),
        "{verdict}"
    );
    assert!(
        verdict.contains(&format!(
            "These cancel out: {down} (as stored, b = 0.5*a) and {up} (as stored, b = 2*a)."
        )),
        "{verdict}"
    );
    let together = |run: &&Value| run["factor"] == format!("{down} and {up}");
    assert!(list(&both["counterfactuals"]).iter().find(together).is_some_and(|run| run["bit_equal"] == true));
    let half = changed(|model| edit(model, &up, scale(-1.0)));
    assert_eq!((ids(&half), &half["causes"][0]["fault"]), (vec!["sign-flipped"], &json!(true)));
}

/// Multiplies the columns of a weight by the factors, or what is there of a norm.
fn columns(model: &mut Checkpoint, tensor: &str, factors: &[f32]) {
    edit(model, tensor, |w| {
        let width = factors.len();
        w.iter_mut().enumerate().for_each(|(i, x)| *x *= factors[i % width]);
    });
}

#[test]
fn a_rewriting_by_halves_is_one_fault() {
    let layer = |place: &str| format!("model.layers.1.{place}.weight");
    let (norm, read) =
        (layer("input_layernorm"), ["q", "k", "v"].map(|n| layer(&format!("self_attn.{n}_proj"))));
    let factors: Vec<f32> = (0..64).map(|c| [1.0, 0.75, 1.5, 2.0, 1.25][c % 5]).collect();
    let inverse: Vec<f32> = factors.iter().map(|x| 1.0 / x).collect();
    let fold = |model: &mut Checkpoint, into: &[String]| {
        columns(model, &norm, &inverse);
        into.iter().for_each(|tensor| columns(model, tensor, &factors));
    };
    let e = changed(|model| fold(model, &read[..2]));
    assert_eq!(ids(&e), ["folded-partly"], "{}", e["verdict"]);
    let relation = e["causes"][0]["relation"].as_str().unwrap();
    assert!(relation.ends_with(&format!("and not into {}", read[2])), "{relation}");
    assert_eq!(e["causes"][0]["bit_equal"], true);
    // Into all it is no fault; with a fault besides, that one is named.
    let e = changed(|model| fold(model, &read));
    assert!(e["verdict"].as_str().unwrap().contains("cancel out"), "{}", e["verdict"]);
    let e = changed(|model| {
        fold(model, &read);
        edit(model, &read[1], |w| w[..640].fill(0.0));
    });
    assert_eq!(ids(&e), ["weight-partly-zero"], "{}", e["verdict"]);
    let relation = e["causes"][0]["relation"].as_str().unwrap();
    assert!(
        relation.contains("multiplied by the same factors") && relation.contains("rows 0 to 9"),
        "{relation}"
    );

    // The neurons of an MLP in reverse: in all three layers no fault, in two of them one.
    let [gate, up, down] = ["gate", "up", "down"].map(|n| layer(&format!("mlp.{n}_proj")));
    let rows = |w: &mut Vec<f32>| *w = w.chunks(64).rev().flatten().copied().collect();
    let e = changed(|model| [&gate, &up].into_iter().for_each(|tensor| edit(model, tensor, rows)));
    assert_eq!(ids(&e), ["neurons-permuted-partly"], "{}", e["verdict"]);
    let e = changed(|model| {
        edit(model, &gate, rows);
        edit(model, &up, |w| {
            rows(w);
            w.iter_mut().for_each(|x| *x *= 2.0);
        });
        edit(model, &down, |w| {
            let width = w.len() / 64;
            w.chunks_mut(width).for_each(<[f32]>::reverse);
        });
    });
    assert_eq!(ids(&e), ["weights-scaled"], "{}", e["verdict"]);
    assert!(e["causes"][0]["relation"].as_str().unwrap().contains("which is no fault; besides"), "{e}");
}

#[test]
fn a_model_in_another_form_is_compared() {
    // Every head of keys and values as often as query heads read it, and biases of zeros.
    let other_form = |model: &mut Checkpoint| {
        (model.config["num_key_value_heads"], model.config["attention_bias"]) = (json!(4), json!(true));
        for layer in 0..4 {
            for place in ["k_proj", "v_proj"] {
                let name = format!("model.layers.{layer}.self_attn.{place}.weight");
                let stored = model.tensors.get_mut(&name).unwrap();
                let head = stored.bytes.len() / 2;
                stored.bytes = stored.bytes.chunks(head).flat_map(|head| [head, head].concat()).collect();
                stored.shape[0] *= 2;
            }
            for place in ["q_proj", "k_proj", "v_proj", "o_proj"] {
                let name = format!("model.layers.{layer}.self_attn.{place}.bias");
                model.tensors.insert(name, Stored::f32(&[64], &[0.0; 64]));
            }
        }
    };
    let explained = |change: &dyn Fn(&mut Checkpoint)| {
        let (dir, mut model) = (Dir::new(), Checkpoint::tiny());
        other_form(&mut model);
        change(&mut model);
        let other = model.write(&dir, "other");
        let run = dir.run(["explain", &tiny(), &other, "--a", "load(bf16)", "--prompt", PROMPT, "--json"]);
        for said in ["heads of keys and values is written 2 times", "has no biases; they are taken as zeros"]
        {
            assert!(run.stderr.contains(said), "{}", run.stderr);
        }
        serde_json::from_str::<Value>(&run.stdout).unwrap()["explanation"].clone()
    };
    let e = explained(&|_| ());
    assert_eq!(e["status"], "no-difference", "{}", e["verdict"]);
    let key = "model.layers.2.self_attn.k_proj.bias";
    // One constant for a whole head would turn with it, and the softmax would not see it.
    let e = explained(&|model| edit(model, key, |b| b.iter_mut().step_by(3).for_each(|x| *x = 0.5)));
    assert_eq!(e["causes"][0]["subject"], key, "{}", e["verdict"]);
}

/// The values of tensors, in turn, in place of others'.
fn give(model: &mut Checkpoint, moves: &[(String, String)]) {
    let bytes: Vec<_> = moves.iter().map(|(from, _)| model.tensors[from].bytes.clone()).collect();
    for ((_, to), bytes) in moves.iter().zip(bytes) {
        model.tensors.get_mut(to).unwrap().bytes = bytes;
    }
}

#[test]
fn what_lies_elsewhere_in_every_layer_is_one_cause() {
    let tensor = |layer: usize, place: &str| format!("model.layers.{layer}.{place}.weight");
    // Layers are numbered from the second, and the last is the first.
    let e = changed(|model| {
        let places: Vec<String> = model
            .tensors
            .keys()
            .filter_map(|name| Some(name.strip_prefix("model.layers.0.")?.to_owned()))
            .collect();
        let name = |layer: usize, place: &String| format!("model.layers.{layer}.{place}");
        let of_layer =
            |n: usize| places.iter().map(move |p| (name((n + 1) % 4, p), name(n, p))).collect::<Vec<_>>();
        give(model, &(0..4).flat_map(of_layer).collect::<Vec<_>>());
    });
    assert_eq!(
        (e["status"].as_str(), ids(&e)),
        (Some("explained"), vec!["layers-exchanged"]),
        "{}",
        e["verdict"]
    );
    assert_eq!(e["causes"][0]["relation"], "of b's layers 0 to 2 are a's 1 to 3, 3 is a's 0");
    assert_eq!(e["causes"][0]["bit_equal"], true);

    let e = changed(|model| {
        let pair = |n: usize| [tensor(n, "mlp.gate_proj"), tensor(n, "mlp.up_proj")];
        let swap = |n: usize| [pair(n).into(), (pair(n)[1].clone(), pair(n)[0].clone())];
        give(model, &(0..4).flat_map(swap).collect::<Vec<(String, String)>>());
    });
    assert_eq!(ids(&e), ["tensors-exchanged"], "{}", e["verdict"]);
    assert!(
        e["causes"][0]["relation"].as_str().unwrap().ends_with("are swapped (4 layers)"),
        "{}",
        e["causes"]
    );
    assert_eq!(e["causes"][0]["bit_equal"], true);

    // Gate and up of one layer, of 160 rows each, fused and split by half a tensor.
    let e = changed(|model| {
        let names = ["mlp.gate_proj", "mlp.up_proj"].map(|place| tensor(1, place));
        let rows = |name: &String| model.tensors[name].values().iter().map(|&x| x as f32).collect::<Vec<_>>();
        let [gate, up] = [rows(&names[0]), rows(&names[1])];
        let half = gate.len() / 2;
        edit(model, &names[0], |w| w[half..].copy_from_slice(&up[..half]));
        edit(model, &names[1], |w| w[..half].copy_from_slice(&gate[half..]));
    });
    assert_eq!(ids(&e), ["fused-split"], "{}", e["verdict"]);
    assert_eq!(e["causes"][0]["bit_equal"], true);
}

/// Rows of a query weight `[64, 64]` with 4 heads, or of a key weight with 2, from half-split into
/// adjacent pairs.
fn interleave(w: &mut [f32]) {
    let old = w.to_vec();
    for head in 0..w.len() / (16 * 64) {
        for i in 0..16 {
            let from = head * 16 + i / 2 + (i % 2) * 8;
            let to = head * 16 + i;
            w[to * 64..(to + 1) * 64].copy_from_slice(&old[from * 64..(from + 1) * 64]);
        }
    }
}

/// Both halves of a rescaling in every layer, by factors that bf16 rounds: one group of tensors,
/// above the noise, and no fault. A fault that no rule tells from the rest is not hidden by it.
#[test]
fn a_rewriting_that_was_rounded_is_told_from_one_with_a_fault() {
    let rescaled = |beside: &dyn Fn(&mut Checkpoint)| {
        changed(|model| {
            for layer in 0..4 {
                let [up, down] =
                    ["up", "down"].map(|name| format!("model.layers.{layer}.mlp.{name}_proj.weight"));
                let factor = |i: usize| 0.6 + (i * 7 % 11) as f32 / 10.0;
                edit(model, &up, |w| w.iter_mut().enumerate().for_each(|(i, x)| *x *= factor(i / 64)));
                edit(model, &down, |w| w.iter_mut().enumerate().for_each(|(i, x)| *x /= factor(i % 160)));
            }
            beside(model);
        })
    };
    let alone = rescaled(&|_| {});
    let verdict = alone["verdict"].as_str().unwrap();
    assert!(list(&alone["causes"]).iter().all(|c| c["fault"] == false), "{verdict}");
    assert!(verdict.contains("the rounding of it leaves") && verdict.contains("and no fault"), "{verdict}");
    // What one half does, and all of it, stands in the record.
    let runs = list(&alone["counterfactuals"]);
    let half = |run: &&Value| {
        let of_up = run["factor"].as_str().unwrap().starts_with("model.layers.*.mlp.up_proj.weight");
        of_up && run["direction"] == "injected" && run["compute"] == "f32"
    };
    let (half, whole) = (runs.iter().find(half).unwrap(), runs.last().unwrap());
    assert_eq!(whole["direction"], "neither");
    assert!(number(&whole["kl"]) < 1e-3 * number(&half["kl"]), "{half} {whole}");
    let down = "model.layers.2.mlp.down_proj.weight";
    let both = rescaled(&|model| edit(model, down, |w| w.rotate_right(160)));
    let verdict = both["verdict"].as_str().unwrap();
    assert!(list(&both["causes"]).iter().any(|c| c["fault"] == true && c["subject"] == down), "{verdict}");
    assert!(!verdict.contains("and no fault. "), "{verdict}");
}

#[test]
fn what_was_exchanged_and_changed_besides_is_still_named() {
    let [gate, up] = ["gate", "up"].map(|name| format!("model.layers.1.mlp.{name}_proj.weight"));
    let noise = |w: &mut Vec<f32>| {
        let random = |i: usize| ((i as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0;
        w.iter_mut().enumerate().for_each(|(i, x)| *x += 0.01 * random(i));
    };
    let e = changed(|model| {
        give(model, &[(gate.clone(), up.clone()), (up.clone(), gate.clone())]);
        edit(model, &gate, noise);
        edit(model, &up, noise);
    });
    assert_eq!(ids(&e), ["tensors-exchanged"], "{}", e["verdict"]);
    assert!(e["causes"][0]["relation"].as_str().unwrap().contains("are swapped, and changed besides"));

    // Two layers, of which every tensor but the norms is quantised or trained on.
    let e = changed(|model| {
        let names = |n: usize| format!("model.layers.{n}.");
        let of = |n: usize, m: usize| -> Vec<(String, String)> {
            let all = model.tensors.keys().filter_map(|name| name.strip_prefix(&names(n)));
            all.map(|place| (names(n) + place, names(m) + place)).collect()
        };
        let moved = [of(1, 2), of(2, 1)].concat();
        give(model, &moved);
        for (name, _) in moved.iter().filter(|(name, _)| name.ends_with("_proj.weight")) {
            edit(model, name, noise);
        }
    });
    assert_eq!(ids(&e), ["layers-exchanged"], "{}", e["verdict"]);
    assert_eq!(
        e["causes"][0]["relation"],
        "layers 1 and 2 are swapped, and changed besides (correlation above 0.8)"
    );
    let subject = e["causes"][0]["subject"].as_str().unwrap();
    assert!(subject.ends_with("and 7 more kinds (layers 1, 2: 18 tensors)"), "{subject}");
}

#[test]
fn a_layout_and_the_rotation_that_goes_with_it_are_no_fault() {
    let places = ["q", "k"].map(|name| format!("self_attn.{name}_proj.weight"));
    let relaid = |beside: &dyn Fn(&mut Checkpoint)| {
        let mut model = Checkpoint::tiny();
        for (layer, place) in (0..4).flat_map(|layer| places.iter().map(move |place| (layer, place))) {
            edit(&mut model, &format!("model.layers.{layer}.{place}"), |w| interleave(w));
        }
        beside(&mut model);
        let dir = Dir::new();
        let other = model.write(&dir, "changed");
        explained(&[&tiny(), &other, "--a", "load(bf16)", "--b", "load(bf16)@rope=interleaved"])
    };
    let alone = relaid(&|_| {});
    let verdict = alone["verdict"].as_str().unwrap();
    assert!(verdict.contains("an equivalent rewriting"), "{verdict}");
    assert!(list(&alone["causes"]).iter().all(|c| c["fault"] == false), "{verdict}");
    let up = "model.layers.2.mlp.up_proj.weight";
    let both = relaid(&|model| edit(model, up, |w| w.iter_mut().for_each(|x| *x = -*x)));
    assert_eq!(ids(&both), ["sign-flipped"], "{}", both["verdict"]);
    assert_eq!((&both["causes"][0]["subject"], &both["status"]), (&json!(up), &json!("explained")));
}

#[test]
fn two_faults_at_once_are_both_named() {
    let e = explained(&[&tiny(), "--a", "load(bf16)", "--b", "load(f32).to(bf16)@rope=interleaved"]);
    assert_eq!(ids(&e), ["rotary-layout", "rotary-buffer-rounded"]);
    let swapped = changed(|model| {
        let [q, k] = ["0", "2"].map(|n| format!("model.layers.{n}.self_attn.q_proj.weight"));
        let (one, other) = (model.tensors[&q].clone(), model.tensors[&k].clone());
        model.tensors.insert(q, other);
        model.tensors.insert(k, one);
        model.config["rms_norm_eps"] = json!(1e-2);
    });
    let mut found = ids(&swapped);
    found.sort_unstable();
    assert_eq!(found, ["rms-norm-eps", "tensors-exchanged"], "{}", swapped["verdict"]);
}

#[test]
fn a_tensor_in_the_place_of_another_is_found_though_the_other_is_where_it_was() {
    let e = changed(|model| {
        let [from, to] = ["0", "2"].map(|n| format!("model.layers.{n}.mlp.up_proj.weight"));
        let copy = model.tensors[&from].clone();
        model.tensors.insert(to, copy);
    });
    assert_eq!(ids(&e), ["tensors-exchanged"], "{}", e["verdict"]);
    let relation = e["causes"][0]["relation"].as_str().unwrap();
    assert!(relation.contains("is a copy of model.layers.0.mlp.up_proj.weight"), "{relation}");
}

#[test]
fn what_a_recipe_rounds_away_is_looked_for_in_the_files() {
    // By way of f16 instead of directly: in bf16 arms that looks like noise, in the f32 files it is
    // a rule.
    let e = changed(|model| {
        for name in model.tensors.keys().cloned().collect::<Vec<_>>() {
            edit(model, &name, |w| {
                let twice = Rounding::NearestBf16ViaF16.apply(&Floats::from(w.as_slice()));
                *w = twice.cast(DType::F32).to_f32();
            });
        }
    });
    assert_eq!(ids(&e), ["weights-rounded-twice"], "{}", e["verdict"]);
    let relation = e["causes"][0]["relation"].as_str().unwrap();
    assert!(relation.starts_with("as stored, b = "), "{relation}");
}

#[test]
fn what_is_not_finite_stops_nothing() {
    let mut model = Checkpoint::tiny();
    model.set("model.layers.1.mlp.up_proj.weight", 5, f32::NAN);
    let dir = Dir::new();
    let broken = model.write(&dir, "broken");
    let e = explained(&[&tiny(), &broken, "--a", "load(bf16)", "--b", "load(bf16)"]);
    assert_eq!(ids(&e), ["weight-corrupted"]);
    assert_eq!(e["causes"][0]["site"], "model.layers.1.mlp.up_proj");
    assert_eq!(e["causes"][0]["exceeds_floor"], true, "{}", e["growth"]);
    assert!(e["verdict"].as_str().unwrap().contains("no numbers from position 0 on"), "{}", e["verdict"]);
    let fail = ["explain", "--prompt", PROMPT, &tiny(), &broken, "--fail-on", "causes_above_floor>0"];
    let failed = ulpscope(fail);
    failed.check(failed.code == Some(3), "status 3 expected");
    // The same in both arms: there is nothing to compare with.
    let both = ulpscope(["explain", "--json", "--prompt", PROMPT, &broken]);
    both.check(both.code == Some(4), "status 4 expected");
    let both = both.json()["explanation"].clone();
    assert_eq!(both["status"], "incomplete");
    assert!(
        both["verdict"].as_str().unwrap().starts_with("a, the reference, holds NaN"),
        "{}",
        both["verdict"]
    );
    assert!(list(&both["guards"]).iter().any(|g| g.as_str().unwrap().contains("NaN")), "{}", both["guards"]);

    let mut model = Checkpoint::tiny();
    model.set("model.layers.1.mlp.down_proj.weight", 5, 1e6);
    let large = model.write(&dir, "large");
    let e = explained(&[&large, "--a", "load(bf16)@sequential", "--b", "load(f16)@sequential"]);
    assert_eq!(ids(&e)[0], "f16-overflow", "{}", e["verdict"]);
    assert_eq!(e["causes"][0]["site"], "model.layers.1.mlp.down_proj");
}

#[test]
fn one_token_shows_no_fault_of_rotation() {
    let e = ulpscope(["explain", &tiny(), "--json", "--ids", "5"]).explanation();
    assert_eq!(e["status"], "no-difference");
    assert!(list(&e["guards"])[0].as_str().unwrap().contains("more than one token"), "{}", e["guards"]);
}

#[test]
fn an_explanation_takes_two_arms() {
    ulpscope(["explain", &tiny(), "--arm", "c=load(f32)"]).fails(&["two arms", "3"]);
}

#[test]
fn greedy_continuations_say_where_they_part() {
    let e = explained(&[&tiny(), "--continue", "24"]);
    let decision = &e["decisions"][0];
    assert_eq!((&decision["continued"], &decision["context"]), (&json!(24), &json!(36)));
    let [a, b] = [0, 1].map(|side| list(&decision["continued_ids"][side]).clone());
    let fork = (0..24).find(|&i| a[i] != b[i]);
    assert_eq!(decision["first_different_token"], json!(fork));
    assert_eq!(fork.is_some(), decision["margin"].is_number());
    assert!(!decision["continuations"][0].as_str().unwrap().is_empty());
    // What the shape alone changes is measured, not assumed.
    let shapes = list(&e["floor"]["shapes"]);
    let positions: Vec<&Value> = shapes.iter().map(|shape| &shape["positions"]).collect();
    assert_eq!(positions, [36, 24], "another number of rows, and one by one: {shapes:?}");

    // A first token is the most likely one after the prompt.
    let prompt = ["compare", "--json", "--prompt", PROMPT, &tiny()];
    let logits = ulpscope(prompt).ok().json()["logits"][0]["by_position"].clone();
    assert_eq!(list(&logits).last().unwrap()["top1"], json!([a[0], b[0]]));

    let same = explained(&[&tiny(), "--a", "load(bf16)", "--b", "load(bf16)"]);
    let decision = &same["decisions"][0];
    assert_eq!((&decision["continued"], &decision["first_different_token"]), (&json!(32), &Value::Null));
    let none = explained(&[&tiny(), "--continue", "0"]);
    assert_eq!(none["decisions"][0]["continued"], json!(0));

    // A fault that every token feels parts them at once.
    let loud = explained(&[&tiny(), "--a", "load(bf16)", "--b", "load(bf16)@scale=none@mlp=swapped"]);
    let decision = &loud["decisions"][0];
    assert_eq!(
        (&decision["first_different_token"], decision["near_tie"].is_boolean()),
        (&json!(0), true),
        "{decision}"
    );
    assert!(decision["flips_outside_near_ties"].as_u64().unwrap() > 10, "{decision}");
}

#[test]
fn of_many_tensors_that_differ_those_that_matter_are_named() {
    let harmful = ["model.layers.1.mlp.down_proj.weight", "model.layers.2.self_attn.q_proj.weight"];
    let e = changed(|model| {
        for name in model.tensors.keys().cloned().collect::<Vec<_>>() {
            edit(model, &name, |w| match harmful.iter().position(|harmful| *harmful == name) {
                Some(0) => w[..3200].fill(0.0),
                Some(_) => w.iter_mut().for_each(|x| *x = -*x),
                None => w[7] *= 1.01,
            });
        }
    });
    assert_eq!(e["status"], "explained", "{}", e["verdict"]);
    let found = &e["bisection"];
    assert_eq!(found["tensors"], json!(38), "{found}");
    assert_eq!(found["named"], json!([[harmful[0]], [harmful[1]]]), "{found}");
    // They are enough, and nothing is left without them.
    let [whole, named, rest] = ["kl", "named_kl", "rest_kl"].map(|key| number(&found[key]));
    assert!((named / whole - 1.0).abs() < 0.02 && rest < 0.01 * whole, "{found}");
    let mut first: Vec<&str> =
        list(&e["causes"])[..2].iter().map(|c| c["subject"].as_str().unwrap()).collect();
    first.sort_unstable();
    assert_eq!(first, harmful, "{}", e["verdict"]);
    assert_eq!(list(&e["causes"]).len(), 3, "the rest is one: {}", e["verdict"]);
}

#[test]
fn a_fault_in_both_arms_is_found_against_the_truth() {
    let spec = "load(f32)@norm=plus-one";
    let e = explained(&[&tiny(), "--a", spec, "--b", spec]);
    assert_eq!(e["status"], "no-difference");
    let truth = &e["truth"];
    let [a, b] = [0, 1].map(|side| number(&truth["intrinsic"][side]));
    assert!(a > 1e-4 && a == b, "{truth}");
    // Without it there is nothing left: it is all that sets the two apart from the truth.
    assert_eq!(number(&truth["mended"]), 0.0, "{truth}");
    let verdict = e["verdict"].as_str().unwrap();
    for part in ["both arms compute with norm=plus-one", "set right in a", "would not show"] {
        assert!(verdict.contains(part), "{verdict}");
    }
    // Beside a fault that only one has, both are named.
    let e = explained(&[&tiny(), "--a", spec, "--b", "load(f32)@norm=plus-one@rope=interleaved"]);
    assert_eq!((e["status"].as_str(), ids(&e)), (Some("explained"), vec!["rotary-layout"]));
    assert!(
        e["verdict"].as_str().unwrap().contains("both arms compute with norm=plus-one"),
        "{}",
        e["verdict"]
    );
    // Nothing is shared where both follow the formulas.
    let clean = explained(&[&tiny(), "--a", "load(f32)", "--b", "load(f32)@rope=interleaved"]);
    assert_eq!((&clean["truth"]["shared"], &clean["truth"]["mended"]), (&json!([]), &Value::Null));
}
