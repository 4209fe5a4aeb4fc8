//! Queries that are scaled by their positions.

use ulpscope_record::Finding;

use super::{At, Case, Formula, found};
use crate::causes;

/// Another β, or another length that it counts from.
pub(super) fn temperature(at: &At) -> Option<Formula> {
    let own = at.spec.query_scale?;
    let width = at.spec.head_dim;
    let factor = |beta: f64, original: f64, position: usize| {
        1.0 + beta * (1.0 + (position as f64 / original).floor()).ln()
    };
    let most = at.model.max_positions as f64;
    let known = [0.5, 2.0, 0.25, 4.0].map(|times| times * own.original);
    for original in [own.original].into_iter().chain(known).chain([most]) {
        let run = |beta: f64, case: &Case| {
            let other = |(i, z): (usize, &f64)| {
                let position = i / width % case.tokens;
                z / factor(own.beta, own.original, position) * factor(beta, original, position)
            };
            Some(case.ours.iter().enumerate().map(other).collect::<Vec<f64>>())
        };
        let beta = at.best([1e-3, 10.0], run);
        if at.gives(|case| run(beta, case)) {
            let finding = Finding::new("temperature").with("beta", beta).with("original", original);
            return found(causes::TEMPERATURE, finding);
        }
    }
    None
}
