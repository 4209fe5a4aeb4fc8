//! What other architectures and runtimes compute at a site, tried on the trace's own inputs.
//!
//! Our model has no soft caps, no position biases, no LayerNorm, no cache in int8. Such formulas
//! are evaluated here, in f64 with the roundings that matter, and held against the trace's values.
//! A formula has to come much nearer to all of them than ours does, as near as a few roundings of
//! the format.

pub(crate) mod activation;
pub(crate) mod at;
pub(crate) mod attention;
pub(crate) mod autocast;
mod cache;
mod heads;
mod linear;
mod mask;
mod merged;
mod norm;
pub(crate) mod numbers;
mod prefix;
pub(crate) mod residual;
pub(crate) mod rotary;
pub(crate) mod scores;
mod temperature;
mod unrounded;

use std::fmt::Display;

use ulpscope_decoder::{Op, Role};
use ulpscope_record::Finding;

pub(super) use self::at::At;
use self::at::{Case, cast};
use crate::causes::{CauseKind, Test, operations as cause};

/// A formula that gives the trace's values.
pub(super) struct Formula {
    pub(super) kind: &'static CauseKind,
    /// What the trace does.
    pub(super) finding: Finding,
}

fn found(kind: &'static CauseKind, finding: Finding) -> Option<Formula> {
    Some(Formula { kind, finding })
}

/// A fact that names a format.
fn in_format(rule: &str, format: impl Display) -> Finding {
    Finding::new(rule).with("format", format.to_string())
}

/// The first formula that gives the trace's values at a site, if any does.
pub(super) fn formula(at: &At) -> Option<Formula> {
    let op = at.site.op();
    FORMULAS.iter().find_map(|row| match row {
        Row::Of(test) => (test.ops)(op).then(|| found(test.cause, (test.find)(at)?))?,
        Row::Several(ops, formula) => ops(op).then(|| formula(at))?,
    })
}

/// A formula, or several.
enum Row {
    /// Of one cause, as its own file has it.
    Of(&'static Test),
    /// Of several causes, for these operations.
    Several(fn(Op) -> bool, fn(&At) -> Option<Formula>),
}

use Row::{Of, Several};

const TABLE: fn(Op) -> bool = |op| matches!(op, Op::Table(_));
const NORM: fn(Op) -> bool = |op| op == Op::Norm;
const ROPE: fn(Op) -> bool = |op| matches!(op, Op::Rope(_));
const SCORES: fn(Op) -> bool = |op| op == Op::Scores;
const SOFTMAX: fn(Op) -> bool = |op| op == Op::Softmax;
const MIX: fn(Op) -> bool = |op| op == Op::Mix;
const ADD: fn(Op) -> bool = |op| matches!(op, Op::Add(_));
const LINEAR: fn(Op) -> bool = |op| op == Op::Linear;

/// Formulas in the order in which they are tried.
static FORMULAS: &[Row] = &[
    Several(TABLE, rotary::scaled),
    Several(TABLE, rotary::positions),
    Several(TABLE, rotary::frequencies),
    Of(&cause::rotary_angles_format::TEST),
    Several(NORM, unrounded::norm),
    Several(NORM, norm::of_wide_stream),
    Several(NORM, norm::other_kinds),
    Several(NORM, norm::in_steps),
    Several(NORM, norm::epsilons),
    Several(ROPE, rotary::base_here),
    Of(&cause::partial_rotary::TEST),
    Several(ROPE, rotary::other_heads),
    Several(ROPE, rotary::late),
    Several(ROPE, rotary::turned_otherwise),
    Several(ROPE, rotary::other_input),
    Several(ROPE, unrounded::rotated),
    Several(|op| op == Op::ScaleQuery, temperature::temperature),
    Several(LINEAR, linear::cut),
    Of(&cause::vocabulary_masked::TEST),
    Of(&cause::soft_cap::TEST),
    Several(SCORES, mask::mask),
    Several(SCORES, scores::scaled),
    Of(&cause::position_bias::TEST),
    Several(|op| matches!(op, Op::Embed | Op::Rope(_)), norm::normalised),
    Several(|op| op == Op::Embed, linear::table),
    Several(SCORES, scores::narrow),
    Several(SCORES, scores::moved),
    Several(SCORES, scores::of_keys),
    Several(SCORES, scores::of_cache),
    Several(SOFTMAX, attention::masked_late),
    Several(SOFTMAX, attention::softmax_of_format),
    Of(&cause::softmax_kind::TEST),
    Several(MIX, prefix::context),
    Several(MIX, unrounded::context),
    Several(MIX, attention::fused_scores),
    Several(MIX, attention::elsewhere),
    Several(MIX, attention::other_heads),
    Several(MIX, attention::other_layer),
    Several(MIX, attention::from_cache),
    Several(MIX, attention::late_values),
    Several(MIX, attention::first_values),
    Several(MIX, attention::coded_values),
    Several(ADD, unrounded::residual),
    Several(ADD, residual::formats),
    Of(&cause::residual_branch::TEST),
    Several(ADD, residual::clamped),
    Several(ADD, residual::normalised),
    Of(&cause::dropout_active::TEST),
    Several(|op| matches!(op, Op::Act | Op::Mul), activation::narrow),
    Several(|op| op == Op::Mul, activation::clamped),
    Of(&cause::gated_product::TEST),
    Several(|op| op == Op::Act, activation::activation),
    Several(LINEAR, linear::linear),
    Several(LINEAR, merged::merged),
    // The last resort, where nobody's convention gives the trace's values.
    Of(&cause::reads_another_tensor::TEST),
    Of(&cause::activation_mapped::TEST),
];
