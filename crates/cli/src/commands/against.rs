//! `ulpscope explain --trace`: what another program recorded, against what ours computes.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use ulpscope_capture::Trace;
use ulpscope_compare::NamedArm;
use ulpscope_decoder::AttentionKind;
use ulpscope_explain::{TracePlan, explain_trace};
use ulpscope_record::{ContradictedClaim, Prompt, Provenance, RunRecord, SCHEMA, Settings};
use ulpscope_weights::Arm;

use crate::args::{ArmSpec, ExplainArgs, Ids};
use crate::commands::compare::finish;
use crate::commands::{Outcome, arms};
use crate::model::Opened;
use crate::output::{Inputs, Output};
use crate::progress::Talk;
use crate::{device, provenance};

/// What the arm is called: it is our reading of the model.
const OURS: &str = "ours";

pub(crate) fn run(args: &ExplainArgs, talk: &Talk) -> Result<Outcome> {
    let begun = Instant::now();
    let compare = &args.compare;
    if compare.arms.models.len() > 1 {
        bail!("--trace takes one model, which the traces are of; {} were given", compare.arms.models.len());
    }
    let inputs = Inputs::of_models(arms::sources(&compare.arms).iter().flatten()).and(&args.traces);
    let output = compare.out.as_deref().map(|out| Output::open(out, &inputs)).transpose()?;
    let (device, threads) = device::open(&compare.device)?;
    let mut provenance = Provenance::gather(
        &compare.device.device,
        threads,
        &ulpscope_decoder::kernel(&device),
        Some(provenance::GIT),
    );
    let mut traces: Vec<(String, Trace)> = (args.traces.iter())
        .map(|path| Ok((path.display().to_string(), Trace::read(path)?)))
        .collect::<Result<_>>()?;
    if let Some(Ids(ids)) = &args.prefix_ids {
        let ids = serde_json::to_string(ids)?;
        traces.iter_mut().for_each(|(_, trace)| _ = trace.about.insert("prefix_ids".to_owned(), ids.clone()));
    }
    let models = arms::open(&compare.arms, &compare.source, talk)?;
    let model = &models[0];
    let spec = recipe(args, &traces)?;
    let arm = Arm::new(&model.checkpoint, spec.recipe.clone());
    let attention = attention(&traces)?.unwrap_or_else(|| model.attention(compare.arms.attention));
    let semantics = spec.semantics(attention, compare.arms.accumulation, arm.dtype());
    semantics.check(arm.architecture())?;
    let plan = TracePlan {
        arm: NamedArm { name: OURS.to_owned(), arm, semantics },
        traces,
        sites: compare.sites.clone(),
        order_given: compare.arms.accumulation.is_some() || spec.names_order(),
        device,
    };

    let mut progress = talk.stage("looking");
    let answer = explain_trace(&plan, |stage, step| {
        progress.next(&stage.to_string());
        progress.step(step.done, step.total);
    });
    drop(progress);
    let answer = answer?;
    let hashes = model.checkpoint.sha256()?;
    let contradicted =
        plan.traces.iter().flat_map(|trace| contradicted(trace, &plan, model, &hashes)).collect();
    let described = model.describe(hashes);
    provenance.elapsed_s = begun.elapsed().as_secs_f64();

    let prompts = plan.traces.iter().zip(answer.prompts).map(|((_, trace), ids)| Prompt {
        text: trace.about.get("prompt").cloned(),
        tokens: model.tokens(&ids),
        cut: false,
        ids,
    });
    let findings = answer.findings;
    let record = RunRecord {
        schema: SCHEMA,
        provenance,
        settings: Settings {
            continued: None,
            failed: Vec::new(),
            models: arms::sources(&compare.arms),
            traces: plan.traces.iter().map(|(name, _)| name.clone()).collect(),
            sites: compare.sites.to_string(),
            device: compare.device.device.clone(),
            experiment: compare.experiment.clone(),
        },
        model: described,
        arms: findings.arms,
        token_texts: model.texts(&findings.logits, None),
        prompts: prompts.collect(),
        tokenizers: Vec::new(),
        contradicted,
        weights: findings.weights,
        buffers: findings.buffers,
        sites: findings.sites,
        logits: findings.logits,
        first: findings.first,
        coverage: findings.coverage,
        explanation: Some(answer.explanation),
    };
    finish(compare, output.as_ref(), record, talk)
}

