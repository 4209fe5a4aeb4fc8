//! Signs of weights turned.
//!
//! Weights, or some of them, with the other sign: a rotation or a difference the wrong way round.

use ulpscope_relations::Relation;

use crate::causes::{CauseKind, Example, Scope, Severity, example};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "sign-flipped",
    title: "signs of weights turned",
    remedy: "Convert again; look for a rotation or a subtraction with its sides exchanged.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    test: |clue| clue.relates(|relation| matches!(relation, Relation::Negated | Relation::Signs { .. })),
    example: Some(Example::Weight(|w| example::each(w, |_, x| -x))),
    ..CauseKind::BASE
};
