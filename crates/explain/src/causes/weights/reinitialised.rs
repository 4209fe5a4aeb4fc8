//! A weight that has nothing to do with the original.
//!
//! A weight without any likeness to its own: freshly initialised, or another tensor under this
//! name.

use ulpscope_relations::{Description, Statement};

use crate::causes::{CauseKind, Example, Scope, Severity, example};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weight-reinitialised",
    title: "a weight that has nothing to do with the original",
    remedy: "Look whether it was loaded at all (the loader's list of missing and unexpected keys), and whether it is another tensor under this name.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    test: |clue| clue.states(|statement| {
        matches!(
            statement,
            Statement::Described(Description::Unrelated { .. } | Description::Lengths { .. })
        )
    }),
    example: Some(Example::Weight(|w| example::each(w, |i, _| ((i * 2_654_435_761) >> 7) as f32 % 997.0 / 500.0 - 1.0))),
    ..CauseKind::BASE
};
