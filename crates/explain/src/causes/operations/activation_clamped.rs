//! An activation cut off at a largest magnitude.
//!
//! A port that guards against overflow in f16 has `clamp(down_proj, -65504, 65504)`.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "activation-clamped",
    title: "an activation cut off at a largest magnitude",
    remedy: "Look for a clamp (clip_qkv, a guard against overflow in f16): this model has none.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
