//! Norms of queries and keys that are missing, or over all heads at once.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "qk-norm",
    title: "norms of queries and keys that are missing, or over all heads at once",
    remedy: "Normalise each head by itself, with its weight of head_dim numbers, after q_proj and k_proj and before rotation.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
};
