//! The verdict: a paragraph that a person can act on, from the numbers of the explanation alone.

use ulpscope_compare::Plan;
use ulpscope_record::summary::bisected;
use ulpscope_record::{Cause, Decision, Explanation, Status};

/// Causes that a paragraph names; the others are in the list of causes.
const LISTED: usize = 6;

/// What a paragraph says that no field of an explanation holds.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    /// Prompt and position from which on the arm's logits are no numbers.
    pub(crate) lost: Option<[usize; 2]>,
}

pub(crate) fn verdict(plan: &Plan, found: &Explanation, beside: &Beside) -> String {
    let [a, b] = [&plan.arms[0].name, &plan.arms[1].name];
    let mut said: Vec<String> = Vec::new();
    match found.status {
        Status::NoDifference => {
            said.push(format!("No difference: every logit and every site of {b} has the bits of {a}."));
            said.extend(found.ruled_out.iter().map(|what| format!("{}.", capital(what))));
            if let Some(truth) = &found.truth {
                said.extend(truth.shared.iter().map(|what| format!("But {what}.")));
            }
            said.push(
                "A fault in the weights or the config that both have would not show: that takes another checkpoint."
                    .to_owned(),
            );
        }
        Status::Incomplete => {
            said.push(format!(
                "Incomplete: {a}, the reference, has activations or logits that are NaN or infinite, with which nothing can \
                 be compared. Mend those first, or take the arm that has none for the reference."
            ));
            said.extend(found.causes.iter().take(LISTED).map(|c| format!("What differs: {}.", named(c))));
        }
        Status::Unexplained => {
            said.push(format!("{b} differs from {a}, and no known cause accounts for all of it."));
            said.extend(found.causes.iter().map(|c| format!("Part of it: {}.", named(c))));
        }
        Status::Explained => {
            if let Some(origin) = found.origins.first() {
                let [differing, of] = origin.differing;
                said.push(format!(
                    "First site that differs on equal inputs: {} ({differing} of {of} elements).",
                    origin.site
                ));
            }
            match &found.causes[..] {
                [one] => said.extend(single(one)),
                many => said.extend(several(many)),
            }
            if let Some(bisection) = &found.bisection {
                said.push(format!("{}.", capital(&bisected(bisection))));
            }
            said.push(size(found, beside));
            said.push(false_alarms(found));
            said.extend(decisions(found));
            if let Some(truth) = &found.truth {
                said.extend(truth.shared.iter().map(|what| format!("Besides, {what}.")));
            }
            if found.causes.iter().all(|c| !c.fault) {
                said.push("This is a choice that both sides are free to make, not a fault.".to_owned());
            }
            let mut remedies: Vec<&String> = Vec::new();
            for cause in found.causes.iter().filter(|c| c.fault) {
                if !remedies.contains(&&cause.remedy) {
                    remedies.push(&cause.remedy);
                }
            }
            said.extend(remedies.into_iter().take(LISTED).cloned());
        }
    }
    said.join(" ")
}

fn named(cause: &Cause) -> String {
    let relation = cause.relation.as_ref().map_or(String::new(), |r| format!(", {r}"));
    format!("{} ({}{relation})", cause.title, cause.subject)
}

fn single(cause: &Cause) -> Vec<String> {
    let proof = if cause.bit_equal {
        "Proved: restoring it in the arm makes every logit bit-equal to the reference's, and putting it into the \
         reference gives every bit of the arm's."
            .to_owned()
    } else {
        format!(
            "Exchanging it changes the outcome both ways, but not to the last bit; restoring it removes {:.1} % of \
             the KL.",
            cause.kl_share * 100.0
        )
    };
    vec![format!("Cause: {}.", named(cause)), proof]
}

