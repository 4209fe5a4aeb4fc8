//! Attention that reads queries, keys or values of other places.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "cache-shifted",
    title: "attention that reads queries, keys or values of other places",
    remedy: "Look at the index at which the cache is written and read, and at the order of its arguments.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
