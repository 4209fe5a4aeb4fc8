//! The first screen: what was compared, what it means, how much, why, where, and what to do.

use maud::{Markup, html};
use ulpscope_record::summary::{Answer, said_first};
use ulpscope_record::text::{brief, plural};
use ulpscope_record::{Consequence, RunRecord, Severity, Topic};

use super::{code, word};
use crate::bars::{Axis, ends};

/// What was compared, and which model it really was.
pub(super) fn title(record: &RunRecord, answer: &Answer) -> Markup {
    let model = &record.model;
    let ([a, b], [name_a, name_b]) = (&answer.arms, &answer.compared);
    let tokens: usize = record.prompts.iter().map(|prompt| prompt.ids.len()).sum();
    html! {
        p class="above" { "ulpscope" @if let Some(name) = &record.settings.experiment { " · experiment " (name) } }
        h1 {
            @if record.arms.len() > 1 { b { (b) ": " (name_b) } " against " (a) ": " (name_a) }
            @else { (a) ": " (model.name) }
        }
        p class="soft" {
            @if let Some(model) = &answer.model { (model) ", " }
            @if let [a, b] = &answer.recipes && !b.is_empty() { (code(b)) " against " (code(a)) ", " }
            (plural(record.prompts.len(), "prompt")) ", " (plural(tokens, "token"))
            @if record.arms.len() > 2 { "; " (plural(record.arms.len() - 2, "further arm")) " below" }
        }
        @if model.stand_in {
            p class="warning" {
                "A stand-in for the model that was asked for." @for why in &model.unavailable { " " (why) }
            }
        }
        @for said in said_first(record) { p class="warning" { (said) } }
        @for failed in &record.settings.failed { p class="warning failed" { "✗ " (failed) } }
    }
}

/// A name for styles.
fn class(consequence: Option<Consequence>) -> &'static str {
    match consequence {
        Some(Consequence::ChangesOutput) => "badge changes-output",
        Some(Consequence::AboveNoise) => "badge above-noise",
        Some(Consequence::Noise) => "badge noise",
        Some(Consequence::Equal) => "badge equal",
        Some(Consequence::Undecided) => "badge undecided",
        _ => "badge",
    }
}

/// Badge, headline, size and rows.
pub(super) fn section(record: &RunRecord, answer: &Answer, axis: &Axis) -> Markup {
    let [compared, asked] = answer.size.sites;
    html! {
        section id="verdict" {
            p class="chips-line" {
                strong class=(class(answer.consequence)) { (answer.badge) }
                @if !answer.proof.is_empty() { span class="chip" { (answer.proof) } }
                @if answer.severity == Some(Severity::Choice) { span class="chip" { "not a bug by itself" } }
                span class="chip" { (compared) " of " (asked) " " (word("sites")) }
            }
            p class="verdict" { (answer.headline) }
            (size(record, answer, axis))
            (rows(answer))
            @if record.explanation.is_none() {
                p class="soft" { code { "ulpscope explain" } " finds out why, and how this compares with noise." }
            }
        }
    }
}

/// How far apart the logits are, beside noise, and what that does to tokens.
fn size(record: &RunRecord, answer: &Answer, axis: &Axis) -> Markup {
    let size = &answer.size;
    if size.kl.is_nan() {
        return html! { p { "The logits' divergence was not measured." } };
    }
    let floors = record.explanation.iter().flat_map(|e| &e.floor.logits).map(|floor| floor.kl);
    let noise = ends(floors);
    let times = size.kl / size.floor_kl;
    html! {
        dl class="kl" {
            @if !size.floor_kl.is_nan() {
                dt { (word("noise")) }
                dd { (axis.bar("s5", size.floor_kl, noise)) span { (brief(size.floor_kl)) } }
            }
            dt { (answer.arms[1]) }
            dd {
                (axis.bar("s1", size.kl, noise))
                span { (brief(size.kl)) @if times.is_finite() && times > 0.0 { ", " (brief(times)) " × noise" } }
            }
        }
        p class="soft" {
            (axis.told()) ". "
            @if size.positions > 0 {
                (size.flips) " of " (size.positions) " top tokens flip"
                @if size.clear_flips > 0 { ", " (size.clear_flips) " of them clearly" }
                @if size.continued > 0 {
                    "; greedy continuations "
                    @match size.parts_at {
                        Some(at) => { "part at token " (at) " of " (size.continued) },
                        None => { "agree for " (size.continued) " tokens" },
                    }
                }
                "."
            }
        }
    }
}

fn rows(answer: &Answer) -> Markup {
    let topics = [Topic::Cause, Topic::Where, Topic::Fix, Topic::Limit];
    let of = |topic: Topic| answer.rows.iter().filter(move |row| row.topic == topic);
    html! {
        dl class="rows" {
            @for topic in topics.into_iter().filter(|topic| of(*topic).next().is_some()) {
                dt { (topic.name()) }
                dd { @for row in of(topic).take(4) { p { (row.text) } }
                    @if of(topic).count() > 4 { p class="soft" { "and " (of(topic).count() - 4) " more below" } } }
            }
        }
    }
}
