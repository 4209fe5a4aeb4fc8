//! What limits a verdict, and where theory expects its causes to show.

use ulpscope_compare::{Findings, Plan};
use ulpscope_decoder::departure::Mask;

use crate::arms::factor::Factor;
use crate::thresholds::HIDDEN_ANGLE;
use crate::words::short;

/// Where theory expects a fault of rotation to show: an angle error of δ per position reaches 0.1
/// and 1 rad.
pub(crate) fn expected(factors: &[Factor]) -> Vec<String> {
    let of = |factor: &Factor| {
        let delta = factor.rotation.filter(|d| *d > 0.0)?;
        Some(format!(
            "{}: the frequency that is off most, by {delta:.3e} rad per position, turns queries and keys by 0.1 rad \
             too much at distance {:.0}, by 1 rad at distance {:.0}",
            factor.subject(),
            (HIDDEN_ANGLE / delta).ceil(),
            (1.0 / delta).ceil()
        ))
    };
    factors.iter().filter_map(of).collect()
}

/// What limits the verdict. Length hides nothing that exceeds the noise.
pub(crate) fn guards(
    plan: &Plan,
    findings: &Findings,
    factors: &[Factor],
    nonfinite: [u64; 2],
    exceeds: bool,
) -> Vec<String> {
    let mut guards = Vec::new();
    let longest = plan.prompts.iter().map(Vec::len).max().unwrap_or(0);
    if longest < 2 {
        guards.push(
            "No prompt has more than one token: position 0 is not rotated and its softmax is 1, so that faults of \
             rotation, scale and mask can't show"
                .to_owned(),
        );
    }
    let hidden = |angle: &f64| *angle > 0.0 && *angle * (longest as f64) < HIDDEN_ANGLE;
    for factor in factors.iter().filter(|_| !exceeds) {
        if let Some(delta) = factor.rotation.filter(hidden) {
            guards.push(format!(
                "Length hides {}: over {longest} tokens it turns a query or key by {} rad at most, and by 0.1 rad from {} \
                 tokens on",
                factor.subject(),
                short(delta * longest.saturating_sub(1) as f64),
                (HIDDEN_ANGLE / delta).ceil()
            ));
        }
    }
    let width = hidden_window(plan).filter(|width| longest <= *width);
    guards.extend(width.map(|width| {
        format!(
            "Length hides the window: no prompt has more than {width} tokens, within which all keys are seen"
        )
    }));
    if nonfinite != [0, 0] {
        let first = |arm: usize| {
            let site = findings.sites.iter().find(|s| !s.first_nonfinite[arm].is_empty());
            site.map_or_else(String::new, |s| {
                let at: Vec<String> = s.first_nonfinite[arm].iter().map(usize::to_string).collect();
                format!(" (first {} [{}])", s.site, at.join(", "))
            })
        };
        guards.push(format!(
            "NaN or infinite elements of activations: {} in a{} and {} in b{}; means leave them out",
            nonfinite[0],
            first(0),
            nonfinite[1],
            first(1)
        ));
    }
    if std::ptr::eq(plan.arms[0].arm.checkpoint(), plan.arms[1].arm.checkpoint()) {
        guards.push(
            "Both arms are made of one checkpoint: a fault in its weights or its config is in both, and can't be seen \
             without another to compare with"
                .to_owned(),
        );
    }
    guards.extend(findings.coverage.not_compared.iter().map(|what| format!("Not compared: {what}")));
    guards
}

/// The narrowest window in which the arms differ, in tokens.
fn hidden_window(plan: &Plan) -> Option<usize> {
    let [a, b] = [0, 1].map(|i| &plan.arms[i].arm.architecture().layers);
    let differing =
        a.iter().zip(b).map(|(a, b)| [a.attention.mask, b.attention.mask]).filter(|[a, b]| a != b);
    let widths = differing.flatten().filter_map(|mask| match mask {
        Mask::Window(width) => Some(width.get()),
        _ => None,
    });
    widths.min()
}
