//! Weights changed by something like noise.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weights-changed",
    title: "weights changed by something like noise",
    remedy: "The two come from different weights: a fine-tuning, a merged adapter, or a quantisation whose grid is not known.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
};
