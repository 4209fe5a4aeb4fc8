//! The short form, for pull requests: what one wants to know first, and the rest behind a fold.

use ulpscope_record::RunRecord;
use ulpscope_record::summary::{code, details, escape, opening};
use ulpscope_record::text::{number, percent};

use crate::replay;
use crate::several::lines;

/// Rows before the rest is only counted.
const ROWS: usize = 12;

/// One run as Markdown for a pull request: failed conditions, verdict, rows, logits; the whole
/// summary behind a fold.
pub fn markdown(record: &RunRecord) -> String {
    let mut page = opening(record, 2);
    page += "\n| arm | prompt | KL (nats) | bit-equal | mean abs. difference | max | same top token |\n|---|---|---|---|---|---|---|\n";
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
    page + &format!("\n<details><summary>Everything</summary>\n{}\n</details>\n", details(record))
}

/// The arms of several runs in one table, each run with the name that it is to be called by.
pub fn markdown_of_several(runs: &[(String, RunRecord)]) -> String {
    let mut page = format!("## {} runs\n\n", runs.len());
    page += "| run | arm | prompt | verdict | cause | first site | KL (nats) | bit-equal | max | same top token |\n";
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
            line.badge,
            line.cause().map_or_else(dash, code),
            code(&line.start()),
            cell(|l| number(l.kl)),
            cell(|l| percent(l.equal)),
            cell(|l| number(l.max_abs)),
            cell(|l| percent(l.top1_agreement)),
        );
    }
    page
}
