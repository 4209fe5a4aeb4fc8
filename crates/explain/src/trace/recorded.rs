//! From trace files to references: which sites there are, and which there should be.

use std::collections::{BTreeMap, BTreeSet};

use ulpscope_capture::{Activations, Trace};
use ulpscope_compare::{NamedArm, Reference};
use ulpscope_decoder::{Architecture, AttentionKind, Op, Site};
use ulpscope_floats::DType;

use super::TracePlan;
use super::reading::{self, Note, Reading};
use crate::error::ExplainError;
use crate::words::wrong_shape;

/// What the traces hold, and what they lack.
pub(crate) struct Recorded {
    pub(crate) references: Vec<Reference>,
    /// Sites that were asked for, times prompts.
    pub(crate) asked: usize,
    /// What was asked for and can't be compared: below full coverage there is no verdict.
    pub(crate) missing: Vec<Gap>,
    /// What the traces hold besides.
    pub(crate) besides: Vec<Gap>,
    /// What was understood of the traces before they were read.
    pub(crate) notes: Vec<Note>,
    /// Whether the traces hold logits and nothing else.
    pub(crate) only_logits: bool,
}

/// Sites or tensors of a trace that are not compared.
#[derive(Clone, Debug)]
pub(crate) struct Gap {
    /// What the trace is called.
    pub(crate) trace: String,
    pub(crate) reason: Reason,
    /// Which sites or tensors.
    pub(crate) names: Vec<String>,
}

/// Why something is not compared.
#[derive(Clone, Debug)]
pub(crate) enum Reason {
    /// They are no sites of the model with this attention.
    Foreign(AttentionKind),
    /// They are in no format of floating-point numbers.
    Format,
    /// Their shapes are not those that the model makes of so many tokens; the first has the one,
    /// and should have the other.
    Shape { tokens: usize, first: [Vec<usize>; 2] },
    /// They are missing, of so many.
    Absent(usize),
    /// What they read holds NaN or infinity.
    Nonfinite,
    /// What they read is missing.
    Unfounded,
}

pub(crate) fn read(plan: &TracePlan, reading: &Reading) -> Result<Recorded, ExplainError> {
    let mut found = Recorded {
        references: Vec::new(),
        asked: 0,
        missing: Vec::new(),
        besides: Vec::new(),
        notes: reading.notes.clone(),
        only_logits: false,
    };
    for ((name, trace), before) in plan.traces.iter().zip(&reading.before) {
        let mut reference = reference(plan, name, trace, &mut found)?;
        reference.before = *before;
        let note = recast(plan, reading, &reference.activations).filter(|note| !found.notes.contains(note));
        found.notes.extend(note);
        found.references.push(reference);
    }
    let logits = plan.arm.arm.architecture().logits();
    let alone = |r: &Reference| r.activations.len() == 1 && r.activations.contains_key(&logits);
    found.only_logits = !found.references.is_empty() && found.references.iter().all(alone);
    Ok(found)
}

fn reference(
    plan: &TracePlan,
    name: &str,
    trace: &Trace,
    found: &mut Recorded,
) -> Result<Reference, ExplainError> {
    let refused = |reason: String| ExplainError::Trace { trace: name.to_owned(), reason };
    let ids = trace.ids().ok_or_else(|| {
        refused(match trace.about.get("ids") {
            None => "it does not say which tokens it is of; write the list of token ids into its metadata as `ids`".into(),
            Some(ids) => format!("its `ids` are `{ids}`, where a list such as [1, 17, 250] is expected"),
        })
    })?;
    let model = plan.arm.arm.architecture();
    if ids.is_empty() || ids.len() > model.max_tokens() {
        let most = model.max_tokens();
        return Err(refused(format!("it has {} tokens, and the model takes 1 to {most}", ids.len())));
    }
    if let Some(id) = ids.iter().find(|id| **id as usize >= model.vocab) {
        return Err(refused(format!("token id {id} is not in the model's vocabulary of {}", model.vocab)));
    }

    let attention = plan.arm.semantics.base.attention;
    let sites: BTreeSet<Site> = model.sites(attention).into_iter().collect();
    let mut activations = Activations::new();
    let mut foreign: Vec<String> = Vec::new();
    for (key, activation) in &trace.activations {
        match model.site(key).ok().filter(|site| sites.contains(site)) {
            Some(site) => _ = activations.insert(site, activation.clone()),
            None => foreign.push(key.clone()),
        }
    }
    let gap = |reason: Reason, names: Vec<String>| {
        (!names.is_empty()).then(|| Gap { trace: name.to_owned(), reason, names })
    };
    found.besides.extend(gap(Reason::Foreign(attention), foreign));
    found.besides.extend(gap(Reason::Format, trace.skipped.clone()));
    let (count, tokens) = (activations.len(), ids.len());
    let wrong = drop_wrong_shapes(model, &mut activations, tokens);
    if let Some((site, first)) = wrong.first().cloned() {
        if 2 * wrong.len() >= count {
            let (shape, wrong) = (wrong_shape(&site, &first, tokens), wrong.len());
            let reason =
                format!("{wrong} of its {count} sites are not of this model and these tokens: {shape}");
            return Err(refused(reason));
        }
        let names = wrong.into_iter().map(|(site, _)| site).collect();
        found.missing.extend(gap(Reason::Shape { tokens, first }, names));
    }
    formats(plan, name, &activations)?;
    let asked: Vec<Site> = sites.into_iter().filter(|site| plan.sites.matches(*site)).collect();
    if asked.is_empty() {
        return Err(refused(format!("no site of the model matches `{}`", plan.sites)));
    }
    found.asked += asked.len();
    let absent: Vec<String> =
        asked.iter().filter(|site| !activations.contains_key(site)).map(Site::to_string).collect();
    found.missing.extend(gap(Reason::Absent(asked.len()), absent));
    let blind = blind(&plan.arm, &asked, &activations);
    let names = blind.iter().map(Site::to_string).collect();
    found.missing.extend(gap(Reason::Nonfinite, names));
    let recorded: BTreeSet<Site> = activations.keys().copied().collect();
    let log_probabilities = reading::are_log_probabilities(model, &activations);
    let judged: BTreeSet<Site> = (recorded.iter().copied())
        .filter(|site| {
            stands(model, *site, &recorded, attention)
                && !(log_probabilities && *site == model.logits())
                && !blind.contains(site)
        })
        .collect();
    let unfounded: Vec<String> = (asked.iter())
        .filter(|site| recorded.contains(site) && !judged.contains(site) && !blind.contains(site))
        .map(Site::to_string)
        .collect();
    found.missing.extend(gap(Reason::Unfounded, unfounded));
    Ok(Reference {
        ids,
        activations,
        judged,
        filled: BTreeSet::new(),
        before: 0,
        log_probabilities,
        rows: BTreeMap::new(),
    })
}

