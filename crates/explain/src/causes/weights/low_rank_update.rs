//! Weights changed by an update of low rank, as by a merged adapter.
//!
//! An update of low rank was added: a merged adapter.

use ulpscope_relations::{Description, Statement};

use crate::causes::{CauseKind, Example, Scope, Severity, example};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "low-rank-update",
    title: "weights changed by an update of low rank, as by a merged adapter",
    remedy: "Compare with the same adapter merged (once), or with the base checkpoint before merging.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
    test: |clue| clue.states(|statement| matches!(statement, Statement::Described(Description::Update { .. }))),
    example: Some(Example::Weight(|w| example::each(w, |i, x| x + 0.05 * ((i / 32) as f32).sin() * ((i % 32) as f32).cos()))),
    ..CauseKind::BASE
};
