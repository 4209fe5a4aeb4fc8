//! From what another program wrote to recordings of our model's sites: names, shapes, padding,
//! cached prefixes, formats.

mod attended;
mod names;
pub(super) mod padding;
pub(super) mod prefix;

use ulpscope_capture::{Activation, Activations, Trace};
use ulpscope_decoder::{Architecture, Shape, Site};
use ulpscope_floats::{DType, Floats};
use ulpscope_weights::Arm;

use super::TracePlan;
use super::formula::autocast;
use crate::error::ExplainError;

/// What was understood of recordings before they are judged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    /// One entry for each thing that a reader has to know, in the order of the traces.
    pub(crate) notes: Vec<Note>,
    /// Tokens of padding in front, of each trace that has some.
    pub(crate) padded: Vec<usize>,
    /// Whether logits hold what the arm's format can't.
    pub(crate) wide_logits: bool,
    /// Tokens of a cached prefix, of each trace.
    pub(crate) before: Vec<usize>,
}

/// Something that was understood of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// Sites under other names, or in other shapes.
    Names { renamed: usize, split: usize, shaped: usize },
    /// Tokens of padding, which are left out.
    Padding { left: usize, right: usize },
    /// Recorded behind a cached prefix of so many tokens.
    Prefix(usize),
    /// The logits are log-probabilities.
    LogProbabilities,
    /// Recorded under autocast, with products in this format.
    Autocast(DType),
    /// So many sites, from this one on, are in another format than the arm's.
    Recast { sites: usize, first: String, theirs: DType, ours: DType },
}

/// Reads the recordings of a plan; gives the plan with what they mean, and what was understood.
pub(super) fn read<'a>(plan: &TracePlan<'a>) -> Result<(TracePlan<'a>, Reading), ExplainError> {
    let mut reading = Reading::default();
    let of = plan.arm.arm.architecture();
    let mut traces = Vec::with_capacity(plan.traces.len());
    for (name, trace) in &plan.traces {
        let refused = |reason: String| ExplainError::Trace { trace: name.clone(), reason };
        let mut trace = trace.clone();
        if let Some(note) = names::understand(&mut trace, of).map_err(refused)? {
            reading.note(note);
        }
        let pads = plan.arm.arm.checkpoint().config_json();
        if let Some([left, right]) = padding::cut(&mut trace, of, pads).map_err(refused)? {
            reading.note(Note::Padding { left, right });
            if left > 0 {
                reading.padded.push(left);
            }
        }
        let before = prefix::complete(&mut trace, of).map_err(refused)?;
        if before > 0 {
            reading.note(Note::Prefix(before));
        }
        reading.before.push(before);
        if let Some(logits) = trace.activations.get(&of.logits().to_string()) {
            let distributions = of_distributions(logits, of.vocab);
            if distributions {
                reading.note(Note::LogProbabilities);
            }
            reading.wide_logits |= !distributions && wider_than(logits, plan.arm.arm.dtype());
        }
        traces.push((name.clone(), trace));
    }
    let mut plan = TracePlan {
        arm: plan.arm.clone(),
        traces,
        sites: plan.sites.clone(),
        order_given: plan.order_given,
        device: plan.device.clone(),
    };
    if let Some(dtype) = under_autocast(&plan) {
        reading.note(Note::Autocast(dtype));
        plan.arm.arm = rounded(&plan.arm.arm, dtype);
    }
    Ok((plan, reading))
}

impl Reading {
    fn note(&mut self, note: Note) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// The ids of each prompt that is compared.
    pub(super) fn prompts(&self, plan: &TracePlan) -> Vec<Vec<u32>> {
        let ids = plan.traces.iter().zip(&self.before);
        ids.map(|((_, trace), before)| trace.ids().unwrap_or_default().split_off(*before)).collect()
    }
}

/// The format of the products, if all recordings were made under autocast.
fn under_autocast(plan: &TracePlan) -> Option<DType> {
    let of = plan.arm.arm.architecture();
    let format = |trace: &Trace| {
        let sites = trace.activations.iter();
        autocast::format(of, sites.filter_map(|(name, x)| Some((of.site(name).ok()?, x.values.dtype()))))
    };
    let mut formats = plan.traces.iter().map(|(_, trace)| format(trace));
    let first = formats.next()??;
    formats.all(|other| other == Some(first)).then_some(first)
}

/// The arm with its parameters in another format, as autocast gives them to products.
fn rounded<'a>(arm: &Arm<'a>, dtype: DType) -> Arm<'a> {
    // Buffers stay as they are, which a conversion would round.
    let own = arm.recipe().to_string();
    let loaded = own == format!("load({})", arm.dtype()) || own == "load(auto)";
    let recipe = if loaded { format!("load({dtype})") } else { format!("{own}.to({dtype})") };
    match recipe.parse() {
        Ok(recipe) if arm.dtype() != dtype => Arm::new(arm.checkpoint(), recipe),
        _ => arm.clone(),
    }
}

/// Whether what was recorded as logits are log-probabilities.
pub(crate) fn are_log_probabilities(of: &Architecture, activations: &Activations) -> bool {
    activations.get(&of.logits()).is_some_and(|logits| of_distributions(logits, of.vocab))
}

/// Whether every row is the logarithm of a distribution.
fn of_distributions(logits: &Activation, vocabulary: usize) -> bool {
    let rows = logits.values.len() / vocabulary.max(1);
    let sum = |row: usize| {
        let mut values = vec![0.0; vocabulary];
        logits.values.read_f64(row * vocabulary, &mut values);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        most + values.iter().map(|x| (x - most).exp()).sum::<f64>().ln()
    };
    let near = 64.0 * logits.values.dtype().unit_roundoff().max(1e-6);
    // Rows of a prefix are not known yet.
    let unknown = |row: usize| (0..vocabulary).all(|i| logits.values.get(row * vocabulary + i) == 0.0);
    rows > 0 && (0..rows).all(|row| sum(row).abs() <= near || unknown(row)) && !unknown(rows - 1)
}

/// The rows of tokens `from..to` of an activation of this site, if it is of so many tokens.
fn rows_of(
    of: &Architecture,
    site: Site,
    x: &Activation,
    tokens: usize,
    [from, to]: [usize; 2],
) -> Option<Activation> {
    let shape = of.node(site).shape;
    if x.shape != shape.dims(tokens) {
        return None;
    }
    let kept = to - from;
    // Blocks of so many elements, of each of which a part is kept.
    let [outer, inner] = shape.blocks(tokens);
    let mut values = Vec::with_capacity(outer * kept * inner);
    for block in 0..outer {
        for token in from..to {
            let start = (block * tokens + token) * inner;
            match shape {
                Shape::Pairs(_) => values.extend((from..to).map(|key| x.values.get(start + key))),
                _ => values.extend((0..inner).map(|i| x.values.get(start + i))),
            }
        }
    }
    Some(Activation { shape: shape.dims(kept), values: Floats::from(values).cast(x.values.dtype()) })
}

/// Whether a tensor holds what a 16-bit format can't.
fn wider_than(x: &Activation, dtype: DType) -> bool {
    x.values.dtype().size() > dtype.size()
        && x.values.cast(dtype).cast(x.values.dtype()).bytes() != x.values.bytes()
}
