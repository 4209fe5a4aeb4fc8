//! Comparing activations at one site.

use std::collections::BTreeMap;

use ulpscope_capture::Activation;
use ulpscope_decoder::Site;
use ulpscope_metrics::{Difference, difference, per_row};
use ulpscope_record::{Introduced, SiteDetail, SiteDivergence};

use crate::detail::{detail, place};

/// The divergence of one subject at one site.
pub(crate) struct Measured {
    pub(crate) site: Site,
    pub(crate) subject: usize,
    pub(crate) prompt: usize,
    shape: Vec<usize>,
    /// What has accumulated.
    pub(crate) own: Difference,
    /// What the site introduces on the reference's inputs.
    taught: Difference,
    /// The first element of the reference and of the subject that is NaN or infinite; empty where
    /// there is none.
    first_nonfinite: [Vec<usize>; 2],
    mean_abs_by_position: Vec<f64>,
    detail: Option<SiteDetail>,
}

impl Measured {
    /// What has accumulated, from the subject's own activation, and what the site introduces, from
    /// the one on the reference's inputs, which is the reference's own where there is none. Without
    /// an activation of its own the two are the same.
    pub(crate) fn new(
        site: Site,
        (subject, prompt): (usize, usize),
        a: &Activation,
        own: Option<&Activation>,
        taught: Option<&Activation>,
    ) -> Self {
        let apart =
            |b: &Activation| difference(&a.values, &b.values).expect("both arms have the same shapes");
        let len = a.values.len() as u64;
        let new = match (taught, own) {
            // Nothing but that is asked of it.
            (None, Some(_)) => Difference { len, equal: len, finite: len, ..Difference::EMPTY },
            _ => apart(taught.unwrap_or(a)),
        };
        let positions = match own {
            Some(b) if site.is_output() => {
                per_row(&a.values, &b.values, a.shape[1]).expect("rows divide the shape")
            }
            _ => Vec::new(),
        };
        let own_difference = own.map_or(new, apart);
        let first = |of: &Activation, count: u64| if count == 0 { Vec::new() } else { first_nonfinite(of) };
        let [in_a, in_b] = own_difference.nonfinite;
        Measured {
            site,
            subject,
            prompt,
            shape: a.shape.clone(),
            own: own_difference,
            taught: new,
            first_nonfinite: [first(a, in_a), first(own.or(taught).unwrap_or(a), in_b)],
            mean_abs_by_position: positions.iter().map(Difference::mean_abs).collect(),
            detail: None,
        }
    }

    /// Whether the site introduces something.
    fn introduces(&self) -> bool {
        !self.taught.identical()
    }

    /// Looks closer: at what the site introduces, or at what has accumulated where it introduces
    /// nothing.
    pub(crate) fn look(&mut self, a: &Activation, own: &Activation, taught: Option<&Activation>) {
        let introduced = taught.filter(|_| self.introduces());
        self.detail = detail(a, introduced.unwrap_or(own), introduced.is_some());
    }

    /// Adds what was found at the same site on the tokens that follow.
    pub(crate) fn join(&mut self, later: &Measured) {
        self.own = self.own.merge(later.own);
        self.taught = self.taught.merge(later.taught);
        for (first, later) in self.first_nonfinite.iter_mut().zip(&later.first_nonfinite) {
            if first.is_empty() && !later.is_empty() {
                first.clone_from(later);
                first[1] += self.shape[1];
            }
        }
        self.shape[1] += later.shape[1];
        // What it says is of the first tokens alone.
        self.detail = None;
    }

    /// As records have it.
    pub(crate) fn record(self, subject: &str) -> SiteDivergence {
        let (d, new) = (&self.own, &self.taught);
        SiteDivergence {
            site: self.site.to_string(),
            arm: subject.to_owned(),
            prompt: self.prompt,
            shape: self.shape,
            difference: ulpscope_record::Difference {
                equal: d.equal_fraction(),
                mean_abs: d.mean_abs(),
                max_abs: d.max_abs,
                rms: d.rms(),
                cosine: d.cosine(),
                sqnr_db: d.sqnr_db(),
            },
            introduced: Introduced {
                equal: new.equal_fraction(),
                mean_abs: new.mean_abs(),
                max_abs: new.max_abs,
                rms: new.rms(),
            },
            nonfinite: d.nonfinite,
            first_nonfinite: self.first_nonfinite,
            mean_abs_by_position: self.mean_abs_by_position,
            detail: self.detail,
        }
    }
}

/// Which sites are worth a closer look: the output of every block, and of each subject and prompt
/// the first [`MOST_LOOKED_AT`] others that introduce something.
#[derive(Default)]
pub(crate) struct Looks(BTreeMap<(usize, usize), usize>);

/// Sites of a subject and prompt that introduce something and are looked at closely.
const MOST_LOOKED_AT: usize = 16;

impl Looks {
    /// Whether this site is one, which then counts as looked at.
    pub(crate) fn worth(&mut self, measured: &Measured) -> bool {
        if measured.site.is_output() {
            return true;
        }
        let looked_at = self.0.entry((measured.subject, measured.prompt)).or_default();
        let worth = measured.introduces() && *looked_at < MOST_LOOKED_AT;
        *looked_at += usize::from(worth);
        worth
    }
}

/// The index of the first element that is NaN or infinite; empty if there is none.
fn first_nonfinite(activation: &Activation) -> Vec<usize> {
    let values = &activation.values;
    let first = (0..values.len()).find(|&i| !values.get(i).is_finite());
    first.map_or_else(Vec::new, |i| place(i, &activation.shape))
}
