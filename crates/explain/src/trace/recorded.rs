//! From trace files to references: which sites there are, and which there should be.

use std::collections::{BTreeMap, BTreeSet};

use ulpscope_capture::{Activations, Trace};
use ulpscope_compare::{NamedArm, Reference};
use ulpscope_decoder::{Architecture, AttentionKind, Op, Site};
use ulpscope_floats::DType;

use super::TracePlan;
use crate::error::ExplainError;

/// What the traces hold, and what they lack.
pub(super) struct Recorded {
    pub(super) references: Vec<Reference>,
    /// Sites that were asked for, times prompts.
    pub(super) asked: usize,
    /// What was asked for and can't be compared, one sentence each: below full coverage there is no verdict.
    pub(super) missing: Vec<String>,
    /// What the traces hold besides, one sentence each.
    pub(super) besides: Vec<String>,
}

pub(super) fn read(plan: &TracePlan) -> Result<Recorded, ExplainError> {
    let mut found = Recorded { references: Vec::new(), asked: 0, missing: Vec::new(), besides: Vec::new() };
    for (name, trace) in &plan.traces {
        let reference = one(plan, name, trace, &mut found)?;
        found.references.push(reference);
    }
    Ok(found)
}

fn one(plan: &TracePlan, name: &str, trace: &Trace, found: &mut Recorded) -> Result<Reference, ExplainError> {
    let refused = |reason: String| ExplainError::Trace { trace: name.to_owned(), reason };
    let ids = trace.ids().ok_or_else(|| {
        refused(match trace.about.get("ids") {
            None => "it does not say which tokens it is of; write the list of token ids into its metadata as `ids`".into(),
            Some(ids) => format!("its `ids` are `{ids}`, where a list such as [1, 17, 250] is expected"),
        })
    })?;
    let of = plan.arm.arm.architecture();
    if ids.is_empty() || ids.len() > of.max_tokens() {
        let most = of.max_tokens();
        return Err(refused(format!("it has {} tokens, and the model takes 1 to {most}", ids.len())));
    }
    if let Some(id) = ids.iter().find(|id| **id as usize >= of.vocab) {
        return Err(refused(format!("token id {id} is not in the model's vocabulary of {}", of.vocab)));
    }

    let attention = plan.arm.semantics.base.attention;
    let sites: BTreeSet<Site> = of.sites(attention).into_iter().collect();
    let mut activations = Activations::new();
    let mut besides: Vec<&str> = Vec::new();
    for (key, activation) in &trace.activations {
        match of.site(key).ok().filter(|site| sites.contains(site)) {
            Some(site) => _ = activations.insert(site, activation.clone()),
            None => besides.push(key),
        }
    }
    let skipped: Vec<&str> = trace.skipped.iter().map(String::as_str).collect();
    let kinds = [
        (besides, format!("are no sites of this model with {attention} attention")),
        (skipped, "are not in f64, f32, bf16 or f16".to_owned()),
    ];
    for (tensors, what) in kinds.into_iter().filter(|(tensors, _)| !tensors.is_empty()) {
        let said = format!("{name} holds {} tensors that {what}: {}", tensors.len(), few(&tensors));
        found.besides.push(said);
    }
    // What has another shape can't be read by the operations behind it.
    let held = activations.len();
    let mut wrong: Vec<String> = Vec::new();
    activations.retain(|site, a| {
        let ours = of.shape(*site, ids.len());
        if a.shape != ours {
            let made = format!("where {} tokens of this model make {ours:?}", ids.len());
            wrong.push(format!("{site} has the shape {:?}, {made}", a.shape));
        }
        a.shape == ours
    });
    if let Some(first) = wrong.first() {
        if 2 * wrong.len() >= held {
            return Err(refused(format!(
                "{} of its {held} sites are not of this model and these tokens: {first}",
                wrong.len()
            )));
        }
        let wrong: Vec<&str> = wrong.iter().map(String::as_str).collect();
        found.missing.push(format!("{name}: {}", few(&wrong)));
    }
    formats(plan, name, &activations)?;
    let asked: Vec<Site> = sites.into_iter().filter(|site| plan.sites.matches(*site)).collect();
    if asked.is_empty() {
        return Err(refused(format!("no site of the model matches `{}`", plan.sites)));
    }
    found.asked += asked.len();
    let absent: Vec<String> =
        asked.iter().filter(|site| !activations.contains_key(site)).map(Site::to_string).collect();
    if !absent.is_empty() {
        let absent: Vec<&str> = absent.iter().map(String::as_str).collect();
        found.missing.push(format!(
            "{name} lacks {} of {} sites: {}",
            absent.len(),
            asked.len(),
            few(&absent)
        ));
    }
    let blind = blind(&plan.arm, &asked, &activations);
    if !blind.is_empty() {
        let blind: Vec<&str> = blind.iter().map(String::as_str).collect();
        found.missing.push(format!(
            "{name} holds NaN or infinity in what {} sites read, which can't be judged: {}",
            blind.len(),
            few(&blind)
        ));
    }
    let recorded: BTreeSet<Site> = activations.keys().copied().collect();
    let judged: BTreeSet<Site> =
        recorded.iter().copied().filter(|site| stands(of, *site, &recorded, attention)).collect();
    let unfounded: Vec<String> = (asked.iter())
        .filter(|site| recorded.contains(site) && !judged.contains(site))
        .map(Site::to_string)
        .collect();
    if !unfounded.is_empty() {
        let unfounded: Vec<&str> = unfounded.iter().map(String::as_str).collect();
        found.missing.push(format!(
            "{name} lacks what {} of its sites read, so that they can't be judged: {}",
            unfounded.len(),
            few(&unfounded)
        ));
    }
    Ok(Reference { ids, activations, judged, filled: BTreeSet::new() })
}

/// Whether everything that a site reads was recorded, or follows from what was without a linear layer in between: then
/// what the site gives is not ours by more than an operation or two.
fn stands(of: &Architecture, site: Site, recorded: &BTreeSet<Site>, attention: AttentionKind) -> bool {
    let follows = |read: Site| read.op() != Op::Linear && stands(of, read, recorded, attention);
    of.reads(site, attention).into_iter().all(|read| recorded.contains(&read) || follows(read))
}

/// A trace has to be in the arm's format, most of it at least.
fn formats(plan: &TracePlan, name: &str, activations: &Activations) -> Result<(), ExplainError> {
    let mut counts: BTreeMap<&str, (usize, DType)> = BTreeMap::new();
    for activation in activations.values() {
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

/// Sites that read numbers which are none. Scores may be minus infinity where they are masked.
fn blind(arm: &NamedArm, asked: &[Site], activations: &Activations) -> Vec<String> {
    let of = arm.arm.architecture();
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
    let reads_odd = |site: &&Site| of.reads(**site, attention).iter().any(|read| odd.contains(read));
    asked.iter().filter(reads_odd).map(Site::to_string).collect()
}

/// The first names of a list, and how many more.
pub(super) fn few(names: &[&str]) -> String {
    let shown: Vec<&str> = names.iter().copied().take(4).collect();
    let more = names.len().saturating_sub(4);
    shown.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}
