//! A weight that is zero, or one number, throughout.
//!
//! A weight that is zero, or one number, throughout: it was never loaded, or its scale is zero.

use ulpscope_relations::{Description, Statement};

use crate::causes::{CauseKind, Example, Scope, Severity, example};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weight-constant",
    title: "a weight that is zero, or one number, throughout",
    remedy: "It was never loaded, or its scale is zero; look for missing keys in the state dict.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    test: |clue| clue.states(|statement| matches!(statement, Statement::Described(Description::Constant { .. }))),
    example: Some(Example::Weight(|w| example::each(w, |_, _| 0.0))),
    ..CauseKind::BASE
};
