//! Numbers and sizes at the edge: a correct result, or one clear refusal.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::util::{Checkpoint, Dir, Stored, entry, list, number, tiny};

/// A model of one's own measure: V tokens, C wide, F in the feed-forward layer, so many blocks, H
/// heads over G of width D. Its weights are different small numbers.
fn model([v, c, f, blocks, h, g, d]: [usize; 7]) -> Checkpoint {
    let mut state = 1u32;
    let mut tensor = |shape: &[usize], around: f32| {
        let values: Vec<f32> = (0..shape.iter().product::<usize>())
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                around + ((state >> 8) as f32 / 16_777_216.0 - 0.5) * 0.8
            })
            .collect();
        Stored::f32(shape, &values)
    };
    let mut tensors = BTreeMap::from([
        ("model.embed_tokens.weight".to_owned(), tensor(&[v, c], 0.0)),
        ("model.norm.weight".to_owned(), tensor(&[c], 1.0)),
    ]);
    for n in 0..blocks {
        for (name, shape, around) in [
            ("self_attn.q_proj", vec![h * d, c], 0.0),
            ("self_attn.k_proj", vec![g * d, c], 0.0),
            ("self_attn.v_proj", vec![g * d, c], 0.0),
            ("self_attn.o_proj", vec![c, h * d], 0.0),
            ("mlp.gate_proj", vec![f, c], 0.0),
            ("mlp.up_proj", vec![f, c], 0.0),
            ("mlp.down_proj", vec![c, f], 0.0),
            ("input_layernorm", vec![c], 1.0),
            ("post_attention_layernorm", vec![c], 1.0),
        ] {
            tensors.insert(format!("model.layers.{n}.{name}.weight"), tensor(&shape, around));
        }
    }
    let config = json!({
        "model_type": "llama", "vocab_size": v, "hidden_size": c, "intermediate_size": f, "num_hidden_layers": blocks,
        "num_attention_heads": h, "num_key_value_heads": g, "head_dim": d, "max_position_embeddings": 64,
        "tie_word_embeddings": true, "rms_norm_eps": 1e-5,
    });
    Checkpoint { config, tensors }
}

/// Runs everything there is on a model and gives the record of the comparison. `ids` is the prompt.
fn everything(model: &Checkpoint, ids: &str) -> Value {
    let dir = Dir::new();
    let path = model.write(&dir, "model");
    let run = dir.run(["compare", &path, "--ids", ids, "--out", "run", "--json"]);
    dir.run(["plot", "run"]).ok();
    dir.run(["report", "run"]).ok();
    // Where the reference is no number, there is nothing to compare with, and no verdict.
    let poisoned = model.tensors.values().any(|t| t.values().iter().any(|x| !x.is_finite()));
    let explained = dir.run(["explain", &path, "--ids", ids, "--quiet", "--attention", "eager"]);
    for run in [&explained, &run] {
        assert_eq!(run.code, Some(if poisoned { 4 } else { 0 }), "{}", run.stderr);
    }
    dir.run(["weights", &path]).ok();
    dir.run(["sites", &path]).ok();
    for (recipe, file) in [("load(bf16)", "a"), ("load(f32).half()", "b")] {
        dir.run(["trace", &path, "--recipe", recipe, "--ids", ids, "--out", file]).ok();
    }
    let diff = dir.run(["diff", "a", "b", "--json"]).undecided(&["differ in format"]).json();
    assert_eq!(diff["not_compared"], json!([]));
    // What was written is what was printed, NaN and infinities included.
    let written: Value = serde_json::from_slice(&fs::read(dir.join("run/record.json")).unwrap()).unwrap();
    assert_eq!(written["sites"], run.json()["sites"]);
    written
}