/// What a trace says of itself that is not so of what it is compared with.
fn contradicted(
    (name, trace): &(String, Trace),
    plan: &TracePlan,
    model: &Opened,
    hashes: &[(String, String)],
) -> Vec<ContradictedClaim> {
    let semantics = &plan.arm.semantics;
    let departures: Vec<String> = semantics.departures().map(|departure| departure.to_string()).collect();
    let mut ours = vec![
        ("recipe".to_owned(), plan.arm.arm.recipe().to_string()),
        ("attention".to_owned(), semantics.base.attention.to_string()),
        ("variants".to_owned(), departures.join(" ")),
    ];
    // Else the order is looked for.
    if plan.order_given {
        ours.push(("accumulation".to_owned(), semantics.base.accumulation.to_string()));
    }
    ours.extend(hashes.iter().map(|(file, hash)| (format!("sha256:{file}"), hash.clone())));
    let of_part = ["prefix_ids", "attention_mask"].iter().any(|key| trace.about.contains_key(*key));
    if let (Some(text), Some(ids), false) = (trace.about.get("prompt"), trace.ids(), of_part)
        && let Ok(tokenizer) = model.tokenizer()
        && tokenizer.encode(text).is_ok_and(|read| read != ids)
    {
        ours.push(("prompt".to_owned(), model.text(&ids)));
    }
    let same = |key: &str, said: &str, ours: &str| match key {
        "recipe" => said.parse::<ArmSpec>().is_ok_and(|spec| spec.recipe.to_string() == ours),
        "accumulation" => said.parse().ok() == Some(semantics.base.accumulation),
        _ => said == ours,
    };
    // What `ulpscope trace` does not write there is not so.
    let silent = trace.about.contains_key("ulpscope").then(String::new);
    let claim = |(key, ours): (String, String)| {
        let silent = silent.as_ref().filter(|_| key == "variants");
        let said = trace.about.get(&key).or(silent)?.clone();
        let trace = name.clone();
        (!same(&key, &said, &ours)).then_some(ContradictedClaim { trace, key, said, compared_with: ours })
    };
    ours.into_iter().filter_map(claim).collect()
}

/// The recipe that was given, or the one that the traces name; all have to be of one.
fn recipe(args: &ExplainArgs, traces: &[(String, Trace)]) -> Result<ArmSpec> {
    if let Some(spec) = &args.recipe {
        return Ok(spec.clone());
    }
    let mut named = traces.iter().filter_map(|(name, trace)| Some((name, trace.about.get("recipe")?)));
    let Some((name, recipe)) = named.next() else { return Ok(args.compare.arms.a.clone()) };
    if let Some((other, theirs)) = named.find(|(_, theirs)| *theirs != recipe) {
        bail!("{name} is of {recipe} and {other} of {theirs}; explain them one at a time, or state --recipe");
    }
    recipe.parse::<ArmSpec>().ok().with_context(|| {
        format!(
            "{name} names the recipe `{recipe}`, which can't be carried out here; state one with --recipe"
        )
    })
}

/// The attention that the traces name; all have to be of one.
fn attention(traces: &[(String, Trace)]) -> Result<Option<AttentionKind>> {
    let mut named = traces.iter().filter_map(|(name, trace)| Some((name, trace.about.get("attention")?)));
    let Some((name, attention)) = named.next() else { return Ok(None) };
    if let Some((other, theirs)) = named.find(|(_, theirs)| *theirs != attention) {
        bail!("{name} is of {attention} attention and {other} of {theirs}; explain them one at a time");
    }
    Ok(attention.parse().ok())
}
