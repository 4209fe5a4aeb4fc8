//! An activation cut off at a largest magnitude.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "activation-clamped",
    title: "an activation cut off at a largest magnitude",
    remedy: "Look for a clamp (clip_qkv, a guard against overflow in f16): this model has none.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
