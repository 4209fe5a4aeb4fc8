//! Activations rounded to a narrower format or quantised.
//!
//! Inputs of a linear layer in int8, with one scale for each token.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "activation-rounded",
    title: "activations rounded to a narrower format or quantised",
    remedy: "Nothing is wrong if quantised activations were meant (W8A8, f8); otherwise look for a cast or an observer.",
    severity: Severity::Choice,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
