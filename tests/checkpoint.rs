//! Checkpoints that are well-formed files, but odd or wrong models.

use std::fs;

use serde_json::{Value, json};

use crate::util::{Checkpoint, Dir, Run, Stored, entry, list, number, record, tiny};

fn compare(model: &Checkpoint) -> Run {
    let dir = Dir::new();
    let path = model.write(&dir, "model");
    dir.run(["compare", &path, "--ids", "1,0,2"])
}

#[test]
fn settings_that_would_change_the_result_are_refused_by_name() {
    for (key, value) in [
        ("model_type", json!("mistral")),
        ("architectures", json!(["GemmaForCausalLM"])),
        ("hidden_act", json!("relu6")),
        ("sliding_window", json!(128)),
        ("attn_logit_softcapping", json!(30.0)),
        ("is_causal", json!(false)),
        ("is_causal", Value::Null),
        ("is_causal", json!(0)),
        ("per_layer_config", json!({ "0": { "rms_norm_eps": 0.5 } })),
        ("transformers_weights", json!("other.safetensors")),
        ("text_config", json!({})),
        ("attribute_map", json!({ "hidden_act": "act" })),
        ("residual_multiplier", json!(0.5)),
        ("num_experts", json!(8)),
        ("quantization_config", json!({ "bits": 4 })),
        ("rope_interleaved", json!(true)),
        ("partial_rotary_factor", json!(0.5)),
        ("num_key_value_heads", json!(3)),
        ("num_attention_heads", json!(0)),
        ("hidden_size", json!(-64)),
        ("hidden_size", json!(1u64 << 60)),
        ("head_dim", json!(15)),
        ("vocab_size", json!("many")),
        ("num_hidden_layers", json!(1_000_000_000)),
        ("rms_norm_eps", json!(-1.0)),
        ("tie_word_embeddings", json!("yes")),
        ("dtype", json!("int8")),
        ("max_position_embeddings", json!(0)),
    ] {
        let mut model = Checkpoint::tiny();
        model.config[key] = value.clone();
        let run = compare(&model).fails(&["config.json"]);
        run.check(run.stderr.contains(key), &format!("{key} = {value} is named"));
    }
    for (rope, part) in [
        (json!({ "rope_type": "su", "rope_theta": 1e4 }), "su"),
        (json!({ "rope_type": "linear", "rope_theta": 1e4 }), "factor"),
        (json!({ "rope_type": "linear", "rope_theta": 1e4, "factor": 0.0 }), "factor"),
        (json!({ "rope_type": "default", "rope_theta": "big" }), "rope_theta"),
        (json!("default"), "rope_parameters"),
    ] {
        let mut model = Checkpoint::tiny();
        model.config["rope_parameters"] = rope;
        compare(&model).fails(&["config.json", part]);
    }
    let mut model = Checkpoint::tiny();
    model.config.as_object_mut().unwrap().remove("model_type");
    compare(&model).fails(&["config.json", "model_type"]);
}

#[test]
fn a_config_that_is_none() {
    for (text, part) in [
        ("", "not valid JSON"),
        ("{\"model_type\": \"llama\"", "not valid JSON"),
        ("weights", "not valid JSON"),
        ("[]", "config.json"),
        ("null", "config.json"),
        ("{\"model_type\": \"llama\", \u{0}}", "not valid JSON"),
    ] {
        let dir = Dir::new();
        let path = Checkpoint::tiny().write(&dir, "model");
        fs::write(dir.join("model/config.json"), text).unwrap();
        dir.run(["compare", &path]).fails(&["config.json", part]);
        fs::write(dir.join("model/config.json"), [0xff, 0xfe, 0x00]).unwrap();
        dir.run(["compare", &path]).fails(&["config.json"]);
    }
    let dir = Dir::new();
    let path = Checkpoint::tiny().write(&dir, "model");
    let nested = "[".repeat(100_000);
    fs::write(dir.join("model/config.json"), nested).unwrap();
    dir.run(["compare", &path]).fails(&["config.json", "not valid JSON"]);
    fs::remove_file(dir.join("model/config.json")).unwrap();
    dir.run(["compare", &path]).fails(&["no config.json"]);
    fs::create_dir(dir.join("model/config.json")).unwrap();
    dir.run(["compare", &path]).fails(&["config.json"]);
}

