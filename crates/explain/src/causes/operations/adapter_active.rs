//! Something of low rank added to a layer's output, as an adapter (LoRA) does.
//!
//! q_proj with a LoRA of rank 8 that was never merged nor switched off.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "adapter-active",
    title: "something of low rank added to a layer's output, as an adapter (LoRA) does",
    remedy: "Unload or disable the adapter (PEFT's disable_adapter), or merge it into both sides.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
