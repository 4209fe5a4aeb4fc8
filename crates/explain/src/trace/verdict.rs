//! What is known of a trace, as an explanation.

use std::collections::BTreeSet;

use ulpscope_compare::Observed;
use ulpscope_decoder::{Accumulation, Site};
use ulpscope_record::{
    Cause, Coverage, Explanation, Finding, Judgement, LogitDivergence, Row, Signatures, Status,
};

use super::TRACE;
use super::account::Share;
use super::evidence::Claim;
use super::found::Found;
use super::known::Known;
use super::logits_only::LogitsAlone;
use crate::arms::decisions::decisions;
use crate::judgement::Facts;
use crate::layer_groups::ranges;
use crate::statistics::mean_or_zero;
use crate::words::judgement::judgement;
use crate::words::{findings, logits, trace as words};
use crate::{causes, floor, growth};

pub(super) fn explanation(mut known: Known) -> Explanation {
    let Known { arm, recorded, account, outcome, .. } = known;
    let order_runs = account.orders();
    let names: Vec<(usize, String, Accumulation)> =
        order_runs.iter().zip(known.orders).map(|(&i, &order)| (i, order.to_string(), order)).collect();
    let mut sites = known.sites.to_vec();
    sites.extend(known.noise.iter().cloned());
    let observed = Observed { sites, logits: account.as_observed(), ..Observed::default() };
    let floor = floor::floor(&observed, &names, known.sites.len());
    known.floor_kl = mean_or_zero(&floor.logits.iter().map(|l| l.kl).collect::<Vec<_>>());
    let prompts: Vec<Vec<u32>> = recorded.references.iter().map(|r| r.ids.clone()).collect();
    let growth = if observed.logits.is_empty() {
        Vec::new()
    } else {
        growth::growth(&observed, &order_runs, |prompt| account.intrinsic_by_position(prompt), &prompts)
    };

    let exceeds = growth.iter().any(|b| b.exceeds);
    let mut causes: Vec<Cause> =
        outcome.found.iter().enumerate().map(|(i, f)| cause(&known, i, f, exceeds)).collect();
    let subjects: Vec<String> = causes.iter().map(|cause| cause.subject.clone()).collect();
    let mut origins = std::mem::take(&mut known.origins);
    for origin in &mut origins {
        let at = |f: &Found| f.sites.iter().any(|site| site.to_string() == origin.site);
        origin.cause = outcome.found.iter().position(at);
    }
    let differs = known.differs();
    if differs && origins.is_empty() {
        causes.push(order(&known, exceeds));
    }
    let found = match (differs, outcome.unexplained.is_empty()) {
        (false, _) => Status::NoDifference,
        (true, true) => Status::Explained,
        (true, false) => Status::Unexplained,
    };
    let status = if recorded.missing.is_empty() { found } else { Status::Incomplete };
    let position_0 = |l: &LogitDivergence| l.by_position.len() > 1 && l.by_position[0].equal == 1.0;
    let own_logits = account.own_logits();
    let mut explanation = Explanation {
        bisection: None,
        arm: arm.name.clone(),
        status,
        verdict: String::new(),
        judgement: None,
        causes,
        ruled_out: words::ruled_out(&known),
        origins,
        onset: growth::onset(&growth),
        expected_onset: growth::expected_onset(&growth),
        floor,
        counterfactuals: account.counterfactuals(&subjects, arm.arm.dtype()),
        signatures: Signatures {
            position_0_equal: (differs && !own_logits.is_empty()).then(|| own_logits.iter().all(position_0)),
            shift_kl: None,
            growth_exponent: growth::exponent(&growth),
        },
        growth,
        expected: Vec::new(),
        truth: None,
        decisions: decisions(&observed, &order_runs, prompts.len(), &[]),
        guards: words::guards(&known),
    };
    let rows = if recorded.only_logits {
        let alone = LogitsAlone::measured(&explanation, &own_logits);
        // Where logits are all that was asked for, nothing is missing.
        let asked = recorded.asked == recorded.references.len();
        explanation.status = if asked { alone.status() } else { Status::Incomplete };
        logits::rows(&known, &explanation, &alone, asked)
    } else {
        words::rows(&known, &explanation, found)
    };
    explanation.verdict = words::paragraph(&rows);
    explanation.judgement = Some(judged(&known, &explanation, &own_logits, rows));
    explanation
}

