//! A norm of another kind, or where this model has none.
//!
//! LayerNorm, which subtracts the mean, where the model has RMSNorm.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "norm-kind",
    title: "a norm of another kind, or where this model has none",
    remedy: "Each of this model's norms is an RMSNorm, applied once, where `ulpscope sites` lists it; look for a LayerNorm, or for one norm too many.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
