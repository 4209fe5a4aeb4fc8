//! `ulpscope compare` and `ulpscope explain`: prompts through arms in lockstep, and from divergence
//! to cause.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use ulpscope_compare::{Findings, Plan, Step, compare_keeping};
use ulpscope_explain::{Options, Stage, explain};
use ulpscope_record::summary::{self, names};
use ulpscope_record::text::{printable, printable_json};
use ulpscope_record::{
    Consequence, Explanation, Model, Prompt, Provenance, RunRecord, SCHEMA, Settings, Status,
    TokenizerComparison,
};

use crate::args::CompareArgs;
use crate::colour::Ink;
use crate::commands::{Outcome, arms, print};
use crate::fail_on::Violation;
use crate::model::{self, BuiltIn, Opened};
use crate::output::{Inputs, Output, Partial};
use crate::progress::Talk;
use crate::screen::{self, Ending};
use crate::{device, provenance, suggestions, tables, tokenizers};

/// What is asked of the arms.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// How far apart they are, and where it starts.
    Compare,
    /// Why.
    Explain,
}

/// Tokens of a prompt up to which an explanation runs every counterfactual at every site.
const LONGEST_WATCHED: usize = 512;

pub(crate) fn run(args: &CompareArgs, question: Question, talk: &Talk) -> Result<Outcome> {
    let begun = Instant::now();
    if let Some(condition) = args.fail_on.iter().find(|c| c.needs_explanation())
        && question == Question::Compare
    {
        bail!("--fail-on {condition}: only `ulpscope explain` finds causes");
    }
    let inputs = Inputs::of_models(arms::sources(&args.arms).iter().flatten()).and(&args.prompts.files);
    let output = args.out.as_deref().map(|out| Output::open(out, &inputs)).transpose()?;
    let (device, threads) = device::open(&args.device)?;
    let kernel = ulpscope_decoder::kernel(&device);
    let mut provenance = Provenance::gather(&args.device.device, threads, &kernel, Some(provenance::GIT));
    talk.detail(|| format!("device {}, {threads} threads, {kernel}", args.device.device));
    let models = arms::open(&args.arms, &args.source, talk)?;
    let mut partial = Partial::new(output.as_ref().map(Output::partial), &kernel, talk);
    let mut waiting = None;
    let ended = AtomicBool::new(false);
    let work = || {
        let answered = answer(args, question, &models, device, &mut partial, talk);
        // Nobody waits for hashes of what could not be compared.
        ended.store(answered.is_err(), Ordering::Relaxed);
        waiting = Some(talk.stage("waiting for the model's hashes"));
        answered
    };
    // Hashing reads every byte of the model; it does so while another thread computes. Both are the
    // pool's, so that no more threads are at work than were asked for.
    let wanted = || !ended.load(Ordering::Relaxed);
    let describe_all =
        || models.iter().map(|model| describe(model, wanted)).collect::<Result<Option<Vec<_>>>>();
    let (answered, described) = rayon::join(work, describe_all);
    drop(waiting);
    let stopped = |error: anyhow::Error| match partial.remedy() {
        Some(remedy) => error.context(remedy),
        None => error,
    };
    let Answer { prompts, tokenizers, findings, mut explanation } = answered.map_err(stopped)?;
    let mut described = described.map_err(stopped)?.context("hashes are wanted where there is an answer")?;
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
            failed: Vec::new(),
        },
        model: described.remove(0),
        arms,
        token_texts: models[0].texts(&findings.logits, explanation.as_ref()),
        prompts,
        tokenizers,
        contradicted: Vec::new(),
        weights: findings.weights,
        buffers: findings.buffers,
        sites: findings.sites,
        logits: findings.logits,
        first: findings.first,
        coverage: findings.coverage,
        explanation,
    };
    finish(args, output.as_ref(), record, talk).map_err(stopped)
}

/// What was found of which prompts.
struct Answer {
    prompts: Vec<Prompt>,
    tokenizers: Vec<TokenizerComparison>,
    findings: Findings,
    explanation: Option<Explanation>,
}

