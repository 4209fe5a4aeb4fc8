//! `compare`: what the record of a run holds.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::util::{Dir, entry, fixture, list, number, record, tensors, tiny, ulpscope};

/// Every site of a model, as the design spells them, in forward order.
pub(crate) fn sites(layers: usize, attention: &str) -> Vec<String> {
    let block = [
        "input_layernorm",
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.q_rope",
        "self_attn.k_rope",
        "self_attn.scores",
        "self_attn.probs",
        "self_attn.context",
        "self_attn.o_proj",
        "resid_mid",
        "post_attention_layernorm",
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.act_fn",
        "mlp.product",
        "mlp.down_proj",
    ];
    let stored = |name: &&&str| attention == "eager" || !name.ends_with("scores") && !name.ends_with("probs");
    let mut all: Vec<String> =
        ["model.embed_tokens", "model.rotary_emb.cos", "model.rotary_emb.sin"].map(str::to_owned).into();
    for n in 0..layers {
        all.extend(block.iter().filter(stored).map(|name| format!("model.layers.{n}.{name}")));
        all.push(format!("model.layers.{n}"));
    }
    all.extend(["model.norm", "lm_head"].map(str::to_owned));
    all
}

fn names(record: &Value) -> Vec<&str> {
    list(&record["sites"]).iter().map(|s| s["site"].as_str().unwrap()).collect()
}

fn findings(mut record: Value) -> Value {
    record.as_object_mut().unwrap().remove("provenance").expect("a record says where it comes from");
    record
}

/// The founding question, on the tiny model: everything that the record must say about it.
#[test]
fn loading_against_casting() {
    for attention in ["eager", "sdpa"] {
        let r = record([tiny().as_str(), "--attention", attention]);

        assert_eq!(r["schema"], ulpscope_record::SCHEMA);
        for (arm, name, recipe) in [(0, "a", "load(bf16)"), (1, "b", "load(f32).to(bf16)")] {
            let arm = &r["arms"][arm];
            assert_eq!(
                (&arm["name"], &arm["recipe"], &arm["attention"]),
                (&json!(name), &json!(recipe), &json!(attention))
            );
        }
        assert_eq!(r["prompts"][0]["text"], "Gravity is");
        assert_eq!(r["prompts"][0]["ids"], json!([41, 84, 366, 325, 91, 264]), "PyTorch's ids");

        // 38 tensors are stored; PyTorch's state dict also lists the tied head.
        assert_eq!(
            (&r["weights"]["compared"], &r["weights"]["identical"]),
            (&json!(39), &json!(39)),
            "{attention}"
        );
        assert_eq!(r["weights"]["different"], json!([]));
        for name in ["model.rotary_emb.inv_freq", "model.rotary_emb.original_inv_freq"] {
            let buffer = entry(&r["buffers"], &[("name", json!(name))]);
            assert_eq!(buffer["dtypes"], json!(["f32", "bf16"]), "{name}");
            assert_eq!(buffer["identical"], false, "{name}");
            assert_eq!(buffer["relation"], "b = round_bf16(a)", "{name}");
            let most = number(&buffer["max_abs"]);
            assert!(
                most > 0.0 && most < 2f64.powi(-9),
                "{name} is rounded by {most}, more than half an ulp of 1"
            );
        }
        assert_eq!(list(&r["buffers"]).len(), 2);

        assert_eq!(names(&r), sites(4, attention), "{attention}: every site, in forward order");
        let first_different = list(&r["sites"]).iter().find(|s| number(&s["equal"]) < 1.0).unwrap();
        assert_eq!(r["first"], json!([{ "arm": "b", "prompt": 0, "site": first_different["site"] }]));
        let first = r["first"][0]["site"].as_str().unwrap();
        assert!(matches!(first, "model.rotary_emb.cos" | "model.rotary_emb.sin"), "{first}");

        for s in list(&r["sites"]) {
            let site = s["site"].as_str().unwrap();
            assert_eq!((&s["arm"], &s["prompt"], &s["nonfinite"]), (&json!("b"), &json!(0), &json!([0, 0])));
            assert_eq!(list(&s["shape"])[0], 1, "{site}");
            let introduced = &s["introduced"];
            let rotary = site.starts_with("model.rotary_emb.");
            if !rotary {
                // The weights are the same and so is the arithmetic: on equal inputs nothing can
                // differ.
                assert_eq!(
                    *introduced,
                    json!({ "equal": 1.0, "mean_abs": 0.0, "max_abs": 0.0, "rms": 0.0 }),
                    "{site}"
                );
            }
            let (equal, mean, most) = (number(&s["equal"]), number(&s["mean_abs"]), number(&s["max_abs"]));
            let (rms, cosine) = (number(&s["rms"]), number(&s["cosine"]));
            assert_eq!(equal == 1.0, most == 0.0, "{site}: {s}");
            assert!(mean <= rms && rms <= most, "{site}: {s}");
            assert_eq!(number(&s["sqnr_db"]).is_infinite(), most == 0.0, "{site}: {s}");
            assert!(cosine > 0.999 && cosine <= 1.0, "{site}: {s}");
        }
        for name in ["input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"] {
            let s = entry(&r["sites"], &[("site", json!(format!("model.layers.0.{name}")))]);
            assert_eq!((number(&s["mean_abs"]), number(&s["max_abs"])), (0.0, 0.0), "{name}");
        }
        let head = entry(&r["sites"], &[("site", json!("lm_head"))]);
        let logits = entry(&r["logits"], &[("arm", json!("b")), ("prompt", json!(0))]);
        for field in ["equal", "mean_abs", "max_abs"] {
            assert_eq!(head[field], logits[field], "{field}");
        }
        assert!(number(&head["mean_abs"]) > 0.0, "{attention}: the logits differ");
        assert_eq!(logits["allclose"], false);
        assert!(number(&logits["kl"]) > 0.0 && number(&logits["top1_agreement"]) >= 0.5);
        assert_eq!(r["coverage"]["compared"], r["coverage"]["sites"]);
        assert_eq!(r["coverage"]["not_compared"], json!([]));
    }
}

