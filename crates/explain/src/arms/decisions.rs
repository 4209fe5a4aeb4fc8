//! What a divergence does to decisions.

use ulpscope_compare::Observed;
use ulpscope_record::Decision;

use crate::arms::continuation::Continuation;
use crate::statistics::{interval, mean};
use crate::thresholds::NEAR_TIE;

/// Flips of the most likely token, and what the arm thinks of the prompt's own tokens, for each
/// prompt.
///
/// A flip that is no [near-tie](near_tie) is counted apart.
pub(crate) fn decisions(
    observed: &Observed,
    orders: &[usize],
    prompts: usize,
    continuations: &[Continuation],
) -> Vec<Decision> {
    let of = |subject: usize, prompt: usize| observed.logits_on(prompt, subject, 0);
    let decision = |prompt: usize| {
        let own = of(1, prompt)?;
        let noise: Vec<_> = orders.iter().filter_map(|&order| of(order, prompt)).collect();
        let flipped: Vec<usize> = (0..own.by_position.len())
            .filter(|&i| own.by_position[i].top1[0] != own.by_position[i].top1[1])
            .collect();
        let near = |i: &&usize| {
            let most = noise.iter().map(|l| l.by_position[**i].max_abs).fold(0.0, f64::max);
            near_tie(own.by_position[**i].margin[0], most)
        };
        let ties = flipped.iter().filter(near).count();
        let nll: Vec<f64> =
            own.by_position.iter().map(|p| p.nll[1] - p.nll[0]).filter(|d| !d.is_nan()).collect();
        let over = |sample: &[usize]| mean(&sample.iter().map(|&i| nll[i]).collect::<Vec<_>>());
        let continued = continuations.iter().find(|c| c.prompt == prompt).cloned().unwrap_or_default();
        let fork = continued.fork;
        Some(Decision {
            prompt,
            flips: [flipped.len(), own.by_position.len()],
            flips_outside_near_ties: flipped.len() - ties,
            continued: continued.ids[0].len(),
            context: continued.context,
            first_different_token: fork.map(|fork| fork.token),
            margin: fork.map(|fork| fork.margin),
            margin_probability: fork.map(|fork| fork.margin_probability),
            noise: fork.and_then(|fork| fork.noise),
            near_tie: fork.and_then(|fork| fork.noise.map(|noise| near_tie(fork.margin, noise))),
            // What ids stand for is the business of who has the tokenizer.
            continuations: [String::new(), String::new()],
            continued_ids: continued.ids,
            nll_difference: mean(&nll),
            nll_interval: interval(nll.len(), over),
        })
    };
    (0..prompts).filter_map(decision).collect()
}

/// Whether a margin is within twice what the order of summation alone changes a logit of that
/// position by: then noise could have moved one of the two up and the other down by as much.
fn near_tie(margin: f64, noise: f64) -> bool {
    margin <= NEAR_TIE * noise
}
