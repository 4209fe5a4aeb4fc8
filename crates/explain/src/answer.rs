//! From two arms to an explanation.

use std::fmt;

use ulpscope_compare::{
    CompareError, Findings, Keep, Made, Mix, NamedArm, Plan, Step, Subject, Watch, observe_keeping,
};
use ulpscope_floats::DType;
use ulpscope_llama::{Accumulation, RotaryEmbedding};
use ulpscope_record::{Cause, Explanation, Signatures, Status, Truth};

use crate::bisect::bisect;
use crate::cancel::{Rewriting, equivalent, rewritings};
use crate::catalogue::{self, Fault};
use crate::continuation;
use crate::decisions::decisions;
use crate::elsewhere::elsewhere;
use crate::error::ExplainError;
use crate::factor::{Factor, factors, many};
use crate::floor;
use crate::growth;
use crate::proof::Proof;
use crate::stats::{interval, mean_or_zero};
use crate::verdict::{self, Beside};

/// What a comparison found, and its explanation.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What a comparison of the two arms finds.
    pub findings: Findings,
    /// Why.
    pub explanation: Explanation,
}

/// What an explanation is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Both arms and the reference in other orders: where it starts, and how large noise is.
    Looking,
    /// Which of many differing tensors matter.
    Bisecting,
    /// Counterfactuals: what caused it.
    Proving,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Stage::Looking => "looking",
            Stage::Bisecting => "bisecting",
            Stage::Proving => "proving",
        })
    }
}

/// Explains how the second arm of a plan comes to differ from the first. Both continue every prompt greedily by `continued`
/// tokens, if they fit in memory.
///
/// # Errors
/// [`ExplainError`] if there are not two arms, or they can't be compared.
pub fn explain(
    plan: &Plan,
    continued: usize,
    progress: impl FnMut(Stage, Step),
) -> Result<Answer, ExplainError> {
    explain_keeping(plan, continued, &mut (), progress)
}

