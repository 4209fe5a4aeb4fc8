//! A constant added to weights.
//!
//! A constant added to every weight: a zero point that some formats store less one.

use ulpscope_relations::{Operation, Relation};

use crate::causes::{CauseKind, Example, Scope, Severity, example};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weights-offset",
    title: "a constant added to weights",
    remedy: "Check zero points, which some formats store minus one.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
    test: |clue| clue.relates(|relation| match relation {
        Relation::Affine(found) => found.operation == Operation::Plus,
        Relation::Grouped(found) => found.operation == Operation::Plus,
        _ => false,
    }),
    example: Some(Example::Weight(|w| example::each(w, |_, x| x + 0.5))),
    ..CauseKind::BASE
};
