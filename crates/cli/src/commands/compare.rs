//! `ulpscope compare` and `ulpscope explain`: prompts through arms in lockstep, and from divergence to cause.

use std::time::Instant;

use anyhow::Result;
use ulpscope_compare::{Findings, Plan, Step, compare_keeping};
use ulpscope_explain::{ExplainError, explain_keeping};
use ulpscope_record::{Explanation, Model, Provenance, RunRecord, SCHEMA, Settings};

use crate::args::CompareArgs;
use crate::commands::{Outcome, arms, print};
use crate::model::Opened;
use crate::output::{Output, Partial};
use crate::progress::Talk;
use crate::{device, provenance, tables};

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

pub(crate) fn run(args: &CompareArgs, question: Question) -> Result<Outcome> {
    let begun = Instant::now();
    let talk = Talk::new(args.arms.source.quiet);
    let output = args.out.as_deref().map(Output::open).transpose()?;
    let (device, threads) = device::open(&args.device)?;
    let kernel = ulpscope_llama::kernel(&device);
    let mut provenance = Provenance::gather(&args.device.device, threads, &kernel, Some(provenance::GIT));
    let models = arms::open(&args.arms, &talk)?;
    let prompts = models[0].prompts(&args.prompts)?;
    let longest_watched = if question == Question::Explain { LONGEST_WATCHED } else { usize::MAX };
    let ids = prompts.iter().map(|p| p.ids.clone()).collect();
    let plan = Plan {
        arms: arms::build(&args.arms, &models)?,
        prompts: ids,
        sites: args.sites.clone(),
        device,
        longest_watched,
    };
    plan.check()?;

    let mut partial = Partial::new(output.as_ref().map(Output::partial), &kernel, &talk);
    // Hashing reads every byte of the model; it does so while the model computes.
    let describe_all = || models.iter().map(describe).collect::<Result<Vec<Model>>>();
    let (findings, described) = std::thread::scope(|scope| {
        let described = std::thread::Builder::new().spawn_scoped(scope, describe_all);
        let bar = talk.steps("comparing", 0);
        let step = |step: Step| {
            bar.set_length(step.total as u64);
            bar.set_position(step.done as u64);
        };
        let findings = match question {
            Question::Compare => compare_keeping(&plan, &mut partial, step)
                .map(|findings| (findings, None))
                .map_err(ExplainError::from),
            Question::Explain => explain_keeping(&plan, &mut partial, |stage, done| {
                bar.set_message(stage.to_string());
                step(done);
            })
            .map(|answer| (answer.findings, Some(answer.explanation))),
        };
        bar.finish_and_clear();
        // Where no thread can be had, one after the other.
        let described = described.map(|thread| thread.join().expect("hashing does not panic"));
        (findings, described.unwrap_or_else(|_| describe_all()))
    });
    let stopped = |error: anyhow::Error| match partial.remedy() {
        Some(remedy) => error.context(remedy),
        None => error,
    };
    let (findings, explanation): (Findings, Option<Explanation>) =
        findings.map_err(|error| stopped(error.into()))?;
    let mut described = described.map_err(stopped)?;
    // The hashes are of what was computed with.
    models.iter().try_for_each(|model| model.checkpoint.unchanged())?;
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
            sites: args.sites.to_string(),
            device: args.device.device.clone(),
            experiment: args.experiment.clone(),
        },
        model: described.remove(0),
        arms,
        token_texts: models[0].texts(&findings.logits),
        prompts,
        weights: findings.weights,
        buffers: findings.buffers,
        sites: findings.sites,
        logits: findings.logits,
        first: findings.first,
        coverage: findings.coverage,
        explanation,
    };
    if let Some(output) = &output {
        output.write(&record, args.svg).map_err(stopped)?;
    }
    if args.json {
        print(&record.to_json()?)?;
    } else {
        let written = args.out.as_ref().map(|out| format!("\nwritten to {}\n", out.display()));
        print(&(tables::record(&record) + &written.unwrap_or_default()))?;
    }
    let violations: Vec<String> = args.fail_on.iter().flat_map(|c| c.violations(&record)).collect();
    Ok(if violations.is_empty() { Outcome::Done } else { Outcome::Failed(violations) })
}

fn describe(model: &Opened) -> Result<Model> {
    Ok(model.describe(model.checkpoint.sha256()?))
}
