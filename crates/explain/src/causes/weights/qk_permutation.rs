//! Query and key rows in the other rotary layout.
//!
//! Rows of q and k in the other rotary layout: llama.cpp pairs neighbours, Hugging Face halves.

use ulpscope_relations::{Axis, Rearrangement};

use crate::causes::{CauseKind, Rank, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "qk-permutation",
    title: "query and key rows in the other rotary layout",
    remedy: "Undo (or apply) the permutation between interleaved and half-split rotary layout, with the key heads' own number for k_proj.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
    rank: Rank::Special,
    test: |clue| clue.of_heads()
        && clue.rearranges(|by| match by {
            Rearrangement::Permuted { axis: Axis::Rows | Axis::Elements, order, of } => order.of_heads(*of),
            _ => false,
        }),
    ..CauseKind::BASE
};
