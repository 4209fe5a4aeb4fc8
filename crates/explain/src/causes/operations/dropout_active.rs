//! Dropout that is on.
//!
//! A model that was left in training mode: 10 % of o_proj's outputs are zero, the rest times 1.11.

use ulpscope_decoder::Op;
use ulpscope_record::Finding;

use crate::causes::{CauseKind, Scope, Severity, Test};
use crate::trace::formula::at::At;
use crate::trace::formula::residual::{branch, terms};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "dropout-active",
    title: "dropout that is on",
    remedy: "Call model.eval() before anything is compared.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};

pub(crate) static TEST: Test = Test { cause: &CAUSE, ops: |op| matches!(op, Op::Add(_)), find };

/// Elements of the branch's output dropped at random, the others made larger.
fn find(at: &At) -> Option<Finding> {
    let unit = at.dtype.unit_roundoff();
    let (mut kept, mut gone, mut factor) = (0.0, 0.0, [0.0; 2]);
    for case in &at.cases {
        let [x, b] = terms(at, case)?;
        for ((x, b), y) in x.iter().zip(&b).zip(&case.theirs) {
            // Where rounding can't be taken for either.
            if b.abs() < 64.0 * unit * (x.abs() + y.abs()) {
                continue;
            }
            if (y - x).abs() < 0.1 * b.abs() {
                gone += 1.0;
            } else {
                kept += 1.0;
                factor = [factor[0] + b * (y - x), factor[1] + b * b];
            }
        }
    }
    let (share, factor) = (gone / (gone + kept), factor[0] / factor[1]);
    let made_up = (factor * (1.0 - share) - 1.0).abs() < 0.1;
    let fits = gone >= 8.0
        && kept >= 8.0
        && made_up
        && at.explains(|case| {
            let [x, b] = terms(at, case)?;
            let nearest = |((x, b), y): ((&f64, &f64), &f64)| {
                let added = x + factor * b;
                if (y - x).abs() < (y - added).abs() { *x } else { added }
            };
            Some(x.iter().zip(&b).zip(&case.theirs).map(nearest).collect())
        });
    let finding = Finding::new("branch-dropped").with("percent", (100.0 * share).round());
    let finding = finding.with("branch", branch(at)).with("factor", factor);
    fits.then_some(finding)
}
