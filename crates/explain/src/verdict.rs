//! The verdict: a paragraph that a person can act on, from the numbers of the explanation alone.

use ulpscope_compare::Plan;
use ulpscope_record::summary::bisected;
use ulpscope_record::{Cause, Decision, Explanation, Status};

use crate::stats::short;

/// Causes that a paragraph names; the others are in the list of causes.
const LISTED: usize = 6;

/// What a paragraph says that no field of an explanation holds.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    /// Prompt and position from which on the arm's logits are no numbers.
    pub(crate) lost: Option<[usize; 2]>,
    /// That what differs cancels out.
    pub(crate) equivalent: Option<Equivalent>,
    /// What is said of that which differs at the first origin, where it is no cause.
    pub(crate) elsewhere: Option<String>,
    /// What differs and cancels out, beside the causes.
    pub(crate) rewritings: Vec<String>,
    /// The wide format, if no more than its rounding is left in it.
    pub(crate) wide_noise: Option<String>,
}

/// Differences that cancel out before the logits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Equivalent {
    /// Tensors that differ.
    pub(crate) tensors: usize,
    /// Whether every logit has the reference's bits.
    pub(crate) same_logits: bool,
    /// KL in the wide format of the one, or the set of them, that does most alone; 0 if none was tried.
    pub(crate) most: f64,
    /// KL in the wide format of all together.
    pub(crate) whole: f64,
    /// Whether each tensor follows a rule that was verified, or nothing is left but the rounding of the wide format.
    pub(crate) ruled: bool,
}

