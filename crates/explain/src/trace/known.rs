//! Everything that was found out of traces, for the verdict and its words.

use std::collections::{BTreeMap, BTreeSet};

use ulpscope_compare::NamedArm;
use ulpscope_decoder::Accumulation;
use ulpscope_record::{Origin, SiteDivergence};

use super::account::{Account, Share};
use super::found::Outcome;
use super::judge::Judge;
use super::reading::Note;
use super::recorded::Recorded;

/// Everything that was found out.
pub(crate) struct Known<'k, 'a> {
    pub(crate) arm: &'k NamedArm<'a>,
    pub(crate) recorded: &'k Recorded,
    pub(crate) sites: &'k [SiteDivergence],
    pub(crate) noise: &'k [SiteDivergence],
    pub(crate) judge: &'k Judge,
    pub(crate) orders: &'k [Accumulation],
    pub(crate) outcome: &'k Outcome,
    pub(crate) account: &'k Account,
    /// The causes' shares, if they add up.
    pub(crate) shares: Option<Vec<Share>>,
    /// Mean KL that other orders of summation make.
    pub(crate) floor_kl: f64,
    pub(crate) origins: Vec<Origin>,
}

impl Known<'_, '_> {
    /// Whether any operation of ours differs from the trace, or sums a token in another order.
    pub(crate) fn differs(&self) -> bool {
        self.sites.iter().any(|s| s.introduced.equal < 1.0) || !self.rows().is_empty()
    }

    /// The orders of tokens that the traces sum otherwise than the rest, with their numbers, each
    /// once.
    pub(crate) fn rows(&self) -> BTreeMap<String, BTreeSet<usize>> {
        let mut rows: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        for (token, order) in self.recorded.references.iter().flat_map(|reference| &reference.rows) {
            rows.entry(order.to_string()).or_default().insert(*token);
        }
        rows
    }

    /// Whether the trace holds sites in another format than ours.
    pub(crate) fn recast(&self) -> bool {
        self.recorded.notes.iter().any(|note| matches!(note, Note::Recast { .. }))
    }
}
