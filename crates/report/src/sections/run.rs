//! What limits the findings, and how to get them again.

use super::{code, sentences, table};
use crate::escape::text;
use crate::replay;
use ulpscope_record::RunRecord;
use ulpscope_record::text::shortened;

pub(super) fn coverage(record: &RunRecord) -> String {
    let coverage = &record.coverage;
    let mut html = format!(
        "<h2>What limits this</h2>\n<p>{} of {} sites were compared.</p>\n",
        coverage.compared, coverage.sites
    );
    if let Some(explanation) = &record.explanation {
        html += &sentences("Guards", &explanation.guards);
    }
    html + &sentences("Not compared", &coverage.not_compared)
}

pub(super) fn section(record: &RunRecord) -> String {
    let p = &record.provenance;
    let facts = [
        ("ulpscope", format!("{} ({})", p.ulpscope, p.git)),
        ("started", format!("{}, took {:.2} s", p.started, p.elapsed_s)),
        ("device", format!("{}, {} threads, {}", p.device, p.threads, p.cpu)),
        ("kernel", p.kernel.clone()),
    ];
    let facts: String =
        facts.iter().map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>\n", text(value))).collect();
    let files: Vec<Vec<String>> = (record.model.files.iter())
        .map(|file| vec![code(&file.path), format!("<code class=\"hash\">{}</code>", text(&file.sha256))])
        .collect();
    let mut html = format!("<h2>How it was run</h2>\n<dl class=\"facts\">\n{facts}</dl>\n");
    html += &prompts(record);
    html += &table("Files of the model", &["file", "sha256"], &files, "");
    html += "<h3>Run it again</h3>\n";
    if let Some(command) = replay::command(record) {
        html += &copyable("The same question:", &command);
    }
    html + &copyable(
        "The same run, compared with this record number by number, in a checkout:",
        "cargo xtask experiment --replay record.json",
    )
}

fn prompts(record: &RunRecord) -> String {
    let rows: Vec<Vec<String>> = (record.prompts.iter().enumerate())
        .map(|(index, prompt)| {
            let words =
                prompt.text.as_deref().map_or("(token ids)".into(), |words| text(&shortened(words, 160)));
            let ids: Vec<String> = prompt.ids.iter().take(12).map(u32::to_string).collect();
            let more = if prompt.ids.len() > ids.len() { ", …" } else { "" };
            vec![index.to_string(), words, prompt.ids.len().to_string(), format!("{}{more}", ids.join(", "))]
        })
        .collect();
    table("Prompts", &["#prompt", "text", "#tokens", "ids"], &rows, "No prompts were run.")
}

/// A command with a button, which the script shows, that puts it on the clipboard.
fn copyable(what: &str, command: &str) -> String {
    format!(
        "<p>{}</p>\n<div class=\"command\"><pre tabindex=\"0\"><code>{}</code></pre>\
         <button type=\"button\" class=\"copy\" hidden>Copy</button></div>\n",
        text(what),
        text(command)
    )
}
