//! The parts of a run's page, as HTML that is whole without the script.

mod causes;
mod charts;
mod method;
mod tensors;
mod tokens;
mod verdict;

use maud::{Markup, PreEscaped, Render, html};
use ulpscope_record::RunRecord;
use ulpscope_record::summary::Answer;

use crate::bars::Axis;

/// Rows of a table before the rest is only counted.
const ROWS: usize = 200;

/// Words of ours that a reader meets, and what they mean.
const GLOSSARY: [(&str, &str); 9] = [
    ("alone", "the reference with this one thing of the arm put into it"),
    ("arm", "one checkpoint, loaded in one way and computed with one arithmetic"),
    ("bit-equal", "the same number, to the last bit"),
    ("intrinsic", "what a cause does without any rounding in between"),
    ("near-tie", "two tokens so close that another order of summation could exchange them"),
    ("noise", "what the reference differs from itself when sums are only added up in another order"),
    ("origin", "a site that adds more difference than noise when it is given the reference's inputs"),
    ("site", "one operation of the model whose output is compared"),
    ("undone", "the arm with this one thing of the reference put into it"),
];

/// A word of the glossary, with what it means.
pub(crate) fn word(name: &str) -> Markup {
    let (plural, one) = (name, name.strip_suffix('s').unwrap_or(name));
    match GLOSSARY.iter().find(|(word, _)| *word == plural || *word == one) {
        Some((_, meaning)) => html! { abbr title=(meaning) { (name) } },
        None => html! { (name) },
    }
}

/// Everything within `<body>` but data and script.
pub(crate) fn all(record: &RunRecord, answer: &Answer) -> Markup {
    let axis = axis(record, answer);
    let sections = [
        ("logits", "Tokens", tokens::section(record)),
        ("causes", "Causes", causes::section(record, &axis)),
        ("map", "Map", charts::map(record)),
        ("tensors", "Tensors", tensors::section(record)),
        ("positions", "Positions", charts::positions(record)),
        ("layers", "Layers", charts::layers(record)),
        ("method", "Method", method::section(record)),
    ];
    let sections: Vec<_> = sections.into_iter().filter(|(.., body)| !body.0.is_empty()).collect();
    html! {
        a class="skip" href="#main" { "Skip to the findings" }
        header { (verdict::title(record, answer)) }
        main id="main" {
            (verdict::section(record, answer, &axis))
            nav aria-label="Sections" {
                @for (id, name, _) in &sections { a href={ "#" (id) } { (name) } }
                span class="push" {}
                button type="button" id="theme" hidden { "Dark" }
            }
            div class="pickers" id="pickers" hidden {}
            @for (id, name, body) in &sections {
                section id=(id) { h2 { (name) } (body) }
            }
        }
        noscript {
            p class="note" {
                "Charts, sorting and the tables of every site need JavaScript, which is off. The numbers are all in record.json."
            }
        }
    }
}

/// The axis of every bar: what was measured, noise, and every run with something exchanged.
fn axis(record: &RunRecord, answer: &Answer) -> Axis {
    let explanation = record.explanation.as_ref();
    let runs = explanation.iter().flat_map(|e| &e.counterfactuals).map(|run| run.kl);
    let floors = explanation.iter().flat_map(|e| &e.floor.logits).map(|floor| floor.kl);
    Axis::of(runs.chain(floors).chain([answer.size.kl, answer.size.floor_kl]))
}

/// A table that can be sorted, or `nothing` where it would have no rows. A column whose name begins
/// with `#` holds numbers.
pub(crate) fn table(caption: &str, head: &[&str], rows: &[Vec<Markup>], nothing: &str) -> Markup {
    if rows.is_empty() {
        return html! { @if !nothing.is_empty() { p { (nothing) } } };
    }
    // The first column is what its row is about, and stands at the left even where it is a number.
    let numeric: Vec<bool> =
        (head.iter().enumerate()).map(|(column, name)| column > 0 && name.starts_with('#')).collect();
    let class = |column: usize| (numeric.get(column) == Some(&true)).then_some("n");
    html! {
        div class="wide" tabindex="0" role="region" aria-label=(caption) {
            table class="sortable" {
                caption { (caption) }
                thead { tr {
                    @for (column, name) in head.iter().enumerate() {
                        th scope="col" class=[class(column)] { (word(name.trim_start_matches('#'))) }
                    }
                } }
                tbody {
                    @for row in rows.iter().take(ROWS) {
                        tr {
                            @for (column, cell) in row.iter().enumerate() {
                                @if column == 0 { th scope="row" { (cell) } }
                                @else { td class=[class(column)] { (cell) } }
                            }
                        }
                    }
                }
            }
        }
        @if rows.len() > ROWS { p class="note" { "The other " (rows.len() - ROWS) " are in the record." } }
    }
}

/// Cells of a table.
macro_rules! row {
    ($($cell:expr),* $(,)?) => { vec![$(maud::html! { ($cell) }),*] };
}
pub(crate) use row;

/// A list of sentences under a title, if there are any.
pub(crate) fn sentences(title: &str, sentences: &[String]) -> Markup {
    html! {
        @if !sentences.is_empty() {
            h3 { (title) }
            ul {
                @for sentence in sentences.iter().take(ROWS) { li { (sentence) } }
                @if sentences.len() > ROWS { li { "and " (sentences.len() - ROWS) " more in the record" } }
            }
        }
    }
}

/// A name in the type of programs, which may break at its dots.
pub(crate) fn code(name: &str) -> Markup {
    html! { code { (PreEscaped(name.render().0.replace('.', ".<wbr>"))) } }
}

pub(crate) fn or_dash(text: Option<&str>) -> Markup {
    text.map_or_else(|| "–".render(), code)
}
