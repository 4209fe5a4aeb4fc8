//! Keys and values kept in another format.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "cache-format",
    title: "keys and values kept in another format",
    remedy: "Keep the cache in the model's dtype, or load its scales.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
};
