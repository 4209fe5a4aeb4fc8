//! Heads that are the mean of several, as conversions to grouped heads make them.
//!
//! Several heads pooled into one mean head, as conversions to grouped heads do it.

use ulpscope_relations::{Description, Statement};

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "heads-averaged",
    title: "heads that are the mean of several, as conversions to grouped heads make them",
    remedy: "Nothing is wrong if the heads were to be pooled and the model is trained on; otherwise keep them apart.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
    test: |clue| clue.states(|statement| matches!(statement, Statement::Described(Description::Averaged { .. }))),
    ..CauseKind::BASE
};
