//! Logits of some tokens set so low that they are never chosen.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "vocabulary-masked",
    title: "logits of some tokens set so low that they are never chosen",
    remedy: "Nothing is wrong if those tokens are padding of the vocabulary or forbidden on purpose.",
    severity: Severity::Choice,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
