//! Weights multiplied by a constant: a scale dropped or applied twice.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weights-scaled",
    title: "weights multiplied by a constant: a scale dropped or applied twice",
    remedy: "Apply the scale that is stored beside the tensor exactly once when dequantising; undo folded scales.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
};