/// Runs the prompts through the arms.
fn answer(
    args: &CompareArgs,
    question: Question,
    models: &[Opened],
    device: Device,
    partial: &mut Partial,
    talk: &Talk,
) -> Result<Answer> {
    let built = arms::build(&args.arms, models, talk)?;
    let takes = built.iter().map(|arm| arm.arm.architecture().max_tokens()).min().unwrap_or(0);
    let built_in = if question == Question::Explain { BuiltIn::long(takes) } else { BuiltIn::SHORT };
    let (prompts, tokenizers) = {
        let _stage = talk.stage("tokenising");
        let texts = model::texts(&args.prompts, &built_in)?;
        let prompts = models[0].prompts(&args.prompts, &texts, &built_in)?;
        let tokenizers = tokenizers::compare(models, ["a", "b"], &texts, &prompts);
        (prompts, tokenizers)
    };
    models.iter().flat_map(Opened::notices).for_each(|notice| talk.say(notice));
    let longest_watched = if question == Question::Explain { LONGEST_WATCHED } else { usize::MAX };
    let plan = Plan {
        arms: built,
        prompts: prompts.iter().map(|p| p.ids.clone()).collect(),
        sites: args.sites.clone(),
        device,
        longest_watched,
    };
    plan.check()?;
    let kinds: Vec<_> =
        plan.arms.iter().map(|a| (a.arm.architecture(), a.semantics.base.attention)).collect();
    for part in suggestions::sites(&args.sites, &kinds, &args.arms.models[0])? {
        talk.say(&format!("--sites: no site matches `{part}`"));
    }
    let mut stage = talk.stage(if question == Question::Compare { "comparing" } else { "looking" });
    let (findings, explanation) = match question {
        Question::Compare => {
            let findings = compare_keeping(&plan, partial, |step: Step| stage.step(step.done, step.total))?;
            (findings, None)
        }
        Question::Explain => {
            let mut progress = |name: Stage, step: Step| {
                stage.next(&name.to_string());
                stage.step(step.done, step.total);
            };
            let options =
                Options { continued: args.continued, keep: Some(partial), progress: Some(&mut progress) };
            let answer = explain(&plan, options)?;
            (answer.findings, Some(answer.explanation))
        }
    };
    Ok(Answer { prompts, tokenizers, findings, explanation })
}

/// Writes and prints a record, and says how it ended.
pub(super) fn finish(
    args: &CompareArgs,
    output: Option<&Output>,
    mut record: RunRecord,
    talk: &Talk,
) -> Result<Outcome> {
    let violations: Vec<Violation> = args.fail_on.iter().flat_map(|c| c.violations(&record)).collect();
    record.settings.failed = violations.iter().map(|violation| violation.brief.clone()).collect();
    name_models(&mut record);
    let incomplete = record.explanation.as_ref().is_some_and(|e| e.status == Status::Incomplete);
    let answer = summary::answer(&record);
    let undecided = answer.consequence == Some(Consequence::Undecided);
    let outcome = if !violations.is_empty() {
        Outcome::Failed(violations.into_iter().map(|violation| violation.sentence).collect())
    } else if incomplete || undecided {
        let why = match record.explanation {
            Some(_) if incomplete => "incomplete: not all that was asked for could be compared (see above)",
            Some(_) => "undecided: too little was compared for a verdict (see above)",
            None => &format!("undecided: {}", answer.headline),
        };
        Outcome::Undecided(vec![why.to_owned()])
    } else {
        Outcome::Done
    };
    if let Some(output) = output {
        let _stage = talk.stage("writing pages and pictures");
        output.write(&record, args.svg)?;
    }
    let (ink, folder) = (Ink::stdout(), args.out.as_deref());
    // Of the record that was written, names as they may be shown.
    let shown = record.printable();
    let screen = || screen::screen(&shown, Ending { status: outcome.status(), folder }, ink);
    let written = || {
        folder.map_or(String::new(), |out| format!("\nwritten to {}\n", printable(&out.to_string_lossy())))
    };
    let text = match record.explanation {
        _ if args.json => printable_json(&record.to_json()?).into_owned(),
        None => tables::record(&shown, ink) + &written(),
        Some(_) if talk.verbose() => format!("{}\n{}", tables::record(&shown, ink), screen()),
        Some(_) if talk.quiet() => screen::verdict(&shown, ink),
        Some(_) => screen(),
    };
    let printed = print(&text);
    outcome.printed(printed)
}

/// Names the two that are judged as only we can: by what was given on the command line.
fn name_models(record: &mut RunRecord) {
    let explained = record.explanation.as_ref().map(|explanation| &explanation.arm);
    let arm = explained.and_then(|name| record.arms.iter().find(|arm| arm.name == *name));
    let Some(compared) = arm.map(|arm| names(record, arm)) else { return };
    if let Some(judgement) = record.explanation.as_mut().and_then(|e| e.judgement.as_mut()) {
        judgement.compared = compared;
    }
}

/// The model as a record has it, with hashes of its files; `None` if those were no longer wanted.
fn describe(model: &Opened, wanted: impl Fn() -> bool + Sync) -> Result<Option<Model>> {
    Ok(model.checkpoint.sha256_while(wanted)?.map(|hashes| model.describe(hashes)))
}
