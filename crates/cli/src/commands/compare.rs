//! `ulpscope compare` and `ulpscope explain`: prompts through arms in lockstep, and from divergence to cause.

use std::time::Instant;

use anyhow::{Result, bail};
use ulpscope_compare::{Findings, Plan, Step, compare_keeping};
use ulpscope_explain::{ExplainError, explain_keeping};
use ulpscope_record::{Explanation, Model, Provenance, RunRecord, SCHEMA, Settings, Status};

use crate::args::CompareArgs;
use crate::commands::{Outcome, arms, print};
use crate::model::Opened;
use crate::output::{Output, Partial};
use crate::progress::Talk;
use crate::{device, near, provenance, tables};

/// What is asked of the arms.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// How far apart they are, and where it starts.
    Compare,
    /// Why.
    Explain,
}

/// Tokens of a prompt up to which an explanation looks at every site: the noise floor needs every site several times.
const LONGEST_WATCHED: usize = 512;

pub(crate) fn run(args: &CompareArgs, question: Question, talk: &Talk) -> Result<Outcome> {
    let begun = Instant::now();
    if let Some(condition) = args.fail_on.iter().find(|c| c.needs_explanation())
        && question == Question::Compare
    {
        bail!("--fail-on {condition}: only `ulpscope explain` finds causes");
    }
    let output = args.out.as_deref().map(Output::open).transpose()?;
    let (device, threads) = device::open(&args.device)?;
    let kernel = ulpscope_llama::kernel(&device);
    let mut provenance = Provenance::gather(&args.device.device, threads, &kernel, Some(provenance::GIT));
    talk.detail(|| format!("device {}, {threads} threads, {kernel}", args.device.device));
    let models = arms::open(&args.arms, &args.source, talk)?;
    let prompts = {
        let _stage = talk.stage("tokenising");
        models[0].prompts(&args.prompts)?
    };
    let longest_watched = if question == Question::Explain { LONGEST_WATCHED } else { usize::MAX };
    let ids = prompts.iter().map(|p| p.ids.clone()).collect();
    let plan = Plan {
        arms: arms::build(&args.arms, &models, talk)?,
        prompts: ids,
        sites: args.sites.clone(),
        device,
        longest_watched,
    };
    plan.check()?;
    let kinds: Vec<_> = plan.arms.iter().map(|a| (a.arm.config(), a.semantics.base.attention)).collect();
    for part in near::sites(&args.sites, &kinds, &args.arms.models[0])? {
        talk.say(&format!("--sites: no site matches `{part}`"));
    }

    let mut partial = Partial::new(output.as_ref().map(Output::partial), &kernel, talk);
    // Hashing reads every byte of the model; it does so while the model computes.
    let describe_all = || models.iter().map(describe).collect::<Result<Vec<Model>>>();
    let (findings, described) = std::thread::scope(|scope| {
        let described = std::thread::Builder::new().spawn_scoped(scope, describe_all);
        let mut stage = talk.stage(if question == Question::Compare { "comparing" } else { "looking" });
        let findings = match question {
            Question::Compare => {
                compare_keeping(&plan, &mut partial, |step: Step| stage.step(step.done, step.total))
                    .map(|findings| (findings, None))
                    .map_err(ExplainError::from)
            }
            Question::Explain => explain_keeping(&plan, args.continued, &mut partial, |name, step| {
                stage.next(&name.to_string());
                stage.step(step.done, step.total);
            })
            .map(|answer| (answer.findings, Some(answer.explanation))),
        };
        drop(stage);
        let _stage = talk.stage("waiting for the model's hashes");
        // Where no thread can be had, one after the other.
        let described = described.map(|thread| thread.join().expect("hashing does not panic"));
        (findings, described.unwrap_or_else(|_| describe_all()))
    });
    let stopped = |error: anyhow::Error| match partial.remedy() {
        Some(remedy) => error.context(remedy),
        None => error,
    };
    let (findings, mut explanation): (Findings, Option<Explanation>) =
        findings.map_err(|error| stopped(error.into()))?;
    let mut described = described.map_err(stopped)?;
    // The hashes are of what was computed with.
    models.iter().try_for_each(|model| model.checkpoint.unchanged())?;
    if let Some(explanation) = &mut explanation {
        for decision in &mut explanation.decisions {
            decision.continuations = [0, 1].map(|side| models[0].text(&decision.continued_ids[side]));
        }
    }
    provenance.elapsed_s = begun.elapsed().as_secs_f64();

    let mut arms = findings.arms;
    if described.len() > 1 {
        arms[1].model = described.pop();
    }
    let record = RunRecord {
        schema: SCHEMA,
        provenance,
        settings: Settings {
            models: arms::sources(&args.arms),
            traces: Vec::new(),
            sites: args.sites.to_string(),
            device: args.device.device.clone(),
            experiment: args.experiment.clone(),
            continued: explanation.as_ref().map(|_| args.continued),
        },
        model: described.remove(0),
        arms,
        token_texts: models[0].texts(&findings.logits, explanation.as_ref()),
        prompts,
        weights: findings.weights,
        buffers: findings.buffers,
        sites: findings.sites,
        logits: findings.logits,
        first: findings.first,
        coverage: findings.coverage,
        explanation,
    };
    finish(args, output.as_ref(), &record, talk).map_err(stopped)
}

/// Writes and prints a record, and says how it ended.
pub(super) fn finish(
    args: &CompareArgs,
    output: Option<&Output>,
    record: &RunRecord,
    talk: &Talk,
) -> Result<Outcome> {
    if let Some(output) = output {
        let _stage = talk.stage("writing pages and pictures");
        output.write(record, args.svg)?;
    }
    if args.json {
        print(&record.to_json()?)?;
    } else {
        let written = args.out.as_ref().map(|out| format!("\nwritten to {}\n", out.display()));
        print(&(tables::record(record) + &written.unwrap_or_default()))?;
    }
    let violations: Vec<String> = args.fail_on.iter().flat_map(|c| c.violations(record)).collect();
    let incomplete = |e: &&Explanation| e.status == Status::Incomplete;
    Ok(match record.explanation.as_ref().filter(incomplete) {
        _ if !violations.is_empty() => Outcome::Failed(violations),
        Some(_) => Outcome::Incomplete("no verdict: too little could be compared (see above)".to_owned()),
        None => Outcome::Done,
    })
}

pub(super) fn describe(model: &Opened) -> Result<Model> {
    Ok(model.describe(model.checkpoint.sha256()?))
}
