//! Weights that went through a function: a root, a square, a reciprocal.
//!
//! Weights that went through a root, a square or a reciprocal: a converter took scales for their
//! inverses.

use ulpscope_relations::Relation;

use crate::causes::{CauseKind, Example, Scope, Severity, example};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weights-mapped",
    title: "weights that went through a function: a root, a square, a reciprocal",
    remedy: "Store weights as they are; look at what the converter takes norms or scales for.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
    test: |clue| clue.relates(|relation| matches!(relation, Relation::Mapped(_))),
    example: Some(Example::Weight(|w| example::each(w, |_, x| x * x))),
    ..CauseKind::BASE
};
