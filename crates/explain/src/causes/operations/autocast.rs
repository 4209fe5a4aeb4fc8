//! A forward pass under autocast: products in 16 bits, norms and sums in f32.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "autocast",
    title: "autocast: products in 16 bits, norms, rotation and the residual stream in f32",
    remedy: "No fault: a trainer under torch.autocast rounds so; to compare bits, run both sides with it or without it.",
    severity: Severity::Choice,
    scope: Scope::PerClass,
    ..CauseKind::BASE
};