/// As [`explain`], keeping each stage of each group of prompts as it is finished. What is found does not depend on that.
///
/// # Errors
/// As [`explain`].
pub fn explain_keeping(
    plan: &Plan,
    continued: usize,
    keep: &mut dyn Keep,
    mut progress: impl FnMut(Stage, Step),
) -> Result<Answer, ExplainError> {
    if plan.arms.len() != 2 {
        return Err(ExplainError::Arms(plan.arms.len()));
    }
    plan.check()?;
    let (a, b) = (&plan.arms[0], &plan.arms[1]);

    // Both arms, and the reference in other orders.
    let mut experiment = plan.experiment();
    let own = a.semantics.base.accumulation;
    let ours = a.arm.dtype() != DType::F64 && ulpscope_llama::owns(&plan.device);
    let mut orders: Vec<(usize, String, Accumulation)> = Vec::new();
    for order in if ours { floor::orders(own) } else { Vec::new() } {
        let mut semantics = a.semantics.clone();
        semantics.base.accumulation = order;
        let name = format!("{}, {order}", a.name);
        orders.push((experiment.subjects.len(), name.clone(), order));
        experiment.subjects.push(Subject {
            name,
            made: Made::Mix(Mix::copy(0)),
            compute: None,
            semantics,
            against: vec![0],
            watch: Watch::Introduced,
        });
    }
    let too_large = continuation::too_large(plan).filter(|_| continued > 0);
    experiment.keep = continued > 0 && too_large.is_none();
    let mut observed = observe_keeping(&experiment, keep, |step| progress(Stage::Looking, step))?;
    let other_orders: Vec<Accumulation> = orders.iter().map(|(.., order)| *order).collect();
    let mut models = std::mem::take(&mut observed.models);
    if experiment.keep && models.is_empty() {
        // Everything was known already, and nothing was loaded.
        let load = |arm: &NamedArm| arm.arm.load(&plan.device).map(|(model, _)| model);
        models = plan.arms.iter().map(load).collect::<Result<_, _>>().map_err(CompareError::from)?;
    }
    let continuations = continuation::continuations(plan, &models, &other_orders, continued);
    drop(models);
    let findings = Findings::of(plan, &observed);
    let same_order = own == b.semantics.base.accumulation;
    let mut origins = floor::origins(&b.name, same_order, &observed, &orders);
    let mut floor = floor::floor(&observed, &orders, findings.sites.len());
    floor.shapes.extend(floor::of_other_shape(own, &observed, &orders));
    floor.shapes.extend(continuations.iter().filter_map(|c| c.shape.clone()));

    let wide = widest(plan);
    let misplaced = elsewhere(a, b, &observed.differing);
    let bisected = match many(&observed.differing, &misplaced) {
        Some(parts) => {
            let found = bisect(plan, &parts, wide, |step| progress(Stage::Bisecting, step))?;
            let names = |set: &Vec<usize>| set.iter().flat_map(|&i| parts[i].iter().cloned()).collect();
            let matter: Vec<Vec<String>> = found.named.iter().map(names).collect();
            Some((matter, found.record, found.most))
        }
        None => None,
    };
    let matter = bisected.as_ref().map(|(matter, ..)| &matter[..]);
    let all = factors(a, b, &observed.differing, &misplaced, matter);
    let shared = !shared(plan).is_empty();
    let proof = Proof::run(plan, &all, wide, shared, keep, |step| progress(Stage::Proving, step))?;

    let (mut acting, idle): (Vec<usize>, Vec<usize>) = (0..all.len()).partition(|&i| proof.acts(i));
    let mut ruled_out: Vec<String> = idle
        .iter()
        .map(|&i| {
            let Factor { subject, relation, .. } = &all[i];
            let relation = relation.as_ref().map_or(String::new(), |r| format!(" ({r})"));
            let (differs, them) =
                if all[i].take.parameters.len() > 1 { ("differ", "them") } else { ("differs", "it") };
            format!("{subject} {differs}{relation}, but exchanging {them} changes no bit of any logit here")
        })
        .collect();
    let floor_kl = mean_or_zero(&floor.logits.iter().map(|l| l.kl).collect::<Vec<_>>());
    let subjects: Vec<usize> = orders.iter().map(|(i, ..)| *i).collect();
    let mut growth =
        growth::growth(&observed, &subjects, |prompt| proof.intrinsic_by_position(prompt), &plan.prompts);
    // An order of summation is what the floor is made of: it is above that only where a site says so. Five orders may
    // happen to round alike where a sixth does not.
    if origins.is_empty() && !acting.is_empty() && acting.iter().all(|&i| all[i].fault == catalogue::ORDER) {
        growth.iter_mut().filter(|b| b.kl.is_finite()).for_each(|b| b.exceeds = false);
    }
    let nonfinite: [u64; 2] =
        findings.sites.iter().fold([0; 2], |sum, s| [sum[0] + s.nonfinite[0], sum[1] + s.nonfinite[1]]);

    let differs =
        findings.first.iter().any(|f| f.site.is_some()) || findings.logits.iter().any(|l| l.equal < 1.0);
    // Next to what is no number nothing is equal or unequal.
    let blind = nonfinite[0] > 0 || findings.logits.iter().any(|l| l.nonfinite[0] > 0);
    let same_logits = findings.logits.iter().all(|l| l.equal == 1.0);
    let most = bisected.as_ref().map_or(0.0, |(.., most)| *most);
    let exceeds = growth.iter().any(|b| b.exceeds);
    let equivalent = (differs && !blind && proof.complete() && !exceeds)
        .then(|| equivalent(&all, &acting, &proof, same_logits, most))
        .flatten();
    // A rewriting beside something else is no part of that.
    let rewritings = if equivalent.is_some() { Vec::new() } else { rewritings(&all, &acting, &proof) };
    let rewritten = |i: &usize| rewritings.iter().any(|rewriting| rewriting.members.contains(i));
    acting.retain(|i| !rewritten(i));
    ruled_out.extend(rewritings.iter().map(Rewriting::to_string));

    let mut causes: Vec<(Cause, usize)> = acting
        .iter()
        .map(|&i| {
            let factor = &all[i];
            let fault = named(factor, b.arm.dtype(), nonfinite);
            let bits = proof.bit_equal(i);
            let ways = proof.both_ways(i);
            let (kl_share, kl_share_interval) = proof.share(i);
            let (intrinsic_kl, intrinsic_flips) = proof.intrinsic(i);
            let cause = Cause {
                id: fault.id.to_owned(),
                title: fault.title.to_owned(),
                subject: factor.subject.clone(),
                relation: factor.relation.clone(),
                site: if fault == catalogue::OVERFLOW {
                    findings.sites.iter().find(|s| s.nonfinite[1] > 0).map(|s| s.site.clone())
                } else {
                    proof.sites(i).first().map(|s| (*s).to_owned())
                },
                necessary: ways[0],
                sufficient: ways[1],
                bit_equal: bits == [true, true],
                kl_share,
                kl_share_interval,
                intrinsic_kl,
                intrinsic_compute: proof.wide.to_string(),
                intrinsic_flips,
                floor_kl,
                exceeds_floor: growth.iter().any(|b| b.exceeds),
                fault: fault.fault,
                remedy: fault.remedy.to_owned(),
            };
            (cause, i)
        })
        .collect();
    // The largest first; what has no size of its own, such as a rounding, by where it shows. The order of summation
    // comes last: what it does in the wide format is that format's noise, and no size of its own.
    let noise = |i: usize| all[i].fault == catalogue::ORDER;
    causes.sort_by(|(x, i), (y, j)| {
        let kinds = y.fault.cmp(&x.fault).then(noise(*i).cmp(&noise(*j)));
        kinds.then(y.intrinsic_kl.total_cmp(&x.intrinsic_kl)).then(i.cmp(j))
    });
    for origin in &mut origins {
        // A cause that shows only together with another (rounded weights, with the format that needs it) has no site
        // of its own: what no other accounts for is its.
        let silent = causes.iter().position(|(cause, _)| cause.site.is_none());
        let at_work = |i: &usize| proof.sites(*i).contains(&origin.site.as_str());
        let cancels = rewritings.iter().flat_map(|r| &r.members).any(at_work);
        origin.cause = causes.iter().position(|(_, i)| at_work(i)).or(silent.filter(|_| !cancels));
    }

    if equivalent.is_some() {
        for (cause, _) in &mut causes {
            cause.fault = false;
            cause.kl_share = f64::NAN;
            cause.kl_share_interval = [f64::NAN; 2];
            cause.remedy = String::new();
        }
    }
    // What differs at the first origin, if that is nothing that changes a logit.
    let elsewhere = origins.first().filter(|origin| origin.cause.is_none()).and_then(|origin| {
        let there = |i: &&usize| proof.sites(**i).contains(&origin.site.as_str());
        if rewritings.iter().flat_map(|r| &r.members).any(|i| there(&i)) {
            return Some("what differs there cancels out".to_owned());
        }
        // A set that cancels out need not differ alone at its first site: it is the only candidate then.
        let silent = idle.iter().find(there).or(if idle.len() == 1 { idle.first() } else { None });
        silent.map(|&i| {
            let (differ, alone) = if all[i].take.parameters.len() > 1 {
                ("differ", "together they change")
            } else {
                ("differs", "it changes")
            };
            format!("{} {differ}, but {alone} no bit of any logit", all[i].subject)
        })
    });
    let status = match (differs, proof.complete()) {
        _ if blind => Status::Incomplete,
        (false, _) => Status::NoDifference,
        (true, true) if !causes.is_empty() || equivalent.is_some() => Status::Explained,
        (true, _) => Status::Unexplained,
    };
    let position_0 =
        |l: &ulpscope_record::LogitDivergence| l.by_position.len() > 1 && l.by_position[0].equal == 1.0;
    let signatures = Signatures {
        position_0_equal: differs.then(|| findings.logits.iter().all(position_0)),
        shift_kl: proof.shift(),
        growth_exponent: growth::exponent(&growth),
    };
    let mut explanation = Explanation {
        arm: b.name.clone(),
        status,
        verdict: String::new(),
        causes: causes.into_iter().map(|(cause, _)| cause).collect(),
        ruled_out,
        origins,
        onset: growth::onset(&growth),
        expected_onset: growth::expected_onset(&growth),
        floor,
        bisection: bisected.map(|(_, record, _)| record),
        counterfactuals: proof.counterfactuals(&all, &rewritings, &b.arm.dtype().to_string()),
        growth,
        expected: expected(&all),
        truth: Some(truth(plan, &proof)),
        signatures,
        decisions: decisions(&observed, &subjects, plan.prompts.len(), &continuations),
        guards: guards(plan, &findings, &all, nonfinite),
    };
    explanation.guards.extend(too_large);
    let beside = Beside {
        lost: growth::first_lost(&observed, plan.prompts.len()),
        equivalent,
        elsewhere,
        rewritings: rewritings.iter().map(Rewriting::to_string).collect(),
        wide_noise: (proof.whole() <= proof.noise()).then(|| proof.wide.to_string()),
    };
    explanation.verdict = verdict::verdict(plan, &explanation, &beside);
    Ok(Answer { findings, explanation })
}