#[test]
fn provenance_and_model_are_said() {
    use sha2::Digest;
    let r = record([tiny().as_str(), "--threads", "2"]);
    let p = &r["provenance"];
    assert_eq!((&p["ulpscope"], &p["device"], &p["threads"]), (&json!("0.1.0"), &json!("flex"), &json!(2)));
    for field in ["git", "cpu", "kernel"] {
        assert!(!p[field].as_str().unwrap().is_empty(), "{field}");
    }
    assert!(p["started"].as_str().unwrap().ends_with('Z') && number(&p["elapsed_s"]) > 0.0);

    let model = &r["model"];
    assert_eq!((&model["name"], &model["source"]), (&json!("tiny-llama"), &json!("directory")));
    assert_eq!((&model["revision"], &model["stand_in"]), (&Value::Null, &json!(false)));
    let config = std::fs::read(format!("{}/config.json", tiny())).unwrap();
    assert_eq!(model["config"], serde_json::from_slice::<Value>(&config).unwrap());
    let files: BTreeSet<&str> = list(&model["files"]).iter().map(|f| f["path"].as_str().unwrap()).collect();
    assert_eq!(files, BTreeSet::from(["config.json", "model.safetensors", "tokenizer.json"]));
    for file in list(&model["files"]) {
        let bytes = std::fs::read(format!("{}/{}", tiny(), file["path"].as_str().unwrap())).unwrap();
        let hash: String = sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(file["sha256"], json!(hash));
    }
}

/// The numbers of the record, computed here anew from the two arms' traces.
#[test]
fn the_metrics_are_those_of_the_traces() {
    let dir = Dir::new();
    for (out, recipe) in [("a", "load(bf16)"), ("b", "load(f32).to(bf16)")] {
        dir.run(["trace", &tiny(), "--recipe", recipe, "--out", out]).ok();
    }
    let (a, b) = (tensors(dir.join("a")).0, tensors(dir.join("b")).0);
    let r = record([tiny()]);
    assert_eq!(a.len(), list(&r["sites"]).len());
    let near = |ours: f64, theirs: &Value, what: &str| {
        let theirs = number(theirs);
        assert!((ours - theirs).abs() <= 1e-9 * ours.abs(), "{what}: {ours} here, {theirs} in the record");
    };
    for s in list(&r["sites"]) {
        let site = s["site"].as_str().unwrap();
        assert_eq!(s["shape"], json!(a[site].shape));
        let (x, y) = (a[site].values(), b[site].values());
        let n = x.len() as f64;
        let pairs = || x.iter().copied().zip(y.iter().copied());
        let equal = pairs().filter(|(x, y)| x.to_bits() == y.to_bits()).count() as f64;
        let noise: f64 = pairs().map(|(x, y)| (x - y).powi(2)).sum();
        let signal: f64 = x.iter().map(|x| x * x).sum();
        let dot: f64 = pairs().map(|(x, y)| x * y).sum();
        near(equal / n, &s["equal"], site);
        near(pairs().map(|(x, y)| (x - y).abs()).sum::<f64>() / n, &s["mean_abs"], site);
        near(pairs().map(|(x, y)| (x - y).abs()).fold(0.0, f64::max), &s["max_abs"], site);
        near((noise / n).sqrt(), &s["rms"], site);
        near(dot / (signal * y.iter().map(|y| y * y).sum::<f64>()).sqrt(), &s["cosine"], site);
        if noise > 0.0 {
            near(10.0 * (signal / noise).log10(), &s["sqnr_db"], site);
        }
    }
    let (x, y) = (a["lm_head"].values(), b["lm_head"].values());
    let (kl, top1) = kl(&x, &y, 384);
    near(kl, &r["logits"][0]["kl"], "kl");
    near(top1, &r["logits"][0]["top1_agreement"], "top1_agreement");
}

