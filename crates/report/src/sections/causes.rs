//! Causes with their proofs, and what stands behind them.

use std::collections::BTreeMap;

use maud::{Markup, html};
use ulpscope_record::summary::{bisected, class_of, largest_first, measured, proved, shares_add_up};
use ulpscope_record::text::{number, percent};
use ulpscope_record::{Cause, Direction, Explanation, Origin, RunRecord};

use super::{code, or_dash, row, sentences, table, word};
use crate::bars::{Axis, ends};

pub(super) fn section(record: &RunRecord, axis: &Axis) -> Markup {
    let Some(explanation) = &record.explanation else { return Markup::default() };
    html! {
        (causes(explanation, axis))
        @if let Some(found) = &explanation.bisection { p { "By halving: " (bisected(found)) "." } }
        (counterfactuals(record, explanation, axis))
        (origins(explanation))
        (shapes(explanation))
        (truth(record, explanation))
        (sentences("Ruled out", &explanation.ruled_out))
        (sentences("What theory expects", &explanation.expected))
    }
}

fn causes(explanation: &Explanation, axis: &Axis) -> Markup {
    let additive = shares_add_up(explanation);
    let share = |cause: &Cause| {
        let [low, high] = cause.kl_share_interval.map(percent);
        html! {
            @if additive { (percent(cause.kl_share)) @if low != high { " " small { (low) " to " (high) } } }
            @else { "–" }
        }
    };
    // With the cause exchanged, over all prompts, in the arms' own format.
    let with = |cause: &Cause, direction: Direction| {
        let runs = explanation.counterfactuals.iter();
        let runs = runs.filter(|run| run.factor == cause.subject && run.direction == direction);
        let kls: Vec<f64> =
            runs.filter(|run| run.compute != cause.intrinsic_compute).map(|run| run.kl).collect();
        (!kls.is_empty()).then(|| kls.iter().sum::<f64>() / kls.len() as f64)
    };
    let rows: Vec<_> = (largest_first(explanation).into_iter())
        .map(|cause| {
            row![
                html! { (code(&cause.id)) br; small { (cause.title) } },
                code(&cause.subject),
                or_dash(cause.relation.as_deref()),
                or_dash(cause.site.as_deref()),
                proved(cause),
                share(cause),
                html! { (axis.bar("s2", cause.intrinsic_kl, None)) (measured(cause.intrinsic_kl, number)) " "
                small { (cause.intrinsic_compute) } },
                html! {
                    @match with(cause, Direction::Restored) {
                        Some(kl) => { (axis.bar("s0", kl, None)) (number(kl)) },
                        None => { "–" },
                    }
                },
                cause.remedy,
            ]
        })
        .collect();
    let head = [
        "cause",
        "subject",
        "relation",
        "first site",
        "proved",
        "#share of KL",
        "alone",
        "undone",
        "what to do",
    ];
    html! {
        (table("Causes, the largest first", &head, &rows, "No cause was proved."))
        @if !rows.is_empty() {
            p class="note" {
                "Bars are " (axis.told()) "; a ring at the left is exactly 0. "
                em { "Alone" } ": the KL that the cause makes by itself, without rounding in between. " em { "Undone" }
                ": the KL that is left without it."
                @if !additive { " The causes' effects do not add up, so that none has a share." }
            }
        }
    }
}

fn counterfactuals(record: &RunRecord, explanation: &Explanation, axis: &Axis) -> Markup {
    let noise = |prompt: usize| {
        ends(explanation.floor.logits.iter().filter(|floor| floor.prompt == prompt).map(|floor| floor.kl))
    };
    let rows: Vec<_> = (explanation.counterfactuals.iter())
        .map(|run| {
            let (what, done, class) = match run.direction {
                Direction::Restored => (code(&run.factor), word("undone"), "s0"),
                Direction::Injected => (code(&run.factor), word("alone"), "s2"),
                Direction::Neither => (html! { em { "nothing" } }, html! { "as it is" }, "s1"),
            };
            row![
                what,
                done,
                run.prompt,
                run.compute,
                axis.bar(class, run.kl, noise(run.prompt)),
                number(run.kl),
                if run.bit_equal {
                    html! { strong { "bit-equal" } }
                } else {
                    html! { (percent(run.equal)) }
                },
                number(run.max_abs),
            ]
        })
        .collect();
    let [a, b] = [&record.arms[0].name, &explanation.arm];
    let head =
        ["what was exchanged", "how", "#prompt", "format", "KL", "#KL (nats)", "#bit-equal", "#max |Δ|"];
    html! {
        @if !rows.is_empty() {
            details {
                summary { (rows.len()) " runs with one thing exchanged" }
                p {
                    em { "Undone" } ": " (b) " with what " (a) " has there, compared with " (a) ". " em { "Alone" } ": " (a)
                    " with what " (b) " has there, compared with " (b) "; in a wider format with " (a)
                    ". The grey band is " (word("noise")) "."
                }
                (table("Runs with one thing exchanged", &head, &rows, ""))
            }
        }
    }
}

