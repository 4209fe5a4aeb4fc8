//! An activation that went through a function.
//!
//! An activation function that is applied twice gives `silu of ours`.

use ulpscope_record::Finding;

use crate::causes::{CauseKind, Scope, Severity, Test};
use crate::trace::formula::at::At;
use crate::trace::formula::numbers::FUNCTIONS;

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "activation-mapped",
    title: "an activation that went through a function",
    remedy: "Look for an activation function behind this operation that this model has elsewhere, or nowhere.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};

pub(crate) static TEST: Test = Test { cause: &CAUSE, ops: |_| true, find };

/// What ours went through.
fn find(at: &At) -> Option<Finding> {
    let (name, _) = FUNCTIONS
        .into_iter()
        .find(|(_, f)| at.gives(|case| Some(case.ours.iter().map(|z| f(*z)).collect())))?;
    Some(Finding::new("function-of-ours").with("function", name))
}