/// Takes sites out whose shapes are not those that so many tokens make: the operations behind them
/// can't read them. Returns each with its shape and the one that it should have.
fn drop_wrong_shapes(
    model: &Architecture,
    activations: &mut Activations,
    tokens: usize,
) -> Vec<(String, [Vec<usize>; 2])> {
    let mut wrong = Vec::new();
    activations.retain(|site, activation| {
        let ours = model.shape(*site, tokens);
        let fits = activation.shape == ours;
        if !fits {
            wrong.push((site.to_string(), [activation.shape.clone(), ours]));
        }
        fits
    });
    wrong
}

/// Whether everything that a site reads was recorded, or follows from what was without a linear
/// layer in between: then what the site gives is not ours by more than an operation or two.
fn stands(model: &Architecture, site: Site, recorded: &BTreeSet<Site>, attention: AttentionKind) -> bool {
    let follows = |read: Site| read.op() != Op::Linear && stands(model, read, recorded, attention);
    model.reads(site, attention).into_iter().all(|read| recorded.contains(&read) || follows(read))
}

/// A trace has to be in the arm's format, most of it at least.
fn formats(plan: &TracePlan, name: &str, activations: &Activations) -> Result<(), ExplainError> {
    let mut counts: BTreeMap<&str, (usize, DType)> = BTreeMap::new();
    let logits = plan.arm.arm.architecture().logits();
    if activations.keys().eq([&logits]) {
        return Ok(());
    }
    // Logits may be kept wider than the rest.
    for activation in activations.iter().filter(|(site, _)| **site != logits).map(|(_, x)| x) {
        let dtype = activation.values.dtype();
        counts.entry(dtype.name()).or_insert((0, dtype)).0 += 1;
    }
    let ours = plan.arm.arm.dtype();
    match counts.into_values().max_by_key(|(count, _)| *count) {
        Some((_, dtype)) if dtype != ours => Err(ExplainError::Trace {
            trace: name.to_owned(),
            reason: format!(
                "it is in {dtype}, and `{}` gives a model in {ours}; state the trace's own recipe with --recipe, such as \
                 'load({dtype})'",
                plan.arm.arm.recipe()
            ),
        }),
        Some(_) => Ok(()),
        None => Err(ExplainError::Trace {
            trace: name.to_owned(),
            reason:
                "it has no site of this model; its keys have to be sites, such as model.layers.0.mlp.up_proj"
                    .into(),
        }),
    }
}

/// Recorded sites that read numbers which are none. Scores may be minus infinity where they are
/// masked.
fn blind(arm: &NamedArm, asked: &[Site], activations: &Activations) -> BTreeSet<Site> {
    let model = arm.arm.architecture();
    let attention: AttentionKind = arm.semantics.base.attention;
    let odd = |site: &Site| {
        let scores = site.op() == Op::Scores;
        activations.get(site).is_some_and(|a| {
            (0..a.values.len()).any(|i| {
                let x = a.values.get(i);
                !(x.is_finite() || scores && x == f64::NEG_INFINITY)
            })
        })
    };
    let odd: BTreeSet<Site> = activations.keys().copied().filter(odd).collect();
    let reads_odd = |site: &&Site| model.reads(**site, attention).iter().any(|read| odd.contains(read));
    asked
        .iter()
        .copied()
        .filter(|site| activations.contains_key(site))
        .filter(|site| reads_odd(&site))
        .collect()
}

/// Sites in another format than the arm's: equal numbers are not equal bits there. Autocast is a
/// note of its own, and logits that the arm's format can't hold are computed as wide as they are.
fn recast(plan: &TracePlan, reading: &Reading, activations: &Activations) -> Option<Note> {
    if reading.notes.iter().any(|note| matches!(note, Note::Autocast(_))) {
        return None;
    }
    let (ours, logits) = (plan.arm.arm.dtype(), plan.arm.arm.architecture().logits());
    let asked = activations.iter().filter(|(site, _)| plan.sites.matches(**site));
    let asked = asked.filter(|(site, _)| !(reading.wide_logits && **site == logits));
    let mut other = asked.map(|(site, x)| (site, x.values.dtype())).filter(|(_, theirs)| *theirs != ours);
    let (first, theirs) = other.next()?;
    Some(Note::Recast { sites: 1 + other.count(), first: first.to_string(), theirs, ours })
}
