//! What two arms differ by, as rows of a judgement.

use ulpscope_record::summary::bisected;
use ulpscope_record::text::plural;
use ulpscope_record::{Cause, Consequence, Explanation, Row, Severity, Size, Status, Topic};

use super::judgement::row;
use super::{LIMITS, LISTED, opening, short};
use crate::arms::cancel::{Equivalent, Rewriting};
use crate::arms::factor::Factor;
use crate::judgement::Facts;

/// What is known beside the fields of an explanation.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    /// That what differs cancels out.
    pub(crate) equivalent: Option<Equivalent>,
    /// What differs at the first origin, where it is no cause.
    pub(crate) elsewhere: Option<String>,
    /// What differs and cancels out, beside the causes.
    pub(crate) rewritings: Vec<String>,
    /// The wide format, if no more than its rounding is left in it.
    pub(crate) wide_noise: Option<String>,
    /// Whether a single cause is of several tensors.
    pub(crate) plural: bool,
    /// The most that a cause is off by in the angle of a position, in rad.
    pub(crate) rotation: Option<f64>,
}

/// Cause, place, remedy and limits.
pub(crate) fn rows(facts: &Facts, size: &Size, extras: &Extras) -> Vec<Row> {
    let found = facts.found;
    let mut rows: Vec<Row> =
        causes(found, size, extras).into_iter().map(|text| row(Topic::Cause, text)).collect();
    rows.extend(place(found, size).map(|text| row(Topic::Where, text)));
    rows.extend(fixes(found, size, extras).into_iter().map(|text| row(Topic::Fix, text)));
    rows.extend(limits(facts, size, extras).into_iter().map(|text| row(Topic::Limit, text)));
    rows
}

fn causes(found: &Explanation, size: &Size, extras: &Extras) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    match found.status {
        Status::NoDifference => {
            texts.extend(found.ruled_out.iter().take(LIMITS).map(|what| format!("{what}.")));
        }
        Status::Incomplete => {
            texts.extend(found.causes.iter().take(LISTED).map(|c| format!("What differs: {}.", named(c))));
        }
        Status::Unexplained => {
            texts.push("No known cause accounts for all of it.".to_owned());
            texts.extend(found.causes.iter().take(LISTED).map(|c| format!("Part of it: {}.", named(c))));
        }
        Status::Explained => match &extras.equivalent {
            Some(equivalent) => return cancelled(found, equivalent, extras),
            None => {
                let several = found.causes.len() > 1;
                match &found.causes[..] {
                    [one] => texts.push(single(one, extras)),
                    many => texts.extend(together(many, size, extras)),
                }
                texts.extend(extras.elsewhere.iter().map(|what| {
                    format!(
                        "{} is at work at the first site: {what}.",
                        if several { "None" } else { "It is not what" }
                    )
                }));
            }
        },
    }
    texts.extend(extras.rewritings.iter().map(|what| format!("{what}.")));
    texts.extend(found.bisection.as_ref().map(|bisection| format!("{}.", opening(&bisected(bisection)))));
    if let Some(truth) = &found.truth {
        texts.extend(truth.shared.iter().map(|what| format!("Besides, {what}.")));
    }
    texts
}

/// A cause by name, with its subject and relation.
fn named(cause: &Cause) -> String {
    let relation = cause.relation.as_ref().map_or(String::new(), |r| format!(", {r}"));
    format!("{} ({}{relation})", cause.title, cause.subject)
}

fn single(cause: &Cause, extras: &Extras) -> String {
    let them = if extras.plural { "them" } else { "it" };
    let proof = if cause.bit_equal {
        format!("With {them} exchanged, each arm has every logit of the other")
    } else {
        format!(
            "Exchanging {them} changes the outcome both ways, but not to the last bit; restoring {them} removes {:.1} % of \
             the KL",
            cause.kl_share * 100.0
        )
    };
    format!("{}. {proof}.", opening(&named(cause)))
}

/// Several causes: each, then all together.
fn together(causes: &[Cause], size: &Size, extras: &Extras) -> Vec<String> {
    let rewritten = if extras.rewritings.is_empty() { "" } else { " and of what cancels out" };
    let mut first = format!("Restoring all {}{rewritten} makes every logit bit-equal", causes.len());
    match &extras.wide_noise {
        Some(wide) => first += &format!(". In {wide} nothing is left but rounding, so that none has a share"),
        None if !size.additive => {
            let alone: Vec<String> = causes.iter().take(3).map(|cause| short(cause.intrinsic_kl)).collect();
            let together = short(size.intrinsic_kl);
            first += &format!(". Not additive: KL {} alone, {together} together", alone.join(" and "));
        }
        None => {}
    }
    let mut texts = Vec::new();
    for (i, cause) in causes.iter().take(LISTED).enumerate() {
        let site = cause.site.as_ref().map_or(String::new(), |site| format!(", first at {site}"));
        let share = match cause.kl_share.is_finite() && size.additive {
            true => format!(": {:.0} % of the KL", cause.kl_share * 100.0),
            false => String::new(),
        };
        texts.push(format!("({} of {}) {}{site}{share}.", i + 1, causes.len(), opening(&named(cause))));
    }
    texts.extend(causes.len().checked_sub(LISTED).filter(|n| *n > 0).map(|n| format!("And {n} more.")));
    texts.push(first + ".");
    texts
}