#[test]
fn the_smallest_and_the_oddest_models() {
    for (measure, ids) in [
        ([1, 8, 8, 1, 2, 1, 4], "0,0,0"),   // a vocabulary of one
        ([16, 1, 1, 1, 1, 1, 2], "3,1,2"),  // a residual stream of one
        ([3, 1, 1, 0, 1, 1, 2], "2"),       // and no block, and one token
        ([17, 7, 5, 2, 3, 1, 6], "3,1,16"), // nothing divides anything
        ([16, 6, 5, 1, 3, 3, 2], "0"),
    ] {
        let record = everything(&model(measure), ids);
        let logits = &record["logits"][0];
        assert_eq!(list(&logits["by_position"]).len(), ids.split(',').count(), "{measure:?}");
        assert_eq!(logits["nonfinite"], json!([0, 0]), "{measure:?}");
        assert!(number(&logits["kl"]).is_finite() && number(&logits["kl"]) >= 0.0, "{measure:?}");
        if measure[0] == 1 {
            assert_eq!(number(&logits["kl"]), 0.0, "one token has all the probability");
        }
    }
}

/// A tensor of as many elements in another shape is another tensor.
#[test]
fn tensors_of_two_shapes_are_not_compared() {
    let dir = Dir::new();
    let one = model([16, 8, 6, 1, 2, 1, 4]).write(&dir, "one");
    let other = model([16, 6, 8, 1, 2, 1, 4]).write(&dir, "other");
    let args = ["weights", &one, &other, "--tensor", "model.layers.0.mlp.gate_proj.weight"];
    let run = dir.run(args).undecided(&["was not compared: shape [6, 8] against [8, 6]"]);
    run.check(!run.stdout.contains("identical"), "nothing is said of it");
    let json = dir.run(args.iter().copied().chain(["--json"])).undecided(&[]).json();
    assert_eq!(json["arms"][1]["against_reference"], Value::Null);
}

#[test]
fn zeros_stay_zeros() {
    let mut zero = model([16, 8, 8, 2, 2, 1, 4]);
    for tensor in zero.tensors.values_mut() {
        tensor.bytes.fill(0);
    }
    let record = everything(&zero, "1,2,3");
    assert_eq!((number(&record["logits"][0]["max_abs"]), number(&record["logits"][0]["kl"])), (0.0, 0.0));
    assert_eq!(record["logits"][0]["nonfinite"], json!([0, 0]), "a root of eps, and no 0/0");

    // The rows of two tokens alone: their residual stream is 0 until attention adds to it.
    let mut rows = model([16, 8, 8, 2, 2, 1, 4]);
    rows.tensors.get_mut("model.embed_tokens.weight").unwrap().bytes[..2 * 8 * 4].fill(0);
    assert_eq!(everything(&rows, "0,1,5")["logits"][0]["nonfinite"], json!([0, 0]));
}

