//! The neurons of an MLP in another order in some of its layers, and not in all.
//!
//! Gate and up in another order of neurons, and down in the old one.

use crate::causes::{CauseKind, Rank, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "neurons-permuted-partly",
    title: "the neurons of an MLP in another order in some of its layers, and not in all",
    remedy: "Put the rows of gate and up and the columns of down into one order.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    rank: Rank::Special,
    ..CauseKind::BASE
};
