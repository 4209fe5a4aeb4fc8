//! Rows or columns of a weight in another order.
//!
//! Rows or columns in another order: heads or shards put together wrongly.

use ulpscope_relations::{Axis, Change, Edge, Rearrangement};

use crate::causes::{CauseKind, Example, Scope, Severity, example};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "rows-permuted",
    title: "rows or columns of a weight in another order",
    remedy: "Convert again; look at how the tensor is split into heads or shards and put together.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    test: |clue| clue.rearranges(|by| {
        matches!(
            by,
            // Rows that are there twice were not shifted by a wrong offset.
            Rearrangement::Shifted { axis: Axis::Rows, edge: Edge::Kept, .. }
                | Rearrangement::Shards { .. }
                | Rearrangement::Permuted { .. }
        )
    }) || clue.changes_part(|change| match change {
        Change::Moved { .. } => true,
        Change::Several(parts) => parts.iter().any(|(_, change)| matches!(change, Change::Moved { .. })),
        _ => false,
    }),
    example: Some(Example::Weight(|w| example::moved(w, |i| (31 - i / 32) * 32 + i % 32))),
    ..CauseKind::BASE
};
