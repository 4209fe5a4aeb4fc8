//! A term of the residual stream that is missing.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "residual-term",
    title: "a term of the residual stream that is missing",
    remedy: "Add the block's input after attention and after the feed-forward layer.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
};
