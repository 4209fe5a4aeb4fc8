//! A record with plausible numbers, for tests: flat where nothing differs, growing with depth after
//! that.

use ulpscope_record::{Bucket, RunRecord, SiteDivergence, SiteFloor};

const WITHIN: [&str; 19] = [
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
    "",
    "",
];

/// A run of `arms` arms (reference included) over a model of `layers` layers and a prompt of
/// `tokens` tokens.
pub(crate) fn record(layers: usize, arms: usize, tokens: usize) -> RunRecord {
    let small = RunRecord::from_json(include_str!("../../record/tests/small.json")).unwrap();
    let mut run = small.clone();
    run.model.name = "HuggingFaceTB/SmolLM2-135M-Instruct".into();
    run.prompts[0].ids = (0..tokens as u32).collect();
    run.prompts[0].tokens = (0..tokens).map(|at| ["Gra", "vity", " is"][at % 3].to_owned()).collect();
    for (index, recipe) in ["load(f16)", "load(f32)", "load(f32).to(f16).to(bf16)"].iter().enumerate() {
        let mut arm = small.arms[1].clone();
        arm.name = ["c", "d", "e"][index].into();
        arm.recipe = (*recipe).into();
        run.arms.push(arm);
    }
    run.arms.truncate(arms);
    (run.sites, run.logits, run.first) = (Vec::new(), Vec::new(), Vec::new());
    let names: Vec<String> = run.arms.iter().skip(1).map(|arm| arm.name.clone()).collect();
    for (index, arm) in names.iter().enumerate() {
        let mut random = Random(index as u64 + 1);
        let size = 10f64.powi(-(index as i32));
        let mut site = |name: String, mean: f64, introduced: f64| {
            let mut site: SiteDivergence = small.sites[0].clone();
            site.mean_abs_by_position = match name.ends_with(|c: char| c.is_ascii_digit()) {
                true => (0..tokens).map(|at| if at == 0 { 0.0 } else { mean * random.near_one() }).collect(),
                false => Vec::new(),
            };
            site.site = name;
            site.arm = arm.clone();
            site.difference.mean_abs = mean * random.near_one();
            site.difference.max_abs = site.difference.mean_abs * 30.0 * random.near_one();
            site.introduced.mean_abs = introduced * random.near_one();
            run.sites.push(site);
        };
        site("model.embed_tokens".into(), 0.0, 0.0);
        site("model.rotary_emb.cos".into(), 3e-4 * size, 3e-4 * size);
        site("model.rotary_emb.sin".into(), 4e-4 * size, 4e-4 * size);
        for layer in 0..layers {
            for (row, within) in WITHIN.iter().enumerate().take(18) {
                let before_rope = layer == 0 && row < 4;
                let growth = 1.2f64.powi(layer as i32).min(150.0);
                let mean =
                    if before_rope { 0.0 } else { 1e-3 * size * growth * (1.0 + (row * 7 % 5) as f64) };
                let rope = (4..=5).contains(&row);
                let name = format!("model.layers.{layer}.{within}");
                site(name.trim_end_matches('.').to_owned(), mean, if rope { 1e-3 * size } else { 0.0 });
            }
        }
        site("model.norm".into(), 0.03 * size, 0.0);
        site("lm_head".into(), 0.08 * size, 0.0);

        let mut logits = small.logits[0].clone();
        logits.arm = arm.clone();
        logits.by_position = (0..tokens)
            .map(|at| {
                let mut position = small.logits[0].by_position[1].clone();
                position.mean_abs = if at == 0 { 0.0 } else { 0.08 * size * random.near_one() };
                position.kl = if at == 0 { 0.0 } else { 1.4e-3 * size * size * random.near_one() };
                position
            })
            .collect();
        logits.sample.a = (0..3000).map(|_| (random.normal() * 3.0 * 16.0).round() / 16.0).collect();
        logits.sample.b = (logits.sample.a.iter())
            .map(|a| {
                a + if random.next() < 0.34 { 0.0 } else { (random.normal() * 2.0 * size).round() / 16.0 }
            })
            .collect();
        run.logits.push(logits);
    }
    run
}

/// A run of two arms with an explanation: both rotary tables stand above a floor that every product
/// of matrices has.
pub(crate) fn explained(layers: usize, tokens: usize) -> RunRecord {
    let mut run = record(layers, 2, tokens);
    let model = RunRecord::from_json(include_str!("../../record/tests/explained.json")).unwrap();
    let mut explanation = model.explanation.unwrap();
    let mut random = Random(7);
    for site in &mut run.sites {
        let rotary = site.site.contains("rotary_emb");
        if !rotary {
            (site.introduced.mean_abs, site.introduced.equal) = (0.0, 1.0);
        }
        let product = ["proj", "scores", "context", "lm_head"].iter().any(|part| site.site.contains(part));
        let noise = if product { 1e-4 * random.near_one() } else { 0.0 };
        explanation.floor.sites.retain(|floor| floor.site != site.site);
        explanation.floor.sites.push(SiteFloor {
            site: site.site.clone(),
            prompt: site.prompt,
            differing: noise,
            mean_abs: [noise * 0.01, noise * 0.02],
        });
    }
    let ends: Vec<usize> = std::iter::successors(Some(1), |end| (*end < tokens).then_some(end * 2))
        .map(|end: usize| end.min(tokens))
        .collect();
    explanation.growth = (ends.iter().enumerate())
        .map(|(index, &to)| {
            let from = index.checked_sub(1).map_or(0, |before| ends[before]);
            let grown = 1e-7 * to as f64 * random.near_one();
            let floor = 1.4e-3 * random.near_one();
            let kl = if from == 0 { 0.0 } else { 1.5e-3 * random.near_one() + 3.0 * grown };
            let intrinsic_kl = if from == 0 { 0.0 } else { grown };
            let exceeds = from >= 2048;
            Bucket { prompt: 0, from, to, kl, floor_mean: floor, floor_sd: 2e-4, intrinsic_kl, exceeds }
        })
        .collect();
    (explanation.onset, explanation.expected_onset) = (Some(2048), Some(1500));
    run.explanation = Some(explanation);
    run
}

/// Numbers that look random and are the same on every run.
struct Random(u64);

impl Random {
    /// From 0 to 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn near_one(&mut self) -> f64 {
        0.7 + 0.6 * self.next()
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.next()).sum::<f64>() - 6.0
    }
}
