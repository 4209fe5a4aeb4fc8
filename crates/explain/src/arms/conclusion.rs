//! From what was observed and run to an explanation.

use ulpscope_compare::{Findings, Plan};
use ulpscope_floats::DType;
use ulpscope_record::{Bucket, Cause, Explanation, LogitDivergence, Origin, Signatures, Status};

use crate::arms::baseline::Baseline;
use crate::arms::bisect;
use crate::arms::cancel::{Rewriting, equivalent, rewritings};
use crate::arms::factor::Factor;
use crate::arms::guards::{expected, guards};
use crate::arms::proof::Proof;
use crate::arms::truth::truth;
use crate::causes::{self, CauseKind};
use crate::growth;
use crate::judgement::Facts;
use crate::statistics::mean_or_zero;
use crate::words::arms::{self as words, Extras};
use crate::words::judgement::{judgement, paragraph};

/// Everything that was found out.
pub(crate) struct Inputs<'k, 'a> {
    pub(crate) plan: &'k Plan<'a>,
    pub(crate) baseline: &'k Baseline,
    pub(crate) all: &'k [Factor],
    pub(crate) proof: &'k Proof,
    pub(crate) bisected: Option<bisect::Found>,
}

pub(crate) fn conclude(inputs: Inputs) -> Explanation {
    let Inputs { plan, baseline, all, proof, ref bisected } = inputs;
    let (findings, arm) = (&baseline.findings, &plan.arms[1]);
    let (mut acting, idle): (Vec<usize>, Vec<usize>) = (0..all.len()).partition(|&i| proof.acts(i));
    let order_alone = !acting.is_empty() && acting.iter().all(|&i| all[i].cause == causes::ORDER);
    let growth = growth(&inputs, order_alone);
    let exceeds = growth.iter().any(|b| b.exceeds);
    let differs = differs(findings);
    // Next to what is no number nothing is equal or unequal.
    let blind = baseline.nonfinite()[0] > 0 || findings.logits.iter().any(|l| l.nonfinite[0] > 0);
    let same_logits = findings.logits.iter().all(|l| l.equal == 1.0);
    let most = bisected.as_ref().map_or(0.0, |found| found.most);
    let equivalent = (differs && !blind && proof.complete())
        .then(|| equivalent(all, &acting, proof, (same_logits, exceeds), most))
        .flatten();
    // A rewriting beside something else is no part of that.
    let rewritings = if equivalent.is_some() { Vec::new() } else { rewritings(all, &acting, proof) };
    acting.retain(|i| !rewritings.iter().any(|rewriting| rewriting.members.contains(i)));

    let mut causes = causes(&inputs, &acting, exceeds);
    let origins = origins(&inputs, &causes, &rewritings);
    first_sites(&mut causes, &origins);
    if equivalent.is_some() {
        causes.iter_mut().for_each(|(cause, _)| absolve(cause));
    }
    let accounted = proof.complete() && (!causes.is_empty() || equivalent.is_some());
    let status = match (differs, accounted) {
        _ if blind => Status::Incomplete,
        (false, _) => Status::NoDifference,
        (true, true) => Status::Explained,
        (true, false) => Status::Unexplained,
    };
    let cancelling: Vec<String> =
        rewritings.iter().map(|r| words::cancel(r, all, &proof.wide.to_string())).collect();
    let extras = Extras {
        equivalent,
        elsewhere: elsewhere(&inputs, &idle, &origins, &rewritings),
        rewritings: cancelling.clone(),
        wide_noise: (proof.whole() <= proof.noise()).then(|| proof.wide.to_string()),
        rotation: acting.iter().filter_map(|&i| all[i].rotation).filter(|rad| *rad > 0.0).reduce(f64::max),
        plural: acting.first().is_some_and(|&i| all[i].is_plural()),
    };
    let named = rewritings.iter().map(|r| (words::rewritten(r, all), &r.members[..])).collect::<Vec<_>>();
    let mut explanation = Explanation {
        arm: arm.name.clone(),
        status,
        verdict: String::new(),
        judgement: None,
        causes: causes.into_iter().map(|(cause, _)| cause).collect(),
        ruled_out: idle.iter().map(|&i| words::idle(&all[i])).chain(cancelling).collect(),
        origins,
        onset: growth::onset(&growth),
        expected_onset: growth::expected_onset(&growth),
        floor: baseline.floor.clone(),
        counterfactuals: proof.counterfactuals(all, &named, &arm.arm.dtype().to_string()),
        signatures: signatures(&inputs, differs, growth::exponent(&growth)),
        growth,
        expected: expected(all),
        truth: Some(truth(plan, proof)),
        decisions: baseline.decisions.clone(),
        guards: guards(plan, findings, all, baseline.nonfinite(), exceeds),
        bisection: inputs.bisected.map(|found| found.record),
    };
    explanation.guards.extend(baseline.too_large.clone());
    let facts = Facts {
        found: &explanation,
        logits: &findings.logits,
        coverage: &findings.coverage,
        differs,
        blind,
        lost: growth::first_lost(&baseline.observed, plan.prompts.len()),
        noise_alone: order_alone && baseline.origins.is_empty(),
        recast: plan.arms[0].arm.dtype() != arm.arm.dtype(),
        together: proof.whole(),
    };
    let rows = words::rows(&facts, &facts.size(), &extras);
    let judgement = judgement(&facts, [&plan.arms[0].name, &arm.name], rows);
    explanation.verdict = paragraph(&judgement);
    Explanation { judgement: Some(judgement), ..explanation }
}

/// Whether any site or any logit differs.
fn differs(findings: &Findings) -> bool {
    findings.first.iter().any(|f| f.site.is_some()) || findings.logits.iter().any(|l| l.equal < 1.0)
}

