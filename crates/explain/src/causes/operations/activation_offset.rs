//! A constant or a bias added to an activation.
//!
//! A bias that is added twice, or a constant 0.1 on every output.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "activation-offset",
    title: "a constant or a bias added to an activation",
    remedy: "Look for a bias that one side has: attention_bias and mlp_bias in config.json, .bias tensors in the state dict, hooks.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
