//! A gated product that rounds once.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "gate-rounding",
    title: "a gated product that rounds once",
    remedy: "Round the activation before it is multiplied, as transformers does, or accept the noise.",
    severity: Severity::Choice,
    scope: Scope::PerTensor,
};
