//! An arm against recordings: every operation of ours on the recording's inputs.
//!
//! The recording is the reference. What a site of ours gives on its inputs, beside what it
//! recorded, is the divergence that the site *introduces*; what a free run of ours gives is what
//! has accumulated.

use std::collections::HashMap;

use burn::tensor::{Device, Tensor};
use ulpscope_capture::{Activation, Pattern};
use ulpscope_decoder::{Accumulation, Op, Part, Site, bridge};
use ulpscope_record::SiteDivergence;

use crate::CompareError;
use crate::distributions::log_probabilities;
use crate::heads::{Compared, Heads};
use crate::lockstep::Step;
use crate::plan::NamedArm;
use crate::reference::Reference;
use crate::setting::{Parts, Setting, State, in_order};
use crate::sites::{Looks, Measured};
use crate::subject::{Experiment, Made, Subject, Watch};

/// What every site of ours gives on the recordings' inputs.
#[derive(Clone, Debug)]
pub struct Survey {
    /// Ours against the recordings: introduced, and accumulated by a free run. `arm` is the arm's
    /// name.
    pub sites: Vec<SiteDivergence>,
    /// Ours in other orders against ours, on the same inputs. `arm` is the order.
    pub noise: Vec<SiteDivergence>,
    /// The tokens at which a site of a prompt differs, if it does.
    pub rows: HashMap<(Site, usize), Vec<usize>>,
}

/// What one site introduces on given inputs: `taught` beside the recording's `given`.
///
/// # Panics
/// If the two have not as many elements.
pub fn introduced(
    name: &str,
    site: Site,
    prompt: usize,
    given: &Activation,
    taught: &Activation,
) -> SiteDivergence {
    Measured::new(site, (0, prompt), given, None, Some(taught)).record(name)
}

/// What is surveyed.
#[derive(Clone, Copy)]
pub struct SurveyPlan<'s, 'a> {
    /// Ours.
    pub arm: &'s NamedArm<'a>,
    /// Orders of summation that tell what is noise.
    pub orders: &'s [Accumulation],
    /// The sites to report.
    pub sites: &'s Pattern,
    /// The device that computes.
    pub device: &'s Device,
}

/// Runs every part of the arm on the recordings' inputs, in its own order of summation and in
/// others.
///
/// Where a recording lacks a site that another part begins with, ours is filled in.
///
/// # Errors
/// [`CompareError`] if parameters can't be read.
///
/// # Panics
/// If an activation has not the shape of its site
/// ([`Architecture::shape`](ulpscope_decoder::Architecture::shape)).
pub fn survey(
    plan: &SurveyPlan,
    references: &mut [Reference],
    mut progress: impl FnMut(Step),
) -> Result<Survey, CompareError> {
    let &SurveyPlan { arm, orders, sites, device } = plan;
    let base = Setting::of(arm);
    let mut parts = Parts::new(&arm.arm, device);
    let list = base.architecture.parts();
    let others: Vec<Setting> = orders.iter().map(|&order| in_order(&base, order)).collect();
    let mut states: Vec<Option<State>> = vec![None; references.len()];
    let mut looks = Looks::default();
    let mut found = Survey { sites: Vec::new(), noise: Vec::new(), rows: HashMap::new() };
    for (done, &part) in list.iter().enumerate() {
        for (prompt, reference) in references.iter_mut().enumerate() {
            let taught = parts.by_rows(part, &base, reference)?;
            let (state, own) = parts.free(part, &base, &reference.ids, states[prompt].take())?;
            states[prompt] = Some(state);
            for (&site, t) in taught.iter().filter(|(site, _)| sites.matches(**site)) {
                let Some(a) = reference.activations.get(&site) else { continue };
                if a.shape != t.shape {
                    continue;
                }
                let rows = reference.differing_rows(&base.architecture, site, t);
                found.rows.insert((site, prompt), rows);
                let (a, t) = (reference.behind(a), reference.behind(t));
                let own = own.get(&site).map(|own| reference.behind(own));
                let mut measured = Measured::new(site, (0, prompt), &a, own.as_deref(), Some(&t));
                if let Some(own) = own.filter(|_| looks.worth(&measured)) {
                    measured.look(&a, &own, Some(&t));
                }
                found.sites.push(measured.record(&arm.name));
            }
            for (order, setting) in orders.iter().zip(&others) {
                let other = parts.forced(part, setting, &reference.ids, &reference.activations)?;
                for (site, t) in other.iter().filter(|(site, _)| sites.matches(**site)) {
                    let judged = reference.activations.get(site).is_some_and(|a| a.shape == t.shape);
                    if let Some(ours) = taught.get(site).filter(|_| judged) {
                        let (ours, t) = (reference.behind(ours), reference.behind(t));
                        found.noise.push(introduced(&order.to_string(), *site, prompt, &ours, &t));
                    }
                }
            }
            let needed = |site: &Site| site.part() == Part::Stem || site.is_output();
            for (site, t) in taught.into_iter().filter(|(site, _)| needed(site)) {
                let usable = reference.activations.get(&site).is_some_and(|a| a.shape == t.shape);
                if !usable {
                    reference.activations.insert(site, t);
                    reference.filled.insert(site);
                }
            }
        }
        progress(Step { done: done + 1, total: list.len() });
    }
    found.sites.sort_by_key(|s| s.prompt);
    Ok(found)
}

