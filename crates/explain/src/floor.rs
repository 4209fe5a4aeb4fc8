//! The noise floor: what the reference differs from itself when only the order of summation
//! changes.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;

use ulpscope_compare::Observed;
use ulpscope_decoder::Accumulation;
use ulpscope_record::{Floor, LogitDivergence, LogitFloor, Origin, ShapeFloor, SiteDivergence, SiteFloor};

use crate::layer_groups::class;
use crate::statistics::{as_many, beyond, mean};
use crate::thresholds::FALSE_ALARMS;

/// The orders that an arm is run in besides its own: five that differ in how they group, and the
/// one that PyTorch takes for another number of rows, where it is known and not among them.
pub(crate) fn orders(own: Accumulation) -> Vec<Accumulation> {
    let all = [
        Accumulation::Tile32,
        Accumulation::Dot2,
        Accumulation::Sequential,
        Accumulation::Reversed,
        Accumulation::Pairwise,
        Accumulation::SplitK(const { NonZeroUsize::new(4).unwrap() }),
    ];
    let shape = of_other_rows(own).filter(|order| !all.contains(order));
    all.into_iter().filter(|order| *order != own).take(5).chain(shape).collect()
}

/// The order in which PyTorch takes the same products when there are more rows, or a single one.
fn of_other_rows(own: Accumulation) -> Option<Accumulation> {
    match own {
        Accumulation::Tile32 => Some(Accumulation::Tile32Blocked),
        Accumulation::Tile32Blocked => Some(Accumulation::Tile32),
        Accumulation::Dot2 => Some(Accumulation::Dot2Lanes),
        Accumulation::Dot2Lanes => Some(Accumulation::Dot2),
        _ => None,
    }
}

/// What the reference's logits differ by when it sums as PyTorch does for another number of rows:
/// another batch, or a prompt read token by token.
pub(crate) fn of_other_shape(
    own: Accumulation,
    observed: &Observed,
    orders: &[(usize, String, Accumulation)],
) -> Vec<ShapeFloor> {
    let Some((subject, _, order)) = orders.iter().find(|(.., order)| of_other_rows(own) == Some(*order))
    else {
        return Vec::new();
    };
    let of = |l: &LogitDivergence| ShapeFloor {
        what: format!(
            "the reference sums as PyTorch does for another number of rows, {order} instead of {own}"
        ),
        prompt: l.prompt,
        positions: l.by_position.len(),
        equal: l.equal,
        kl: l.kl,
        max_abs: l.max_abs,
        top1_agreement: l.top1_agreement,
    };
    observed.logits_of(*subject, 0).map(of).collect()
}

/// The floor, from the subjects that are the reference in other orders.
pub(crate) fn floor(observed: &Observed, orders: &[(usize, String, Accumulation)], tests: usize) -> Floor {
    let of = |name: &str| orders.iter().find(|(_, n, _)| n == name);
    let mut by_site: BTreeMap<(usize, usize), Vec<&SiteDivergence>> = BTreeMap::new();
    let mut place: HashMap<&str, usize> = HashMap::new();
    for site in observed.sites.iter().filter(|s| of(&s.arm).is_some()) {
        let next = place.len();
        let place = *place.entry(&site.site).or_insert(next);
        by_site.entry((site.prompt, place)).or_default().push(site);
    }
    let sites = by_site.into_values().map(|group| {
        let means: Vec<f64> = group.iter().map(|s| s.introduced.mean_abs).collect();
        SiteFloor {
            site: group[0].site.clone(),
            prompt: group[0].prompt,
            differing: mean(&group.iter().map(|s| 1.0 - s.introduced.equal).collect::<Vec<_>>()),
            mean_abs: [mean(&means), means.iter().copied().fold(0.0, f64::max)],
        }
    });
    let logits = observed.logits.iter().filter_map(|l| {
        let (_, _, order) = orders.iter().find(|(subject, ..)| *subject == l.subject)?;
        Some(LogitFloor {
            order: order.to_string(),
            prompt: l.logits.prompt,
            kl: l.logits.kl,
            equal: l.logits.equal,
            top1_agreement: l.logits.top1_agreement,
        })
    });
    Floor {
        orders: orders.iter().map(|(_, _, order)| order.to_string()).collect(),
        false_alarm_rate: FALSE_ALARMS,
        tests,
        sites: sites.collect(),
        logits: logits.collect(),
        shapes: Vec::new(),
    }
}

