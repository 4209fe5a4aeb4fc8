//! What the divergence does to tokens: flips, the most likely ones side by side, and what both arms
//! say.

use maud::{Markup, html};
use ulpscope_record::summary::fork;
use ulpscope_record::text::{number, percent};
use ulpscope_record::{Decision, Explanation, RunRecord};

use super::{row, table, word};

pub(super) fn section(record: &RunRecord) -> Markup {
    html! {
        @if record.logits.is_empty() { p { "No logits were compared." } }
        @else { (side_by_side(record)) }
        @if let Some(explanation) = &record.explanation { (decisions(record, explanation)) }
        (logits(record))
    }
}

fn side_by_side(record: &RunRecord) -> Markup {
    let named = record.logits.iter().flat_map(|l| &l.by_position).any(|at| !at.top[0].is_empty());
    html! {
        p {
            @if named {
                "Of long prompts evenly spaced positions are listed, and the first at which the most likely token flips."
            } @else { "This record names the most likely token only, and the first positions are listed." }
        }
        div id="tokens" {}
    }
}

fn logits(record: &RunRecord) -> Markup {
    let rows: Vec<_> = (record.logits.iter())
        .map(|logits| {
            let [a, b] = logits.nonfinite;
            row![
                logits.arm,
                logits.prompt,
                percent(logits.equal),
                number(logits.mean_abs),
                number(logits.max_abs),
                if logits.allclose { "yes" } else { "no" },
                number(logits.kl),
                percent(logits.top1_agreement),
                format!("{a}, {b}"),
            ]
        })
        .collect();
    let head = [
        "arm",
        "#prompt",
        "#bit-equal",
        "#mean |Δ|",
        "#max |Δ|",
        "allclose",
        "#KL (nats)",
        "#same top token",
        "#not finite",
    ];
    table("Logits against the reference's", &head, &rows, "")
}

fn decisions(record: &RunRecord, explanation: &Explanation) -> Markup {
    let rows: Vec<_> = (explanation.decisions.iter())
        .map(|decision| {
            let [flips, positions] = decision.flips;
            let [low, high] = decision.nll_interval.map(number);
            row![
                decision.prompt,
                format!("{flips} of {positions}"),
                decision.flips_outside_near_ties,
                fork(decision),
                number(decision.nll_difference),
                format!("{low} to {high}"),
            ]
        })
        .collect();
    let head =
        ["#prompt", "#flips", "#clearly", "greedy continuations", "#Δ nll per token", "#95 % interval"];
    html! {
        @if !rows.is_empty() {
            p {
                "A flip is clear if it is at no " (word("near-tie")) ". nll is the negative log-likelihood of the prompt's own "
                "tokens, " (explanation.arm) " minus " (record.arms[0].name) "."
            }
        }
        (table("What it does to tokens, by prompt", &head, &rows, ""))
        (continuations(record, explanation))
    }
}

/// What both arms say after each prompt, one below the other, with the token marked at which they
/// part.
fn continuations(record: &RunRecord, explanation: &Explanation) -> Markup {
    let arms = [&record.arms[0].name, &explanation.arm];
    let said = |id: &u32| match record.token_texts.get(id) {
        Some(said) => said.replace('\n', "⏎\n"),
        None => format!("⟨{id}⟩"),
    };
    let side = |decision: &Decision, side: usize| {
        let fork = decision.first_different_token;
        let text = html! {
            span class="token" {
                @for (place, id) in decision.continued_ids[side].iter().enumerate() {
                    @if fork == Some(place) { mark class="parts" title={ "token " (id) } { (said(id)) } }
                    @else { (said(id)) }
                }
            }
        };
        row![decision.prompt, arms[side], text]
    };
    let told: Vec<_> = explanation.decisions.iter().filter(|d| !d.continued_ids[0].is_empty()).collect();
    let rows: Vec<_> = told.iter().flat_map(|decision| [side(decision, 0), side(decision, 1)]).collect();
    let near = told.iter().filter(|d| d.near_tie == Some(true)).count();
    let parted = told.iter().filter(|d| d.first_different_token.is_some()).count();
    let context = told.iter().map(|d| d.context).max().unwrap_or(0);
    html! {
        @if !rows.is_empty() {
            h3 { "Greedy continuations" }
            p {
                "Both go on with their most likely token each time, from up to " (context) " tokens at the end of the prompt. "
                (parted) " of " (told.len()) " part, at the token that is marked; " (near) " of those at a " (word("near-tie")) "."
            }
            (table("What both say", &["#prompt", "arm", "continuation"], &rows, ""))
        }
    }
}
