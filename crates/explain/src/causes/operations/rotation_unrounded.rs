//! Queries or keys that are rotated before they are rounded.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "rotation-unrounded",
    title: "queries or keys that are rotated before they are rounded",
    remedy: "No fault: a fused kernel projects and rotates in one step; to compare bits, round the projection first.",
    severity: Severity::Choice,
    scope: Scope::PerClass,
    ..CauseKind::BASE
};
