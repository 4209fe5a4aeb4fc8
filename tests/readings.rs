//! `explain --trace` on recordings of other programs: logits alone, padding, prefixes, other names,
//! fused kernels, autocast.
//!
//! Each recording is one of ours, edited as such a program would have written it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::util::{Checkpoint, Dir, Run, Stored, list, number, tensors, tiny, write_trace};

const IDS: [u32; 16] = [17, 3, 250, 99, 41, 7, 200, 13, 55, 121, 8, 64, 77, 180, 222, 31];

type Tensors = BTreeMap<String, Stored>;
type About = BTreeMap<String, String>;

fn text(ids: &[u32]) -> String {
    ids.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

/// What our model records.
fn recorded(dir: &Dir, model: &str, ids: &[u32], more: &[&str]) -> (Tensors, About) {
    let ids = text(ids);
    let args = ["trace", model, "--out", "ours", "--ids", &ids];
    dir.run(args.iter().chain(more).copied()).ok();
    tensors(dir.join("ours"))
}

fn bf16(shape: &[usize], values: &[f64]) -> Stored {
    let round = |x: f64| {
        let bits = (x as f32).to_bits();
        ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
    };
    let bytes = values.iter().flat_map(|x| round(*x).to_le_bytes()).collect();
    Stored { dtype: safetensors::Dtype::BF16, shape: shape.to_vec(), bytes }
}

fn explain(dir: &Dir, tensors: &Tensors, about: &About, more: &[&str]) -> Run {
    write_trace(dir.join("theirs"), tensors, about);
    let model = tiny();
    dir.run(["explain", &model, "--trace", "theirs", "--json"].iter().chain(more).copied())
}

/// The explanation, whatever the exit status says of its coverage.
#[track_caller]
fn explained(dir: &Dir, tensors: &Tensors, about: &About, more: &[&str]) -> Value {
    explain(dir, tensors, about, more).json()["explanation"].clone()
}

fn causes(e: &Value) -> Vec<&str> {
    list(&e["causes"]).iter().map(|cause| cause["id"].as_str().unwrap()).collect()
}

fn verdict(e: &Value) -> &str {
    e["verdict"].as_str().unwrap()
}

#[test]
fn logits_alone_have_a_size_and_a_floor_and_no_sentence_on_other_sites() {
    let dir = Dir::new();
    let (mut all, about) = recorded(&dir, &tiny(), &IDS, &[]);
    all.retain(|name, _| name == "lm_head");
    let logits = all.remove("lm_head").unwrap();
    let values = logits.values();
    let softmax: Vec<f32> = values
        .chunks(384)
        .flat_map(|row| {
            let sum = row.iter().map(|x| x.exp()).sum::<f64>().ln();
            row.iter().map(move |x| (x - sum) as f32)
        })
        .collect();
    let flat = bf16(&[16, 384], &values);
    for (name, stored, part) in [
        ("lm_head", logits, "Every logit has our bits"),
        ("logits", flat, "Every logit has our bits"),
        ("logprobs", Stored::f32(&[1, 16, 384], &softmax), "log-probabilities"),
    ] {
        let held = BTreeMap::from([(name.to_owned(), stored)]);
        let e = explained(&dir, &held, &about, &[]);
        assert_eq!(e["status"], "incomplete", "{name}");
        assert!(
            verdict(&e).contains("Logits alone") && verdict(&e).contains("of 16 positions"),
            "{}",
            verdict(&e)
        );
        assert!(
            verdict(&e).contains(part) && verdict(&e).contains("in other orders"),
            "{name}: {}",
            verdict(&e)
        );
        let run = dir.run(["explain", &tiny(), "--trace", "theirs"]);
        run.check(!run.stdout.contains("no site differs"), "nothing is said of sites that were not compared");
        run.check(run.code == Some(4), "status 4");
        let e = explained(&dir, &held, &about, &["--sites", "lm_head"]);
        assert!(matches!(e["status"].as_str(), Some("no-difference" | "explained")), "{name}: {e}");
    }
    // Of another model, they are further apart than noise.
    let mut model = Checkpoint::tiny();
    model.edit("model.layers.2.mlp.down_proj.weight", |w| w.iter_mut().for_each(|x| *x *= 1.5));
    let (mut other, about) = recorded(&dir, &model.write(&dir, "other"), &IDS, &[]);
    other.retain(|name, _| name == "lm_head");
    let e = explained(&dir, &other, &about, &["--sites", "lm_head"]);
    assert_eq!(e["status"], "unexplained", "{}", verdict(&e));
    assert!(verdict(&e).contains("times the largest"), "{}", verdict(&e));
}

/// A recording with rows of padding on both sides, as a batch has them: these hold what is theirs,
/// nobody reads it.
fn padded(all: &Tensors, about: &About, [left, right]: [usize; 2]) -> (Tensors, About) {
    let tokens = IDS.len();
    let pad = |name: &str, stored: &Stored| {
        let mut shape = stored.shape.clone();
        let axis = if shape.len() == 4 { 2 } else { 1 };
        let (outer, inner): (usize, usize) =
            (shape[..axis].iter().product(), shape[axis + 1..].iter().product());
        let values = stored.values();
        let mut padded = Vec::new();
        for block in values.chunks(tokens * inner) {
            let junk = |row: usize| {
                block[row * inner..(row + 1) * inner].iter().map(|x| x * 0.5).collect::<Vec<_>>()
            };
            // Padding is at position 0, in front and behind.
            let table = name.contains("rotary");
            let edge = |row: usize| if table { block[..inner].to_vec() } else { junk(row) };
            (0..left).for_each(|_| padded.extend(edge(3)));
            padded.extend(block);
            (0..right).for_each(|_| padded.extend(edge(5)));
        }
        assert_eq!(padded.len(), outer * (left + tokens + right) * inner);
        shape[axis] = left + tokens + right;
        bf16(&shape, &padded)
    };
    let mut tensors: Tensors = all.iter().map(|(name, stored)| (name.clone(), pad(name, stored))).collect();
    if right > 0 {
        // Behind the prompt attention sees the prompt alone: the last output again, of the last
        // queries.
        let last = left + tokens - 1;
        for (name, stored) in &mut tensors {
            let context = name.ends_with("self_attn.context");
            if !(context || name.ends_with("q_rope")) {
                continue;
            }
            let mut values = stored.values();
            let (rows, inner) = (left + tokens + right, *stored.shape.last().unwrap());
            for block in values.chunks_mut(rows * inner) {
                let row = block[last * inner..(last + 1) * inner].to_vec();
                (last + 1..rows).for_each(|t| block[t * inner..(t + 1) * inner].copy_from_slice(&row));
            }
            *stored = bf16(&stored.shape.clone(), &values);
        }
    }
    let mut about = about.clone();
    let ids = [vec![2; left], IDS.to_vec(), vec![2; right]].concat();
    about.insert("ids".to_owned(), format!("[{}]", text(&ids)));
    (tensors, about)
}

#[test]
fn padding_is_no_fault_and_hides_none() {
    let dir = Dir::new();
    let (all, about) = recorded(&dir, &tiny(), &IDS, &[]);
    for (sides, part) in [
        ([8, 0], "8 tokens of padding on the left"),
        ([0, 5], "5 tokens of padding on the right"),
        ([3, 2], "3 tokens of padding on the left and 2 tokens of padding on the right"),
    ] {
        let (tensors, mut about) = padded(&all, &about, sides);
        let e = explained(&dir, &tensors, &about, &[]);
        assert_eq!(e["status"], "no-difference", "{sides:?}: {}", verdict(&e));
        assert!(verdict(&e).contains(part), "{}", verdict(&e));
        // A mask says so, too, of logits alone as well.
        let mask = [vec![0; sides[0]], vec![1; IDS.len()], vec![0; sides[1]]].concat();
        about.insert("attention_mask".to_owned(), format!("[{}]", text(&mask)));
        let logits = tensors.into_iter().filter(|(name, _)| name == "lm_head").collect();
        let e = explained(&dir, &logits, &about, &["--sites", "lm_head"]);
        assert_eq!(e["status"], "no-difference", "{sides:?}: {}", verdict(&e));
    }
    let mut model = Checkpoint::tiny();
    model.edit("model.layers.1.self_attn.q_proj.weight", |w| w[..64].iter_mut().for_each(|x| *x *= -1.0));
    let (all, about) = recorded(&dir, &model.write(&dir, "other"), &IDS, &[]);
    let (tensors, about) = padded(&all, &about, [8, 0]);
    let e = explained(&dir, &tensors, &about, &[]);
    assert_eq!(causes(&e), ["sign-flipped"], "{}", verdict(&e));
    assert_eq!(e["causes"][0]["site"], "model.layers.1.self_attn.q_proj");
}

#[test]
fn positions_that_count_padding_are_no_fault() {
    let dir = Dir::new();
    let (all, about) = recorded(&dir, &tiny(), &IDS, &["--recipe", "load(bf16)@positions=+11"]);
    let (tensors, mut about) = padded(&all, &about, [11, 0]);
    about.remove("variants");
    let e = explained(&dir, &tensors, &about, &[]);
    assert_eq!(causes(&e), ["padded-positions"], "{}", verdict(&e));
    assert_eq!((&e["causes"][0]["fault"], &e["status"]), (&Value::Bool(false), &Value::from("explained")));
}

/// The last tokens of a recording, as one that begins behind a cache has them.
fn cut(all: &Tensors, before: usize) -> Tensors {
    let cut = |stored: &Stored| {
        let mut shape = stored.shape.clone();
        let axis = if shape.len() == 4 { 2 } else { 1 };
        let (tokens, inner): (usize, usize) = (shape[axis], shape[axis + 1..].iter().product());
        let values = stored.values();
        let kept: Vec<f64> =
            values.chunks(tokens * inner).flat_map(|block| &block[before * inner..]).copied().collect();
        shape[axis] = tokens - before;
        bf16(&shape, &kept)
    };
    all.iter().map(|(name, stored)| (name.clone(), cut(stored))).collect()
}

#[test]
fn behind_a_cached_prefix_its_ids_are_needed_and_enough() {
    let dir = Dir::new();
    let (all, about) = recorded(&dir, &tiny(), &IDS, &[]);
    let tensors = cut(&all, 10);
    // With all ids, it is seen that the recording is of the last ones.
    let e = explained(&dir, &tensors, &about, &[]);
    // The prefix alone is summed otherwise than in the middle of the whole: that is no fault.
    let fine = |e: &Value| {
        let order = causes(e).iter().all(|id| *id == "summation-order");
        assert!(
            order && matches!(e["status"].as_str(), Some("no-difference" | "explained")),
            "{}",
            verdict(e)
        );
    };
    fine(&e);
    assert!(verdict(&e).contains("Recorded behind a cached prefix of 10 tokens"), "{}", verdict(&e));
    let mut own = about.clone();
    own.insert("ids".to_owned(), format!("[{}]", text(&IDS[10..])));
    explain(&dir, &tensors, &own, &[]).fails(&["behind 10 tokens of a cached prefix", "--prefix-ids"]);
    let prefix = text(&IDS[..10]);
    let run = explain(&dir, &tensors, &own, &["--prefix-ids", &prefix]).ok().json();
    fine(&run["explanation"]);
    assert_eq!(run["prompts"][0]["ids"].as_array().unwrap().len(), 6);
    own.insert("prefix_ids".to_owned(), format!("[{prefix}]"));
    fine(&explained(&dir, &tensors, &own, &[]));

    // A cache that was lost: the same positions, and nothing in front.
    let lost = recorded(&dir, &tiny(), &IDS[10..], &["--recipe", "load(bf16)@positions=+10"]).0;
    let e = explained(&dir, &lost, &own, &[]);
    assert_eq!(causes(&e), ["cached-prefix"], "{}", verdict(&e));
    assert!(verdict(&e).contains("the first 10 tokens, which were cached, are not seen"), "{}", verdict(&e));
}

#[test]
fn other_engines_names_and_shapes_are_understood() {
    let dir = Dir::new();
    let (all, about) = recorded(&dir, &tiny(), &IDS, &[]);
    let mut theirs = Tensors::new();
    let fuse = |names: [&str; 3], count: usize, layer: usize| {
        let parts: Vec<Stored> =
            names[..count].iter().map(|name| all[&format!("model.layers.{layer}.{name}")].clone()).collect();
        let values: Vec<Vec<f64>> = parts.iter().map(Stored::values).collect();
        let widths: Vec<usize> = parts.iter().map(|part| part.shape[2]).collect();
        let row = |t: usize| {
            values
                .iter()
                .zip(&widths)
                .flat_map(move |(x, w)| x[t * w..(t + 1) * w].to_vec())
                .collect::<Vec<_>>()
        };
        bf16(&[16, widths.iter().sum()], &(0..16).flat_map(row).collect::<Vec<_>>())
    };
    for (name, stored) in &all {
        let mut stored = stored.clone();
        if stored.shape.len() == 3 {
            stored.shape.remove(0);
        }
        let name = name.strip_prefix("model.").unwrap_or(name).replace("self_attn.context", "self_attn.attn");
        if !["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"].iter().any(|part| name.ends_with(part)) {
            theirs.insert(name, stored);
        }
    }
    for layer in 0..4 {
        let qkv = fuse(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], 3, layer);
        theirs.insert(format!("layers.{layer}.self_attn.qkv_proj"), qkv);
        theirs.insert(
            format!("layers.{layer}.mlp.gate_up_proj"),
            fuse(["mlp.gate_proj", "mlp.up_proj", ""], 2, layer),
        );
        // Such an engine's activation multiplies.
        let product = theirs.remove(&format!("layers.{layer}.mlp.product")).unwrap();
        theirs.insert(format!("layers.{layer}.mlp.act_fn"), product);
    }
    let e = explained(&dir, &theirs, &about, &[]);
    assert!(verdict(&e).contains("Sites of another engine"), "{}", verdict(&e));
    assert_eq!((causes(&e).len(), list(&e["origins"]).len()), (0, 0), "{}", verdict(&e));
    assert!(verdict(&e).contains("lacks 4 of 69 sites"), "{}", verdict(&e));
}

