//! In which order a trace sums: the whole of it, and tokens that were read alone.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use ulpscope_compare::{CompareError, agreement};
use ulpscope_decoder::{Accumulation, Part};

use super::TracePlan;
use super::recorded::Recorded;

/// Blocks that are run in every order, to find the trace's.
const SAMPLED: usize = 8;

/// How many times fewer sites have to be missed by an order, to be that of a token.
const CLEARLY: usize = 8;

/// Linear layers, over all its tokens, that an order has to have where the best has not.
const GAINED: usize = 3;

/// The order in which traces sum, as far as one of ours is theirs.
pub(super) struct Nearest {
    pub(super) order: Accumulation,
    /// Of each prompt, the tokens whose order is another.
    pub(super) rows: Vec<BTreeMap<usize, Accumulation>>,
}

/// The order in which most linear layers have all of the traces' bits, and the tokens at which
/// another has them at more sites: libraries sum a row alone in another order than rows together.
pub(super) fn nearest(plan: &TracePlan, recorded: &Recorded) -> Result<Nearest, CompareError> {
    let own = plan.arm.semantics.base.accumulation;
    let all = [
        own,
        Accumulation::Dot2,
        Accumulation::Tile32,
        Accumulation::Tile32Blocked,
        Accumulation::Sequential,
        Accumulation::SequentialBlocked,
        Accumulation::Pairwise,
        Accumulation::SplitK(const { NonZeroUsize::new(4).unwrap() }),
        Accumulation::Dot2Lanes,
    ];
    let model = plan.arm.arm.architecture();
    let layers = model.layers.len();
    // Of a large model, some blocks tell as much as all.
    let parts: Vec<Part> = model
        .parts()
        .into_iter()
        .filter(|part| match part {
            Part::Stem => false,
            Part::Block(n) => n % layers.div_ceil(SAMPLED).max(1) == 0,
            Part::Head => true,
        })
        .collect();
    let equal = agreement(&plan.arm, &recorded.references, &all, &parts, &plan.device)?;
    let sites = |order: usize| equal[order].iter().flatten().sum::<usize>();
    // The first of equals.
    let best = (0..all.len()).rev().max_by_key(|&order| sites(order)).unwrap_or(0);
    // Orders that PyTorch takes for one number of rows or another.
    let by_rows = |order: usize| {
        use Accumulation::{Dot2, Dot2Lanes, SequentialBlocked, Tile32, Tile32Blocked};
        order == best || matches!(all[order], Dot2 | Dot2Lanes | SequentialBlocked | Tile32 | Tile32Blocked)
    };
    let candidates: Vec<usize> = (0..all.len()).filter(|&order| by_rows(order)).collect();
    let rows = equal_rows(&equal, &candidates, best)
        .into_iter()
        .map(|rows| rows.into_iter().map(|(t, o)| (t, all[o])));
    let rows = rows.map(Iterator::collect);
    Ok(Nearest { order: all[best], rows: rows.collect() })
}

/// Of each prompt, the tokens at which another of some orders than the best has clearly more bits,
/// and which. None where most tokens have the trace's bits in no order.
fn equal_rows(equal: &[Vec<Vec<usize>>], orders: &[usize], best: usize) -> Vec<Vec<(usize, usize)>> {
    let prompts = equal.first().map_or(0, Vec::len);
    let of_prompt = |prompt: usize| {
        let most = equal.iter().flat_map(|of| &of[prompt]).max().copied().unwrap_or(0);
        let tokens = equal[best][prompt].len();
        let missed = |order: usize, token: usize| most - equal[order][prompt][token];
        // Of equals, the one that the prompt has most of.
        let all = |order: usize| equal[order][prompt].iter().sum::<usize>();
        let rank = |order: usize, token: usize| (missed(order, token), Reverse(all(order)));
        let first =
            |token: usize| orders.iter().copied().min_by_key(|&order| rank(order, token)).unwrap_or(best);
        let whole = (0..tokens).filter(|&token| missed(first(token), token) == 0).count();
        let clearly = |token: &usize| CLEARLY * missed(first(*token), *token) < missed(best, *token);
        let mut rows: Vec<(usize, usize)> = (0..tokens).filter(clearly).map(|t| (t, first(t))).collect();
        let mut gained = vec![0; equal.len()];
        rows.iter().for_each(|&(token, order)| gained[order] += missed(best, token) - missed(order, token));
        rows.retain(|(_, order)| gained[*order] >= GAINED);
        if 2 * whole < tokens { Vec::new() } else { rows }
    };
    (0..prompts).map(of_prompt).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_another_order_if_that_has_clearly_more_bits() {
        let together = vec![20, 20, 20, 14];
        let alone = vec![15, 16, 14, 20];
        assert_eq!(equal_rows(&[vec![together.clone()], vec![alone.clone()]], &[0, 1], 0), [[(3, 1)]]);
        assert_eq!(
            equal_rows(&[vec![alone], vec![together.clone()]], &[0, 1], 0),
            [[(0, 1), (1, 1), (2, 1)]],
            "whichever is the best"
        );
        // A fault that all tokens have is missed by every order.
        let faulty = |of: &[usize]| vec![of.iter().map(|n| n - 5).collect::<Vec<_>>()];
        assert_eq!(equal_rows(&[faulty(&together), faulty(&[15, 16, 14, 20])], &[0, 1], 0), [[(3, 1)]]);
        // Orders of which none is the trace's say nothing, whichever comes nearer.
        let none: Vec<Vec<(usize, usize)>> = vec![Vec::new()];
        assert_eq!(equal_rows(&[vec![vec![12, 11, 13, 12]], vec![vec![11, 20, 10, 11]]], &[0, 1], 0), none);
        assert_eq!(equal_rows(&[vec![vec![20, 20, 19]], vec![vec![12, 13, 19]]], &[0, 1], 0), none);
    }
}