/// KL(a ‖ b) in nats and the fraction of equal most likely tokens, means over the rows.
pub(crate) fn kl(a: &[f64], b: &[f64], vocabulary: usize) -> (f64, f64) {
    let log_softmax = |row: &[f64]| -> Vec<f64> {
        let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum = row.iter().map(|x| (x - most).exp()).sum::<f64>().ln();
        row.iter().map(|x| x - most - sum).collect()
    };
    let top = |row: &[f64]| (0..row.len()).rev().max_by(|&i, &j| row[i].total_cmp(&row[j]));
    let rows = a.len() / vocabulary;
    let (mut kl, mut same) = (0.0, 0.0);
    for (a, b) in a.chunks(vocabulary).zip(b.chunks(vocabulary)) {
        same += f64::from(u8::from(top(a) == top(b)));
        let (p, q) = (log_softmax(a), log_softmax(b));
        kl += p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
    }
    (kl / rows as f64, same / rows as f64)
}

#[test]
fn an_arm_equals_itself() {
    for recipe in ["load(f64)", "load(f32)", "load(bf16)", "load(f16)", "load(f32).to(bf16)", "load(auto)"] {
        let r = record([tiny().as_str(), "--a", recipe, "--b", recipe]);
        assert_eq!(r["first"], json!([{ "arm": "b", "prompt": 0, "site": null }]), "{recipe}");
        for s in list(&r["sites"]) {
            assert_eq!((number(&s["equal"]), number(&s["max_abs"])), (1.0, 0.0), "{recipe}: {}", s["site"]);
            assert_eq!(number(&s["introduced"]["equal"]), 1.0, "{recipe}: {}", s["site"]);
        }
        let l = &r["logits"][0];
        assert_eq!(
            (&l["allclose"], number(&l["kl"]), number(&l["equal"])),
            (&json!(true), 0.0, 1.0),
            "{recipe}"
        );
        for b in list(&r["buffers"]) {
            assert_eq!((&b["identical"], number(&b["max_abs"])), (&json!(true), 0.0), "{recipe}");
        }
        assert_eq!(r["weights"]["identical"], r["weights"]["compared"], "{recipe}");
    }
}

#[test]
fn a_run_repeats_whatever_the_number_of_threads() {
    let with = |threads: &str| {
        let prompts = ["--prompt", "Gravity is", "--prompt", "The order in which we notice"];
        findings(record([tiny().as_str(), "--threads", threads].into_iter().chain(prompts)))
    };
    let reference = with("2");
    for threads in ["2", "1", "3"] {
        assert_eq!(with(threads), reference, "{threads} threads");
    }
}

