//! Rotation of a part of each head only.
//!
//! GPT-NeoX and Phi rotate the first quarter or half of a head (`partial_rotary_factor`).

use ulpscope_decoder::Op;
use ulpscope_record::Finding;

use crate::causes::{CauseKind, Scope, Severity, Test};
use crate::trace::formula::at::At;
use crate::trace::formula::rotary::{own_position, rotate, unrotated};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "partial-rotary",
    title: "rotation of a part of each head only",
    remedy: "This model rotates whole heads; partial_rotary_factor belongs to other architectures.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};

pub(crate) static TEST: Test = Test { cause: &CAUSE, ops: |op| matches!(op, Op::Rope(_)), find };

/// Only a part of each head.
fn find(at: &At) -> Option<Finding> {
    let (width, rope) = (at.spec.head_dim, at.rope());
    let whole = rope.inv_freq(width);
    for part in [width / 4, width / 2, width * 3 / 4].into_iter().filter(|part| *part > 0 && part % 2 == 0) {
        let of_part = rope.inv_freq(part);
        let (lower, upper) = (&whole[..part / 2], &whole[part / 2..part.min(whole.len())]);
        // With a table of its own, or with the beginning of the whole table, in which the halves
        // are alike or are not.
        let upper = if upper.len() == lower.len() { upper } else { lower };
        for frequencies in [[&of_part[..], &of_part], [lower, lower], [lower, upper]] {
            if at.explains(|case| {
                Some(rotate(at, case, &unrotated(at, case)?, frequencies, part, own_position))
            }) {
                return Some(Finding::new("rotated-partly").with("part", part).with("width", width));
            }
        }
    }
    None
}
