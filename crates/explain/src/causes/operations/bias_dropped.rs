//! A bias that was dropped.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "bias-dropped",
    title: "a bias that was dropped",
    remedy: "Read attention_bias and mlp_bias from config.json, and load the .bias tensors of the state dict.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
};