#[test]
fn more_arms_and_more_prompts() {
    let mut args = vec![tiny(), "--attention".into(), "eager".into()];
    for arm in ["f32=load(f32)", "half=load(f32).half()", "f64=load(f64)", "s=load(bf16)@sdpa"] {
        args.extend(["--arm".to_owned(), arm.to_owned()]);
    }
    let pair = record(&args[..3]);
    args.extend(["--prompt", "Gravity is", "--prompt", "is", "--ids", "1,17,250"].map(str::to_owned));
    let r = record(&args);

    assert_eq!(list(&r["prompts"]).len(), 3);
    assert_eq!(r["prompts"][2], {
        let mut given = r["prompts"][2].clone();
        (given["text"], given["ids"]) = (Value::Null, json!([1, 17, 250]));
        given
    });
    let arms: Vec<&str> = list(&r["arms"]).iter().map(|a| a["name"].as_str().unwrap()).collect();
    assert_eq!(arms, ["a", "b", "f32", "half", "f64", "s"]);
    let (eager, sdpa) = (sites(4, "eager"), sites(4, "sdpa"));
    let expected: Vec<(&str, usize, &str)> = arms[1..]
        .iter()
        .flat_map(|arm| {
            let sites = if *arm == "s" { &sdpa } else { &eager };
            (0..3).flat_map(move |prompt| sites.iter().map(move |site| (*arm, prompt, site.as_str())))
        })
        .collect();
    let found: Vec<(&str, usize, &str)> = list(&r["sites"])
        .iter()
        .map(|s| {
            let prompt = s["prompt"].as_u64().unwrap() as usize;
            (s["arm"].as_str().unwrap(), prompt, s["site"].as_str().unwrap())
        })
        .collect();
    assert_eq!(found, expected, "arms, then prompts, then sites in forward order");
    assert_eq!((list(&r["logits"]).len(), list(&r["first"]).len()), (15, 15));

    // The company of other arms and prompts changes nothing.
    let alone: Vec<&Value> = list(&pair["sites"]).iter().collect();
    let accompanied: Vec<&Value> =
        list(&r["sites"]).iter().filter(|s| s["arm"] == "b" && s["prompt"] == 0).collect();
    assert_eq!(alone, accompanied);

    // 23 bits lose less than 10, and 10 less than 7; f64 is as near to bf16 as f32 is.
    let kl = |arm: &str| number(&entry(&r["logits"], &[("arm", json!(arm)), ("prompt", json!(0))])["kl"]);
    assert!(kl("f32") > 0.0 && (kl("f32") / kl("f64") - 1.0).abs() < 0.01, "{} {}", kl("f32"), kl("f64"));
    let different = |arm: &str| list(&r["weights"]["different"]).iter().filter(|w| w["arm"] == arm).count();
    assert_eq!(["b", "s"].map(different), [0, 0]);
    assert_eq!(["f32", "half", "f64"].map(different), [39, 39, 39]);
}

#[test]
fn narrower_formats_are_farther_from_f64() {
    let arms = ["--a", "load(f64)", "--b", "load(f32)", "--arm", "f16=load(f16)", "--arm", "bf16=load(bf16)"];
    let r = record([tiny().as_str()].into_iter().chain(arms));
    let distance = |arm: &str| number(&entry(&r["logits"], &[("arm", json!(arm))])["mean_abs"]);
    let (f32, f16, bf16) = (distance("b"), distance("f16"), distance("bf16"));
    assert!(f32 < 1e-5 && f32 * 100.0 < f16 && f16 * 2.0 < bf16, "{f32} {f16} {bf16}");
    assert_eq!(
        list(&r["arms"]).iter().map(|a| &a["dtype"]).collect::<Vec<_>>(),
        ["f64", "f32", "f16", "bf16"]
    );
}

#[test]
fn attention_of_one_arm_alone() {
    let r = record([tiny().as_str(), "--a", "load(bf16)@eager", "--b", "load(bf16)@sdpa"]);
    assert_eq!((&r["arms"][0]["attention"], &r["arms"][1]["attention"]), (&json!("eager"), &json!("sdpa")));
    assert_eq!(names(&r), sites(4, "sdpa"), "the sites that both have");
    let first = r["first"][0]["site"].as_str().unwrap();
    assert_eq!(first, "model.layers.0.self_attn.context", "all before it is the same arithmetic");
    let introducing: Vec<&str> = list(&r["sites"])
        .iter()
        .filter(|s| number(&s["introduced"]["equal"]) < 1.0)
        .map(|s| s["site"].as_str().unwrap())
        .collect();
    assert!(
        !introducing.is_empty() && introducing.iter().all(|s| s.ends_with(".context")),
        "{introducing:?}"
    );
    let left_out = list(&r["coverage"]["not_compared"]);
    assert_eq!(left_out.len(), 1);
    let sentence = left_out[0].as_str().unwrap();
    assert!(sentence.contains("8 sites") && sentence.contains("eager"), "{sentence}");
}