/// The format that intrinsic sizes are computed in: one that both arms' roundings are small beside.
fn widest(plan: &Plan) -> DType {
    let wide = |arm: &NamedArm| matches!(arm.arm.dtype(), DType::F32 | DType::F64);
    if plan.arms.iter().any(wide) { DType::F64 } else { DType::F32 }
}

/// The catalogue's entry of a factor; what a format overflows is a fault of its own.
fn named(factor: &Factor, dtype: DType, nonfinite: [u64; 2]) -> &'static Fault {
    let format = factor.fault == catalogue::FORMAT;
    if format && dtype == DType::F16 && nonfinite[0] == 0 && nonfinite[1] > 0 {
        return catalogue::OVERFLOW;
    }
    factor.fault
}

/// Where theory expects a fault of rotation to show: an angle error of δ per position reaches 0.1 and 1 rad.
fn expected(factors: &[Factor]) -> Vec<String> {
    let of = |factor: &Factor| {
        let delta = factor.rotation.filter(|d| *d > 0.0)?;
        Some(format!(
            "{}: the frequency that is off most, by {delta:.3e} rad per position, turns queries and keys by 0.1 rad \
             too much at distance {:.0}, by 1 rad at distance {:.0}",
            factor.subject,
            (0.1 / delta).ceil(),
            (1.0 / delta).ceil()
        ))
    };
    factors.iter().filter_map(of).collect()
}

