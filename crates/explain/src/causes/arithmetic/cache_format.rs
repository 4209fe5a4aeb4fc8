//! Keys and values kept in another format.
//!
//! Keys and values kept in fp8, without their scales.

use ulpscope_decoder::Variant;

use crate::causes::{CauseKind, Example, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "cache-format",
    title: "keys and values kept in another format",
    remedy: "Keep the cache in the model's dtype, or load its scales.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    test: |clue| clue.departs(|variant| matches!(variant, Variant::Cache(_))),
    example: Some(Example::Departure("cache=e4m3")),
    ..CauseKind::BASE
};
