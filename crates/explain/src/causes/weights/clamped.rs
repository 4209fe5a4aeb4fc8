//! Weights cut off at a largest magnitude.
//!
//! A guard cuts weights off before they are converted: `w.clamp(-1, 1)`.

use ulpscope_relations::Relation;

use crate::causes::{CauseKind, Example, Scope, Severity, example};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weights-clamped",
    title: "weights cut off at a largest magnitude",
    remedy: "Do not clamp when converting, or use a format with more range.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
    test: |clue| clue.relates(|relation| matches!(relation, Relation::Clamped(_))),
    example: Some(Example::Weight(|w| example::each(w, |_, x| x.clamp(-1.0, 1.0)))),
    ..CauseKind::BASE
};
