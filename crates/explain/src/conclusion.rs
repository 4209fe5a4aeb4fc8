//! From what was observed and run to an explanation.

use ulpscope_compare::Plan;
use ulpscope_floats::DType;
use ulpscope_record::{Cause, Explanation, LogitDivergence, Origin, Signatures, Status};

use crate::bisect;
use crate::cancel::{Rewriting, equivalent, rewritings};
use crate::causes::{self, CauseKind};
use crate::factor::Factor;
use crate::growth;
use crate::guards::{expected, guards};
use crate::looked::Looked;
use crate::proof::Proof;
use crate::stats::mean_or_zero;
use crate::truth::truth;
use crate::verdict::{self, Beside};

/// Everything that was found out.
pub(crate) struct Known<'k, 'a> {
    pub(crate) plan: &'k Plan<'a>,
    pub(crate) looked: &'k Looked,
    pub(crate) all: &'k [Factor],
    pub(crate) proof: &'k Proof,
    pub(crate) bisected: Option<bisect::Found>,
}

pub(crate) fn conclude(known: Known) -> Explanation {
    let Known { plan, looked, all, proof, ref bisected } = known;
    let (findings, arm) = (&looked.findings, &plan.arms[1]);
    let (mut acting, idle): (Vec<usize>, Vec<usize>) = (0..all.len()).partition(|&i| proof.acts(i));
    let mut growth = growth::growth(
        &looked.observed,
        &looked.orders,
        |prompt| proof.intrinsic_by_position(prompt),
        &plan.prompts,
    );
    // An order of summation is what the floor is made of: it is above that only where a site says so. Five orders may
    // happen to round alike where a sixth does not.
    let order_alone = !acting.is_empty() && acting.iter().all(|&i| all[i].fault == causes::ORDER);
    if looked.origins.is_empty() && order_alone {
        growth.iter_mut().filter(|b| b.kl.is_finite()).for_each(|b| b.exceeds = false);
    }
    let exceeds = growth.iter().any(|b| b.exceeds);
    let differs =
        findings.first.iter().any(|f| f.site.is_some()) || findings.logits.iter().any(|l| l.equal < 1.0);
    // Next to what is no number nothing is equal or unequal.
    let blind = looked.nonfinite()[0] > 0 || findings.logits.iter().any(|l| l.nonfinite[0] > 0);

    let same_logits = findings.logits.iter().all(|l| l.equal == 1.0);
    let most = bisected.as_ref().map_or(0.0, |found| found.most);
    let equivalent = (differs && !blind && proof.complete())
        .then(|| equivalent(all, &acting, proof, (same_logits, exceeds), most))
        .flatten();
    // A rewriting beside something else is no part of that.
    let rewritings = if equivalent.is_some() { Vec::new() } else { rewritings(all, &acting, proof) };
    acting.retain(|i| !rewritings.iter().any(|rewriting| rewriting.members.contains(i)));

    let mut causes = causes(&known, &acting, exceeds);
    let origins = origins(&known, &causes, &rewritings);
    if equivalent.is_some() {
        for (cause, _) in &mut causes {
            cause.fault = false;
            cause.kl_share = f64::NAN;
            cause.kl_share_interval = [f64::NAN; 2];
            cause.remedy = String::new();
        }
    }
    let status = match (differs, proof.complete()) {
        _ if blind => Status::Incomplete,
        (false, _) => Status::NoDifference,
        (true, true) if !causes.is_empty() || equivalent.is_some() => Status::Explained,
        (true, _) => Status::Unexplained,
    };
    let position_0 = |l: &LogitDivergence| l.by_position.len() > 1 && l.by_position[0].equal == 1.0;
    let signatures = Signatures {
        position_0_equal: differs.then(|| findings.logits.iter().all(position_0)),
        shift_kl: proof.shift(),
        growth_exponent: growth::exponent(&growth),
    };
    let beside = Beside {
        lost: growth::first_lost(&looked.observed, plan.prompts.len()),
        equivalent,
        elsewhere: elsewhere(&known, &idle, &origins, &rewritings),
        rewritings: rewritings.iter().map(Rewriting::to_string).collect(),
        wide_noise: (proof.whole() <= proof.noise()).then(|| proof.wide.to_string()),
    };
    let mut explanation = Explanation {
        arm: arm.name.clone(),
        status,
        verdict: String::new(),
        judgement: None,
        causes: causes.into_iter().map(|(cause, _)| cause).collect(),
        ruled_out: idle
            .iter()
            .map(|&i| idle_factor(&all[i]))
            .chain(beside.rewritings.iter().cloned())
            .collect(),
        origins,
        onset: growth::onset(&growth),
        expected_onset: growth::expected_onset(&growth),
        floor: looked.floor.clone(),
        counterfactuals: proof.counterfactuals(all, &rewritings, &arm.arm.dtype().to_string()),
        growth,
        expected: expected(all),
        truth: Some(truth(plan, proof)),
        signatures,
        decisions: looked.decisions.clone(),
        guards: guards(plan, findings, all, looked.nonfinite()),
        bisection: known.bisected.map(|found| found.record),
    };
    explanation.guards.extend(looked.too_large.clone());
    explanation.verdict = verdict::verdict(plan, &explanation, &beside);
    explanation
}