/// Origins by cause, and within one by the class of their sites.
fn origins(explanation: &Explanation) -> Markup {
    let floor = &explanation.floor;
    if floor.orders.is_empty() {
        return Markup::default();
    }
    let mut by_cause: BTreeMap<Option<usize>, Vec<&Origin>> = BTreeMap::new();
    for origin in &explanation.origins {
        by_cause.entry(origin.cause).or_default().push(origin);
    }
    let name = |cause: &Option<usize>| {
        cause.and_then(|index| explanation.causes.get(index)).map_or("no known cause", |cause| &cause.id)
    };
    html! {
        h3 { "Origins" }
        p {
            (explanation.origins.len()) " " (word("sites")) " add more than " (floor.orders.len())
            " other orders of summation do (" (floor.orders.join(", ")) "). The probability that any of " (floor.tests)
            " tests names one by mistake is " (number(floor.false_alarm_rate)) "."
        }
        @for (cause, origins) in &by_cause {
            details {
                summary { (origins.len()) " × " (name(cause)) }
                (of_class(origins))
            }
        }
    }
}

fn of_class(origins: &[&Origin]) -> Markup {
    let mut classes: Vec<(&str, Vec<&Origin>)> = Vec::new();
    for origin in origins {
        let class = class_of(&origin.site);
        match classes.iter_mut().find(|(known, _)| *known == class) {
            Some((_, of)) => of.push(origin),
            None => classes.push((class, vec![origin])),
        }
    }
    let rows: Vec<_> = (classes.iter())
        .map(|(class, of)| {
            let sum = |side: usize| of.iter().map(|o| o.differing[side]).fold(0u64, u64::saturating_add);
            row![
                code(class),
                of.len(),
                code(&of[0].site),
                format!("{} of {}", sum(0), sum(1)),
                number(of.iter().map(|o| o.expected).sum()),
                number(of.iter().map(|o| o.rms_ratio).fold(f64::NAN, f64::max)),
                number(of.iter().map(|o| o.p_value).fold(f64::NAN, f64::max)),
            ]
        })
        .collect();
    let head = [
        "sites",
        "#origins",
        "the first",
        "#elements differing",
        "#expected of noise",
        "#most rms / noise",
        "#most p",
    ];
    table("Origins by kind of site", &head, &rows, "")
}

/// What the shape of the computation alone changes.
fn shapes(explanation: &Explanation) -> Markup {
    let rows: Vec<_> = (explanation.floor.shapes.iter())
        .map(|shape| {
            row![
                shape.what,
                shape.prompt,
                shape.positions,
                percent(shape.equal),
                number(shape.kl),
                number(shape.max_abs),
                percent(shape.top1_agreement),
            ]
        })
        .collect();
    let head = ["shape", "#prompt", "#positions", "#bit-equal", "#KL", "#max |Δ|", "#same top token"];
    table("What the shape alone changes in the reference's logits", &head, &rows, "")
}

fn truth(record: &RunRecord, explanation: &Explanation) -> Markup {
    let s = &explanation.signatures;
    let yes = |yes: bool| if yes { "bit-equal" } else { "different" };
    let found: Vec<String> = [
        s.position_0_equal.map(|equal| format!("Logits of position 0 are {}.", yes(equal))),
        s.shift_kl.map(|kl| format!("Shifting all positions changes the arm by KL {}.", number(kl))),
        s.growth_exponent
            .map(|e| format!("The intrinsic size grows as position to the power {}.", number(e))),
    ]
    .into_iter()
    .flatten()
    .collect();
    html! {
        @if let Some(truth) = &explanation.truth {
            h3 { "Which of the two is nearer to the truth" }
            p {
                @match &truth.nearer { Some(arm) => { (arm) " is nearer" }, None => { "Neither is nearer" } }
                ": " (record.arms[0].name) " is KL " (number(truth.kl[0])) " from it, " (explanation.arm) " is KL "
                (number(truth.kl[1])) ", taking for the truth " (truth.what) "."
            }
            @if truth.intrinsic.iter().all(|kl| kl.is_finite()) {
                p {
                    "Computed as the truth is, without rounding in between, the two are KL " (number(truth.intrinsic[0]))
                    " and " (number(truth.intrinsic[1])) " from it."
                }
            }
            (sentences("What both share and the truth does not", &truth.shared))
        }
        (sentences("Signs that tell kinds of causes apart", &found))
    }
}
