//! `ulpscope bench`: how long a forward pass, or a comparison, takes.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use rayon::prelude::*;
use serde_json::json;
use ulpscope_capture::{Activation, Observer, Pattern, Recorder};
use ulpscope_compare::{NamedArm, Plan, compare};
use ulpscope_decoder::{Accumulation, Arithmetic, AttentionKind, Model, apart, bridge};
use ulpscope_metrics::{Difference, compare_logits, difference};
use ulpscope_weights::{Arm, Checkpoint, Recipe};

use crate::args::BenchArgs;
use crate::commands::{Outcome, print};
use crate::progress::Talk;
use crate::{device, model};

pub(crate) fn run(args: &BenchArgs, talk: &Talk) -> Result<Outcome> {
    if args.repeat == 0 || args.prompts == 0 {
        bail!("--repeat {} --prompts {}: once is the least", args.repeat, args.prompts);
    }
    let (device, threads) = device::open(&args.device)?;
    let opened = model::open(std::slice::from_ref(&args.model), &args.source, talk)?;
    let mut bench = Bench {
        checkpoint: &opened.checkpoint,
        device,
        attention: args.attention,
        accumulation: args.accumulation,
        models: BTreeMap::new(),
    };
    let about = json!({
        "ulpscope": crate::provenance::VERSION,
        "kernel": ulpscope_decoder::kernel(&bench.device),
        "accumulation": args.accumulation.map_or_else(|| "by format".to_owned(), |order| order.to_string()),
        "attention": args.attention.to_string(),
        "threads": threads,
    });
    if args.turns {
        print(&format!("{about}\n"))?;
        for line in std::io::stdin().lock().lines() {
            let seconds = bench.turn(&line?)?;
            print(&format!("{}\n", json!(seconds)))?;
        }
        return Ok(Outcome::Done);
    }
    let mut rows = Vec::new();
    let stage = talk.stage("timing");
    for &tokens in if args.tokens.is_empty() { &[3, 64][..] } else { &args.tokens } {
        let seconds = match &args.b {
            None => bench.forward(&args.recipe, tokens, args.repeat)?,
            Some(b) => bench.comparison([&args.recipe, b], tokens, args.prompts, args.repeat)?,
        };
        rows.push((tokens, seconds));
    }
    drop(stage);
    if args.json {
        let rows: Vec<_> = rows.iter().map(|(n, s)| json!({ "tokens": n, "seconds": s })).collect();
        print(&format!("{}\n", json!({ "about": about, "runs": rows })))?;
    } else {
        for (tokens, mut seconds) in rows {
            seconds.sort_by(f64::total_cmp);
            let [least, median, most] = [0, seconds.len() / 2, seconds.len() - 1].map(|i| seconds[i] * 1e3);
            print(&format!("{tokens:>6} tokens  {median:>10.2} ms  ({least:.2} to {most:.2})\n"))?;
        }
    }
    Ok(Outcome::Done)
}

struct Bench<'a> {
    checkpoint: &'a Checkpoint,
    device: Device,
    attention: AttentionKind,
    /// `None` for that of the format.
    accumulation: Option<Accumulation>,
    /// Loaded when first asked for.
    models: BTreeMap<String, Model>,
}

