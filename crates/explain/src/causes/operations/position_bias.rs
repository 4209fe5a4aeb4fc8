//! Positions that enter by another way: a bias on scores, or sines added to embeddings.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "position-bias",
    title: "positions that enter by another way: a bias on scores, or sines added to embeddings",
    remedy: "This model has none beside its rotation; ALiBi and relative position biases belong to other architectures.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