/// Which arm is nearer to the reference's stored weights, computed wide; and what both arms have that those have not.
fn truth(plan: &Plan, proof: &Proof) -> Truth {
    let [a, b] = proof.truth();
    let apart = interval(a.len(), |sample| sample.iter().map(|&i| b[i] - a[i]).sum::<f64>());
    let nearer = match apart {
        [low, _] if low > 0.0 => Some(plan.arms[0].name.clone()),
        [_, high] if high < 0.0 => Some(plan.arms[1].name.clone()),
        _ => None,
    };
    let (intrinsic, mended) = proof.intrinsic_truth();
    let mut shared = shared(plan);
    if let Some(mended) = mended {
        let [before, _] = intrinsic;
        shared.push(format!(
            "set right in {}, that takes its distance from the truth from KL {before:.1e} to {mended:.1e}, computed in {}",
            plan.arms[0].name, proof.wide
        ));
    }
    let name = if plan.arms[0].arm.dtype() == DType::F64 || proof.wide == DType::F64 { "f64" } else { "f32" };
    Truth {
        what: format!(
            "the reference's checkpoint loaded and computed in {name} by Hugging Face's arithmetic"
        ),
        kl: [mean_or_zero(&a), mean_or_zero(&b)],
        nearer,
        intrinsic,
        mended,
        shared,
    }
}

