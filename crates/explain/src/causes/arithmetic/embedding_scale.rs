//! Embeddings multiplied by a constant.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "embedding-scale",
    title: "embeddings multiplied by a constant",
    remedy: "This model does not scale its embeddings; Gemma does, by sqrt(hidden_size).",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
};