impl Bench<'_> {
    fn arithmetic(&self, arm: &Arm) -> Arithmetic {
        let accumulation = self.accumulation.unwrap_or(Accumulation::of(arm.dtype()));
        Arithmetic { accumulation, ..self.attention.into() }
    }

    fn turn(&mut self, line: &str) -> Result<Vec<f64>> {
        let number = |text: &str| text.parse::<usize>().with_context(|| format!("`{text}` is no number"));
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            [recipe, tokens, repeat] => self.forward(&recipe.parse()?, number(tokens)?, number(repeat)?),
            [job @ ("audit" | "compare"), a, b, tokens, prompts, repeat] => {
                let recipes = [&a.parse()?, &b.parse()?];
                let (tokens, prompts, repeat) = (number(tokens)?, number(prompts)?, number(repeat)?);
                if job == "audit" {
                    self.audit(recipes, tokens, prompts, repeat)
                } else {
                    self.comparison(recipes, tokens, prompts, repeat)
                }
            }
            _ => bail!("`{line}` asks for nothing known"),
        }
    }

    /// Sees to it that the model of a recipe is in memory, and says how it computes.
    fn load(&mut self, recipe: &Recipe) -> Result<Arithmetic> {
        let arm = Arm::new(self.checkpoint, recipe.clone());
        if !self.models.contains_key(&recipe.to_string()) {
            let (model, _) = arm.load(&self.device)?;
            self.models.insert(recipe.to_string(), model);
        }
        Ok(self.arithmetic(&arm))
    }

    /// Seconds for each of `repeat` audits of two models in memory: every activation of the one
    /// compared with the other's as that comes, and their logits. `turns.py` does the same with
    /// hooks.
    fn audit(
        &mut self,
        recipes: [&Recipe; 2],
        tokens: usize,
        prompts: usize,
        repeat: usize,
    ) -> Result<Vec<f64>> {
        let arithmetic = [self.load(recipes[0])?, self.load(recipes[1])?];
        let [a, b] = recipes.map(|recipe| &self.models[&recipe.to_string()]);
        let prompts: Vec<_> = (0..prompts).map(|seed| self.prompt(tokens, seed)).collect::<Result<_>>()?;
        let vocabulary = self.checkpoint.architecture().vocab;
        let one = |ids: &Vec<u32>| -> Result<()> {
            let mut recorder = Recorder::new(|_| true);
            let first = a.forward(ids, arithmetic[0], &mut recorder).into_data();
            let mut found: Vec<Difference> = Vec::with_capacity(recorder.activations.len());
            let mut compare = Observer(|site, b: Activation| {
                let a = recorder.activations.remove(&site).expect("both models have the same sites");
                found.push(difference(&a.values, &b.values).expect("and activations of the same shapes"));
            });
            let second = b.forward(ids, arithmetic[1], &mut compare).into_data();
            let (first, second) = (bridge::view(&first), bridge::view(&second));
            let kl = compare_logits(&first, &second, vocabulary, 1)?;
            std::hint::black_box((found, kl));
            Ok(())
        };
        let once = || -> Result<f64> {
            let begun = Instant::now();
            prompts.par_iter().try_for_each(|ids| apart(|| one(ids)))?;
            Ok(begun.elapsed().as_secs_f64())
        };
        once()?;
        (0..repeat).map(|_| once()).collect()
    }

    /// Seconds for each of `repeat` forward passes without a probe, after one that does not count.
    fn forward(&mut self, recipe: &Recipe, tokens: usize, repeat: usize) -> Result<Vec<f64>> {
        let ids = self.prompt(tokens, 0)?;
        let arithmetic = self.load(recipe)?;
        let model = &self.models[&recipe.to_string()];
        let pass = || {
            let begun = Instant::now();
            // Having the logits waits for devices that work in the background.
            let logits = model.forward(&ids, arithmetic, &mut ()).into_data();
            let seconds = begun.elapsed().as_secs_f64();
            drop(logits);
            seconds
        };
        pass();
        Ok((0..repeat).map(|_| pass()).collect())
    }

    /// Seconds for each of `repeat` comparisons as `ulpscope compare` makes them: at every site,
    /// what accumulates and what it introduces, loading included.
    fn comparison(
        &mut self,
        recipes: [&Recipe; 2],
        tokens: usize,
        prompts: usize,
        repeat: usize,
    ) -> Result<Vec<f64>> {
        let arms = recipes.into_iter().zip(["a", "b"]).map(|(recipe, name)| {
            let arm = Arm::new(self.checkpoint, recipe.clone());
            NamedArm { name: name.to_owned(), semantics: self.arithmetic(&arm).into(), arm }
        });
        let plan = Plan {
            arms: arms.collect(),
            prompts: (0..prompts).map(|seed| self.prompt(tokens, seed)).collect::<Result<_>>()?,
            sites: Pattern::all(),
            longest_watched: usize::MAX,
            device: self.device.clone(),
        };
        plan.check()?;
        let once = || -> Result<f64> {
            let begun = Instant::now();
            compare(&plan, |_| ())?;
            Ok(begun.elapsed().as_secs_f64())
        };
        once()?;
        (0..repeat).map(|_| once()).collect()
    }

    /// Token ids without meaning: time does not depend on which they are. `forward.py` makes the
    /// same.
    fn prompt(&self, tokens: usize, seed: usize) -> Result<Vec<u32>> {
        let of = self.checkpoint.architecture();
        if tokens == 0 || tokens > of.max_tokens() {
            bail!("a prompt of {tokens} tokens: the model takes 1 to {}", of.max_tokens());
        }
        let id = |i: usize| ((i * 7919 + seed * 104_729 + 17) % of.vocab) as u32;
        Ok((0..tokens).map(id).collect())
    }
}
