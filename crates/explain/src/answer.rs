//! From two arms to an explanation.

use std::fmt;

use ulpscope_compare::{Findings, Made, Mix, Plan, Step, Subject, Watch, observe};
use ulpscope_floats::DType;
use ulpscope_llama::Accumulation;
use ulpscope_record::{Cause, Explanation, Signatures, Status, Truth};

use crate::catalogue::{self, Fault};
use crate::decisions::decisions;
use crate::error::ExplainError;
use crate::factor::{Factor, factors};
use crate::floor;
use crate::growth;
use crate::proof::Proof;
use crate::stats::{interval, mean_or_zero};
use crate::verdict;

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
    /// Counterfactuals: what caused it.
    Proving,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Stage::Looking => "looking",
            Stage::Proving => "proving",
        })
    }
}

/// Explains how the second arm of a plan comes to differ from the first.
///
/// # Errors
/// [`ExplainError`] if there are not two arms, or they can't be compared.
pub fn explain(plan: &Plan, mut progress: impl FnMut(Stage, Step)) -> Result<Answer, ExplainError> {
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
    let observed = observe(&experiment, |step| progress(Stage::Looking, step))?;
    let findings = Findings::of(plan, &observed);
    let same_order = own == b.semantics.base.accumulation;
    let mut origins = floor::origins(&b.name, same_order, &observed, &orders);
    let floor = floor::floor(&observed, &orders, findings.sites.len());

    let all = factors(a, b, &observed.differing);
    let proof = Proof::run(plan, &all, |step| progress(Stage::Proving, step))?;

    let (acting, idle): (Vec<usize>, Vec<usize>) = (0..all.len()).partition(|&i| proof.acts(i));
    let ruled_out = idle.iter().map(|&i| {
        let Factor { subject, relation, .. } = &all[i];
        let relation = relation.as_ref().map_or(String::new(), |r| format!(" ({r})"));
        format!("{subject} differs{relation}, but exchanging it changes no bit of any logit here")
    });
    let floor_kl = mean_or_zero(&floor.logits.iter().map(|l| l.kl).collect::<Vec<_>>());
    let subjects: Vec<usize> = orders.iter().map(|(i, ..)| *i).collect();
    let growth = growth::growth(&observed, &subjects, &proof, &plan.prompts);
    let nonfinite: [u64; 2] =
        findings.sites.iter().fold([0; 2], |sum, s| [sum[0] + s.nonfinite[0], sum[1] + s.nonfinite[1]]);

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
    // The largest first; what has no size of its own, such as a rounding, by where it shows.
    causes.sort_by(|(x, i), (y, j)| {
        y.fault.cmp(&x.fault).then(y.intrinsic_kl.total_cmp(&x.intrinsic_kl)).then(i.cmp(j))
    });
    for origin in &mut origins {
        // A cause that shows only together with another (rounded weights, with the format that needs it) has no site
        // of its own: what no other accounts for is its.
        let silent = causes.iter().position(|(cause, _)| cause.site.is_none());
        origin.cause =
            causes.iter().position(|(_, i)| proof.sites(*i).contains(&origin.site.as_str())).or(silent);
    }

    let differs =
        findings.first.iter().any(|f| f.site.is_some()) || findings.logits.iter().any(|l| l.equal < 1.0);
    let status = match (differs, proof.complete()) {
        (false, _) => Status::NoDifference,
        (true, true) if !causes.is_empty() => Status::Explained,
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
        ruled_out: ruled_out.collect(),
        origins,
        onset: growth::onset(&growth),
        expected_onset: growth::expected_onset(&growth),
        floor,
        counterfactuals: proof.counterfactuals(&all, &b.arm.dtype().to_string()),
        growth,
        expected: expected(&all),
        truth: Some(truth(plan, &proof)),
        signatures,
        decisions: decisions(&observed, &subjects, plan.prompts.len()),
        guards: guards(plan, &findings, &all, nonfinite),
    };
    explanation.verdict = verdict::verdict(plan, &explanation);
    Ok(Answer { findings, explanation })
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
    let mut shared = Vec::new();
    let buffers: Vec<DType> = plan.arms.iter().map(|arm| arm.arm.recipe().buffer_dtype()).collect();
    if buffers.iter().all(|dtype| matches!(dtype, DType::Bf16 | DType::F16)) {
        shared.push(format!(
            "both arms hold model.rotary_emb.inv_freq rounded to 16 bits ({}, {}): a comparison of the two can't show \
             what that does",
            buffers[0], buffers[1]
        ));
    }
    let first: Vec<_> = plan.arms[0].semantics.departures().collect();
    for departure in plan.arms[1].semantics.departures().filter(|d| first.contains(d)) {
        shared.push(format!("both arms compute with {departure}, which Hugging Face's Llama does not"));
    }
    let name = if plan.arms[0].arm.dtype() == DType::F64 || proof.wide == DType::F64 { "f64" } else { "f32" };
    Truth {
        what: format!(
            "the reference's checkpoint loaded and computed in {name} by Hugging Face's arithmetic"
        ),
        kl: [mean_or_zero(&a), mean_or_zero(&b)],
        nearer,
        shared,
    }
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
    guards.extend(findings.coverage.not_compared.iter().map(|what| format!("not compared: {what}")));
    guards
}
