//! A branch that is added to the residual stream otherwise: multiplied, or elsewhere.
//!
//! Granite multiplies each branch by `residual_multiplier`; GPT-J adds attention and MLP together.

use ulpscope_decoder::{Branch, Op, Role};
use ulpscope_record::Finding;

use crate::causes::{CauseKind, Scope, Severity, Test};
use crate::trace::formula::at::{At, Case};
use crate::trace::formula::numbers::simple;
use crate::trace::formula::residual::{branch, terms};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "residual-branch",
    title: "a branch that is added to the residual stream otherwise: multiplied, or elsewhere",
    remedy: "This model adds attention and MLP as they are; residual multipliers (Granite, MiniCPM) belong to other architectures.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};

pub(crate) static TEST: Test = Test { cause: &CAUSE, ops: |op| matches!(op, Op::Add(_)), find };

fn find(at: &At) -> Option<Finding> {
    // Least squares of y = αx + βb.
    let (mut xx, mut xb, mut bb, mut xy, mut by) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for case in &at.cases {
        let [x, b] = terms(at, case)?;
        for ((x, b), y) in x.iter().zip(&b).zip(&case.theirs) {
            (xx, xb, bb, xy, by) = (xx + x * x, xb + x * b, bb + b * b, xy + x * y, by + b * y);
        }
    }
    let over = xx * bb - xb * xb;
    let [of_x, of_b] = [(bb * xy - xb * by) / over, (xx * by - xb * xy) / over].map(simple);
    // The sum times a factor is no matter of branches.
    let of_branches = (of_x / of_b - 1.0).abs() > 0.01;
    if of_branches
        && at.explains(|case| {
            let [x, b] = terms(at, case)?;
            Some(x.iter().zip(&b).map(|(x, b)| of_x * x + of_b * b).collect())
        })
    {
        let finding = match of_x {
            1.0 => Finding::new("branch-times"),
            _ => Finding::new("residual-and-branch-times").with("residual", of_x),
        };
        return Some(finding.with("branch", branch(at)).with("factor", of_b));
    }
    parallel(at)
}

/// The attention's output added together with the MLP's.
fn parallel(at: &At) -> Option<Finding> {
    let three = |case: &Case| {
        let [x, b] = terms(at, case)?;
        let attention = at.read(case, Role::Attended)?;
        // In the order of the two sums.
        let first = at.rounded(x.iter().zip(&attention).map(|(x, a)| x + a).collect());
        Some(first.iter().zip(&b).map(|(x, b)| x + b).collect())
    };
    let output = at.site.op() == Op::Add(Branch::FeedForward);
    (output && at.gives(three)).then(|| Finding::new("parallel"))
}