/// `x / √(mean(x²) + ε)` of each row.
fn normalised(x: &[f64], width: usize) -> Vec<f64> {
    let row = |x: &[f64]| {
        let factor = 1.0 / (x.iter().map(|x| x * x).sum::<f64>() / width as f64 + 1e-5).sqrt();
        x.iter().map(|x| x * factor).collect::<Vec<_>>()
    };
    x.chunks(width).flat_map(row).collect()
}

fn rounded(x: &[f64]) -> Vec<f64> {
    bf16(&[x.len()], x).values()
}

fn added(x: &[f64], y: &[f64]) -> Vec<f64> {
    x.iter().zip(y).map(|(x, y)| f64::from((x + y) as f32)).collect()
}

fn weighted(x: &[f64], weight: &[f64]) -> Vec<f64> {
    x.iter().enumerate().map(|(i, x)| x * weight[i % weight.len()]).collect()
}

#[test]
fn a_norm_of_the_unrounded_sum_is_a_choice() {
    let dir = Dir::new();
    let (mut all, about) = recorded(&dir, &tiny(), &IDS, &[]);
    let weights = Checkpoint::tiny().tensors;
    let read = |all: &Tensors, name: &str| all[name].values();
    for layer in 0..4 {
        let p = format!("model.layers.{layer}");
        let before =
            if layer == 0 { "model.embed_tokens".to_owned() } else { format!("model.layers.{}", layer - 1) };
        let mid = added(&read(&all, &before), &read(&all, &format!("{p}.self_attn.o_proj")));
        let end = added(&read(&all, &format!("{p}.resid_mid")), &read(&all, &format!("{p}.mlp.down_proj")));
        let next = if layer == 3 {
            "model.norm".to_owned()
        } else {
            format!("model.layers.{}.input_layernorm", layer + 1)
        };
        for (norm, sum) in [(format!("{p}.post_attention_layernorm"), mid), (next, end)] {
            let weight = rounded(&weights[&format!("{norm}.weight")].values());
            let values = weighted(&rounded(&normalised(&sum, 64)), &weight);
            all.insert(norm, bf16(&[1, 16, 64], &values));
        }
    }
    let e = explained(&dir, &all, &about, &["--sites", "*norm*"]);
    assert_eq!(causes(&e), ["norm-of-unrounded-sum"], "{}", verdict(&e));
    assert_eq!((&e["status"], &e["causes"][0]["fault"]), (&Value::from("explained"), &Value::Bool(false)));
    assert!(verdict(&e).contains("not a fault"), "{}", verdict(&e));
}