/// What both arms have that the formulas and Hugging Face's arithmetic have not, one sentence each. The truth is computed
/// by those, so that this can be seen where a comparison of the two arms shows nothing.
fn shared(plan: &Plan) -> Vec<String> {
    let mut shared = Vec::new();
    let off: Vec<(String, f64)> = plan
        .arms
        .iter()
        .filter_map(|arm| {
            let formula = RotaryEmbedding::new(arm.arm.config()).inv_freq;
            let held = arm.arm.rotary().0.inv_freq;
            let off = (0..formula.len()).map(|i| (formula.get(i) - held.get(i)).abs()).fold(0.0, f64::max);
            (off > 0.0).then(|| (held.dtype().to_string(), off))
        })
        .collect();
    if let [(a, off_a), (b, off_b)] = &off[..] {
        shared.push(format!(
            "both arms hold model.rotary_emb.inv_freq ({a} and {b}) off its formula, by up to {off_a:.1e} and {off_b:.1e} rad \
             per position ({}): a comparison of the two can't show what that does",
            catalogue::ROTARY_BUFFER.title
        ));
    }
    let first: Vec<_> = plan.arms[0].semantics.departures().collect();
    for departure in plan.arms[1].semantics.departures().filter(|d| first.contains(d)) {
        let title = catalogue::of_variant(departure.variant).title;
        shared.push(format!(
            "both arms compute with {departure} ({title}), which Hugging Face's Llama does not"
        ));
    }
    shared
}

/// What limits the verdict.
fn guards(plan: &Plan, findings: &Findings, factors: &[Factor], nonfinite: [u64; 2]) -> Vec<String> {
    let mut guards = Vec::new();
    let longest = plan.prompts.iter().map(Vec::len).max().unwrap_or(0);
    if longest < 2 {
        guards.push(
            "no prompt has more than one token: position 0 is not rotated and its softmax is 1, so that faults of \
             rotation, scale and mask can't show"
                .to_owned(),
        );
    }
    for factor in factors {
        if let Some(delta) = factor.rotation.filter(|d| *d > 0.0 && *d * (longest as f64) < 0.1) {
            guards.push(format!(
                "over {longest} tokens {} turns no query or key by more than {:.2e} rad too much; longer prompts show \
                 more of it",
                factor.subject,
                delta * longest.saturating_sub(1) as f64
            ));
        }
    }
    if nonfinite != [0, 0] {
        let first = |arm: usize| {
            let site = findings.sites.iter().find(|s| !s.first_nonfinite[arm].is_empty());
            site.map_or_else(String::new, |s| format!(" (first {} {:?})", s.site, s.first_nonfinite[arm]))
        };
        guards.push(format!(
            "{} elements of activations are NaN or infinite in a{} and {} in b{}; means leave them out",
            nonfinite[0],
            first(0),
            nonfinite[1],
            first(1)
        ));
    }
    if std::ptr::eq(plan.arms[0].arm.checkpoint(), plan.arms[1].arm.checkpoint()) {
        guards.push(
            "both arms are made of one checkpoint: a fault in its weights or its config is in both, and can't be seen \
             without another to compare with"
                .to_owned(),
        );
    }
    guards.extend(findings.coverage.not_compared.iter().map(|what| format!("not compared: {what}")));
    guards
}
