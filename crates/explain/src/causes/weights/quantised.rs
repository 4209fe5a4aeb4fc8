//! Weights quantised.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weights-quantised",
    title: "weights quantised",
    remedy: "Nothing is wrong if quantised weights were meant; compare with the size of their effect below.",
    severity: Severity::Choice,
    scope: Scope::PerClass,
};
