//! Scores that round elsewhere.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "score-rounding",
    title: "scores that round elsewhere",
    remedy: "Round scores before and after scaling as transformers' eager attention does, or accept the noise.",
    severity: Severity::Choice,
    scope: Scope::PerTensor,
};
