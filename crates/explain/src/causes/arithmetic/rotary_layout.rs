//! Rotation that pairs other elements, turns the other way, is missing or is done twice.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "rotary-layout",
    title: "rotation that pairs other elements, turns the other way, is missing or is done twice",
    remedy: "Pair element i with i + D/2 for Hugging Face's weights; permute q and k rows for adjacent pairs.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
};
