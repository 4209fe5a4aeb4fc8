//! A weight transposed.
//!
//! A weight of `[in, out]` where `[out, in]` belongs.

use ulpscope_relations::Rearrangement;

use crate::causes::{CauseKind, Example, Scope, Severity, example};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weight-transposed",
    title: "a weight transposed",
    remedy: "Linear weights are [out, in] in PyTorch, [in, out] elsewhere; transpose exactly once.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    test: |clue| clue.rearranges(|by| matches!(by, Rearrangement::Transposed { .. })),
    example: Some(Example::Weight(|w| example::moved(w, |i| i % 32 * 32 + i / 32))),
    ..CauseKind::BASE
};