fn several(causes: &[Cause]) -> Vec<String> {
    let mut said =
        vec![format!("{} causes; restoring all of them makes every logit bit-equal.", causes.len())];
    for (i, cause) in causes.iter().take(LISTED).enumerate() {
        let site = cause.site.as_ref().map_or(String::new(), |site| format!(", first at {site}"));
        let share = if cause.kl_share.is_nan() {
            "its share can't be measured, because logits are not finite".to_owned()
        } else {
            format!("{:.0} % of the KL without rounding in between", cause.kl_share * 100.0)
        };
        said.push(format!("({}) {}{site}: {share}.", i + 1, capital(&named(cause))));
    }
    if let Some(more) = causes.len().checked_sub(LISTED).filter(|more| *more > 0) {
        said.push(format!("And {more} more."));
    }
    said
}

/// How large it is, apart from rounding, and beside the noise.
fn size(found: &Explanation, beside_it: &Beside) -> String {
    let kl: Vec<f64> = found.growth.iter().map(|b| b.kl * (b.to - b.from) as f64).collect();
    let positions: usize = found.growth.iter().map(|b| b.to - b.from).sum();
    let kl = kl.iter().sum::<f64>() / positions.max(1) as f64;
    let intrinsic: f64 = found.causes.iter().map(|c| c.intrinsic_kl).sum();
    let compute = found.causes.first().map_or("f32", |c| c.intrinsic_compute.as_str());
    let floor = found.causes.first().map_or(0.0, |c| c.floor_kl);
    let longest = found.growth.iter().map(|b| b.to).max().unwrap_or(0);
    let beside = match (found.onset, floor > 0.0) {
        (_, false) => "there is no noise floor to hold it against".to_owned(),
        // On another prompt than the longest, or in a range that later ones of it are not like.
        (None, true) if found.growth.iter().any(|b| b.exceeds) => {
            "above the floor on some positions".to_owned()
        }
        (None, true) => format!("within the floor over these {longest} tokens"),
        (Some(0), true) => "above the floor from the first tokens on".to_owned(),
        (Some(onset), true) => format!("within the floor at first, above it from about {onset} tokens on"),
    };
    if let Some([prompt, position]) = beside_it.lost {
        let of = if found.decisions.len() > 1 { format!(" of prompt {prompt}") } else { String::new() };
        return format!(
            "The logits of {} are not numbers from position {position}{of} on, where the reference's are: no KL can be \
             measured, and that is above any floor (noise floor of the arithmetic {floor:.1e}).",
            found.arm
        );
    }
    format!(
        "Intrinsic size ({compute}): KL {intrinsic:.1e}; measured KL {kl:.1e}; noise floor of the arithmetic {floor:.1e}: {beside}."
    )
}

/// How sure it is that nothing of this is noise.
fn false_alarms(found: &Explanation) -> String {
    let floor = &found.floor;
    format!(
        "Whether a site is an origin was asked {} times, of every site and prompt, at a probability of {:.0} % that any answer \
         is a false alarm.",
        floor.tests,
        floor.false_alarm_rate * 100.0
    )
}

/// What it does to decisions, over all prompts.
fn decisions(found: &Explanation) -> Option<String> {
    let of = |count: fn(&Decision) -> usize| found.decisions.iter().map(count).sum::<usize>();
    let continued = found.decisions.iter().filter(|d| d.continued > 0).count();
    let parted: Vec<&Decision> =
        found.decisions.iter().filter(|d| d.first_different_token.is_some()).collect();
    let near = parted.iter().filter(|d| d.near_tie == Some(true)).count();
    let flips = format!(
        "Of {} most likely tokens {} flip, {} of them outside near-ties",
        of(|d| d.flips[1]),
        of(|d| d.flips[0]),
        of(|d| d.flips_outside_near_ties)
    );
    (!found.decisions.is_empty()).then(|| match continued {
        0 => format!("{flips}."),
        _ => format!(
            "{flips}; of {continued} greedy continuations {} part, {near} at a near-tie.",
            parted.len()
        ),
    })
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}