/// A key that has no effect is said, and does not stop anything.
#[test]
fn harmless_unknown_keys_are_said() {
    let dir = Dir::new();
    let mut model = Checkpoint::tiny();
    model.config["unsloth_version"] = json!("2026.1");
    let path = model.write(&dir, "model");
    let run = dir.run(["compare", &path]);
    run.check(run.code == Some(0), "status 0");
    run.check(run.stderr.lines().count() == 1 && run.stderr.contains("unsloth_version"), "it is named");
    dir.run(["compare", &path, "--quiet"]).ok();
}

#[test]
fn tensors_that_are_missing_surplus_or_misshapen() {
    let q = "model.layers.2.self_attn.q_proj.weight";
    let mut missing = Checkpoint::tiny();
    missing.tensors.remove(q);
    compare(&missing).fails(&["1 missing", q]);

    let mut surplus = Checkpoint::tiny();
    surplus.tensors.insert("model.layers.4.mlp.up_proj.weight".to_owned(), Stored::f32(&[1], &[0.0]));
    compare(&surplus).fails(&["1 surplus", "model.layers.4.mlp.up_proj.weight"]);

    let mut renamed = Checkpoint::tiny();
    let tensor = renamed.tensors.remove(q).unwrap();
    renamed.tensors.insert("model.layers.2.self_attn.query_proj.weight".to_owned(), tensor);
    compare(&renamed).fails(&["1 missing", "1 surplus", q, "query_proj"]);

    for shape in [vec![32, 128], vec![4096], vec![1, 64, 64]] {
        let mut misshapen = Checkpoint::tiny();
        misshapen.tensors.get_mut(q).unwrap().shape = shape.clone();
        compare(&misshapen).fails(&["1 misshapen", q, &format!("{shape:?}"), "[64, 64]"]);
    }

    let mut whole = Checkpoint::tiny();
    let bytes = whole.tensors[q].bytes.len();
    let numbers = Stored { dtype: safetensors::Dtype::I32, shape: vec![64, 64], bytes: vec![0; bytes] };
    whole.tensors.insert(q.to_owned(), numbers);
    compare(&whole).fails(&[q, "I32", "BF16"]);

    let mut head = Checkpoint::tiny();
    let mut other = head.tensors["model.embed_tokens.weight"].clone();
    other.bytes[0] ^= 1;
    head.tensors.insert("lm_head.weight".to_owned(), other);
    compare(&head).fails(&["tie_word_embeddings", "lm_head.weight"]);
    let same = head.tensors["model.embed_tokens.weight"].clone();
    head.tensors.insert("lm_head.weight".to_owned(), same);
    compare(&head).ok();

    let mut none = Checkpoint::tiny();
    none.tensors.clear();
    compare(&none).fails(&["38 missing"]);
}

#[test]
fn weights_that_are_no_numbers_are_compared_and_counted() {
    let tensor = "model.layers.1.mlp.up_proj.weight";
    let dir = Dir::new();
    let mut model = Checkpoint::tiny();
    model.set(tensor, 3, f32::NAN);
    model.set(tensor, 70, f32::INFINITY);
    let path = model.write(&dir, "model");
    let run = dir.run(["compare", "--json", &path, "--ids", "1,0,2"]);
    let r = run.undecided(&["a, the reference, holds NaN or infinity", "mlp.up_proj"]).json();
    for arm in 0..2 {
        let conversion = entry(&r["arms"][arm]["conversions"], &[("name", json!(tensor))]);
        assert_eq!(conversion["nonfinite"], 2, "arm {arm}");
    }
    assert_eq!(r["weights"]["identical"], 39, "the same NaN in both arms");
    let nonfinite = |site: &str| {
        let found = entry(&r["sites"], &[("site", json!(site))])["nonfinite"].clone();
        serde_json::from_value::<[u64; 2]>(found).unwrap()
    };
    assert_eq!(nonfinite("model.layers.1.mlp.gate_proj"), [0, 0]);
    assert_eq!(nonfinite("model.layers.1.mlp.up_proj"), [6, 6], "two rows of three tokens");
    let all = 3 * 384;
    assert_eq!((nonfinite("model.layers.3"), nonfinite("lm_head")), ([192, 192], [all, all]));
    assert_eq!(r["logits"][0]["nonfinite"], json!([all, all]));
    assert!(number(&r["logits"][0]["kl"]).is_nan(), "{}", r["logits"][0]["kl"]);

    // A weight of one arm alone: the largest f32 is no f16. What it makes of activations is
    // infinite in both.
    let mut large = Checkpoint::tiny();
    large.set(tensor, 3, 3e38);
    let path = large.write(&dir, "large");
    let args = ["compare", &path, "--ids", "1,0,2", "--a", "load(f32)", "--b", "load(f16)"];
    let r = dir.run(args.iter().copied().chain(["--json"])).undecided(&["mlp.up_proj"]).json();
    let conversion = entry(&r["arms"][1]["conversions"], &[("name", json!(tensor))]);
    assert_eq!((&conversion["overflowed"], &conversion["nonfinite"]), (&json!(1), &json!(1)));
    let different = entry(&r["weights"]["different"], &[("name", json!(tensor))]);
    assert_eq!(different["nonfinite"], json!([0, 1]));
    let run = dir.run(args);
    run.check(run.stdout.contains("1 overflowed"), "people are told, too");
    let run = dir.run(["compare", &path, "--ids", "1", "--b", "load(f16)", "--fail-on", "kl>1e9"]);
    run.check(run.code == Some(3) && run.stderr.contains("NaN"), "NaN fulfils every condition");
}

