//! Positions that count the padding in front of the prompt.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "padded-positions",
    title: "positions that count the padding in front of the prompt",
    remedy: "Rotation sees distances alone, so that this rounds otherwise and is no fault; position ids from the attention mask give the same bits.",
    severity: Severity::Choice,
    scope: Scope::PerClass,
    ..CauseKind::BASE
};
