//! Another activation function.
//!
//! Exact GELU on one side, its tanh form on the other.

use ulpscope_decoder::Field;

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "hidden-act",
    title: "another activation function",
    remedy: "Take hidden_act from the original config.json; GELU has an exact and a tanh form.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    test: |clue| clue.sets(Field::Activation),
    ..CauseKind::BASE
};
