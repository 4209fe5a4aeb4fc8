//! A weight in another basis: rotated or permuted along one side.
//!
//! A weight in another basis, as QuaRot and SpinQuant put it, without its neighbours.

use ulpscope_relations::{Description, Statement};

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weight-rotated",
    title: "a weight in another basis: rotated or permuted along one side",
    remedy: "Apply a rotation (QuaRot, SpinQuant) or a permutation to all tensors that meet there, or to none.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
    test: |clue| clue.states(|statement| matches!(statement, Statement::Described(Description::Rotated { .. }))),
    ..CauseKind::BASE
};
