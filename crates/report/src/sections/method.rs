//! What was run, what limits the findings, and how to get them again.

use maud::{Markup, html};
use ulpscope_record::RunRecord;
use ulpscope_record::summary::notes;
use ulpscope_record::text::shortened;

use super::{code, row, sentences, table};
use crate::replay;

pub(super) fn section(record: &RunRecord) -> Markup {
    let p = &record.provenance;
    let facts = [
        ("ulpscope", format!("{} ({})", p.ulpscope, p.git)),
        ("started", format!("{}, took {:.2} s", p.started, p.elapsed_s)),
        ("device", format!("{}, {} threads, {}", p.device, p.threads, p.cpu)),
        ("kernel", p.kernel.clone()),
    ];
    let files: Vec<_> = (record.model.files.iter())
        .map(|file| row![code(&file.path), html! { code class="hash" { (file.sha256) } }])
        .collect();
    html! {
        p { (record.coverage.compared) " of " (record.coverage.sites) " sites were compared." }
        @if let Some(explanation) = &record.explanation {
            (sentences("Limits", &explanation.guards))
            @if explanation.judgement.is_some() {
                details { summary { "The verdict with all its numbers" } p { (explanation.verdict) } }
            }
        }
        (sentences("Not compared", &record.coverage.not_compared))
        (arms(record))
        (prompts(record))
        dl class="facts" { @for (name, value) in &facts { dt { (name) } dd { (value) } } }
        (table("Files of the model", &["file", "sha256"], &files, ""))
        h3 { "Run it again" }
        @if let Some(command) = replay::command(record) { (copyable("The same question:", &command)) }
        (copyable(
            "The same run, compared with this record number by number, in a checkout:",
            "cargo xtask experiment --replay record.json",
        ))
    }
}

fn arms(record: &RunRecord) -> Markup {
    let from = |model: &ulpscope_record::Model| {
        let revision = model.revision.as_ref().map_or(String::new(), |at| format!(", revision {at}"));
        format!("{} ({}{revision})", model.name, model.source)
    };
    let rows: Vec<_> = (record.arms.iter().enumerate())
        .map(|(index, arm)| {
            let variants = arm.variants.iter().map(|variant| format!("@{variant}")).collect::<String>();
            row![
                html! { (arm.name) @if index == 0 { " " small { "reference" } } },
                code(&(arm.recipe.clone() + &variants)),
                arm.attention,
                arm.dtype,
                arm.accumulation,
                match (index, &arm.model) {
                    (0, _) => from(&record.model),
                    (_, Some(model)) => from(model),
                    (_, None) => "the same".to_owned(),
                },
            ]
        })
        .collect();
    table("Arms", &["arm", "recipe", "attention", "format", "order of summation", "model"], &rows, "No arms.")
}

fn prompts(record: &RunRecord) -> Markup {
    let rows: Vec<_> = (record.prompts.iter().enumerate())
        .map(|(index, prompt)| {
            let words = prompt
                .text
                .as_deref()
                .map_or_else(|| format!("({})", prompt.unnamed()), |words| shortened(words, 160));
            let ids: Vec<String> = prompt.ids.iter().take(12).map(u32::to_string).collect();
            let more = if prompt.ids.len() > ids.len() { ", …" } else { "" };
            row![index, words, prompt.ids.len(), format!("{}{more}", ids.join(", "))]
        })
        .collect();
    html! {
        (table("Prompts", &["#prompt", "text", "#tokens", "ids"], &rows, "No prompts were run."))
        @for said in notes(record) { p { (said) } }
    }
}

/// A command with a button, which the script shows, that puts it on the clipboard.
fn copyable(what: &str, command: &str) -> Markup {
    html! {
        p { (what) }
        div class="command" {
            pre tabindex="0" { code { (command) } }
            button type="button" class="copy" hidden { "Copy" }
        }
    }
}