/// Divergence by position, beside the floor. An order of summation is what the floor is made of: it
/// is above that only where a site says so. Five orders may happen to round alike where a sixth
/// does not.
fn growth(inputs: &Inputs, order_alone: bool) -> Vec<Bucket> {
    let Inputs { plan, baseline, proof, .. } = inputs;
    let intrinsic = |prompt| proof.intrinsic_by_position(prompt);
    let mut growth = growth::growth(&baseline.observed, &baseline.orders, intrinsic, &plan.prompts);
    if baseline.origins.is_empty() && order_alone {
        growth.iter_mut().filter(|b| b.kl.is_finite()).for_each(|b| b.exceeds = false);
    }
    growth
}

fn signatures(inputs: &Inputs, differs: bool, growth_exponent: Option<f64>) -> Signatures {
    let position_0 = |l: &LogitDivergence| l.by_position.len() > 1 && l.by_position[0].equal == 1.0;
    Signatures {
        position_0_equal: differs.then(|| inputs.baseline.findings.logits.iter().all(position_0)),
        shift_kl: inputs.proof.shift(),
        growth_exponent,
    }
}

/// What cancels out is no fault and has no share of anything.
fn absolve(cause: &mut Cause) {
    cause.fault = false;
    cause.kl_share = f64::NAN;
    cause.kl_share_interval = [f64::NAN; 2];
    cause.remedy = String::new();
}

/// A single cause whose own sites were not watched shows where the divergence starts.
fn first_sites(causes: &mut [(Cause, usize)], origins: &[Origin]) {
    if let [(cause, _)] = causes
        && cause.site.is_none()
    {
        cause.site = origins.first().map(|origin| origin.site.clone());
    }
}

/// The causes with their factors, the largest first.
fn causes(inputs: &Inputs, acting: &[usize], exceeds_floor: bool) -> Vec<(Cause, usize)> {
    let Inputs { plan, baseline, all, proof, .. } = inputs;
    let nonfinite = baseline.nonfinite();
    let floor_kl = mean_or_zero(&baseline.floor.logits.iter().map(|l| l.kl).collect::<Vec<_>>());
    let cause = |i: usize| {
        let factor = &all[i];
        let kind = named(factor, plan.arms[1].arm.dtype(), nonfinite);
        let ways = proof.both_ways(i);
        let (kl_share, kl_share_interval) = proof.share(i);
        let (intrinsic_kl, intrinsic_flips) = proof.intrinsic(i);
        Cause {
            id: kind.id.to_owned(),
            title: kind.title.to_owned(),
            subject: factor.subject(),
            relation: factor.relation(),

            about: Some(factor.about.clone()),
            finding: factor.finding(),
            site: if kind == causes::OVERFLOW {
                baseline.findings.sites.iter().find(|s| s.nonfinite[1] > 0).map(|s| s.site.clone())
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
            fault: kind.is_defect(),
            remedy: kind.remedy.to_owned(),
        }
    };
    let mut causes: Vec<(Cause, usize)> = acting.iter().map(|&i| (cause(i), i)).collect();
    // What has no size of its own, such as a rounding, by where it shows. The order of summation
    // comes last: what it does in the wide format is that format's noise, and no size of its own.
    let noise = |i: usize| all[i].cause == causes::ORDER;
    causes.sort_by(|(x, i), (y, j)| {
        let kinds = y.fault.cmp(&x.fault).then(noise(*i).cmp(&noise(*j)));
        kinds.then(y.intrinsic_kl.total_cmp(&x.intrinsic_kl)).then(i.cmp(j))
    });
    causes
}

/// The catalogue's entry of a factor; what a format overflows is a fault of its own.
fn named(factor: &Factor, dtype: DType, nonfinite: [u64; 2]) -> &'static CauseKind {
    let format = factor.cause == causes::FORMAT;
    if format && dtype == DType::F16 && nonfinite[0] == 0 && nonfinite[1] > 0 {
        return causes::OVERFLOW;
    }
    factor.cause
}

/// The origins, each with the cause that is at work there.
fn origins(inputs: &Inputs, causes: &[(Cause, usize)], rewritings: &[Rewriting]) -> Vec<Origin> {
    let mut origins = inputs.baseline.origins.clone();
    // A cause that shows only together with another (rounded weights, with the format that needs
    // it) has no site of its own: what no other accounts for is its.
    let silent = causes.iter().position(|(cause, _)| cause.site.is_none());
    for origin in &mut origins {
        let at_work = |i: &usize| inputs.proof.sites(*i).contains(&origin.site.as_str());
        let cancels = rewritings.iter().flat_map(|r| &r.members).any(at_work);
        origin.cause = causes.iter().position(|(_, i)| at_work(i)).or(silent.filter(|_| !cancels));
    }
    origins
}

/// What differs at the first origin, if that is nothing that changes a logit.
fn elsewhere(
    inputs: &Inputs,
    idle: &[usize],
    origins: &[Origin],
    rewritings: &[Rewriting],
) -> Option<String> {
    let first = origins.first().filter(|origin| origin.cause.is_none())?;
    let there = |i: &&usize| inputs.proof.sites(**i).contains(&first.site.as_str());
    if rewritings.iter().flat_map(|r| &r.members).any(|i| there(&i)) {
        return Some("what differs there cancels out".to_owned());
    }
    // A set that cancels out need not differ alone at its first site: it is the only candidate
    // then.
    let silent = idle.iter().find(there).or(if idle.len() == 1 { idle.first() } else { None })?;
    Some(words::silent(&inputs.all[*silent]))
}