/// Sites of the arm that introduce more than the floor, in forward order.
///
/// Where both arms sum in one order, equal inputs give equal bits unless something else differs, so
/// that the floor is exactly 0. Where they do not, two tests ask whether the order alone does as
/// much: the number of elements that differ, against the floor's rate for this kind of site
/// (Poisson, with the floor's own excess of variance), and the size of the difference, against the
/// floor's spread. All sites and prompts share the probability of a mistake.
pub(crate) fn origins(
    arm: &str,
    same_order: bool,
    observed: &Observed,
    orders: &[(usize, String, Accumulation)],
) -> Vec<Origin> {
    let own: Vec<&SiteDivergence> = observed.sites.iter().filter(|s| s.arm == arm).collect();
    let noise: Vec<&SiteDivergence> =
        observed.sites.iter().filter(|s| orders.iter().any(|(_, name, _)| *name == s.arm)).collect();
    let kinds = Kinds::of(&noise);
    let tests = own.len().max(1) as f64;
    let mut found: Vec<Origin> = own
        .iter()
        .filter_map(|s| {
            let len: usize = s.shape.iter().product();
            let differing = ((1.0 - s.introduced.equal) * len as f64).round() as u64;
            if differing == 0 {
                return None;
            }
            let kind = kinds.get(s);
            let (expected, p_value) = match (same_order, kind) {
                (true, _) => (0.0, 0.0),
                // No order was run at its sites: nothing tells a cause from noise there.
                (false, None) => (0.0, 1.0),
                (false, Some(kind)) => kind.test(s, differing, len, 1.0),
            };
            let floor_rms = if same_order { 0.0 } else { kind.map_or(0.0, Kind::rms) };
            (p_value * 2.0 * tests < FALSE_ALARMS).then(|| Origin {
                site: s.site.clone(),
                prompt: s.prompt,
                differing: [differing, len as u64],
                expected,
                rms_ratio: if floor_rms > 0.0 { s.introduced.rms / floor_rms } else { f64::INFINITY },
                p_value,
                cause: None,
            })
        })
        .collect();
    // Sites come in forward order, prompt by prompt.
    found.sort_by_key(|o| o.prompt);
    found
}

/// The floor of each kind of site, over layers and prompts.
pub(crate) struct Kinds(HashMap<String, Kind>);

pub(crate) struct Kind {
    /// Share of elements that differ.
    rate: f64,
    /// Variance of the number of them over its mean, at least 1.
    excess: f64,
    /// Logarithms of the root mean square of what is introduced, where anything is.
    log_rms: Vec<f64>,
    /// The least deviation of these that can be believed. A flipped rounding is as large as the
    /// step of its number, and steps are powers of two: the mean of n of them is off by a factor of
    /// about 2 over the root of n, even where five orders happen to flip the same elements.
    least: f64,
}

impl Kinds {
    pub(crate) fn of(noise: &[&SiteDivergence]) -> Self {
        let mut groups: HashMap<String, Vec<&SiteDivergence>> = HashMap::new();
        for site in noise {
            groups.entry(class(&site.site)).or_default().push(site);
        }
        Kinds(groups.into_iter().map(|(name, group)| (name, Kind::of(&group))).collect())
    }

    pub(crate) fn get(&self, site: &SiteDivergence) -> Option<&Kind> {
        self.0.get(&class(&site.site))
    }
}

impl Kind {
    fn of(group: &[&SiteDivergence]) -> Self {
        let len = |s: &SiteDivergence| s.shape.iter().product::<usize>() as f64;
        let count = |s: &SiteDivergence| (1.0 - s.introduced.equal) * len(s);
        let all: f64 = group.iter().map(|s| len(s)).sum();
        // Half an event more than was seen: a floor of nothing is no proof that nothing can happen.
        let rate = (group.iter().map(|s| count(s)).sum::<f64>() + 0.5) / all.max(1.0);
        let excess: Vec<f64> = group
            .iter()
            .map(|s| {
                let expected = rate * len(s);
                (count(s) - expected) * (count(s) - expected) / expected
            })
            .collect();
        let relative = |s: &&&SiteDivergence| s.introduced.rms > 0.0;
        let log_rms = group.iter().filter(relative).map(|s| s.introduced.rms.ln()).collect();
        let flipped: Vec<f64> = group.iter().map(|s| count(s)).filter(|n| *n > 0.0).collect();
        let least = if flipped.is_empty() { 0.0 } else { 2f64.ln() / mean(&flipped).max(1.0).sqrt() };
        Kind { rate, excess: mean(&excess).max(1.0), log_rms, least }
    }

    /// Expected number of differing elements, and the smaller of the two probabilities, where one
    /// event may change so many elements at once.
    pub(crate) fn test(&self, site: &SiteDivergence, differing: u64, len: usize, at_once: f64) -> (f64, f64) {
        let expected = self.rate * len as f64;
        let excess = self.excess.max(at_once);
        let many = as_many((differing as f64 / excess).round() as u64, expected / excess);
        let large = if self.log_rms.len() >= 5 {
            beyond(&self.log_rms, site.introduced.rms.ln(), self.least)
        } else {
            1.0
        };
        (expected, many.min(large))
    }

    pub(crate) fn rms(&self) -> f64 {
        if self.log_rms.is_empty() { 0.0 } else { mean(&self.log_rms).exp() }
    }
}
