//! Whether what a site introduces on a trace's inputs is more than another order of summation does.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ulpscope_decoder::{Architecture, AttentionKind, Op, Site};
use ulpscope_record::SiteDivergence;

use crate::floor::Kinds;
use crate::layer_groups::class;
use crate::thresholds::FALSE_ALARMS;

/// Elements that other orders change at sites where ours has the trace's bits, from which on that
/// is no chance.
const EVIDENCE: f64 = 20.0;

/// A site whose differences are fewer than other orders make, by more than this factor, is off for
/// another reason.
const AS_OFTEN: f64 = 4.0;

/// Sites at which a token that is summed otherwise differs at least.
const SCATTERED: f64 = 3.0;

/// How many times the largest noise of a cached prefix is still noise.
const OF_CACHE: f64 = 4.0;

/// The tokens at which sites differ.
pub(crate) struct Rows(HashMap<(String, usize), Vec<usize>>);

impl Rows {
    pub(crate) fn new(rows: HashMap<(Site, usize), Vec<usize>>) -> Self {
        Rows(rows.into_iter().map(|((site, prompt), rows)| ((site.to_string(), prompt), rows)).collect())
    }

    pub(crate) fn of(&self, s: &SiteDivergence) -> &[usize] {
        self.0.get(&(s.site.clone(), s.prompt)).map_or(&[], Vec::as_slice)
    }
}

/// Judges sites by the floor of their kind.
///
/// Three kinds are told apart. Where no order changes anything (embeddings, tables, rotation, sums
/// of two terms), or where the trace demonstrably sums in our order, equal inputs give equal bits,
/// so that any difference counts. Elsewhere it has to be more than what orders do, at the run's
/// false-alarm rate.
pub(crate) struct Judge {
    kinds: Kinds,
    /// Classes of sites that an order of summation changes.
    moved: BTreeSet<String>,
    /// Classes of sites at which the trace sums in our order.
    known: BTreeSet<String>,
    tests: usize,
    /// What each class of sites does.
    ops: HashMap<String, Op>,
    /// Tokens of prompts that are summed in an order of their own, which is not known.
    alone: BTreeSet<(usize, usize)>,
    /// Width of a head.
    head_dim: usize,
    /// The largest noise at sites that read a cached prefix: errors of many layers, which differ
    /// from site to site.
    cached: HashMap<(usize, String), f64>,
}

/// What is held of one site on one prompt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Judged {
    /// Elements that differ, of all.
    pub(crate) differing: [u64; 2],
    /// Elements that orders would be expected to change.
    pub(crate) expected: f64,
    /// Root mean square of the difference, as a multiple of the floor's.
    pub(crate) ratio: f64,
    pub(crate) p_value: f64,
    /// Whether it is more than the floor.
    pub(crate) beyond: bool,
}

/// Elements that differ, of all.
pub(crate) fn counts(s: &SiteDivergence) -> [u64; 2] {
    let len: usize = s.shape.iter().product();
    [((1.0 - s.introduced.equal) * len as f64).round() as u64, len as u64]
}

