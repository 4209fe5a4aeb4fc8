//! Quantised weights decoded with wrong scales or zero points.
//!
//! Codes decoded with another block's scale, or with a zero point that is off by one.

use ulpscope_relations::{Description, Relation, Statement};

use crate::causes::{CauseKind, Rank, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weights-dequantised-wrongly",
    title: "quantised weights decoded with wrong scales or zero points",
    remedy: "Pair each tensor with its own scales and zero points, in the order and direction of their groups; some formats store zero points minus one.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
    rank: Rank::Special,
    test: |clue| clue.states(|statement| match statement {
        Statement::Exact(Relation::Quantised(found)) => found.misfit.is_some(),
        Statement::Described(Description::Unsigned { .. }) => true,
        _ => false,
    }),
    ..CauseKind::BASE
};
