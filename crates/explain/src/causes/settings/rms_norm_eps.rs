//! Another epsilon in the norms.
//!
//! 1e-6 on one side, and 1e-5 on the other.

use ulpscope_decoder::Field;

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "rms-norm-eps",
    title: "another epsilon in the norms",
    remedy: "Take rms_norm_eps from the original config.json; 1e-5 and 1e-6 are both common.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    test: |clue| clue.sets(Field::NormEps),
    ..CauseKind::BASE
};