impl Judge {
    /// From ours against the trace, and ours in other orders against ours, both on the trace's
    /// inputs. `rows` are the tokens at which each site of a prompt differs.
    pub(crate) fn calibrated(
        sites: &[SiteDivergence],
        noise: &[SiteDivergence],
        rows: &Rows,
        model: &Architecture,
    ) -> Self {
        let mut by_site: HashMap<(usize, &str), f64> = HashMap::new();
        let mut moved = BTreeSet::new();
        for s in noise {
            let [differing, _] = counts(s);
            *by_site.entry((s.prompt, &s.site)).or_default() += differing as f64;
            if differing > 0 {
                moved.insert(class(&s.site));
            }
        }
        let mut of_class: BTreeMap<String, (usize, usize, f64)> = BTreeMap::new();
        for s in sites {
            let (all, equal, evidence) = of_class.entry(class(&s.site)).or_default();
            *all += 1;
            if s.introduced.equal == 1.0 {
                *equal += 1;
                *evidence += by_site.get(&(s.prompt, s.site.as_str())).copied().unwrap_or(0.0);
            }
        }
        let mut known: BTreeSet<String> = (of_class.iter())
            .filter(|(name, (all, equal, evidence))| {
                moved.contains(*name) && 2 * equal >= *all && *evidence >= EVIDENCE
            })
            .map(|(name, _)| name.clone())
            .collect();
        let noise: Vec<&SiteDivergence> = noise.iter().collect();
        let mut judge = Judge {
            kinds: Kinds::of(&noise),
            moved,
            known: BTreeSet::new(),
            alone: BTreeSet::new(),
            tests: sites.len().max(1),
            ops: model
                .sites(AttentionKind::Eager)
                .iter()
                .map(|site| (class(&site.to_string()), site.op()))
                .collect(),
            cached: HashMap::new(),
            head_dim: model.layers.first().map_or(1, |layer| layer.attention.head_dim),
        };
        // An attention kernel may sum as ours in most cases and otherwise in some: then its order
        // is not ours.
        for s in sites.iter().filter(|s| judge.op(&s.site).is_some_and(Op::attends)) {
            if s.introduced.equal < 1.0 && !judge.judge_by_floor(s).beyond {
                known.remove(&class(&s.site));
            }
        }
        // Linear layers mostly go through one kernel; one that is off as often as by another order
        // has another.
        let linear: Vec<&String> =
            judge.moved.iter().filter(|class| judge.ops.get(*class) == Some(&Op::Linear)).collect();
        let sure = linear.iter().filter(|c| known.contains(**c)).count();
        if 4 * sure >= 3 * linear.len() && sure > 0 {
            let by_another_order = |s: &&SiteDivergence| {
                let judged = judge.judge_by_floor(s);
                !judged.beyond && judged.differing[0] as f64 * AS_OFTEN >= judged.expected.max(1.0)
            };
            let other: BTreeSet<String> =
                sites.iter().filter(by_another_order).map(|s| class(&s.site)).collect();
            known.extend(linear.into_iter().filter(|c| !other.contains(*c)).cloned());
        }
        judge.known = known;
        judge.alone = judge.read_alone(sites, &noise, rows);
        judge
    }

    /// Tokens that differ at linear layers of many blocks, about as often as another order of
    /// summation makes them, where other tokens have the trace's bits.
    fn read_alone(
        &self,
        sites: &[SiteDivergence],
        noise: &[&SiteDivergence],
        rows: &Rows,
    ) -> BTreeSet<(usize, usize)> {
        let sums = |name: &str| self.op(name) == Some(Op::Linear) && self.known.contains(&class(name));
        let tokens = |s: &SiteDivergence| s.shape.get(1).copied().unwrap_or(1).max(1) as f64;
        // What one other order would change at a token, of each prompt.
        let orders: BTreeSet<&str> = noise.iter().map(|s| s.arm.as_str()).collect();
        let mut expected: HashMap<usize, f64> = HashMap::new();
        for s in noise.iter().filter(|s| sums(&s.site)) {
            *expected.entry(s.prompt).or_default() += counts(s)[0] as f64 / tokens(s) / orders.len() as f64;
        }
        let mut differing: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for s in sites.iter().filter(|s| sums(&s.site) && !self.judge_by_floor(s).beyond) {
            for &token in rows.of(s) {
                *differing.entry((s.prompt, token)).or_default() += 1;
            }
        }
        let as_often = |&((prompt, _), sites): &(&(usize, usize), &usize)| {
            let (sites, expected) = (*sites as f64, expected.get(prompt).copied().unwrap_or(0.0));
            sites >= SCATTERED && sites * AS_OFTEN >= expected && sites <= AS_OFTEN * expected.max(1.0)
        };
        differing.iter().filter(as_often).map(|(row, _)| *row).collect()
    }

    /// With what attention behind a cached prefix differs by where the prefix was summed otherwise.
    pub(crate) fn behind_a_cache(mut self, cached: &[SiteDivergence], noise: &[SiteDivergence]) -> Self {
        for s in cached {
            let largest = self.cached.entry((s.prompt, s.site.clone())).or_default();
            *largest = largest.max(s.introduced.rms);
        }
        for s in noise {
            if let Some(largest) = self.cached.get_mut(&(s.prompt, s.site.clone())) {
                *largest = largest.max(s.introduced.rms);
            }
        }
        self
    }

    fn op(&self, site: &str) -> Option<Op> {
        self.ops.get(&class(site)).copied()
    }

    /// Whether equal inputs have to give equal bits at a site.
    pub(crate) fn exact(&self, site: &str) -> bool {
        let class = class(site);
        !self.moved.contains(&class) || self.known.contains(&class)
    }

    /// Classes of sites at which the trace's order of summation is not known.
    pub(crate) fn unknown_orders(&self) -> Vec<&str> {
        self.moved.difference(&self.known).map(String::as_str).collect()
    }

    /// Probability below which a site's difference is more than noise: all tests share that of a
    /// false alarm.
    pub(crate) fn chance(&self) -> f64 {
        FALSE_ALARMS / (2.0 * self.tests as f64)
    }

