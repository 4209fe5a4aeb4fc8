//! Norms that use their weight in another way.
//!
//! Gemma's `1 + w` on a Llama, or a weight that is left out.

use ulpscope_decoder::{Variant, departure::Norm};

use crate::causes::{CauseKind, Example, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "norm-convention",
    title: "norms that use their weight in another way",
    remedy: "Multiply by w, not by 1 + w, and do not leave the weight out.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    test: |clue| clue.departs(|variant| {
        matches!(variant, Variant::Norm(Norm::PlusOne | Norm::Gemma | Norm::NoWeight))
    }),
    example: Some(Example::Departure("norm=plus-one")),
    ..CauseKind::BASE
};
