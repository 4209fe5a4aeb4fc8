//! Weights quantised.
//!
//! Weights in few levels, with a scale for each block: int4, Q8_0, NF4.

use ulpscope_relations::{Description, Relation, Statement};

use crate::causes::{CauseKind, Example, Scope, Severity, example};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weights-quantised",
    title: "weights quantised",
    remedy: "Nothing is wrong if quantised weights were meant; compare with the size of their effect below.",
    severity: Severity::Choice,
    scope: Scope::PerClass,
    test: |clue| clue.states(|statement| {
        matches!(
            statement,
            Statement::Exact(Relation::Quantised(_)) | Statement::Described(Description::Coded { .. })
        )
    }),
    example: Some(Example::Weight(|w| example::each(w, |_, x| (x * 4.2).round() / 4.2))),
    ..CauseKind::BASE
};
