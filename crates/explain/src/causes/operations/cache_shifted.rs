//! Attention that reads queries, keys or values of other places.
//!
//! Keys of the position before, because the cache is written one slot late.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "cache-shifted",
    title: "attention that reads queries, keys or values of other places",
    remedy: "Look at the index at which the cache is written and read, and at the order of its arguments.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
