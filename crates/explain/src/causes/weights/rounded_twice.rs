//! Weights rounded twice, by way of f16.
//!
//! A converter goes by way of f16: weights are rounded there, and again to bf16.

use ulpscope_floats::Rounding;
use ulpscope_relations::Relation;

use crate::causes::{CauseKind, Example, Rank, Scope, Severity, example};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weights-rounded-twice",
    title: "weights rounded twice, by way of f16",
    remedy: "Convert the original f32 weights directly; a stop at f16 also loses range.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
    rank: Rank::Special,
    test: |clue| clue.relates(|relation| matches!(relation, Relation::Rounded { by: Rounding::NearestBf16ViaF16, .. })),
    example: Some(Example::Weight(|w| example::to(w, |a| Rounding::NearestBf16ViaF16.apply(a)))),
    ..CauseKind::BASE
};
