//! A norm's weight folded into the layers behind it and kept, so that it is applied twice.
//!
//! A norm's weight taken into the layers behind it, while the norm keeps it.

use crate::causes::{CauseKind, Rank, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "norm-folded-and-kept",
    title: "a norm's weight folded into the layers behind it and kept, so that it is applied twice",
    remedy: "Set the norm's weight to 1 where it was folded, or do not fold it.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    rank: Rank::Special,
    ..CauseKind::BASE
};
