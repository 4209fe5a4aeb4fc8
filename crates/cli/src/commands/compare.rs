//! `ulpscope compare` and `ulpscope explain`: prompts through arms in lockstep, and from divergence to cause.

use std::time::Instant;

use anyhow::Result;
use ulpscope_compare::{Findings, Plan, Step, compare};
use ulpscope_explain::{ExplainError, explain};
use ulpscope_record::{Explanation, Model, Provenance, RunRecord, SCHEMA, Settings};

use crate::args::CompareArgs;
use crate::commands::{Outcome, arms, print};
use crate::model::Opened;
use crate::output::Output;
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
    let mut provenance = Provenance::gather(
        &args.device.device,
        threads,
        &ulpscope_llama::kernel(&device),
        Some(provenance::GIT),
    );
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

    // Hashing reads every byte of the model; it does so while the model computes.
    let (findings, described) = std::thread::scope(|scope| {
        let described = scope.spawn(|| models.iter().map(describe).collect::<Result<Vec<Model>>>());
        let bar = talk.steps("comparing", 0);
        let step = |step: Step| {
            bar.set_length(step.total as u64);
            bar.set_position(step.done as u64);
        };
        let findings = match question {
            Question::Compare => compare(&plan, step).map(|findings| (findings, None)).map_err(Into::into),
            Question::Explain => explain(&plan, args.continued, |stage, done| {
                bar.set_message(stage.to_string());
                step(done);
            })
            .map(|answer| (answer.findings, Some(answer.explanation))),
        };
        bar.finish_and_clear();
        (findings, described.join().expect("hashing does not panic"))
    });
    let ((findings, mut explanation), mut described): ((Findings, Option<Explanation>), _) =
        (findings.map_err(|e: ExplainError| anyhow::Error::from(e))?, described?);
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
    if let Some(output) = &output {
        output.write(&record, args.svg)?;
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
