//! An adapter beside the base against merged weights, which are rounded.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "merge-rounding",
    title: "merged weights are rounded, an adapter beside the base is not",
    remedy: "No fault: merging rounds the sum of base and update to the weights' format; merge in f32 to keep more of it.",
    severity: Severity::Choice,
    scope: Scope::PerClass,
    ..CauseKind::BASE
};
