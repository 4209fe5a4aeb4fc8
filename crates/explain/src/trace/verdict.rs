//! What is known of a trace, as an explanation.

use ulpscope_compare::{NamedArm, Observed};
use ulpscope_decoder::{Accumulation, Site};
use ulpscope_record::{Cause, Explanation, Origin, Signatures, SiteDivergence, Status};

use super::TRACE;
use super::account::{Account, of_parameter};
use super::judge::Judge;
use super::recorded::{Recorded, few};
use super::search::{Found, Outcome, Shown};
use crate::causes;
use crate::layer_groups::class;
use crate::statistics::mean_or_zero;
use crate::words::short;
use crate::{floor, growth};

/// Causes that the paragraph names.
const LISTED: usize = 6;

/// Elements that differ without a cause and do not with it, below which that may be chance: some dozens of hypotheses are
/// run.
const EVIDENCE: u64 = 8;

/// Everything that was found out.
pub(super) struct Known<'k, 'a> {
    pub(super) arm: &'k NamedArm<'a>,
    pub(super) recorded: &'k Recorded,
    pub(super) sites: &'k [SiteDivergence],
    pub(super) noise: &'k [SiteDivergence],
    pub(super) judge: &'k Judge,
    pub(super) orders: &'k [Accumulation],
    pub(super) outcome: &'k Outcome,
    pub(super) account: &'k Account,
    pub(super) origins: Vec<Origin>,
}

pub(super) fn explanation(known: &Known) -> Explanation {
    let Known { arm, recorded, account, outcome, .. } = known;
    let names: Vec<(usize, String, Accumulation)> =
        account.orders.iter().zip(known.orders).map(|(&i, &order)| (i, order.to_string(), order)).collect();
    let mut sites = known.sites.to_vec();
    sites.extend(known.noise.iter().cloned());
    let observed = Observed { sites, logits: account.as_observed(), ..Observed::default() };
    let floor = floor::floor(&observed, &names, known.sites.len());
    let floor_kl = mean_or_zero(&floor.logits.iter().map(|l| l.kl).collect::<Vec<_>>());
    let prompts: Vec<Vec<u32>> = recorded.references.iter().map(|r| r.ids.clone()).collect();
    let growth = if observed.logits.is_empty() {
        Vec::new()
    } else {
        growth::growth(&observed, &account.orders, |prompt| account.intrinsic_by_position(prompt), &prompts)
    };

    let exceeds = growth.iter().any(|b| b.exceeds);
    let mut causes: Vec<Cause> =
        outcome.found.iter().enumerate().map(|(i, f)| cause(known, i, f, floor_kl, exceeds)).collect();
    let mut origins = known.origins.clone();
    for origin in &mut origins {
        let at = |f: &Found| f.sites.iter().any(|site| site.to_string() == origin.site);
        origin.cause = outcome.found.iter().position(at);
    }
    let differs = known.sites.iter().any(|s| s.introduced.equal < 1.0);
    let quiet = differs && origins.is_empty();
    if quiet {
        causes.push(order(known, floor_kl, exceeds));
    }
    let found = match (differs, outcome.unexplained.is_empty()) {
        (false, _) => Status::NoDifference,
        (true, true) => Status::Explained,
        (true, false) => Status::Unexplained,
    };
    let status = if recorded.missing.is_empty() { found } else { Status::Incomplete };
    let position_0 =
        |l: &ulpscope_record::LogitDivergence| l.by_position.len() > 1 && l.by_position[0].equal == 1.0;
    let logits = account.own_logits();
    let mut explanation = Explanation {
        bisection: None,
        arm: arm.name.clone(),
        status,
        verdict: String::new(),
        judgement: None,
        causes,
        ruled_out: ruled_out(outcome),
        origins,
        onset: growth::onset(&growth),
        expected_onset: growth::expected_onset(&growth),
        floor,
        counterfactuals: account.counterfactuals(&outcome.found, arm.arm.dtype()),
        signatures: Signatures {
            position_0_equal: (differs && !logits.is_empty()).then(|| logits.iter().all(position_0)),
            shift_kl: None,
            growth_exponent: growth::exponent(&growth),
        },
        growth,
        expected: Vec::new(),
        truth: None,
        decisions: Vec::new(),
        guards: guards(known, &prompts),
    };
    explanation.verdict = paragraph(known, &explanation, found, floor_kl);
    explanation
}