/// Not only how many, but where the first is.
#[test]
fn the_record_says_which_elements_are_no_numbers() {
    let tensor = "model.layers.1.mlp.up_proj.weight";
    let mut odd = model([16, 8, 6, 2, 2, 1, 4]);
    odd.set(tensor, 2 * 8 + 3, f32::NAN); // row 2 of [6, 8]
    let record = everything(&odd, "1,2,3");
    let site = |name: &str| entry(&record["sites"], &[("site", json!(name))]);
    assert_eq!(site("model.layers.1.mlp.gate_proj").get("first_nonfinite"), None);
    let up = site("model.layers.1.mlp.up_proj");
    assert_eq!(up["nonfinite"], json!([3, 3]), "one of each token");
    assert_eq!(up["first_nonfinite"], json!([[0, 0, 2], [0, 0, 2]]));
    assert_eq!(site("model.layers.1.mlp.down_proj")["first_nonfinite"], json!([[0, 0, 0], [0, 0, 0]]));
    for arm in 0..2 {
        let conversion = entry(&record["arms"][arm]["conversions"], &[("name", json!(tensor))]);
        assert_eq!(conversion["nonfinite"], 1, "arm {arm}");
    }

    // The embedding of one token. Those before it do not attend to it, but 0 · NaN is NaN, here as
    // in PyTorch.
    let mut token = model([16, 8, 6, 1, 2, 1, 4]);
    token.set("model.embed_tokens.weight", 7 * 8 + 5, f32::NEG_INFINITY);
    let dir = Dir::new();
    let path = token.write(&dir, "model");
    let run =
        dir.run(["compare", &path, "--ids", "1,7,2", "--json"]).undecided(&["model.embed_tokens"]).json();
    let site = |name: &str| entry(&run["sites"], &[("site", json!(name))]);
    assert_eq!(site("model.embed_tokens")["first_nonfinite"], json!([[0, 1, 5], [0, 1, 5]]));
    assert_eq!(site("model.layers.0.self_attn.q_proj")["first_nonfinite"][0], json!([0, 1, 0]));
    assert_eq!(site("lm_head")["first_nonfinite"][1], json!([0, 0, 0]));
    assert_eq!(site("model.layers.0.self_attn.v_proj")["nonfinite"], json!([4, 4]), "of one token");

    // Overflow in one arm alone, and explain names the first place.
    let mut large = model([16, 8, 6, 1, 2, 1, 4]);
    large.set("model.layers.0.mlp.down_proj.weight", 9, 1e38);
    let path = large.write(&dir, "large");
    let args = ["explain", &path, "--ids", "1,2", "--a", "load(f32)", "--b", "load(f16)", "--json"];
    let explained = dir.run(args).ok().json();
    let guards = list(&explained["explanation"]["guards"]);
    let named = "in b (first model.layers.0.mlp.down_proj [0, 0, 1])";
    assert!(guards.iter().any(|g| g.as_str().unwrap().contains(named)), "{guards:?}");
}

#[test]
fn prompts_of_special_tokens_of_spaces_and_of_none() {
    let dir = Dir::new();
    let special = "<|endoftext|><|im_start|><|im_end|>";
    let run = dir.run(["compare", &tiny(), "--prompt", special, "--json"]).ok().json();
    assert_eq!(run["prompts"][0]["ids"], json!([0, 1, 2]));
    dir.run(["explain", &tiny(), "--prompt", special, "--quiet"]).ok();
    dir.run(["compare", &tiny(), "--prompt", " ", "--prompt", "a\u{1}\u{202e}b"]).ok();
    fs::write(dir.join("empty"), "").unwrap();
    fs::write(dir.join("latin"), [b'a', 0xe9]).unwrap();
    for command in ["compare", "explain"] {
        dir.run([command, &tiny(), "--prompt", ""]).fails(&["has no tokens"]);
        dir.run([command, &tiny(), "--text", "empty"]).fails(&["has no tokens"]);
        dir.run([command, &tiny(), "--text", "latin"]).fails(&["latin", "UTF-8"]);
    }
}

/// As far as the model was made for, and not a token further.
#[test]
fn eight_thousand_tokens() {
    let ids = |n: usize| (0..n).map(|i| (i % 16).to_string()).collect::<Vec<_>>().join(",");
    let mut long = model([16, 8, 8, 1, 1, 1, 4]);
    long.config["max_position_embeddings"] = json!(8192);
    let dir = Dir::new();
    let path = long.write(&dir, "model");
    let run = dir.run(["compare", &path, "--ids", &ids(8192), "--sites", "lm_head", "--json"]).ok().json();
    assert_eq!(list(&run["prompts"][0]["ids"]).len(), 8192);
    assert!(number(&run["logits"][0]["kl"]).is_finite());
    for command in ["compare", "explain"] {
        dir.run([command, &path, "--ids", &ids(8193)]).fails(&["8193 tokens", "at most 8192"]);
    }
    dir.run(["compare", &path, "--ids", &ids(8193), "--truncate", "16"]).ok();
}

