//! The bytes of weights read in the wrong order or format.
//!
//! A tensor's bytes in the other order, or read as another format.

use ulpscope_relations::Relation;

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weights-misread",
    title: "the bytes of weights read in the wrong order or format",
    remedy: "Read the tensor by the dtype of its header; safetensors and GGUF files are little-endian.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
    test: |clue| clue.relates(|relation| matches!(relation, Relation::Misread(_))),
    ..CauseKind::BASE
};
