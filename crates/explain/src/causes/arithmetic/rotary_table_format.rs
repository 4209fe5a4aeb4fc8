//! Tables of cos and sin in another format.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "rotary-table-format",
    title: "tables of cos and sin in another format",
    remedy: "Keep the tables in f32 and round to the model's dtype where transformers does.",
    severity: Severity::Choice,
    scope: Scope::PerTensor,
};
