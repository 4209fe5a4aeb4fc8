//! A part of ours that was run under some setting, and how it compares with the trace.

use std::collections::{BTreeMap, BTreeSet};

use ulpscope_capture::Activations;
use ulpscope_decoder::Site;
use ulpscope_record::SiteDivergence;

use super::evidence::Claim;
use super::hypothesis::{Change, Hypothesis};
use super::judge::Judged;

/// Every judged site of a part on every prompt, and the activations.
#[derive(Default)]
pub(super) struct Trial {
    pub(super) sites: BTreeMap<(Site, usize), (SiteDivergence, Judged)>,
    pub(super) taught: Vec<Activations>,
}

impl Trial {
    pub(super) fn at(&self, site: Site) -> impl Iterator<Item = &(SiteDivergence, Judged)> {
        self.sites.range((site, 0)..=(site, usize::MAX)).map(|(_, found)| found)
    }

    pub(super) fn beyond(&self, site: Site) -> bool {
        self.at(site).any(|(_, judged)| judged.beyond)
    }

    pub(super) fn equal(&self, site: Site) -> bool {
        self.at(site).all(|(_, judged)| judged.differing[0] == 0)
    }

    /// Sum of squares of what the site introduces; infinite where it is no number.
    pub(super) fn error(&self, site: Site) -> f64 {
        let sum: f64 = self
            .at(site)
            .map(|(s, judged)| {
                let nonfinite = s.nonfinite[0] != s.nonfinite[1];
                if nonfinite { f64::INFINITY } else { s.introduced.rms.powi(2) * judged.differing[1] as f64 }
            })
            .sum();
        if sum.is_nan() { f64::INFINITY } else { sum }
    }

    pub(super) fn differing(&self, site: Site) -> u64 {
        self.at(site).map(|(_, judged)| judged.differing[0]).sum()
    }

    pub(super) fn all(&self) -> BTreeSet<Site> {
        self.sites.keys().map(|(site, _)| *site).collect()
    }

    /// Whether a site that is in order in `before` is not here.
    pub(super) fn harmed(&self, before: &Trial) -> bool {
        self.all().into_iter().any(|site| self.beyond(site) && !before.beyond(site))
    }
}

/// A hypothesis, or two of them, that was run.
pub(super) struct Tried {
    pub(super) what: Vec<Hypothesis>,
    pub(super) trial: Trial,
    pub(super) fits: bool,
    pub(super) equal: bool,
    pub(super) harm: bool,
    pub(super) error: f64,
}

impl Tried {
    /// The claim of a hypothesis that was run alone.
    pub(super) fn single(&self) -> Option<&Claim> {
        if let [only] = &self.what[..] { Some(&only.claim) } else { None }
    }

    /// The sites whose readers are given another's activation.
    pub(super) fn rewired(&self) -> Vec<Site> {
        self.what.iter().filter_map(|h| h.change.rewired()).collect()
    }

    pub(super) fn edits_parameters(&self) -> bool {
        self.what.iter().any(|h| matches!(h.change, Change::Parameters(_)))
    }
}

/// The best of what fits: bits before nearness, no harm, few hypotheses, the smallest error, the
/// first.
pub(super) fn best(tried: &[Tried]) -> Option<usize> {
    let rank = |t: &Tried| (!t.equal, t.harm, t.what.len());
    let size = |t: &Tried| if t.equal { 0.0 } else { t.error };
    let fitting = (0..tried.len()).filter(|&i| tried[i].fits);
    fitting.min_by(|&i, &j| {
        let (x, y) = (&tried[i], &tried[j]);
        rank(x).cmp(&rank(y)).then(size(x).total_cmp(&size(y)))
    })
}

/// What else gives the trace's bits, where the best does.
pub(super) fn ties(tried: &[Tried], best: usize) -> Vec<Claim> {
    let tie = |(i, t): (usize, &Tried)| {
        t.single().filter(|_| i != best && t.equal && tried[best].equal && !t.harm).cloned()
    };
    tried.iter().enumerate().filter_map(tie).collect()
}
