//! The short form, for pull requests: what one wants to know first, and the rest behind a fold.

use crate::replay;
use crate::several::lines;
use ulpscope_record::summary::{code, escape, measured, proved};
use ulpscope_record::text::{number, percent, shortened};
use ulpscope_record::{Explanation, RunRecord};

/// Rows before the rest is only counted.
const ROWS: usize = 12;

/// One run as Markdown for a pull request: verdict, causes, logits, growth; the whole summary behind a fold.
pub fn markdown(record: &RunRecord) -> String {
    let mut page = format!("## {}\n\n", escape(&record.model.name));
    if record.model.stand_in {
        page += "**A stand-in for the model that was asked for.**\n\n";
    }
    let arms: Vec<String> =
        record.arms.iter().map(|arm| format!("{} = {}", escape(&arm.name), code(&arm.recipe))).collect();
    page += &format!("{}\n\n", arms.join(", "));
    match &record.explanation {
        Some(explanation) => page += &explained(explanation),
        None => {
            for first in record.first.iter().take(ROWS) {
                let site = first.site.as_deref().map_or("none that was observed".to_owned(), code);
                page += &format!(
                    "- first site that differs in {} on prompt {}: {site}\n",
                    escape(&first.arm),
                    first.prompt
                );
            }
            page += "\n";
        }
    }
    page += "| arm | prompt | KL (nats) | bit-equal | mean abs. difference | max | same top token |\n|---|---|---|---|---|---|---|\n";
    for logits in record.logits.iter().take(ROWS) {
        page += &format!(
            "| {} | {} | {} | {} | {} | {} | {} |\n",
            escape(&logits.arm),
            logits.prompt,
            number(logits.kl),
            percent(logits.equal),
            number(logits.mean_abs),
            number(logits.max_abs),
            percent(logits.top1_agreement)
        );
    }
    if record.logits.len() > ROWS {
        page += &format!("\nand {} more.\n", record.logits.len() - ROWS);
    }
    if let Some(command) = replay::command(record) {
        // A fence longer than any run of backticks in what it holds.
        let longest = command.split(|c| c != '`').map(str::len).max().unwrap_or(0);
        let fence = "`".repeat(longest.max(2) + 1);
        page += &format!("\n{fence}console\n$ {command}\n{fence}\n");
    }
    let summary = ulpscope_record::markdown(record);
    page + &format!("\n<details><summary>Everything</summary>\n\n{summary}\n</details>\n")
}

fn explained(explanation: &Explanation) -> String {
    let status = explanation.status.name().replace('-', " ");
    let mut page = format!("**{status}**: {}\n\n", escape(&explanation.verdict));
    if !explanation.causes.is_empty() {
        page += "| cause | subject | proved | share of KL | intrinsic KL | noise floor |\n|---|---|---|---|---|---|\n";
    }
    for cause in explanation.causes.iter().take(ROWS) {
        page += &format!(
            "| {} | {} | {} | {} | {} | {} |\n",
            code(&cause.id),
            code(&shortened(&cause.subject, 80)),
            proved(cause),
            measured(cause.kl_share, percent),
            measured(cause.intrinsic_kl, |kl| format!(
                "{} ({})",
                number(kl),
                escape(&cause.intrinsic_compute)
            )),
            number(cause.floor_kl)
        );
    }
    if !explanation.causes.is_empty() {
        page += "\n";
    }
    for guard in explanation.guards.iter().take(ROWS) {
        page += &format!("- {}\n", escape(guard));
    }
    page + if explanation.guards.is_empty() { "" } else { "\n" }
}

/// The arms of several runs in one table, each run with the name that it is to be called by.
pub fn markdown_of_several(runs: &[(String, RunRecord)]) -> String {
    let mut page = format!("## {} runs\n\n", runs.len());
    page += "| run | arm | prompt | status | cause | first site | KL (nats) | bit-equal | max | same top token |\n";
    page += &format!("|{}\n", "---|".repeat(10));
    for line in lines(runs) {
        let dash = || "–".to_owned();
        let cell =
            |value: fn(&ulpscope_record::LogitDivergence) -> String| line.logits.map_or_else(dash, value);
        page += &format!(
            "| {} | {}: {} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
            escape(line.run),
            escape(&line.arm.name),
            code(&line.told()),
            line.prompt.map_or_else(dash, |prompt| prompt.to_string()),
            line.status(),
            line.cause().map_or_else(dash, code),
            line.first().map_or_else(dash, code),
            cell(|l| number(l.kl)),
            cell(|l| percent(l.equal)),
            cell(|l| number(l.max_abs)),
            cell(|l| percent(l.top1_agreement)),
        );
    }
    page
}
