//! The values of an activation in other places.
//!
//! `[heads, tokens, head_dim]` viewed as `[tokens, heads · head_dim]` without a transposition.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "activation-rearranged",
    title: "the values of an activation in other places",
    remedy: "Look at the reshape or the transpose after this operation, and at the order of heads.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
