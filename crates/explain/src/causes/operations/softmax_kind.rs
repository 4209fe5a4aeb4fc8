//! A softmax of another kind.
//!
//! `softmax_one` has 1 more in its sum, and gpt-oss a learned sink for each head.

use ulpscope_decoder::{Op, Role};
use ulpscope_record::Finding;

use crate::causes::{CauseKind, Scope, Severity, Test};
use crate::trace::formula::at::{At, Case};
use crate::trace::formula::attention::of_scores;
use crate::trace::formula::numbers::softmax;

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "softmax-kind",
    title: "a softmax of another kind",
    remedy: "Probabilities sum to 1 here; attention sinks and softmax-one belong to other architectures.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};

pub(crate) static TEST: Test = Test { cause: &CAUSE, ops: |op| op == Op::Softmax, find };

/// A softmax over another axis, or with something more in its sum.
fn find(at: &At) -> Option<Finding> {
    let by_key = |case: &Case| {
        let (scores, t) = (at.read(case, Role::Scores)?, case.tokens);
        let turned = |of: &[f64]| -> Vec<f64> { (0..t * t).map(|i| of[i % t * t + i / t]).collect() };
        let head = |of: &[f64]| turned(&turned(of).chunks(t).flat_map(softmax).collect::<Vec<f64>>());
        Some(scores.chunks(t * t).flat_map(head).collect())
    };
    if at.explains(by_key) {
        return Some(Finding::new("softmax-over-queries"));
    }
    let one_more = |row: &[f64]| -> Vec<f64> {
        let sum = 1.0 + row.iter().map(|x| x.exp()).sum::<f64>();
        row.iter().map(|x| x.exp() / sum).collect()
    };
    if at.gives(|case| of_scores(at, case, one_more)) {
        return Some(Finding::new("softmax-plus-one"));
    }
    // Without scores, what it takes away from each row tells as much.
    let sum = |row: &[f64]| row.iter().sum::<f64>();
    let by_row = |case: &Case| {
        let rows = case.theirs.chunks(case.tokens).zip(case.ours.chunks(case.tokens));
        let row = |(y, z): (&[f64], &[f64])| {
            let factor = sum(y) / sum(z);
            z.iter().map(|z| z * factor).collect::<Vec<f64>>()
        };
        Some(rows.flat_map(row).collect())
    };
    let sums = at.cases.iter().flat_map(|case| case.theirs.chunks(case.tokens).map(sum));
    let [low, high] = sums.fold([f64::INFINITY, 0.0f64], |[low, high], sum| [low.min(sum), high.max(sum)]);
    let unit = at.dtype.unit_roundoff();
    let less = low > 0.0 && low < 1.0 - 16.0 * unit && high < 1.0 + 4.0 * unit;
    let finding = Finding::new("softmax-less").with("least", low).with("most", high);
    (less && at.gives(by_row)).then_some(finding)
}