/// Sizes that are none, or that no machine has.
#[test]
fn sizes_at_the_edge_of_their_type() {
    let dir = Dir::new();
    let odd = [
        ("vocab_size", json!(1u64 << 63)),
        ("hidden_size", json!(i64::MAX)),
        ("hidden_size", json!(64.0)),
        ("hidden_size", json!("64")),
        ("hidden_size", json!([64])),
        ("intermediate_size", json!(0)),
        ("num_hidden_layers", json!(-1)),
        ("num_hidden_layers", json!(0x7fff_ffff)),
        ("num_attention_heads", json!(0x7fff_ffff)),
        ("head_dim", json!(15)),
        ("head_dim", json!(0)),
        ("max_position_embeddings", json!(1e30)),
        ("rms_norm_eps", json!("1e-5")),
    ];
    for (number, (key, value)) in odd.into_iter().enumerate() {
        let mut odd = Checkpoint::tiny();
        odd.config[key] = value.clone();
        let path = odd.write(&dir, &format!("odd-{number}"));
        for command in ["compare", "weights", "sites"] {
            dir.run([command, &path]).fails(&["config.json", "expected"]);
        }
    }
    // Well-formed, and larger than what is stored: nothing is allocated for it.
    for (key, value) in [("num_hidden_layers", 4096), ("head_dim", 0x7fff_fffe), ("vocab_size", 0x7fff_ffff)]
    {
        let mut large = Checkpoint::tiny();
        large.config[key] = json!(value);
        let path = large.write(&dir, &format!("{key}-large"));
        dir.run(["compare", &path]).fails(&["does not hold the parameters"]);
    }
    for (rope, value) in [("rope_theta", 1e-300), ("rope_theta", 1e308), ("factor", 1e300)] {
        let mut odd = Checkpoint::tiny();
        odd.config["rope_parameters"] = json!({ "rope_type": "linear", "rope_theta": 1e4, "factor": 2.0 });
        odd.config["rope_parameters"][rope] = json!(value);
        let path = odd.write(&dir, &format!("{rope}-{value:e}"));
        let run = dir.run(["compare", &path, "--ids", "1,2,3"]);
        match value {
            // Its powers are infinite.
            1e-300 => run.undecided(&["model.rotary_emb.cos"]),
            _ => run.ok(),
        };
    }
}

#[test]
fn texts_that_are_almost_json() {
    let dir = Dir::new();
    let path = Checkpoint::tiny().write(&dir, "model");
    for (file, args) in [("config.json", "weights"), ("tokenizer.json", "compare")] {
        let file = dir.join("model").join(file);
        let good = fs::read(&file).unwrap();
        let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain(good.iter().flat_map(|&b| [b, 0])).collect();
        for (bytes, part) in [
            ([&[0xef, 0xbb, 0xbf], &good[..]].concat(), "byte order mark"),
            ([&good[..], b"}"].concat(), "trailing characters"),
            ([&good[..], b"\0"].concat(), "trailing characters"),
            (utf16, "text in UTF-16"),
            (good[..good.len() / 2].to_vec(), "EOF"),
        ] {
            fs::write(&file, bytes).unwrap();
            dir.run([args, &path]).fails(&[part]);
        }
        fs::write(&file, [&good[..], b"\n \t"].concat()).unwrap();
        dir.run([args, &path]).ok();
        fs::write(&file, good).unwrap();
    }
}

/// Ids beyond the embedding are an error of the prompt that has them, not of others.
#[test]
fn tokenizers_that_know_more_than_the_model() {
    let dir = Dir::new();
    let path = Checkpoint::tiny().write(&dir, "model");
    let file = dir.join("model/tokenizer.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    for id in json["model"]["vocab"].as_object_mut().unwrap().values_mut() {
        *id = json!(id.as_u64().unwrap() + 1000);
    }
    fs::write(&file, json.to_string()).unwrap();
    for command in ["compare", "explain"] {
        dir.run([command, &path, "--prompt", "Gravity"]).fails(&["token id 10", "ends at 383"]);
        dir.run([command, &path, "--ids", "1,2", "--quiet"]).ok();
    }
}