#[test]
fn a_pattern_reports_fewer_sites_and_changes_nothing_else() {
    let all = record([tiny().as_str()]);
    let some = record([tiny().as_str(), "--sites", "model.layers.1.*,lm_head"]);
    let wanted = |s: &&Value| {
        let site = s["site"].as_str().unwrap();
        site.starts_with("model.layers.1.") || site == "lm_head"
    };
    let expected: Vec<&Value> = list(&all["sites"]).iter().filter(wanted).collect();
    assert_eq!(list(&some["sites"]).iter().collect::<Vec<_>>(), expected);
    assert_eq!(expected.len(), 16);
    for field in ["first", "logits", "weights", "buffers"] {
        assert_eq!(some[field], all[field], "{field} is about the whole model");
    }
    let left_out = some["coverage"]["not_compared"].to_string();
    assert!(left_out.contains("53 sites") && left_out.contains("model.layers.1.*"), "{left_out}");
    assert_eq!(some["coverage"]["compared"], 16);
}

#[test]
fn two_models() {
    let r = record([&tiny(), &fixture("tiny-llama.gguf"), "--a", "load(f32)"]);
    assert_eq!(r["arms"][1]["recipe"], "load(f32)", "the second model's recipe is the first's");
    assert_eq!(r["arms"][1]["model"]["source"], "gguf");
    assert_eq!(r["weights"], json!({ "compared": 39, "identical": 39, "different": [] }));
    assert_eq!(r["first"][0]["site"], Value::Null, "one model in two containers");
    assert_eq!((number(&r["logits"][0]["equal"]), number(&r["logits"][0]["kl"])), (1.0, 0.0));

    let quantised = record([&tiny(), &fixture("tiny-llama-mixed.gguf"), "--a", "load(f32)"]);
    let different = list(&quantised["weights"]["different"]);
    assert!(!different.is_empty() && number(&quantised["logits"][0]["kl"]) > 0.0);
    let introduced = list(&quantised["sites"]).iter().find(|s| number(&s["introduced"]["equal"]) < 1.0);
    assert_eq!(introduced.unwrap()["site"], quantised["first"][0]["site"]);
}

/// Each feature of the architecture has a model of its own; none may differ from itself, all run in
/// both arms.
#[test]
fn every_tiny_config_runs() {
    let folder = fixture("configs");
    let mut run = 0;
    for model in std::fs::read_dir(&folder).unwrap().map(|f| f.unwrap().path()) {
        let r = record([model.to_str().unwrap(), "--ids", "1,5,2,7,3", "--attention", "eager"]);
        let layers = r["model"]["config"]["num_hidden_layers"].as_u64().unwrap() as usize;
        assert_eq!(names(&r), sites(layers, "eager"), "{}", model.display());
        assert_eq!(r["weights"]["identical"], r["weights"]["compared"], "{}", model.display());
        for s in list(&r["sites"]).iter().filter(|s| !s["site"].as_str().unwrap().contains("rotary")) {
            assert_eq!(number(&s["introduced"]["equal"]), 1.0, "{}: {}", model.display(), s["site"]);
        }
        run += 1;
    }
    assert!(run >= 25, "{run} models below {folder}");
}

#[test]
fn sites_lists_what_compare_reports() {
    for attention in ["eager", "sdpa"] {
        let run = ulpscope(["sites", &tiny(), "--attention", attention]).ok();
        assert_eq!(run.stdout.lines().collect::<Vec<_>>(), sites(4, attention));
    }
}

#[test]
fn weights_needs_no_prompt() {
    let found = ulpscope(["weights", &tiny(), "--json"]).ok().json();
    let whole = record([tiny()]);
    for field in ["weights", "buffers"] {
        assert_eq!(found[field], whole[field], "{field}");
    }
    let run = ulpscope(["weights", &tiny()]).ok();
    run.check(run.stdout.contains("39 of 39"), "the count");
    run.check(run.stdout.contains("b = round_bf16(a)"), "the relation");

    let run = ulpscope(["weights", &tiny(), "--tensor", "model.layers.0.self_attn.q_proj.weight"]).ok();
    run.check(run.stdout.matches("dtype=torch.bfloat16)").count() == 2, "both arms, as PyTorch prints them");
    run.check(run.stdout.contains("\nidentical: "), "the verdict");
    let run = ulpscope(["weights", &tiny(), "--tensor", "model.rotary_emb.inv_freq"]).ok();
    run.check(run.stdout.contains("different: ") && run.stdout.contains("round_bf16"), "the verdict");
}
