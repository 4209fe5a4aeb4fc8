//! Logits of some tokens set so low that they are never chosen.
//!
//! A server that forbids tokens sets their logits to minus infinity.

use ulpscope_decoder::Op;
use ulpscope_record::Finding;

use crate::causes::{CauseKind, Scope, Severity, Test};
use crate::trace::formula::at::{At, Case};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "vocabulary-masked",
    title: "logits of some tokens set so low that they are never chosen",
    remedy: "Nothing is wrong if those tokens are padding of the vocabulary or forbidden on purpose.",
    severity: Severity::Choice,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};

pub(crate) static TEST: Test = Test { cause: &CAUSE, ops: |op| op == Op::Linear, find };

/// Logits of some tokens of the vocabulary that can't be chosen.
fn find(at: &At) -> Option<Finding> {
    if at.site != at.model.logits() {
        return None;
    }
    let width = at.model.vocab;
    let low = |y: &f64| *y <= -1e4;
    let tokens: Vec<usize> = (0..width)
        .filter(|&id| at.cases.iter().all(|case| case.theirs.chunks(width).all(|row| low(&row[id]))))
        .collect();
    let (first, last) = (tokens.first()?, tokens.last()?);
    let rest = |case: &Case| {
        let pairs = case.theirs.iter().zip(&case.ours).enumerate();
        pairs
            .filter(|(i, _)| tokens.binary_search(&(i % width)).is_err())
            .all(|(_, (y, z))| (y - z).abs() <= 4.0 * at.dtype.unit_roundoff() * (y.abs() + 1.0))
    };
    let finding = match first == last {
        true => Finding::new("token-masked"),
        false => Finding::new("tokens-masked").with("count", tokens.len()).with("last", *last),
    };
    let finding = finding.with("first", *first).with("logit", at.cases[0].theirs[*first]);
    at.cases.iter().all(rest).then_some(finding)
}
