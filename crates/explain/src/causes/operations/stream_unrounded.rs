//! A residual stream that is not rounded between its sums.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "stream-unrounded",
    title: "a residual stream that is not rounded between its sums",
    remedy: "No fault: the stream is kept in f32; to compare bits, round it to the model's format after each sum.",
    severity: Severity::Choice,
    scope: Scope::PerClass,
    ..CauseKind::BASE
};