fn cause(known: &Known, index: usize, f: &Found, floor_kl: f64, exceeds_floor: bool) -> Cause {
    let account = known.account;
    let (kl_share, kl_share_interval) = account.share(index);
    let (intrinsic_kl, intrinsic_flips) = account.intrinsic(index);
    Cause {
        id: f.fault.id.to_owned(),
        title: f.fault.title.to_owned(),
        subject: f.subject.clone(),
        relation: Some(f.relation.clone()),

        about: None,
        finding: None,
        site: f.sites.first().map(Site::to_string),
        necessary: f.ran(),
        // That would be to mend the program that made the trace.
        sufficient: false,
        bit_equal: false,
        kl_share,
        kl_share_interval,
        intrinsic_kl,
        intrinsic_compute: account.format.to_string(),
        intrinsic_flips,
        floor_kl,
        exceeds_floor,
        fault: f.fault.is_defect(),
        remedy: f.fault.remedy.to_owned(),
    }
}

/// Where all that differs is within what orders do.
fn order(known: &Known, floor_kl: f64, exceeds_floor: bool) -> Cause {
    let fault = causes::ORDER;
    Cause {
        id: fault.id.to_owned(),
        title: fault.title.to_owned(),
        subject: "order of summation".to_owned(),
        relation: Some(format!("trace: not one of ours, ours: {}", known.arm.semantics.base.accumulation)),

        about: None,
        finding: None,
        site: known.sites.iter().find(|s| s.introduced.equal < 1.0).map(|s| s.site.clone()),
        necessary: false,
        sufficient: false,
        bit_equal: false,
        kl_share: f64::NAN,
        kl_share_interval: [f64::NAN; 2],
        intrinsic_kl: f64::NAN,
        intrinsic_compute: known.account.format.to_string(),
        intrinsic_flips: [0, 0],
        floor_kl,
        exceeds_floor,
        fault: fault.is_defect(),
        remedy: fault.remedy.to_owned(),
    }
}

fn ruled_out(outcome: &Outcome) -> Vec<String> {
    let mut said = Vec::new();
    for u in &outcome.unexplained {
        let tried: Vec<&str> = u.tried.iter().map(String::as_str).collect();
        said.push(format!(
            "at {}, {} hypotheses were run and none gives the trace's values: {}",
            u.site,
            tried.len(),
            if tried.len() <= 24 { tried.join("; ") } else { tried[..24].join("; ") + "; …" }
        ));
    }
    for f in outcome.found.iter().filter(|f| !f.ties.is_empty()) {
        let ties: Vec<&str> = f.ties.iter().map(String::as_str).collect();
        said.push(format!(
            "not ruled out: instead of {} ({}), these give the same bits on these traces: {}",
            f.subject,
            f.relation,
            few(&ties)
        ));
    }
    said
}

