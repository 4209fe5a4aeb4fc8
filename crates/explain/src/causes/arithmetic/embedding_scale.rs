//! Embeddings multiplied by a constant.
//!
//! Embeddings times sqrt(hidden_size), as Gemma has it, on a model without.

use ulpscope_decoder::{Field, Variant};

use crate::causes::{CauseKind, Example, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "embedding-scale",
    title: "embeddings multiplied by a constant",
    remedy: "This model does not scale its embeddings; Gemma does, by sqrt(hidden_size).",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    test: |clue| {
        clue.sets(Field::EmbedScale) || clue.departs(|variant| matches!(variant, Variant::Embedding(_)))
    },
    example: Some(Example::Departure("embedding=scaled")),
    ..CauseKind::BASE
};
