//! Weights truncated instead of rounded to nearest.
//!
//! The lower sixteen bits of an f32 are dropped: `bits >> 16` in place of a cast.

use ulpscope_floats::Rounding;
use ulpscope_relations::{Relation, Rule};

use crate::causes::{CauseKind, Example, Rank, Scope, Severity, example};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weights-truncated",
    title: "weights truncated instead of rounded to nearest",
    remedy: "Round to nearest, ties to even, when converting f32 to bf16; dropping the lower sixteen bits biases every weight towards zero.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
    rank: Rank::Special,
    test: |clue| clue.relates(|relation| match relation {
        Relation::Rounded { by, .. } => *by == Rounding::TruncateBf16,
        Relation::Neighbours(found) => found.rule == Rule::TowardZero,
        _ => false,
    }),
    example: Some(Example::Weight(|w| example::to(w, |a| Rounding::TruncateBf16.apply(a)))),
    ..CauseKind::BASE
};
