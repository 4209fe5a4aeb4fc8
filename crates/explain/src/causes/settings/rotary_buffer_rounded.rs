//! Rotary buffer rounded by a dtype cast.
//!
//! `.to(bfloat16)` rounds the buffer `inv_freq`, which no state dict holds;
//! `from_pretrained(dtype=…)` does not.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "rotary-buffer-rounded",
    title: "rotary buffer rounded by a dtype cast",
    remedy: "Load in the target dtype (from_pretrained(dtype=…)), or recompute rotary_emb.inv_freq from the config in f32 after the cast; casting the buffer back with .float() does not bring the lost bits back.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