/// The causes with their factors, the largest first.
fn causes(known: &Known, acting: &[usize], exceeds_floor: bool) -> Vec<(Cause, usize)> {
    let Known { plan, looked, all, proof, .. } = known;
    let nonfinite = looked.nonfinite();
    let floor_kl = mean_or_zero(&looked.floor.logits.iter().map(|l| l.kl).collect::<Vec<_>>());
    let cause = |i: usize| {
        let factor = &all[i];
        let fault = named(factor, plan.arms[1].arm.dtype(), nonfinite);
        let ways = proof.both_ways(i);
        let (kl_share, kl_share_interval) = proof.share(i);
        let (intrinsic_kl, intrinsic_flips) = proof.intrinsic(i);
        Cause {
            id: fault.id.to_owned(),
            title: fault.title.to_owned(),
            subject: factor.subject.clone(),
            relation: factor.relation.clone(),

            about: None,
            finding: None,
            site: if fault == causes::OVERFLOW {
                looked.findings.sites.iter().find(|s| s.nonfinite[1] > 0).map(|s| s.site.clone())
            } else {
                proof.sites(i).first().map(|s| (*s).to_owned())
            },
            necessary: ways[0],
            sufficient: ways[1],
            bit_equal: proof.bit_equal(i) == [true, true],
            kl_share,
            kl_share_interval,
            intrinsic_kl,
            intrinsic_compute: proof.wide.to_string(),
            intrinsic_flips,
            floor_kl,
            exceeds_floor,
            fault: fault.is_defect(),
            remedy: fault.remedy.to_owned(),
        }
    };
    let mut causes: Vec<(Cause, usize)> = acting.iter().map(|&i| (cause(i), i)).collect();
    // What has no size of its own, such as a rounding, by where it shows. The order of summation comes last: what it does
    // in the wide format is that format's noise, and no size of its own.
    let noise = |i: usize| all[i].fault == causes::ORDER;
    causes.sort_by(|(x, i), (y, j)| {
        let kinds = y.fault.cmp(&x.fault).then(noise(*i).cmp(&noise(*j)));
        kinds.then(y.intrinsic_kl.total_cmp(&x.intrinsic_kl)).then(i.cmp(j))
    });
    causes
}

/// The catalogue's entry of a factor; what a format overflows is a fault of its own.
fn named(factor: &Factor, dtype: DType, nonfinite: [u64; 2]) -> &'static CauseKind {
    let format = factor.fault == causes::FORMAT;
    if format && dtype == DType::F16 && nonfinite[0] == 0 && nonfinite[1] > 0 {
        return causes::OVERFLOW;
    }
    factor.fault
}

/// The origins, each with the cause that is at work there.
fn origins(known: &Known, causes: &[(Cause, usize)], rewritings: &[Rewriting]) -> Vec<Origin> {
    let mut origins = known.looked.origins.clone();
    // A cause that shows only together with another (rounded weights, with the format that needs it) has no site of its
    // own: what no other accounts for is its.
    let silent = causes.iter().position(|(cause, _)| cause.site.is_none());
    for origin in &mut origins {
        let at_work = |i: &usize| known.proof.sites(*i).contains(&origin.site.as_str());
        let cancels = rewritings.iter().flat_map(|r| &r.members).any(at_work);
        origin.cause = causes.iter().position(|(_, i)| at_work(i)).or(silent.filter(|_| !cancels));
    }
    origins
}

/// What differs at the first origin, if that is nothing that changes a logit.
fn elsewhere(known: &Known, idle: &[usize], origins: &[Origin], rewritings: &[Rewriting]) -> Option<String> {
    let first = origins.first().filter(|origin| origin.cause.is_none())?;
    let there = |i: &&usize| known.proof.sites(**i).contains(&first.site.as_str());
    if rewritings.iter().flat_map(|r| &r.members).any(|i| there(&i)) {
        return Some("what differs there cancels out".to_owned());
    }
    // A set that cancels out need not differ alone at its first site: it is the only candidate then.
    let silent = idle.iter().find(there).or(if idle.len() == 1 { idle.first() } else { None })?;
    let factor = &known.all[*silent];
    let (differ, change) = if factor.take.parameters.len() > 1 {
        ("differ", "together they change")
    } else {
        ("differs", "it changes")
    };
    Some(format!("{} {differ}, but {change} no bit of any logit", factor.subject))
}

/// What is said of a factor that changes nothing.
fn idle_factor(factor: &Factor) -> String {
    let relation = factor.relation.as_ref().map_or(String::new(), |r| format!(" ({r})"));
    let (differs, them) =
        if factor.take.parameters.len() > 1 { ("differ", "them") } else { ("differs", "it") };
    format!("{} {differs}{relation}, but exchanging {them} changes no bit of any logit here", factor.subject)
}