pub(crate) fn verdict(plan: &Plan, found: &Explanation, beside: &Beside) -> String {
    let [a, b] = [&plan.arms[0].name, &plan.arms[1].name];
    let mut said: Vec<String> = Vec::new();
    match found.status {
        Status::NoDifference => {
            said.push(format!("No difference: every logit and every site of {b} has the bits of {a}."));
            said.extend(found.ruled_out.iter().map(|what| format!("{}.", opening(what))));
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
            if let Some(equivalent) = &beside.equivalent {
                said.extend(cancelled(a, found, equivalent, beside));
                return said.join(" ");
            }
            if let Some(origin) = found.origins.first() {
                let [differing, of] = origin.differing;
                said.push(format!(
                    "First site that differs on equal inputs: {} ({differing} of {of} elements).",
                    origin.site
                ));
            }
            said.extend(
                beside.elsewhere.iter().map(|what| format!("No cause below is at work there: {what}.")),
            );
            said.extend(beside.rewritings.iter().map(|what| format!("{}.", opening(what))));
            match &found.causes[..] {
                [one] => said.extend(single(one, beside)),
                many => said.extend(several(many, found.origins.first().and_then(|o| o.cause), beside)),
            }
            if let Some(bisection) = &found.bisection {
                said.push(format!("{}.", opening(&bisected(bisection))));
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

/// What differs, where it cancels out.
fn cancelled(reference: &str, found: &Explanation, equivalent: &Equivalent, beside: &Beside) -> Vec<String> {
    let Equivalent { tensors, same_logits, most, whole, ruled } = *equivalent;
    let compute = found.counterfactuals.last().map_or("f32", |run| run.compute.as_str());
    let floor = found.causes.first().map_or(0.0, |c| c.floor_kl);
    let mut said = Vec::new();
    let above = found.growth.iter().any(|b| b.exceeds);
    said.push(match (same_logits, floor > 0.0) {
        (false, true) if above => format!(
            "{} is {reference} rewritten, and differs from it by what the rounding of that leaves: KL {}, noise floor of the \
             arithmetic {}.",
            found.arm,
            short(measured(found)),
            short(floor)
        ),
        (true, _) => format!(
            "Every logit of {} has the bits of {reference}, though what comes before differs.",
            found.arm
        ),
        (false, true) => format!(
            "{} differs from {reference} by no more than noise: KL {}, noise floor of the arithmetic {}.",
            found.arm,
            short(measured(found)),
            short(floor)
        ),
        (false, false) => {
            format!("{} hardly differs from {reference}: KL {}.", found.arm, short(measured(found)))
        }
    });
    if let Some(origin) = found.origins.first() {
        let [differing, of] = origin.differing;
        said.push(format!(
            "First site that differs on equal inputs: {} ({differing} of {of} elements).",
            origin.site
        ));
    }
    said.extend(found.causes.iter().take(LISTED).map(|c| format!("What differs: {}.", named(c))));
    said.extend(found.ruled_out.iter().map(|what| format!("{}.", opening(what))));
    if most > 0.0 {
        let rest = match &beside.wide_noise {
            Some(wide) => format!(", the rounding of {wide}"),
            None => String::new(),
        };
        said.push(format!(
            "Parts of it exchanged alone change the logits (KL up to {} in {compute}); all together they cancel out \
             (KL {}{rest}), so that no part has a share of anything.",
            short(most),
            short(whole)
        ));
    }
    if tensors > 1 && !ruled && !same_logits {
        said.push(format!(
            "As far as these prompts show, that is an equivalent rewriting between neighbouring tensors (a rescaling, a \
             permutation, a rotation or a folding). But not every tensor of it follows a rule that could be verified: a fault \
             that does no more than KL {} may be among them.",
            short(whole)
        ));
    } else if tensors > 1 {
        said.push(
            "As far as these prompts show, that is an equivalent rewriting between neighbouring tensors (a rescaling, a \
             permutation or a folding), and no fault."
                .to_owned(),
        );
    } else if same_logits {
        said.push("Nothing of it reaches a logit of these prompts; others may show it.".to_owned());
    }
    said
}

fn single(cause: &Cause, beside: &Beside) -> Vec<String> {
    let them = if of_several(cause) { "them" } else { "it" };
    let proof = if cause.bit_equal {
        format!(
            "Proved: restoring {them} in the arm makes every logit bit-equal to the reference's, and putting {them} into \
             the reference gives every bit of the arm's."
        )
    } else {
        format!(
            "Exchanging {them} changes the outcome both ways, but not to the last bit; restoring {them} removes {:.1} % of \
             the KL.",
            cause.kl_share * 100.0
        )
    };
    let first = cause.site.as_ref().filter(|_| beside.elsewhere.is_some());
    let site = first.map_or(String::new(), |site| format!(", first at {site}"));
    vec![format!("Cause: {}{site}.", named(cause)), proof]
}

/// Whether a cause's subject is more than one tensor.
fn of_several(cause: &Cause) -> bool {
    cause.subject.ends_with(" tensors)") || cause.subject.contains(" and ")
}

/// The causes, the one of the first site first.
fn several(causes: &[Cause], first: Option<usize>, beside: &Beside) -> Vec<String> {
    let rewritten = if beside.rewritings.is_empty() { "" } else { " and of what cancels out" };
    let mut said = vec![format!(
        "{} causes; restoring all of them{rewritten} makes every logit bit-equal.",
        causes.len()
    )];
    let mut order: Vec<usize> = (0..causes.len()).collect();
    order.sort_by_key(|i| first != Some(*i));
    for (i, cause) in order.into_iter().take(LISTED).map(|i| &causes[i]).enumerate() {
        let site = cause.site.as_ref().map_or(String::new(), |site| format!(", first at {site}"));
        let share = match &beside.wide_noise {
            _ if cause.kl_share < -0.005 => {
                format!(": alone put right, it makes the KL {:.1} times as large", 1.0 - cause.kl_share)
            }
            _ if !cause.kl_share.is_nan() => {
                format!(": {:.0} % of the KL without rounding in between", cause.kl_share * 100.0)
            }
            // Said once, for all of them.
            Some(_) => String::new(),
            None => ": its share can't be measured, because logits are not finite".to_owned(),
        };
        said.push(format!("({}) {}{site}{share}.", i + 1, opening(&named(cause))));
    }
    if let Some(more) = causes.len().checked_sub(LISTED).filter(|more| *more > 0) {
        said.push(format!("And {more} more."));
    }
    if let Some(wide) = &beside.wide_noise {
        said.push(format!(
            "Computed in {wide} no more than the rounding of that format is left, so that none has a share."
        ));
    }
    said
}

/// Mean KL to the reference over all positions.
fn measured(found: &Explanation) -> f64 {
    let kl: f64 = found.growth.iter().map(|b| b.kl * (b.to - b.from) as f64).sum();
    let positions: usize = found.growth.iter().map(|b| b.to - b.from).sum();
    kl / positions.max(1) as f64
}

/// How large it is, apart from rounding, and beside the noise.
fn size(found: &Explanation, beside_it: &Beside) -> String {
    let kl = measured(found);
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
             measured, and that is above any floor (noise floor of the arithmetic {}).",
            found.arm,
            short(floor)
        );
    }
    format!(
        "Intrinsic size ({compute}): KL {}; measured KL {}; noise floor of the arithmetic {}: {beside}.",
        short(intrinsic),
        short(kl),
        short(floor)
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

/// A sentence's beginning: the path of a module stays as it is.
fn opening(text: &str) -> String {
    if text.split(' ').next().is_some_and(|word| word.contains(['.', '_'])) {
        return text.to_owned();
    }
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}
