//! Logits in another format.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "logits-format",
    title: "logits in another format",
    remedy: "Compare logits in one format; upcasting after the product differs from accumulating wide.",
    severity: Severity::Choice,
    scope: Scope::PerTensor,
};
