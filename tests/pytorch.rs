//! Against PyTorch's own activations, `fixtures/goldens`.

use serde_json::{Value, json};

use crate::compare::kl;
use crate::util::{Dir, Run, entry, fixture, list, number, record, tensors, tiny};

fn golden(recipe: &str, attention: &str, prompt: &str) -> String {
    fixture(&format!("goldens/tiny-llama/{recipe}.{attention}.{prompt}.safetensors"))
}

fn mean_abs(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / a.len() as f64
}

/// The divergence that PyTorch finds between the two arms is the divergence that we find.
#[test]
fn load_against_cast_differs_as_in_pytorch() {
    let mut layers = 0;
    for (attention, prompt) in [("eager", "short"), ("eager", "long"), ("sdpa", "short"), ("sdpa", "long")] {
        let (a, about) = tensors(golden("load-bf16", attention, prompt));
        let (b, _) = tensors(golden("load-f32-to-bf16", attention, prompt));
        let r = record([tiny().as_str(), "--attention", attention, "--prompt", &about["prompt"]]);
        let ids: Value = serde_json::from_str(&about["ids"]).unwrap();
        assert_eq!(r["prompts"][0]["ids"], ids, "{prompt}");

        for n in 0..4 {
            let site = format!("model.layers.{n}");
            // Of some runs, the fixtures keep the logits alone.
            let (Some(x), Some(y)) = (a.get(&site), b.get(&site)) else { continue };
            let theirs = mean_abs(&x.values(), &y.values());
            let ours = number(&entry(&r["sites"], &[("site", json!(site))])["mean_abs"]);
            assert!(
                ours < 1.5 * theirs && theirs < 1.5 * ours,
                "{attention}, {prompt}, {site}: {ours} here, {theirs} in PyTorch"
            );
            layers += 1;
        }
        let (theirs, top1) = kl(&a["lm_head"].values(), &b["lm_head"].values(), 384);
        let logits = &r["logits"][0];
        let ours = number(&logits["kl"]);
        assert!(
            ours < 2.0 * theirs && theirs < 2.0 * ours,
            "{attention}, {prompt}: KL {ours} here, {theirs} in PyTorch"
        );
        let agreement = number(&logits["top1_agreement"]);
        assert!(
            (agreement - top1).abs() <= 1.0 / 24.0,
            "{attention}, {prompt}: {agreement} here, {top1} there"
        );
    }
    assert!(layers >= 12, "{layers} layers were compared");
}

/// `diff` of PyTorch's trace and ours of the same arm.
fn diff(recipe: &str, file: &str, attention: &str) -> (Value, Run) {
    let dir = Dir::new();
    let theirs = golden(file, attention, "short");
    dir.run(["trace", &tiny(), "--recipe", recipe, "--attention", attention, "--out", "ours"]).ok();
    let run = dir.run(["diff", &theirs, "ours", "--json"]).ok();
    (run.json(), dir.run(["diff", &theirs, "ours"]).ok())
}

#[test]
fn f32_traces_are_pytorchs_but_for_the_order_of_summation() {
    let (found, _) = diff("load(f32)", "load-f32", "eager");
    let sites = list(&found["sites"]);
    let names: Vec<&str> = sites.iter().map(|s| s["site"].as_str().unwrap()).collect();
    assert_eq!(names, crate::compare::sites(4, "eager"), "every site, in forward order");
    assert_eq!(found["not_compared"], json!([]));
    for s in sites {
        // Scores hold the mask's most negative number, whose own rounding no difference may hide
        // behind.
        let (most, cosine) = (number(&s["max_abs"]), number(&s["cosine"]));
        assert!(most < 2e-4 && cosine > 1.0 - 1e-9, "{s}");
    }
    assert_eq!(number(&entry(&found["sites"], &[("site", json!("model.embed_tokens"))])["equal"]), 1.0);
}

#[test]
fn bf16_traces_agree_bit_for_bit_where_nothing_is_summed() {
    for (recipe, file) in [("load(bf16)", "load-bf16"), ("load(f32).to(bf16)", "load-f32-to-bf16")] {
        let (found, table) = diff(recipe, file, "eager");
        for site in ["model.embed_tokens", "model.rotary_emb.cos", "model.rotary_emb.sin"] {
            let s = entry(&found["sites"], &[("site", json!(site))]);
            assert_eq!(number(&s["equal"]), 1.0, "{recipe}: {site}");
        }
        let logits = entry(&found["sites"], &[("site", json!("lm_head"))]);
        assert!(number(&logits["cosine"]) > 0.9999, "{recipe}: {logits}");
        match found["first"].as_str() {
            Some(first) => {
                table
                    .check(table.stdout.contains(&format!("first site that differs: {first}")), "first site");
            }
            None => table.check(table.stdout.contains("no site differs"), "no first site"),
        }
    }
}

/// Between PyTorch's own traces of the two arms lies what we say lies between ours.
#[test]
fn pytorchs_two_arms_part_at_the_rotary_tables() {
    let dir = Dir::new();
    let (a, b) = (golden("load-bf16", "eager", "short"), golden("load-f32-to-bf16", "eager", "short"));
    let theirs = dir.run(["diff", &a, &b, "--json"]).ok().json();
    let ours = record([tiny().as_str(), "--attention", "eager"]);
    assert_eq!(theirs["first"], ours["first"][0]["site"]);
    assert_eq!(list(&theirs["sites"]).len(), list(&ours["sites"]).len());
    for site in ["model.rotary_emb.cos", "model.rotary_emb.sin"] {
        let of = |r: &Value| entry(&r["sites"], &[("site", json!(site))])["mean_abs"].clone();
        assert_eq!(of(&theirs), of(&ours), "{site}: tables are made without any sum");
    }
}
