//! The arms of many runs in one table: for release notes, and for a look at what has become worse.

use crate::escape::text;
use crate::page;
use crate::replay;
use crate::sections::{code, or_dash, table};
use serde_json::json;
use ulpscope_record::text::{number, percent, shortened};
use ulpscope_record::{Arm, LogitDivergence, RunRecord};

/// A page about several runs, each with the name that it is to be called by.
pub fn several(runs: &[(String, RunRecord)]) -> String {
    let title = format!("{} runs: ulpscope", runs.len());
    let mut body = format!(
        "<a class=\"skip\" href=\"#main\">Skip to the findings</a>\n\
         <header>\n<p class=\"above\">ulpscope</p>\n<h1>{} runs side by side</h1>\n</header>\n\
         <nav aria-label=\"Sections\"><a href=\"#arms\">Arms × metrics</a><a href=\"#runs\">Runs</a>\
         <span class=\"push\"></span><button type=\"button\" id=\"theme\" hidden>Dark</button></nav>\n\
         <main id=\"main\">\n<section id=\"arms\">\n<h2>Arms × metrics</h2>\n\
         <p>Each arm against the reference of its own run. Bars are KL on a logarithmic scale.</p>\n",
        runs.len()
    );
    let lines = lines(runs);
    let kls: Vec<f64> =
        lines.iter().filter_map(|line| line.logits).map(|l| l.kl).filter(|kl| *kl > 0.0).collect();
    let most = kls.iter().copied().filter(|kl| kl.is_finite()).fold(1e-12, f64::max).log10().ceil();
    let least = kls.iter().copied().fold(f64::INFINITY, f64::min).min(10f64.powf(most - 1.0)).log10().floor();
    let rows: Vec<Vec<String>> = (lines.iter())
        .map(|line| {
            let cell = |value: fn(&LogitDivergence) -> String| line.logits.map_or("–".to_owned(), value);
            vec![
                text(line.run),
                text(&line.arm.name),
                code(&line.told()),
                line.prompt.map_or("–".to_owned(), |prompt| prompt.to_string()),
                text(line.status()),
                or_dash(line.cause()),
                or_dash(line.first()),
                line.logits.map_or(String::new(), |l| bar(l.kl, least, most)),
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
        "status",
        "cause",
        "first site",
        "KL",
        "#KL (nats)",
        "#bit-equal",
        "#mean |Δ|",
        "#max |Δ|",
        "#same top token",
    ];
    body += &table("Arms of all runs", &head, &rows, "No run has two arms.");
    body += "</section>\n<section id=\"runs\">\n<h2>Runs</h2>\n";
    for (name, record) in runs {
        let p = &record.provenance;
        let stand_in = if record.model.stand_in { " (a stand-in for what was asked for)" } else { "" };
        let verdict =
            record.explanation.as_ref().map_or(String::new(), |e| format!("<p>{}</p>\n", text(&e.verdict)));
        body += &format!(
            "<article class=\"card\">\n<h3>{}</h3>\n{verdict}<dl class=\"facts\"><dt>model</dt><dd>{}{stand_in}</dd>\
             <dt>reference</dt><dd>{}</dd><dt>weights</dt><dd>{} of {} identical</dd>\
             <dt>ulpscope</dt><dd>{} ({})</dd><dt>started</dt><dd>{}</dd><dt>kernel</dt><dd>{}</dd></dl>\n</article>\n",
            text(name),
            text(&record.model.name),
            record.arms.first().map_or(String::new(), |arm| code(&arm.recipe)),
            record.weights.identical,
            record.weights.compared,
            text(&p.ulpscope),
            text(&p.git),
            text(&p.started),
            text(&p.kernel),
        );
    }
    body += "</section>\n</main>\n";
    page::whole(&title, &body, &json!({}))
}

/// One arm of one run on one prompt.
pub(crate) struct Line<'a> {
    pub(crate) run: &'a str,
    pub(crate) record: &'a RunRecord,
    pub(crate) arm: &'a Arm,
    /// None of a run without prompts.
    pub(crate) prompt: Option<usize>,
    pub(crate) logits: Option<&'a LogitDivergence>,
}

impl<'a> Line<'a> {
    /// How the explanation ended, where this arm was explained.
    pub(crate) fn status(&self) -> &'static str {
        self.explanation().map_or("compared", |explanation| explanation.status.name())
    }

    /// The largest cause.
    pub(crate) fn cause(&self) -> Option<&'a str> {
        self.explanation()?.causes.first().map(|cause| cause.id.as_str())
    }

    /// The recipe, with what sets the arm's arithmetic apart.
    pub(crate) fn told(&self) -> String {
        replay::told(self.arm, &self.record.arms[0])
    }

    /// The first site that differs.
    pub(crate) fn first(&self) -> Option<&'a str> {
        let mine =
            |first: &&ulpscope_record::First| first.arm == self.arm.name && Some(first.prompt) == self.prompt;
        self.record.first.iter().find(mine)?.site.as_deref()
    }

    fn explanation(&self) -> Option<&'a ulpscope_record::Explanation> {
        self.record.explanation.as_ref().filter(|explanation| explanation.arm == self.arm.name)
    }
}

/// All arms of all runs but the references, prompt by prompt.
pub(crate) fn lines(runs: &[(String, RunRecord)]) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    for (name, record) in runs {
        for arm in record.arms.iter().skip(1) {
            let prompts: Vec<Option<usize>> = match record.prompts.len() {
                0 => vec![None],
                count => (0..count).map(Some).collect(),
            };
            for prompt in prompts {
                let mine =
                    |logits: &&LogitDivergence| logits.arm == arm.name && Some(logits.prompt) == prompt;
                lines.push(Line { run: name, record, arm, prompt, logits: record.logits.iter().find(mine) });
            }
        }
    }
    lines
}

fn bar(kl: f64, least: f64, most: f64) -> String {
    let inside = match kl {
        kl if kl > 0.0 && kl.is_finite() => {
            let width = ((kl.log10() - least) / (most - least) * 188.0).clamp(1.0, 188.0);
            format!("<rect class=\"s0\" x=\"12\" y=\"4\" width=\"{width:.1}\" height=\"12\"/>")
        }
        kl if kl.is_finite() => "<circle class=\"s0 ring\" cx=\"6\" cy=\"10\" r=\"4\"/>".to_owned(),
        _ => "<path class=\"s1 cross\" d=\"M188 4 L198 16 M188 16 L198 4\"/>".to_owned(),
    };
    format!("<svg class=\"bar\" viewBox=\"0 0 200 20\" aria-hidden=\"true\">{inside}</svg>")
}

/// A name for a run whose record is in the folder `folder`: what tells it from others, not its whole path.
pub fn name(folder: &str, record: &RunRecord) -> String {
    let last = folder.trim_end_matches(['/', '\\']).rsplit(['/', '\\']).next().unwrap_or_default();
    match last {
        "" | "." | ".." => shortened(&record.model.name, 60),
        last => shortened(last, 60),
    }
}
