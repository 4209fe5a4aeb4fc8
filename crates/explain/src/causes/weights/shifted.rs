//! A weight shifted by some elements.
//!
//! Every element some places further on: a wrong data offset.

use ulpscope_relations::{Axis, Edge, Rearrangement};

use crate::causes::{CauseKind, Example, Scope, Severity, example};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weight-shifted",
    title: "a weight shifted by some elements",
    remedy: "The data offset is wrong; check the header's length and alignment.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    test: |clue| clue.rearranges(|by| {
        let doubled = matches!(by, Rearrangement::Shifted { axis: Axis::Rows, edge: Edge::Kept, .. });
        matches!(by, Rearrangement::Shifted { .. }) && !doubled
    }),
    example: Some(Example::Weight(|w| example::moved(w, |i| (i + 1) % 1024))),
    ..CauseKind::BASE
};
