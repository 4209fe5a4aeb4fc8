//! What a search came to: causes, and sites without one.

use std::collections::BTreeSet;

use ulpscope_decoder::{Part, Site};
use ulpscope_relations::Statement;

use super::evidence::{Claim, Evidence};
use super::hypothesis::Change;
use super::pattern::Pattern;

/// One cause that was found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) claim: Claim,
    /// What the trace does at other sites, where that is not the same.
    pub(crate) elsewhere: Vec<(Site, Evidence)>,
    /// The sites that it accounts for, in forward order.
    pub(crate) sites: BTreeSet<Site>,
    /// Of those, sites that have the trace's bits with it; the others are within the floor.
    pub(crate) equal: BTreeSet<Site>,
    pub(crate) changes: Vec<PartChange>,
    /// Elements that differ without it and do not with it.
    pub(crate) mended: u64,
    /// Other claims that give the same bits at every site that it was found at.
    pub(crate) ties: Vec<Claim>,
    pub(crate) shown: Shown,
}

/// What was changed in a part.
#[derive(Clone, Debug)]
pub(crate) struct PartChange {
    pub(crate) part: Part,
    pub(crate) change: Change,
    /// Whether the whole part can be run so.
    pub(crate) runs_free: bool,
}

/// How it was shown that a cause is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// By running it: what is left is nothing, or within the floor.
    Run,
    /// By running it, but for the last bits of a function that the two compute otherwise.
    Nearly,
    /// Not by running the model: a formula, evaluated on the trace's inputs, gives the trace's
    /// values, but for roundings.
    Formula,
    /// Not by running it: the values at the site keep to a rule.
    Values,
    /// Not by running it: number and size of the differences are those of a function's last bits.
    LastBits,
}

impl Found {
    pub(crate) fn new(claim: Claim, shown: Shown) -> Self {
        Found {
            claim,
            elsewhere: Vec::new(),
            sites: BTreeSet::new(),
            equal: BTreeSet::new(),
            changes: Vec::new(),
            mended: 0,
            ties: Vec::new(),
            shown,
        }
    }

    /// Takes in what accounts for other sites in the same way.
    pub(super) fn take(&mut self, other: Found) {
        self.claim.join(&other.claim);
        self.sites.extend(other.sites);
        self.equal.extend(other.equal);
        self.changes.extend(other.changes);
        self.mended += other.mended;
    }

    /// Keeps the ties that hold here, too.
    pub(super) fn keep_ties(&mut self, here: &[Claim]) {
        self.ties.retain_mut(|tie| {
            let same = here.iter().find(|claim| claim.key == tie.key);
            same.is_some_and(|claim| {
                tie.join(claim);
                true
            })
        });
    }

    /// Whether the trace was seen to do so, at whatever site.
    pub(super) fn shows(&self, evidence: &Evidence) -> bool {
        let elsewhere = self.elsewhere.iter().map(|(_, evidence)| evidence);
        std::iter::once(&self.claim.evidence).chain(elsewhere).any(|known| known.alike(evidence))
    }

    /// Whether it was run.
    pub(crate) fn ran(&self) -> bool {
        matches!(self.shown, Shown::Run | Shown::Nearly)
    }
}

/// A site that no hypothesis accounts for.
#[derive(Clone, Debug)]
pub(crate) struct Unexplained {
    pub(crate) site: Site,
    pub(crate) tried: Vec<Claim>,
    pub(crate) pattern: Pattern,
    /// Where the two differ, if that is in one place.
    pub(crate) place: Option<Statement>,
    /// The tokens of all prompts, where they are too few to see an update of low rank.
    pub(crate) short_of: Option<usize>,
}

/// What a search came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) found: Vec<Found>,
    pub(crate) unexplained: Vec<Unexplained>,
}
