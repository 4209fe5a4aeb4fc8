//! A softmax that rounds at every step.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "softmax-format",
    title: "a softmax that rounds at every step",
    remedy: "Compute the softmax in f32 and round its result.",
    severity: Severity::Choice,
    scope: Scope::PerTensor,
};
