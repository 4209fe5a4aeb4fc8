//! Norms that round elsewhere.
//!
//! A fused norm rounds once, behind the weight.

use ulpscope_decoder::{Variant, departure::Norm};

use crate::causes::{CauseKind, Example, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "norm-rounding",
    title: "norms that round elsewhere",
    remedy: "Round the normalised value to the storage dtype before the weight is applied, as transformers does, or accept the noise.",
    severity: Severity::Choice,
    scope: Scope::PerTensor,
    test: |clue| clue.departs(|variant| matches!(variant, Variant::Norm(Norm::Fused | Norm::Storage | Norm::Divided))),
    example: Some(Example::Departure("norm=fused")),
    ..CauseKind::BASE
};