#[test]
fn autocast_is_named_and_is_a_choice() {
    let dir = Dir::new();
    let (mut all, about) = recorded(&dir, &tiny(), &IDS, &["--recipe", "load(f32)"]);
    let weights = Checkpoint::tiny().tensors;
    let f32s =
        |values: &[f64]| Stored::f32(&[1, 16, 64], &values.iter().map(|x| *x as f32).collect::<Vec<_>>());
    for (name, stored) in &mut all {
        let narrow =
            ["_proj", "context", "act_fn", "product", "lm_head"].iter().any(|part| name.ends_with(part));
        if narrow {
            *stored = bf16(&stored.shape.clone(), &stored.values());
        }
    }
    // The stream and its norms, in f32 from branches in bf16.
    let mut x = all["model.embed_tokens"].values();
    for layer in 0..4 {
        let p = format!("model.layers.{layer}");
        for (norm, branch, sum) in [
            ("input_layernorm", "self_attn.o_proj", "resid_mid"),
            ("post_attention_layernorm", "mlp.down_proj", ""),
        ] {
            let norm = format!("{p}.{norm}");
            let y = weighted(&normalised(&x, 64), &weights[&format!("{norm}.weight")].values());
            all.insert(norm, f32s(&y));
            x = added(&x, &all[&format!("{p}.{branch}")].values());
            all.insert(format!("{p}.{sum}").trim_end_matches('.').to_owned(), f32s(&x));
        }
    }
    all.insert(
        "model.norm".to_owned(),
        f32s(&weighted(&normalised(&x, 64), &weights["model.norm.weight"].values())),
    );
    let e = explained(&dir, &all, &about, &["--sites", "*norm*,*resid_mid,*rotary*,model.embed_tokens"]);
    assert_eq!(causes(&e), ["autocast"], "{}", verdict(&e));
    assert_eq!((&e["status"], &e["causes"][0]["fault"]), (&Value::from("explained"), &Value::Bool(false)));
    assert!(verdict(&e).contains("Recorded under autocast"), "{}", verdict(&e));
    assert!(number(&e["floor"]["tests"]) > 0.0);
}