#[test]
fn a_model_without_layers() {
    let mut model = Checkpoint::tiny();
    model.config["num_hidden_layers"] = json!(0);
    model.tensors.retain(|name, _| !name.contains("layers"));
    let dir = Dir::new();
    let path = model.write(&dir, "model");
    let r = record([path.as_str(), "--ids", "1,0,2"]);
    let names: Vec<&Value> = list(&r["sites"]).iter().map(|s| &s["site"]).collect();
    assert_eq!(names, crate::compare::sites(0, "sdpa").iter().collect::<Vec<_>>());
    assert_eq!(r["weights"]["compared"], 3);
    assert_eq!((number(&r["logits"][0]["kl"]), &r["logits"][0]["allclose"]), (0.0, &json!(true)));
    dir.run(["compare", &path, "--ids", "1,0,2", "--out", "run", "--svg"]).ok();
}

#[test]
fn a_vocabulary_of_one() {
    let mut model = Checkpoint::tiny();
    model.config["vocab_size"] = json!(1);
    let embedding = model.tensors.get_mut("model.embed_tokens.weight").unwrap();
    embedding.shape[0] = 1;
    embedding.bytes.truncate(64 * 4);
    let dir = Dir::new();
    let path = model.write(&dir, "model");
    let r = record([path.as_str(), "--ids", "0,0,0"]);
    assert_eq!(r["logits"][0]["by_position"].as_array().unwrap().len(), 3);
    assert_eq!(number(&r["logits"][0]["kl"]), 0.0, "one token has all the probability");
    dir.run(["compare", &path, "--ids", "0,0,0", "--out", "run"]).ok();
    dir.run(["compare", &path, "--ids", "1"]).fails(&["token id 1", "ends at 0"]);
    // The tokenizer is the tiny model's and knows more than the model does.
    dir.run(["compare", &path]).fails(&["token id"]);
}

#[test]
fn a_tokenizer_that_is_none() {
    let dir = Dir::new();
    let path = Checkpoint::tiny().write(&dir, "model");
    for text in ["", "{}", "null", "{\"model\": 3}"] {
        fs::write(dir.join("model/tokenizer.json"), text).unwrap();
        dir.run(["compare", &path]).fails(&["tokenizer", "--ids"]);
        dir.run(["compare", &path, "--ids", "1"]).ok();
    }
}

/// The head of a tied model is its own embedding, also where everything else in the head is the
/// reference's.
#[test]
fn a_tied_head_follows_its_own_embedding() {
    let dir = Dir::new();
    let mut model = Checkpoint::tiny();
    model.set("model.embed_tokens.weight", 300 * 64, 7.0);
    let path = model.write(&dir, "model");
    let run = dir.run(["compare", &tiny(), &path, "--a", "load(f32)", "--ids", "1,2,3", "--json"]).ok();
    let record = run.json();
    assert_eq!(record["first"][0]["site"], "lm_head");
    assert!(record["logits"][0]["max_abs"].as_f64().unwrap() > 0.0);
}