fn judged(known: &Known, found: &Explanation, logits: &[LogitDivergence], rows: Vec<Row>) -> Judgement {
    let coverage =
        Coverage { sites: known.recorded.asked, compared: known.sites.len(), not_compared: Vec::new() };
    let kinds = || known.outcome.found.iter().map(|f| f.claim.kind);
    let honest = !known.recorded.only_logits
        && known.outcome.unexplained.is_empty()
        && kinds().all(|kind| kind == causes::ORDER || kind == causes::LAST_BITS);
    let facts = Facts {
        found,
        logits,
        coverage: &coverage,
        differs: known.differs() || logits.iter().any(|l| l.equal < 1.0),
        blind: logits.iter().any(|l| l.nonfinite[0] > 0),
        lost: None,
        noise_alone: honest,
        recast: known.recast(),
        together: known.account.together(),
    };
    judgement(&facts, [TRACE, &known.arm.name], rows)
}

fn cause(known: &Known, index: usize, f: &Found, exceeds_floor: bool) -> Cause {
    let account = known.account;
    let (intrinsic_kl, intrinsic_flips) = account.intrinsic(index);
    let share = known.shares.as_ref().map_or(Share::UNKNOWN, |shares| shares[index]);
    Cause {
        relation: Some(words::relation_of(f)),
        site: f.sites.first().map(Site::to_string),
        necessary: f.ran(),
        kl_share: share.share,
        kl_share_interval: share.interval,
        intrinsic_kl,
        intrinsic_flips,
        ..claimed(known, &f.claim, exceeds_floor)
    }
}

/// Where all that differs is within what orders do.
fn order(known: &Known, exceeds_floor: bool) -> Cause {
    let ours = known.arm.semantics.base.accumulation.to_string();
    let rows = known.rows();
    let finding = match rows.is_empty() {
        true => Finding::new("order-unknown"),
        false => {
            let orders: Vec<&str> = rows.keys().map(String::as_str).collect();
            let tokens: BTreeSet<usize> = rows.values().flatten().copied().collect();
            Finding::new("order-by-row").with("trace", orders.join(", ")).with("tokens", ranges(tokens))
        }
    };
    let finding = finding.with("ours", ours);
    let claim = Claim::of_arithmetic(causes::ORDER, "accumulation", finding);
    let site = known.sites.iter().find(|s| s.introduced.equal < 1.0).map(|s| s.site.clone());
    Cause { site, ..claimed(known, &claim, exceeds_floor) }
}

/// A claim as records have it, before it is measured.
fn claimed(known: &Known, claim: &Claim, exceeds_floor: bool) -> Cause {
    let kind = claim.kind;
    Cause {
        id: kind.id.to_owned(),
        title: kind.title.to_owned(),
        subject: words::subject(claim),
        about: Some(claim.about.clone()),
        relation: Some(findings::relation(&claim.evidence)),
        finding: Some(claim.evidence.finding()),
        site: None,
        necessary: false,
        // That would be to mend the program that made the trace.
        sufficient: false,
        bit_equal: false,
        kl_share: f64::NAN,
        kl_share_interval: [f64::NAN; 2],
        intrinsic_kl: f64::NAN,
        intrinsic_compute: known.account.format.to_string(),
        intrinsic_flips: [0, 0],
        floor_kl: known.floor_kl,
        exceeds_floor,
        fault: kind.is_defect(),
        remedy: kind.remedy.to_owned(),
    }
}