fn guards(known: &Known, prompts: &[Vec<u32>]) -> Vec<String> {
    let mut guards = vec![
        "a trace can't be run again: what is proved is that each operation of ours, changed as stated, gives the trace's \
         values on the trace's inputs; that the other program does just this, or that mending it would mend its logits, \
         is not shown by running it"
            .to_owned(),
    ];
    guards.extend(known.recorded.missing.iter().map(|what| format!("not compared: {what}")));
    guards.extend(known.recorded.besides.iter().map(|what| format!("not compared: {what}")));
    if prompts.iter().all(|ids| ids.len() < 2) {
        guards.push(
            "no trace has more than one token: position 0 is not rotated and its softmax is 1, so that faults of \
             rotation, scale and mask can't show"
                .to_owned(),
        );
    }
    let unknown = known.judge.unknown_orders();
    if !unknown.is_empty() && known.sites.iter().any(|s| s.introduced.equal < 1.0) {
        guards.push(format!(
            "the trace's order of summation is not known at {}: there, what another order could have done counts as no \
             difference",
            few(&unknown)
        ));
    }
    for f in known.outcome.found.iter().filter(|f| f.ran() && f.evidence < EVIDENCE) {
        guards.push(format!(
            "{} ({}) rests on {} elements that differ without it; record a longer prompt to be sure",
            f.subject, f.relation, f.evidence
        ));
    }
    let kept: Vec<&str> = (known.outcome.found.iter())
        .filter(|f| f.ran() && f.changes.iter().any(|(_, _, whole)| !whole))
        .map(|f| f.subject.as_str())
        .collect();
    if !kept.is_empty() {
        guards.push(format!(
            "{} holds at single operations only, and is not part of the free runs",
            few(&kept)
        ));
    }
    guards
}

fn paragraph(known: &Known, found: &Explanation, status: Status, floor_kl: f64) -> String {
    let outcome = known.outcome;
    let compared = known.sites.len();
    let mut said: Vec<String> = Vec::new();
    if found.status == Status::Incomplete {
        let missing = known.recorded.asked.saturating_sub(compared);
        said.push(format!(
            "Incomplete: {missing} of {} sites could not be compared ({}). What could be:",
            known.recorded.asked,
            known.recorded.missing.join("; ")
        ));
    }
    match status {
        _ if compared == 0 => said.push("nothing.".to_owned()),
        Status::NoDifference => said.push(format!(
            "No difference: on the trace's inputs, each of the {compared} operations of ours has the trace's bits."
        )),
        Status::Incomplete => {}
        Status::Explained if found.origins.is_empty() => said.push(format!(
            "No fault: no operation of ours differs from the trace by more than another order of summation makes it \
             differ ({compared} sites)."
        )),
        Status::Explained | Status::Unexplained => {
            // Last bits of functions are in all that another library computes.
            let last_bits = |site: &str| {
                let mut of = outcome.found.iter().filter(|f| f.shown == Shown::LastBits);
                of.any(|f| f.sites.iter().any(|known| known.to_string() == site))
            };
            let origins = || found.origins.iter();
            if let Some(origin) = origins().find(|o| !last_bits(&o.site)).or_else(|| origins().next()) {
                let [differing, of] = origin.differing;
                said.push(format!(
                    "First site that differs on the trace's inputs: {} ({differing} of {of} elements).",
                    origin.site
                ));
            }
            let count = outcome.found.len();
            if count > 1 {
                said.push(format!("{count} causes."));
            }
            for (i, f) in outcome.found.iter().take(LISTED).enumerate() {
                let number = if count > 1 { format!("({}) ", i + 1) } else { "Cause: ".to_owned() };
                said.push(number + &one(f));
            }
            if count > LISTED {
                said.push(format!("And {} more.", count - LISTED));
            }
            if status == Status::Explained && outcome.found.iter().all(|f| !f.fault.is_defect()) {
                said.push("This is a choice that both sides are free to make, not a fault.".to_owned());
            }
            let left: Vec<String> = outcome.unexplained.iter().map(|u| u.site.to_string()).collect();
            if let Some(first) = outcome.unexplained.first() {
                let left: Vec<&str> = left.iter().map(String::as_str).collect();
                said.push(format!(
                    "No known cause accounts for {}; at {}, {}.",
                    few(&left),
                    first.site,
                    first.pattern
                ));
            }
        }
    }
    if differs(known) {
        said.extend(size(known, floor_kl));
    }
    let mut remedies: Vec<&str> =
        outcome.found.iter().filter(|f| f.fault.is_defect()).map(|f| f.fault.remedy).collect();
    remedies.dedup();
    said.extend(remedies.into_iter().take(LISTED).map(str::to_owned));
    said.join(" ")
}

