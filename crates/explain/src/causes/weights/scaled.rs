//! Weights multiplied by a constant: a scale dropped or applied twice.
//!
//! Every weight times one constant: a scale that was dropped, or applied twice.

use ulpscope_relations::{Description, Operation, Relation, Statement};

use crate::causes::{CauseKind, Example, Scope, Severity, example};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weights-scaled",
    title: "weights multiplied by a constant: a scale dropped or applied twice",
    remedy: "Apply the scale that is stored beside the tensor exactly once when dequantising; undo folded scales.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
    test: |clue| clue.states(|statement| match statement {
        Statement::Exact(Relation::Scaled { .. }) => true,
        Statement::Exact(Relation::Affine(found)) => found.operation == Operation::Times,
        Statement::Exact(Relation::Grouped(found)) => found.operation == Operation::Times,
        // Near to a multiple of the original, whatever else was rounded.
        Statement::Described(Description::Noisy { gain, .. }) => *gain != 1.0,
        _ => false,
    }),
    example: Some(Example::Weight(|w| example::each(w, |_, x| 448.0 * x))),
    ..CauseKind::BASE
};
