//! Weights reduced to a low rank.
//!
//! A truncated decomposition in place of the full matrix.

use ulpscope_relations::{Description, Statement};

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weights-of-low-rank",
    title: "weights reduced to a low rank",
    remedy: "Nothing is wrong if a truncated decomposition was meant; else convert again from the full matrices.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
    test: |clue| clue.states(|statement| matches!(statement, Statement::Described(Description::Reduced { .. }))),
    ..CauseKind::BASE
};