fn differs(known: &Known) -> bool {
    known.sites.iter().any(|s| s.introduced.equal < 1.0)
}

/// One cause: what it is, where it holds, and how far that was shown.
fn one(f: &Found) -> String {
    let named = format!("{} ({}: {})", f.fault.title, f.subject, f.relation);
    let sites: Vec<String> = f.sites.iter().map(Site::to_string).collect();
    let mut kinds: Vec<String> = sites.iter().map(|site| class(site)).collect();
    kinds.sort();
    kinds.dedup();
    let place = match &sites[..] {
        [] => String::new(),
        [only] => format!(" at {only}"),
        [first, ..] if kinds.len() == 1 => {
            format!(" at {} sites, {}, from {first} on", sites.len(), kinds[0])
        }
        [first, ..] => format!(" at {} sites from {first} on", sites.len()),
    };
    let parameter = f.changes.iter().any(|(_, change, _)| of_parameter(change));
    let how = if parameter { "computed with that tensor" } else { "computed so" };
    let proof = match f.equal.len() {
        _ if f.shown == Shown::LastBits => {
            "Not shown by running it: recognised by the number and size of the differences.".to_owned()
        }
        _ if f.shown == Shown::Formula => format!(
            "Not shown by running the model: the formula, evaluated on the {TRACE}'s inputs, gives its values but for roundings."
        ),
        _ if f.shown == Shown::Values => {
            "Not shown by running it: read off the values that were recorded there.".to_owned()
        }
        _ if f.shown == Shown::Nearly => format!(
            "{how} on the {TRACE}'s inputs, ours differs there by no more than the last bits of the function, in which two \
             honest libraries differ."
        ),
        all if all == f.sites.len() => {
            format!("Proved for the {TRACE}: {how} on its inputs, ours has its bits there.")
        }
        0 => format!(
            "{how} on the {TRACE}'s inputs, ours differs there by no more than an order of summation makes it."
        ),
        some => format!(
            "{how} on the {TRACE}'s inputs, ours has its bits at {some} of them, and differs at the others by no more than \
             an order of summation makes it."
        ),
    };
    let ties: Vec<&str> = f.ties.iter().map(String::as_str).collect();
    let proof = match &ties[..] {
        [] => proof,
        ties => format!("{proof} So it has with {}: these traces can't tell them apart.", few(ties)),
    };
    let mut chars = proof.chars();
    let proof = chars.next().map_or(String::new(), |c| c.to_uppercase().chain(chars).collect());
    format!("{named}{place}. {proof}")
}

/// What has accumulated at the logits.
fn size(known: &Known, floor_kl: f64) -> Vec<String> {
    let [own, with] = known.account.accumulated();
    let Some(own) = own else { return vec!["The trace has no logits to compare.".to_owned()] };
    let beside = if floor_kl > 0.0 {
        format!("; noise floor of the arithmetic {}", short(floor_kl))
    } else {
        String::new()
    };
    let mut said = vec![format!("Accumulated at the logits: KL {}{beside}.", short(own))];
    let explained = known.outcome.unexplained.is_empty();
    let whole = |found: &Found| !found.changes.is_empty() && found.changes.iter().all(|(.., whole)| *whole);
    let what = if known.outcome.found.iter().filter(|found| found.fault.is_defect()).all(whole) {
        "all of that"
    } else {
        "what of that holds throughout"
    };
    match with {
        Some(_) if known.account.bit_equal() => {
            said.push(format!("Ours, run freely with {what}, has every bit of the trace's logits."));
        }
        Some(with) => {
            let rest = if explained { "" } else { "; the rest is not explained" };
            said.push(format!("Ours, run freely with {what}, is left with KL {}{rest}.", short(with)));
        }
        None => {}
    }
    said
}