    /// Judges a site that differs at these tokens.
    pub(crate) fn judge(&self, s: &SiteDivergence, rows: &[usize]) -> Judged {
        let alone = !rows.is_empty() && rows.iter().all(|token| self.alone.contains(&(s.prompt, *token)));
        self.judged(s, self.exact(&s.site) && !alone)
    }

    /// The tokens of all prompts that are summed in an order of their own, which is not known.
    pub(crate) fn alone(&self) -> BTreeSet<usize> {
        self.alone.iter().map(|(_, token)| *token).collect()
    }

    fn judge_by_floor(&self, s: &SiteDivergence) -> Judged {
        self.judged(s, false)
    }

    fn judged(&self, s: &SiteDivergence, exact: bool) -> Judged {
        let [differing, len] = counts(s);
        // No order of summation makes a number infinite; how scores are hidden is each program's
        // own matter.
        let infinite = s.nonfinite[0] != s.nonfinite[1] && self.op(&s.site) != Some(Op::Scores);
        let kind = self.kinds.get(s).filter(|_| !exact && !infinite);
        if differing == 0 {
            return Judged { differing: [0, len], expected: 0.0, ratio: 0.0, p_value: 1.0, beyond: false };
        }
        if let Some(noise) = self.cached.get(&(s.prompt, s.site.clone())) {
            let ratio = s.introduced.rms / noise;
            let beyond = infinite || ratio.is_nan() || ratio > OF_CACHE;
            let p_value = if beyond { 0.0 } else { 1.0 };
            return Judged { differing: [differing, len], expected: 0.0, ratio, p_value, beyond };
        }
        // A probability that is rounded otherwise moves all that a head has at its token.
        let at_once = if self.op(&s.site) == Some(Op::Mix) { self.head_dim as f64 } else { 1.0 };
        let (expected, p_value) =
            kind.map_or((0.0, 0.0), |kind| kind.test(s, differing, len as usize, at_once));
        let floor = kind.map_or(0.0, |kind| kind.rms());
        let ratio = if floor > 0.0 { s.introduced.rms / floor } else { f64::INFINITY };
        Judged { differing: [differing, len], expected, ratio, p_value, beyond: p_value < self.chance() }
    }
}

#[cfg(test)]
mod tests {
    use ulpscope_capture::Activation;
    use ulpscope_compare::introduced;
    use ulpscope_floats::Floats;

    use super::*;
    use crate::testing::llama;

    const LEN: usize = 512;

    /// What a site introduces where so many of its elements are off by this share of their size.
    fn off(site: &str, count: usize, by: f32) -> SiteDivergence {
        let value = |i: usize| ((i * 7919 % 1009) as f32 - 504.5) / 300.0;
        // Some of every row and column.
        let moved = |i: usize| if i * 11 % LEN < count { value(i) * (1.0 + by) } else { value(i) };
        let activation =
            |values: Vec<f32>| Activation { shape: vec![1, 16, LEN / 16], values: Floats::from(values) };
        let [a, b] = [(0..LEN).map(value).collect(), (0..LEN).map(moved).collect()].map(activation);
        introduced("ours", llama().site(site).unwrap(), 0, &a, &b)
    }

    #[test]
    fn one_kind_of_layer_may_sum_in_an_order_of_its_own() {
        let places =
            ["self_attn.q_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"];
        let sites = |n: usize| places.map(|place| format!("model.layers.{n}.{place}"));
        let sites: Vec<String> = (0..3).flat_map(sites).collect();
        let step = 2e-7;
        let noise: Vec<SiteDivergence> =
            sites.iter().flat_map(|site| (0..5).map(|_| off(site, 400, step)).collect::<Vec<_>>()).collect();
        let beyond = |count: usize, by: f32| {
            let of = |site: &String| {
                if class(site) == "model.layers.*.mlp.down_proj" {
                    off(site, count, by)
                } else {
                    off(site, 0, 0.0)
                }
            };
            let found: Vec<SiteDivergence> = sites.iter().map(of).collect();
            let judge = Judge::calibrated(&found, &noise, &Rows::new(HashMap::new()), &llama());
            found.iter().map(|s| judge.judge(s, &[]).beyond).collect::<Vec<bool>>()
        };
        // As often and as much as another order does: that is what it is.
        assert!(beyond(400, step).iter().all(|beyond| !beyond));
        // As often, but by more; or by as much, but at few elements, where no other order would
        // leave the rest.
        for odd in [beyond(400, 1e-3), beyond(6, step)] {
            assert_eq!(odd.iter().filter(|beyond| **beyond).count(), 3, "{odd:?}");
        }
    }
}