/// What differs, where it cancels out.
fn cancelled(found: &Explanation, equivalent: &Equivalent, extras: &Extras) -> Vec<String> {
    let Equivalent { tensors, same_logits, most, whole, ruled } = *equivalent;
    let mut texts: Vec<String> =
        found.causes.iter().take(LISTED).map(|c| format!("What differs: {}.", named(c))).collect();
    texts.extend(found.ruled_out.iter().take(LIMITS).map(|what| format!("{what}.")));
    if most > 0.0 {
        let compute = found.counterfactuals.last().map_or("f32", |run| run.compute.as_str());
        let rest =
            extras.wide_noise.as_ref().map_or(String::new(), |wide| format!(", the rounding of {wide}"));
        texts.push(format!(
            "Parts of it alone change the logits (KL up to {} in {compute}); all together they cancel out (KL {}{rest}).",
            short(most),
            short(whole)
        ));
    }
    if !same_logits && found.growth.iter().any(|bucket| bucket.exceeds) {
        texts.push("What is above the noise is what the rounding of it leaves.".to_owned());
    }
    if tensors > 1 && !ruled && !same_logits {
        texts.push(format!(
            "As far as these prompts show, that is an equivalent rewriting between neighbouring tensors. But not every \
             tensor of it follows a rule that could be verified: a fault of no more than KL {} may be among them.",
            short(whole)
        ));
    } else if tensors > 1 {
        texts.push(
            "As far as these prompts show, that is an equivalent rewriting between neighbouring tensors (a rescaling, a \
             permutation or a folding), and no fault."
                .to_owned(),
        );
    } else if same_logits {
        texts.push("Nothing of it reaches a logit of these prompts; others may show it.".to_owned());
    }
    texts
}

fn place(found: &Explanation, size: &Size) -> Option<String> {
    let origin = found.origins.first()?;
    let [differing, of] = origin.differing;
    let sites = match found.origins.len() {
        1 => "no other site adds more than noise".to_owned(),
        count => format!("{count} of {} sites add more than noise", size.sites[0]),
    };
    Some(format!("Starts at {} ({differing} of {of} elements on equal inputs); {sites}.", origin.site))
}

fn fixes(found: &Explanation, size: &Size, extras: &Extras) -> Vec<String> {
    if found.status != Status::Explained || extras.equivalent.is_some() {
        return Vec::new();
    }
    let mut texts: Vec<String> = Vec::new();
    for cause in found.causes.iter().filter(|c| c.severity() == Severity::Defect) {
        if !texts.contains(&cause.remedy) {
            texts.push(cause.remedy.clone());
        }
    }
    texts.truncate(LISTED);
    if texts.is_empty() && !found.causes.is_empty() {
        let flips = match size.flips {
            0 => "flips no top token".to_owned(),
            flips => format!("flips {flips} of {} top tokens", size.positions),
        };
        texts.push(format!(
            "A choice that both sides are free to make, no fault if it was meant; this one {flips}."
        ));
    }
    texts
}

/// Whether length may hide what a divergence grows to.
fn within_noise(consequence: Consequence) -> bool {
    matches!(consequence, Consequence::Noise | Consequence::Undecided)
}

fn limits(facts: &Facts, size: &Size, extras: &Extras) -> Vec<String> {
    let (found, consequence) = (facts.found, facts.consequence(size));
    let prompts =
        if size.prompts == 1 { "one prompt".to_owned() } else { format!("{} prompts", size.prompts) };
    let hidden = extras.rotation.filter(|_| within_noise(consequence)).map_or(String::new(), |rad| {
        let tokens = (1.0 / rad).ceil();
        format!("; it grows with length, so try {tokens}")
    });
    let mut texts = vec![format!("{} of {prompts}{hidden}.", plural(size.positions, "token"))];
    if found.status == Status::NoDifference {
        texts.push("A fault in the weights or the config that both have would not show.".to_owned());
    }
    texts.extend(found.guards.iter().take(LIMITS).map(|guard| format!("{guard}.")));
    texts
}

/// What is known of a factor that changes nothing.
pub(crate) fn idle(factor: &Factor) -> String {
    let differ = if factor.is_plural() { "they differ" } else { "it differs" };
    format!("Exchanging {} changes no bit of any logit here, though {differ}", factor.described())
}

/// What differs at the first origin, where it changes no logit.
pub(crate) fn silent(factor: &Factor) -> String {
    let (differ, change) =
        if factor.is_plural() { ("differ", "together they change") } else { ("differs", "it changes") };
    format!("{} {differ}, but {change} no bit of any logit", factor.subject())
}

/// The subjects of a rewriting, as one.
pub(crate) fn rewritten(rewriting: &Rewriting, all: &[Factor]) -> String {
    rewriting.members.iter().map(|&i| all[i].subject()).collect::<Vec<_>>().join(" and ")
}

/// That a set of factors cancels out.
pub(crate) fn cancel(rewriting: &Rewriting, all: &[Factor], wide: &str) -> String {
    let members: Vec<String> = rewriting.members.iter().map(|&i| all[i].described()).collect();
    format!(
        "These cancel out: {}. Parts of that alone change the logits (KL {} in {wide}), together they do not (KL {}), so that \
         they are an equivalent rewriting and no fault",
        members.join(" and "),
        short(rewriting.parts),
        short(rewriting.kl)
    )
}
