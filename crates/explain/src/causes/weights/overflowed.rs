//! Weights that overflowed to infinity in a narrower format.
//!
//! Weights beyond 65504 are infinite in f16.

use ulpscope_relations::Relation;

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weights-overflowed",
    title: "weights that overflowed to infinity in a narrower format",
    remedy: "Keep these tensors in bf16 or f32; f16 ends at 65504.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
    test: |clue| clue.relates(|relation| matches!(relation, Relation::Overflowed(_))),
    ..CauseKind::BASE
};
