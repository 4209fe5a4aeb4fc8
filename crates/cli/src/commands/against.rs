//! `ulpscope explain --trace`: what another program recorded, against what ours computes.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use ulpscope_capture::Trace;
use ulpscope_compare::NamedArm;
use ulpscope_decoder::AttentionKind;
use ulpscope_explain::{TracePlan, explain_trace};
use ulpscope_record::{Prompt, Provenance, RunRecord, SCHEMA, Settings};
use ulpscope_weights::Arm;

use crate::args::{ArmSpec, ExplainArgs, Ids};
use crate::commands::compare::finish;
use crate::commands::{Outcome, arms};
use crate::output::Output;
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
    let output = compare.out.as_deref().map(Output::open).transpose()?;
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
    let attention = attention(&traces)?.unwrap_or(compare.arms.attention);
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
    let described = model.describe(model.checkpoint.sha256()?);
    provenance.elapsed_s = begun.elapsed().as_secs_f64();

    let prompts = plan.traces.iter().zip(answer.prompts).map(|((_, trace), ids)| Prompt {
        text: trace.about.get("prompt").cloned(),
        tokens: model.tokens(&ids),
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