#[test]
fn an_adapter_beside_its_base_is_the_rounding_of_merged_weights() {
    let dir = Dir::new();
    let (mut all, about) = recorded(&dir, &tiny(), &IDS, &[]);
    let weights = Checkpoint::tiny().tensors;
    for layer in 0..4 {
        let x = all[&format!("model.layers.{layer}.input_layernorm")].values();
        for name in ["q_proj", "v_proj"] {
            let name = format!("model.layers.{layer}.self_attn.{name}");
            let w = weights[&format!("{name}.weight")].values();
            // Base and update are rounded apart: the weights themselves are not.
            let row = |x: &[f64]| {
                let dot = |w: &[f64]| x.iter().zip(w).map(|(x, w)| x * w).sum::<f64>();
                let parts = w.chunks(64).map(|w| rounded(&[0.75 * dot(w), 0.25 * dot(w)]).iter().sum());
                parts.collect::<Vec<f64>>()
            };
            let values: Vec<f64> = x.chunks(64).flat_map(row).collect();
            all.insert(name, bf16(&[1, 16, w.len() / 64], &values));
        }
    }
    let e = explained(&dir, &all, &about, &["--sites", "*.q_proj,*.v_proj"]);
    assert_eq!(causes(&e), ["merge-rounding"], "{}", verdict(&e));
    assert_eq!((&e["status"], &e["causes"][0]["fault"]), (&Value::from("explained"), &Value::Bool(false)));
}
