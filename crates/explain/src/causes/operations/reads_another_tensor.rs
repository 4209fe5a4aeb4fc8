//! An operation that reads another tensor than it should.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "reads-another-tensor",
    title: "an operation that reads another tensor than it should",
    remedy: "Look at the block's forward pass: a norm stands before its layer, and the residual stream is carried around both.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
