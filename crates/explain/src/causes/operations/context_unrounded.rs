//! Probabilities that meet the values before they are rounded.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "context-unrounded",
    title: "probabilities that meet the values before they are rounded",
    remedy: "No fault: fused attention keeps probabilities in f32; to compare bits, use the same attention on both sides.",
    severity: Severity::Choice,
    scope: Scope::PerClass,
    ..CauseKind::BASE
};
