//! The arms of many runs in one table: for release notes, and for a look at what has become worse.

use maud::{Markup, html};
use serde_json::json;
use ulpscope_record::summary::{Start, answer, start, told};
use ulpscope_record::text::{number, percent, shortened};
use ulpscope_record::{Arm, Consequence, LogitDivergence, RunRecord};

use crate::bars::Axis;
use crate::page;
use crate::sections::{code, or_dash, row, table};

/// A page about several runs, each with the name that it is to be called by.
pub fn several(runs: &[(String, RunRecord)]) -> String {
    let lines = lines(runs);
    let axis = Axis::of(lines.iter().filter_map(|line| line.logits).map(|logits| logits.kl));
    let rows: Vec<_> = (lines.iter())
        .map(|line| {
            let cell = |value: fn(&LogitDivergence) -> String| line.logits.map_or("–".to_owned(), value);
            row![
                line.run,
                line.arm.name,
                code(&line.told()),
                line.prompt.map_or("–".to_owned(), |prompt| prompt.to_string()),
                line.badge,
                or_dash(line.cause()),
                line.start(),
                line.logits.map_or_else(Markup::default, |l| axis.bar("s0", l.kl, None)),
                cell(|l| number(l.kl)),
                cell(|l| percent(l.equal)),
                cell(|l| number(l.mean_abs)),
                cell(|l| number(l.max_abs)),
                cell(|l| percent(l.top1_agreement)),
            ]
        })
        .collect();
    let head = [
        "run",
        "arm",
        "recipe",
        "#prompt",
        "verdict",
        "cause",
        "first site",
        "KL",
        "#KL (nats)",
        "#bit-equal",
        "#mean |Δ|",
        "#max |Δ|",
        "#same top token",
    ];
    let body = html! {
        a class="skip" href="#main" { "Skip to the findings" }
        header { p class="above" { "ulpscope" } h1 { (runs.len()) " runs side by side" } }
        main id="main" {
            nav aria-label="Sections" {
                a href="#arms" { "Arms × metrics" }
                a href="#runs" { "Runs" }
                span class="push" {}
                button type="button" id="theme" hidden { "Dark" }
            }
            section id="arms" {
                h2 { "Arms × metrics" }
                p { "Each arm against the reference of its own run. Bars are " (axis.told()) "." }
                (table("Arms of all runs", &head, &rows, "No run has two arms."))
            }
            section id="runs" {
                h2 { "Runs" }
                @for (name, record) in runs { (card(name, record)) }
            }
        }
    };
    page::whole(&format!("{} runs: ulpscope", runs.len()), &body, &json!({}))
}

fn card(name: &str, record: &RunRecord) -> Markup {
    let p = &record.provenance;
    let answer = answer(record);
    html! {
        article class="card" {
            h3 { (name) }
            p { b { (answer.badge) } " " (answer.headline) }
            dl class="facts" {
                dt { "compared" } dd { (answer.compared[1]) " against " (answer.compared[0]) }
                dt { "model" }
                dd { (record.model.name) @if record.model.stand_in { " (a stand-in for what was asked for)" } }
                dt { "weights" } dd {
                    @if record.weights.compared == 0 { "not compared" }
                    @else { (record.weights.identical) " of " (record.weights.compared) " identical" }
                }
                dt { "ulpscope" } dd { (p.ulpscope) " (" (p.git) ")" }
                dt { "started" } dd { (p.started) }
                dt { "kernel" } dd { (p.kernel) }
            }
        }
    }
}

/// One arm of one run on one prompt.
pub(crate) struct Line<'a> {
    pub(crate) run: &'a str,
    pub(crate) record: &'a RunRecord,
    pub(crate) arm: &'a Arm,
    /// None of a run without prompts.
    pub(crate) prompt: Option<usize>,
    pub(crate) logits: Option<&'a LogitDivergence>,
    /// What the divergence means, where this arm was explained.
    pub(crate) badge: &'static str,
}

impl<'a> Line<'a> {
    /// The largest cause.
    pub(crate) fn cause(&self) -> Option<&'a str> {
        ulpscope_record::summary::largest_first(self.explanation()?).first().map(|cause| cause.id.as_str())
    }

    /// The recipe, with what sets the arm's arithmetic apart.
    pub(crate) fn told(&self) -> String {
        told(self.arm, &self.record.arms[0])
    }

    /// The first site that differs, or why none is named.
    pub(crate) fn start(&self) -> String {
        let found = self.prompt.map(|prompt| start(self.record, &self.arm.name, prompt));
        found.unwrap_or(Start::Unseen).words()
    }

    fn explanation(&self) -> Option<&'a ulpscope_record::Explanation> {
        self.record.explanation.as_ref().filter(|explanation| explanation.arm == self.arm.name)
    }
}

/// All arms of all runs but the references, prompt by prompt.
pub(crate) fn lines(runs: &[(String, RunRecord)]) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    for (name, record) in runs {
        let answer = answer(record);
        let explained = record.explanation.as_ref().map(|found| (found.arm.as_str(), answer.badge));
        let compared = match (explained, answer.consequence) {
            (None, Some(Consequence::Undecided)) => answer.badge,
            _ => "compared",
        };
        for arm in record.arms.iter().skip(1) {
            let badge = explained.filter(|(of, _)| *of == arm.name).map_or(compared, |(_, badge)| badge);
            let prompts: Vec<Option<usize>> = match record.prompts.len() {
                0 => vec![None],
                count => (0..count).map(Some).collect(),
            };
            for prompt in prompts {
                let mine =
                    |logits: &&LogitDivergence| logits.arm == arm.name && Some(logits.prompt) == prompt;
                let logits = record.logits.iter().find(mine);
                lines.push(Line { run: name, record, arm, prompt, logits, badge });
            }
        }
    }
    lines
}

/// A name for a run whose record is in the folder `folder`: what tells it from others, not its
/// whole path.
pub fn name(folder: &str, record: &RunRecord) -> String {
    let last = folder.trim_end_matches(['/', '\\']).rsplit(['/', '\\']).next().unwrap_or_default();
    match last {
        "" | "." | ".." => shortened(&record.model.name, 60),
        last => shortened(last, 60),
    }
}
