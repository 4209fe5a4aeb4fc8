//! An arm of ours against what another program recorded: every operation is judged on the
//! recording's own inputs.
//!
//! A trace can't be run again with something exchanged. What can be run is ours: a hypothesis about
//! what the other program does is proved for the trace if the operation, changed accordingly, gives
//! the trace's values on the trace's inputs. The inputs are the trace's everywhere, so that faults
//! do not hide behind each other, and each is found by itself, in forward order.
//!
//! The trace is the reference, `a`; ours is `b`.

mod account;
pub(crate) mod evidence;
pub(crate) mod formula;
pub(crate) mod found;
mod hypothesis;
mod judge;
pub(crate) mod known;
pub(crate) mod logits_only;
mod merge;
mod orders;
mod outputs;
pub(crate) mod pattern;
pub(crate) mod reading;
pub(crate) mod recorded;
mod search;
mod trial;
mod verdict;
mod weights;

use std::collections::BTreeSet;

use burn::tensor::Device;
use ulpscope_capture::{Pattern, Trace};
use ulpscope_compare::{Findings, NamedArm, Step, SurveyPlan, survey};
use ulpscope_decoder::{Site, Variant, departure::Head};
use ulpscope_record::{Arm, Coverage, First, Origin, SiteDivergence, Weights};

use crate::arms::{Answer, Stage};
use crate::error::ExplainError;
use crate::{floor, words};
use account::Account;
use judge::{Judge, Judged, Rows};
use known::Known;
use search::Search;

/// An arm, and traces of the same model from elsewhere.
#[derive(Clone)]
pub struct TracePlan<'a> {
    /// What the traces should be of.
    pub arm: NamedArm<'a>,
    /// Traces, each with the name to call it by; one prompt each.
    pub traces: Vec<(String, Trace)>,
    /// The sites to judge.
    pub sites: Pattern,
    /// Whether the arm's order of summation is the one to use. Otherwise the one is taken of which
    /// the traces have most bits.
    pub order_given: bool,
    /// The device that computes.
    pub device: Device,
}

/// Explains how traces of another program come to differ from what an arm computes.
///
/// # Errors
/// [`ExplainError`] if a trace can't be read as one of this model, or the checkpoint can't be read.
pub fn explain_trace(
    plan: &TracePlan,
    mut progress: impl FnMut(Stage, Step),
) -> Result<Answer, ExplainError> {
    let (plan, reading) = reading::read(plan)?;
    let plan = &plan;
    let mut recorded = recorded::read(plan, &reading)?;
    let mut arm = plan.arm.clone();
    if recorded.only_logits && reading.wide_logits {
        arm.semantics = arm.semantics.with(Variant::Head(Head::F32));
    }
    reading::prefix::fill(&mut recorded.references, &arm, &plan.device)?;
    let ours = arm.sums_in_order(&plan.device);
    if ours && !plan.order_given {
        let nearest = orders::nearest(plan, &recorded)?;
        if nearest.order != arm.semantics.base.accumulation {
            arm.semantics.base.accumulation = nearest.order;
            reading::prefix::fill(&mut recorded.references, &arm, &plan.device)?;
        }
        recorded.references.iter_mut().zip(nearest.rows).for_each(|(of, rows)| of.rows = rows);
    }
    let own = arm.semantics.base.accumulation;
    let orders = if ours { floor::orders(own) } else { Vec::new() };
    let surveyed = SurveyPlan { arm: &arm, orders: &orders, sites: &plan.sites, device: &plan.device };
    let mut found = survey(&surveyed, &mut recorded.references, |step| progress(Stage::Looking, step))?;

    // Sites whose inputs are missing from the trace are not judged.
    let model = plan.arm.arm.architecture();
    let standing = |s: &SiteDivergence| {
        model.site(&s.site).is_ok_and(|site| recorded.references[s.prompt].judged.contains(&site))
    };
    found.sites.retain(standing);
    found.noise.retain(standing);
    let prefixed = recorded.references.iter().any(|reference| reference.before > 0);
    let cached = match prefixed {
        true => reading::prefix::noise(&arm, &recorded.references, &orders, &plan.device)?,
        false => Vec::new(),
    };

    let rows = Rows::new(found.rows);
    let judge = Judge::calibrated(&found.sites, &found.noise, &rows, arm.arm.architecture())
        .behind_a_cache(&cached, &found.noise);
    let judged =
        found.sites.iter().map(|s| (s, judge.judge(s, rows.of(s)))).filter(|(_, judged)| judged.beyond);
    let origins: Vec<Origin> = judged.map(|(s, judged)| origin(s, &judged)).collect();
    let sites: BTreeSet<Site> = origins.iter().filter_map(|o| model.site(&o.site).ok()).collect();
    let search =
        Search::new(&arm, &recorded.references, &judge, &plan.sites, &plan.device).behind(&reading.padded);
    let outcome =
        search.run(&sites, |done, total| progress(Stage::Proving, Step { done, total: total + 1 }))?;
    let account = Account::measured(&arm, &outcome.found, &recorded.references, &orders, &plan.device)?;
    progress(Stage::Proving, Step { done: 1, total: 1 });

    let findings = Findings {
        arms: vec![described(plan, &arm), arm.described(&plan.device)],
        weights: Weights::default(),
        buffers: Vec::new(),
        logits: account.own_logits(),
        first: (0..plan.traces.len()).map(|prompt| first(&arm, prompt, &found.sites)).collect(),
        coverage: Coverage {
            sites: recorded.asked,
            compared: found.sites.len() + if recorded.only_logits { account.own_logits().len() } else { 0 },
            not_compared: recorded.missing.iter().chain(&recorded.besides).map(words::trace::gap).collect(),
        },
        sites: found.sites,
    };
    let explanation = verdict::explanation(Known {
        arm: &arm,
        recorded: &recorded,
        sites: &findings.sites,
        noise: &found.noise,
        judge: &judge,
        orders: &orders,
        outcome: &outcome,
        account: &account,
        shares: account.shares(),
        floor_kl: 0.0,
        origins,
    });
    Ok(Answer { findings, explanation, prompts: reading.prompts(plan) })
}

/// A site that introduces too much, as records have it.
fn origin(s: &SiteDivergence, judged: &Judged) -> Origin {
    Origin {
        site: s.site.clone(),
        prompt: s.prompt,
        differing: judged.differing,
        expected: judged.expected,
        rms_ratio: judged.ratio,
        p_value: judged.p_value,
        cause: None,
    }
}

/// The first site of a prompt that differs.
fn first(arm: &NamedArm, prompt: usize, sites: &[SiteDivergence]) -> First {
    let mut differing = sites.iter().filter(|s| s.prompt == prompt && s.difference.equal < 1.0);
    First { arm: arm.name.clone(), prompt, site: differing.next().map(|s| s.site.clone()) }
}

/// The traces as an arm.
fn described(plan: &TracePlan, arm: &NamedArm) -> Arm {
    let about = |key: &str| plan.traces.first().and_then(|(_, trace)| trace.about.get(key)).cloned();
    Arm {
        name: TRACE.to_owned(),
        recipe: about("recipe").unwrap_or_else(|| "not stated".to_owned()),
        attention: about("attention").unwrap_or_else(|| arm.semantics.base.attention.to_string()),
        dtype: arm.arm.dtype().to_string(),
        accumulation: about("accumulation").unwrap_or_else(|| "not stated".to_owned()),
        variants: about("variants")
            .map_or(Vec::new(), |all| all.split_whitespace().map(str::to_owned).collect()),
        model: None,
        conversions: Vec::new(),
    }
}

/// What the reference is called.
const TRACE: &str = "trace";