/// The linear layers of some parts at which each token has all of a recording's bits, in each of
/// some orders of summation: `[order][prompt][token]`.
///
/// # Errors
/// [`CompareError`] if parameters can't be read.
pub fn agreement(
    arm: &NamedArm,
    references: &[Reference],
    orders: &[Accumulation],
    parts: &[Part],
    device: &Device,
) -> Result<Vec<Vec<Vec<usize>>>, CompareError> {
    let base = Setting::of(arm);
    let settings: Vec<Setting> = orders.iter().map(|&order| in_order(&base, order)).collect();
    // Attention sums by shapes that a recording does not tell.
    let sums = |site: &Site| site.op() == Op::Linear;
    let none = || references.iter().map(|r| vec![0; r.ids.len()]).collect();
    let mut equal: Vec<Vec<Vec<usize>>> = orders.iter().map(|_| none()).collect();
    let mut model = Parts::new(&arm.arm, device);
    for &part in parts {
        for (setting, equal) in settings.iter().zip(&mut equal) {
            for (reference, equal) in references.iter().zip(equal) {
                let Reference { ids, activations, before, .. } = reference;
                let taught = model.forced(part, setting, ids, activations)?;
                for (site, t) in
                    taught.iter().filter(|(site, _)| sums(site) && activations.contains_key(site))
                {
                    equal[*before..].iter_mut().for_each(|sites| *sites += 1);
                    let differing = reference.differing_rows(&base.architecture, *site, t);
                    differing.into_iter().for_each(|token| equal[token] -= 1);
                }
            }
        }
    }
    Ok(equal)
}

/// A free run of a model: a setting for each of its parts.
#[derive(Clone, Debug)]
pub struct Free {
    /// Name in what is found.
    pub name: String,
    /// One for each part, in forward order.
    pub settings: Vec<Setting>,
    /// What its logits are compared with: 0 is the recording, 1 the first run.
    pub against: Vec<usize>,
    /// Whether positions and likely tokens are kept, as records have them.
    pub told: bool,
}

/// Runs models freely, and compares their logits with the recordings' and with each other's.
/// Subject 0 of what is found is the recording.
///
/// # Errors
/// [`CompareError`] if parameters can't be read.
pub fn free(
    arm: &NamedArm,
    runs: &[Free],
    references: &[Reference],
    device: &Device,
    mut progress: impl FnMut(Step),
) -> Result<Vec<Compared>, CompareError> {
    let mut parts = Parts::new(&arm.arm, device);
    let list = arm.arm.architecture().parts();
    let mut states: Vec<Vec<Option<State>>> = vec![vec![None; references.len()]; runs.len()];
    for (done, &part) in list.iter().enumerate() {
        for (run, states) in runs.iter().zip(&mut states) {
            for (reference, state) in references.iter().zip(states) {
                let (next, _) = parts.free(part, &run.settings[done], &reference.ids, state.take())?;
                *state = Some(next);
            }
        }
        progress(Step { done: done + 1, total: list.len() });
    }
    let mut compared = Vec::new();
    for (prompt, reference) in references.iter().enumerate() {
        let before = reference.before;
        let behind = |x: Tensor<3>| {
            let kept = x.dims()[1] - before;
            if before == 0 { x } else { x.narrow(1, before, kept) }
        };
        let logits = states.iter().map(|s| {
            let logits = behind(s[prompt].clone().expect("it ran").into_stream());
            if reference.log_probabilities { log_probabilities(logits, device) } else { logits }
        });
        let logits: Vec<Tensor<3>> = logits.collect();
        let recorded = reference.activations.get(&arm.arm.architecture().logits()).and_then(|a| {
            let a = reference.behind(a);
            let shape: [usize; 3] = a.shape.clone().try_into().ok()?;
            (shape == logits[0].dims()).then(|| bridge::tensor(a.values.view(), shape, device))
        });
        let subject = |name: &str, against: Vec<usize>, told: bool| Subject {
            name: name.to_owned(),
            made: Made::Arm(arm.arm.clone()),
            compute: None,
            semantics: arm.semantics.clone(),
            against,
            watch: if told { Watch::Everything } else { Watch::Logits },
        };
        let mut subjects = vec![subject("recorded", Vec::new(), false)];
        for run in runs {
            let has = |&with: &usize| with > 0 || recorded.is_some();
            subjects.push(subject(&run.name, run.against.iter().copied().filter(has).collect(), run.told));
        }
        let experiment = Experiment {
            subjects,
            prompts: references.iter().map(|r| r.ids[r.before..].to_vec()).collect(),
            sites: Pattern::all(),
            device: device.clone(),
            describe: false,
            longest_watched: usize::MAX,
            keep: false,
        };
        let mut heads = Heads::new(&experiment, prompt);
        let first = recorded.unwrap_or_else(|| logits[0].clone());
        heads.add(0, std::iter::once(first).chain(logits).collect());
        compared.extend(heads.finish());
    }
    Ok(compared)
}
