//! Another epsilon in the norms.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "rms-norm-eps",
    title: "another epsilon in the norms",
    remedy: "Take rms_norm_eps from the original config.json; 1e-5 and 1e-6 are both common.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
};
