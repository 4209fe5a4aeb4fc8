//! A layer computed in another format.
//!
//! An MLP that runs in f16 while the model is in bf16.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "layer-format",
    title: "a layer computed in another format",
    remedy: "Nothing is wrong if that was meant (autocast, TF32, a kernel of another format); otherwise set the format that the model was loaded in.",
    severity: Severity::Choice,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
