//! Weights rounded by another rule than to nearest.
//!
//! Each weight is one of its two neighbours in the narrower format, not always the nearest:
//! stochastic rounding.

use ulpscope_relations::Relation;

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weights-rounded-otherwise",
    title: "weights rounded by another rule than to nearest",
    remedy: "Round to nearest, ties to even; stochastic rounding belongs into training only.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
    test: |clue| clue.relates(|relation| matches!(relation, Relation::Neighbours(_))),
    ..CauseKind::BASE
};
