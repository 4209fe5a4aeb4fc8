//! Rotation of a part of each head only.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "partial-rotary",
    title: "rotation of a part of each head only",
    remedy: "This model rotates whole heads; partial_rotary_factor belongs to other architectures.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
