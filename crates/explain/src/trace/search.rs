//! From sites that introduce too much to what makes them do so: by running, greedily, in forward order.

use std::collections::{BTreeMap, BTreeSet};

use ulpscope_capture::{Activation, Activations, Pattern};
use ulpscope_compare::{CompareError, NamedArm, Parts, Reference, Setting, introduced};
use ulpscope_decoder::{Op, Part, Site};
use ulpscope_record::SiteDivergence;

use super::formula::{At, Formula};
use super::hypothesis::{Change, Hypothesis, hypotheses};
use super::judge::{Judge, Judged};
use super::layers;
use super::outputs::{self, Seen};
use super::pattern;
use super::recorded::few;
use super::weights::Layer;
use crate::causes::{self, CauseKind};
use crate::layer_groups::class;

/// What was found of one cause.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) key: String,
    pub(crate) fault: &'static CauseKind,
    pub(crate) subject: String,
    pub(crate) relation: String,
    /// The sites that it accounts for, in forward order.
    pub(crate) sites: BTreeSet<Site>,
    /// Of those, sites that have the trace's bits with it; the others are within the floor.
    pub(crate) equal: BTreeSet<Site>,
    /// What was changed in each part, and whether the whole part can be run so.
    pub(crate) changes: Vec<(Part, Change, bool)>,
    /// Elements that differ without it and do not with it.
    pub(crate) evidence: u64,
    /// Other hypotheses that give the same bits at its first site.
    pub(crate) ties: Vec<String>,
    pub(crate) shown: Shown,
}

/// How it was shown that a cause is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// By running it: what is left is nothing, or within the floor.
    Run,
    /// By running it, but for the last bits of a function that the two compute otherwise.
    Nearly,
    /// Not by running the model, but by evaluating a formula on the trace's inputs: it gives the trace's values, but for
    /// roundings.
    Formula,
    /// Not by running it: the values at the site keep to a rule.
    Values,
    /// Not by running it: number and size of the differences are those of a function's last bits.
    LastBits,
}

impl Found {
    /// Takes in what accounts for other sites in the same way.
    pub(super) fn take(&mut self, other: Found) {
        self.sites.extend(other.sites);
        self.equal.extend(other.equal);
        self.changes.extend(other.changes);
        self.evidence += other.evidence;
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
    pub(crate) tried: Vec<String>,
    pub(crate) pattern: String,
}

/// What a search came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) found: Vec<Found>,
    pub(crate) unexplained: Vec<Unexplained>,
    /// How many hypotheses were run.
    pub(crate) runs: usize,
}

/// The state of a part under some setting: every judged site on every prompt, and the activations.
struct Trial {
    sites: BTreeMap<(Site, usize), (SiteDivergence, Judged)>,
    taught: Vec<Activations>,
}

impl Trial {
    fn of(&self, site: Site) -> impl Iterator<Item = &(SiteDivergence, Judged)> {
        self.sites.range((site, 0)..=(site, usize::MAX)).map(|(_, found)| found)
    }

    fn beyond(&self, site: Site) -> bool {
        self.of(site).any(|(_, judged)| judged.beyond)
    }

    fn equal(&self, site: Site) -> bool {
        self.of(site).all(|(_, judged)| judged.differing[0] == 0)
    }

    /// Sum of squares of what the site introduces; infinite where it is no number.
    fn error(&self, site: Site) -> f64 {
        let sum: f64 = self
            .of(site)
            .map(|(s, judged)| {
                let nonfinite = s.nonfinite[0] != s.nonfinite[1];
                if nonfinite { f64::INFINITY } else { s.introduced.rms.powi(2) * judged.differing[1] as f64 }
            })
            .sum();
        if sum.is_nan() { f64::INFINITY } else { sum }
    }

    fn differing(&self, site: Site) -> u64 {
        self.of(site).map(|(_, judged)| judged.differing[0]).sum()
    }

    fn all(&self) -> BTreeSet<Site> {
        self.sites.keys().map(|(site, _)| *site).collect()
    }

    /// Sites that are in order in `before` and are not here.
    fn harmed(&self, before: &Trial) -> bool {
        self.all().into_iter().any(|site| self.beyond(site) && !before.beyond(site))
    }
}

pub(crate) struct Search<'s, 'a> {
    arm: &'s NamedArm<'a>,
    parts: Parts<'a>,
    references: &'s [Reference],
    judge: &'s Judge,
    pattern: &'s Pattern,
    base: Setting,
    outcome: Outcome,
}

/// A hypothesis, or two of them, that was run.
struct Tried<'h> {
    what: Vec<&'h Hypothesis>,
    trial: Trial,
    fits: bool,
    equal: bool,
    harm: bool,
    error: f64,
}

/// Sites of a kind without a formula after which none is tried at more of them.
const FRUITLESS: usize = 3;

/// The best of single hypotheses that are tried together with every other.
const PAIRED: usize = 4;

impl<'s, 'a> Search<'s, 'a> {
    pub(crate) fn new(
        arm: &'s NamedArm<'a>,
        references: &'s [Reference],
        judge: &'s Judge,
        pattern: &'s Pattern,
        device: &burn::tensor::Device,
    ) -> Self {
        let parts = Parts::new(&arm.arm, device);
        let base = Setting::of(arm);
        Search { arm, parts, references, judge, pattern, base, outcome: Outcome::default() }
    }

    /// Accounts for every site that introduces more than the floor, part by part.
    pub(crate) fn run(
        mut self,
        origins: &BTreeSet<Site>,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Outcome, CompareError> {
        let parts: BTreeSet<Part> = origins.iter().map(|site| site.part()).collect();
        let total = parts.len();
        for (done, part) in parts.into_iter().enumerate() {
            self.part(part)?;
            progress(done + 1, total);
        }
        let found = &mut self.outcome.found;
        layers::merge(found);
        *found = layers::alike(std::mem::take(found), self.base.architecture.layers.len());
        // What two honest libraries differ by stands behind what somebody has to mend.
        found.sort_by_key(|found| found.shown == Shown::LastBits);
        Ok(self.outcome)
    }

    fn part(&mut self, part: Part) -> Result<(), CompareError> {
        let mut setting = self.base.clone();
        let mut now = self.trial(part, &setting)?;
        let mut settled = BTreeSet::new();
        for site in now.all() {
            if now.beyond(site)
                && !settled.contains(&site)
                && let Some((changed, trial)) = self.site(part, site, &setting, &now, &mut settled)?
            {
                (setting, now) = (changed, trial);
            }
        }
        Ok(())
    }

    /// Finds what accounts for one site; returns the part's new setting and state if it holds for the whole part. What
    /// holds at some sites only is entered for those, which are `settled` then.
    fn site(
        &mut self,
        part: Part,
        site: Site,
        setting: &Setting,
        now: &Trial,
        settled: &mut BTreeSet<Site>,
    ) -> Result<Option<(Setting, Trial)>, CompareError> {
        let first = pattern::first_token(&self.pairs_at(site, now));
        let mut all = hypotheses(site, setting, self.arm.arm.dtype(), first);
        // What was found before is the likeliest.
        let known: Vec<String> = self.outcome.found.iter().map(|f| f.key.clone()).collect();
        all.sort_by_key(|h| known.iter().position(|key| *key == h.key).unwrap_or(usize::MAX));
        let mut tried: Vec<Tried> = Vec::new();
        for hypothesis in &all {
            let one = self.attempt(part, site, setting, now, vec![hypothesis])?;
            let known = one.fits && !one.harm && known.contains(&hypothesis.key);
            tried.push(one);
            if known {
                break;
            }
        }
        let edits;
        if !tried.iter().any(|t| t.fits) {
            let layer = Layer {
                site,
                of: &setting.architecture,
                references: self.references,
                taught: &now.taught,
                exact: self.judge.exact(&site.to_string()),
            };
            edits = layer.edits(&mut self.parts, &self.arm.arm)?;
            for hypothesis in &edits {
                tried.push(self.attempt(part, site, setting, now, vec![hypothesis])?);
            }
            if !tried.iter().any(|t| t.fits) {
                let pairs = self.pairs(part, site, setting, now, &tried)?;
                tried.extend(pairs);
            }
        }
        let best = (tried.iter().enumerate().filter(|(_, t)| t.fits)).min_by(|(i, x), (j, y)| {
            let rank = |t: &Tried| (!t.equal, t.harm, t.what.len());
            let size = |t: &Tried| if t.equal { 0.0 } else { t.error };
            rank(x).cmp(&rank(y)).then(size(x).total_cmp(&size(y))).then(i.cmp(j))
        });
        let Some((index, _)) = best else {
            self.unaccounted(part, site, setting, now, &tried)?;
            return Ok(None);
        };
        // So may one weight throughout, where that is the root of the width.
        let scaled = tried[index].what.iter().any(|h| h.relation.contains("*a"));
        let doubtful =
            scaled || !tried[index].equal || self.outcome.found.iter().any(|f| f.shown == Shown::Formula);
        if doubtful && edits_norm(site, &tried[index].what) && self.by_formula(site, setting, now)? {
            return Ok(None);
        }
        let ties: Vec<String> = (tried.iter().enumerate())
            .filter(|(i, t)| *i != index && t.equal && t.what.len() == 1 && tried[index].equal && !t.harm)
            .map(|(_, t)| said(&t.what))
            .collect();
        let best = tried.swap_remove(index);
        let of = &setting.architecture;
        let mut changed = setting.clone();
        for hypothesis in &best.what {
            hypothesis.change.apply(part, &mut changed);
        }
        let mended = |s: &Site| now.beyond(*s) && !best.trial.beyond(*s) && !settled.contains(s);
        let mended: BTreeSet<Site> = now.all().into_iter().filter(mended).collect();
        // Who reads which tensor is every reader's own matter, also where it is not in order for another reason.
        let attention = self.base.semantics.base.attention;
        let rewired: Vec<Site> = best.what.iter().filter_map(|h| h.change.rewired()).collect();
        let reader = |s: &Site| of.reads(*s, attention).iter().any(|of| rewired.contains(of));
        let local = best.harm || !rewired.is_empty();
        let accounted: BTreeSet<Site> = match (best.harm, rewired.is_empty()) {
            (false, true) => mended,
            (true, _) => BTreeSet::from([site]),
            (false, false) => mended.into_iter().filter(reader).collect(),
        };
        let readers = of.sites(attention).into_iter().filter(reader);
        let all_readers = readers.clone().count() > 0 && readers.into_iter().all(|s| accounted.contains(&s));
        for hypothesis in &best.what {
            let free = (!local || all_readers) && !best.harm && hypothesis.change.runs_free(part, of);
            let mended = |s: &Site| now.differing(*s).saturating_sub(best.trial.differing(*s));
            let evidence = accounted.iter().map(mended).sum();
            self.enter(part, hypothesis, &accounted, &best.trial, (free, evidence), &ties);
        }
        if local {
            settled.extend(accounted);
        }
        Ok((!local).then_some((changed, best.trial)))
    }

    /// Two at once, where one alone makes it better but not good.
    fn pairs<'h>(
        &mut self,
        part: Part,
        site: Site,
        setting: &Setting,
        now: &Trial,
        tried: &[Tried<'h>],
    ) -> Result<Vec<Tried<'h>>, CompareError> {
        let before = now.error(site);
        let mut better: Vec<&Tried> = tried.iter().filter(|t| t.error < 0.9 * before).collect();
        better.sort_by(|x, y| x.error.total_cmp(&y.error));
        let mut pairs = Vec::new();
        for first in better.into_iter().take(PAIRED) {
            for second in tried.iter().filter(|t| t.trial.differing(site) > 0) {
                let (one, other) = (first.what[0], second.what[0]);
                let exclusive = one.subject == other.subject && !matches!(one.change, Change::Rewired { .. });
                if exclusive || one.key == other.key {
                    continue;
                }
                let pair = self.attempt(part, site, setting, now, vec![one, other])?;
                if pair.equal {
                    return Ok(vec![pair]);
                }
                if pair.fits {
                    pairs.push(pair);
                }
            }
        }
        Ok(pairs)
    }

    fn attempt<'h>(
        &mut self,
        part: Part,
        site: Site,
        setting: &Setting,
        now: &Trial,
        what: Vec<&'h Hypothesis>,
    ) -> Result<Tried<'h>, CompareError> {
        let mut changed = setting.clone();
        for hypothesis in &what {
            hypothesis.change.apply(part, &mut changed);
        }
        let trial = self.trial(part, &changed)?;
        self.outcome.runs += 1;
        let (equal, harm, error) = (trial.equal(site), trial.harmed(now), trial.error(site));
        // A change that takes the site away explains nothing of it.
        let there = trial.of(site).count() == now.of(site).count();
        let sites: BTreeSet<Site> =
            what.iter().flat_map(|h| h.change.sites(&self.base.architecture, site)).collect();
        // What reads zeros gives zeros, whatever it is.
        let of_zeros = |change: &Change| matches!(change, Change::Rewired { by, .. } if self.zeros(*by));
        let of_zeros = what.iter().any(|h| of_zeros(&h.change));
        let fits = there && !of_zeros && !sites.into_iter().any(|site| trial.beyond(site));
        Ok(Tried { what, trial, fits, equal: equal && there, harm, error })
    }

    fn trial(&mut self, part: Part, setting: &Setting) -> Result<Trial, CompareError> {
        let mut trial = Trial { sites: BTreeMap::new(), taught: Vec::new() };
        for (prompt, reference) in self.references.iter().enumerate() {
            let taught = self.parts.forced(part, setting, &reference.ids, &reference.activations)?;
            for (&site, t) in &taught {
                let judged = self.pattern.matches(site) && reference.judged.contains(&site);
                let Some(a) = reference.activations.get(&site).filter(|a| judged && a.shape == t.shape)
                else {
                    continue;
                };
                let found = introduced(&self.arm.name, site, prompt, a, t);
                let judged = self.judge.judge(&found);
                trial.sites.insert((site, prompt), (found, judged));
            }
            trial.taught.push(taught);
        }
        Ok(trial)
    }

    /// Enters a hypothesis that holds; at other layers before, it is one cause with it.
    fn enter(
        &mut self,
        part: Part,
        hypothesis: &Hypothesis,
        sites: &BTreeSet<Site>,
        trial: &Trial,
        (free, evidence): (bool, u64),
        ties: &[String],
    ) -> &mut Found {
        let equal = sites.iter().copied().filter(|site| trial.equal(*site));
        // A norm whose squares are infinite in its format gives zeros: that is no choice of where to round.
        let of_zeros = || sites.iter().any(|site| self.zeros(*site));
        let fault = match hypothesis.fault == causes::NORM_ROUNDING && of_zeros() {
            true => causes::OVERFLOW,
            false => hypothesis.fault,
        };
        let found = self.found(&hypothesis.key, || Found {
            key: hypothesis.key.clone(),
            fault,
            subject: hypothesis.subject.clone(),
            relation: hypothesis.relation.clone(),
            sites: BTreeSet::new(),
            equal: BTreeSet::new(),
            changes: Vec::new(),
            evidence: 0,
            ties: ties.to_vec(),
            shown: Shown::Run,
        });
        found.sites.extend(sites);
        found.equal.extend(equal);
        found.evidence += evidence;
        found.ties.retain(|tie| ties.contains(tie));
        found.changes.push((part, hypothesis.change.clone(), free));
        found
    }

    /// The cause of this key, entered if it is new.
    fn found(&mut self, key: &str, new: impl FnOnce() -> Found) -> &mut Found {
        let all = &mut self.outcome.found;
        let at = all.iter().position(|f| f.key == key).unwrap_or_else(|| {
            all.push(new());
            all.len() - 1
        });
        &mut all[at]
    }

    /// Enters what was recognised at a site, and not run.
    fn recognised(
        &mut self,
        key: String,
        site: Site,
        shown: Shown,
        fault: &'static CauseKind,
        said: [String; 2],
    ) {
        let [subject, relation] = said;
        let said_here = relation.strip_prefix("trace: ").unwrap_or_default().to_owned();
        let found = self.found(&key.clone(), || Found {
            key,
            fault,
            subject,
            relation,
            sites: BTreeSet::new(),
            equal: BTreeSet::new(),
            changes: Vec::new(),
            evidence: 0,
            ties: Vec::new(),
            shown,
        });
        const SHOWN: usize = 4;
        let others = found.relation.matches("; at ").count();
        if !found.sites.is_empty() && !said_before(&found.relation, &said_here) && others < SHOWN {
            found.relation = format!("{}; at {site} {said_here}", found.relation);
        }
        found.sites.insert(site);
        if matches!(shown, Shown::Values | Shown::Formula) && found.sites.len() > 1 {
            let mut kinds: Vec<String> = Vec::new();
            let one_layer = found
                .sites
                .iter()
                .all(|site| site.layer() == found.sites.first().and_then(|first| first.layer()));
            let name = |site: &Site| if one_layer { site.to_string() } else { class(&site.to_string()) };
            for kind in found.sites.iter().map(name) {
                if !kinds.contains(&kind) {
                    kinds.push(kind);
                }
            }
            let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
            found.subject = format!("the output of {}", few(&kinds));
        }
    }

    /// What no hypothesis accounts for to the last bit may be a function's last bits, in ours as it is or as a hypothesis has
    /// it; or the values themselves may say what they are of ours.
    fn unaccounted(
        &mut self,
        part: Part,
        site: Site,
        setting: &Setting,
        now: &Trial,
        tried: &[Tried],
    ) -> Result<(), CompareError> {
        let pairs = self.pairs_at(site, now);
        let kind = class(&site.to_string());
        if pattern::last_bits(site, &pairs, self.judge.chance()) || pattern::few_steps(&pairs) {
            let fault = causes::LAST_BITS;
            let said = [
                format!("functions at {kind} and the like"),
                "the two are neighbours in their format wherever they differ".to_owned(),
            ];
            self.recognised(fault.id.to_owned(), site, Shown::LastBits, fault, said);
            return Ok(());
        }
        let nearly = |t: &&Tried| {
            let mut sites = t.what[0]
                .change
                .sites(&self.base.architecture, site)
                .into_iter()
                .filter(|s| t.trial.of(*s).count() > 0);
            t.what.len() == 1 && !t.harm && sites.all(|s| pattern::nearly(s, &self.pairs_at(s, &t.trial)))
        };
        if let Some(near) = tried.iter().find(nearly) {
            if edits_norm(site, &near.what) && self.by_formula(site, setting, now)? {
                return Ok(());
            }
            let evidence = now.differing(site).saturating_sub(near.trial.differing(site));
            let at = BTreeSet::from([site]);
            self.enter(part, near.what[0], &at, &near.trial, (true, evidence), &[]).shown = Shown::Nearly;
            return Ok(());
        }
        if self.by_formula(site, setting, now)? {
            return Ok(());
        }
        let pairs = self.pairs_at(site, now);
        let attention = self.base.architecture.layers.first().map(|layer| layer.attention);
        let heads = attention.map_or([1; 2], |attention| [attention.heads, attention.groups]);
        let seen = outputs::seen(site, &pairs, &heads);
        let place = match seen {
            Ok(Seen { fault, statement }) => {
                let said = [
                    format!("the output of {site}"),
                    format!("of ours (a) and the trace's (b): {statement}"),
                ];
                self.recognised(format!("{} {kind}", fault.id), site, Shown::Values, fault, said);
                return Ok(());
            }
            Err(place) => {
                place.map_or(String::new(), |place| format!("; of ours (a) and the trace's (b): {place}"))
            }
        };
        let tried = tried.iter().filter(|t| t.what.len() == 1).map(|t| said(&t.what)).collect();
        let pattern = pattern::describe(site, &pairs) + &place;
        self.outcome.unexplained.push(Unexplained { site, tried, pattern });
        Ok(())
    }

    /// Whether a trace is zero throughout at a site.
    fn zeros(&self, site: Site) -> bool {
        let zero = |x: &Activation| (0..x.values.len()).all(|i| x.values.get(i) == 0.0);
        self.references.iter().filter_map(|r| r.activations.get(&site)).any(zero)
    }

    /// Enters the formula that gives the trace's values at a site, if one does.
    fn by_formula(&mut self, site: Site, setting: &Setting, now: &Trial) -> Result<bool, CompareError> {
        let kind = class(&site.to_string());
        let attention = setting.semantics.base.attention;
        // What no formula gives in some layers is not sought in all.
        let fruitless =
            self.outcome.unexplained.iter().filter(|u| class(&u.site.to_string()) == kind).count();
        let at = At::of(site, &setting.architecture, attention, self.references, &now.taught);
        if let Some(at) = at.filter(|_| fruitless < FRUITLESS)
            && let Some(Formula { fault, said }) = at.formula(&mut self.parts)?
        {
            let said = [format!("the output of {site}"), format!("trace: {said}")];
            // The same formula at another kind of site is one cause with it.
            let same = |f: &&Found| {
                f.shown == Shown::Formula && f.fault == fault && said_before(&f.relation, &said[1])
            };
            let known = self.outcome.found.iter().find(same).map(|f| f.key.clone());
            let key = known.unwrap_or(format!("{} {kind}", fault.id));
            self.recognised(key, site, Shown::Formula, fault, said);
            return Ok(true);
        }
        Ok(false)
    }

    /// The trace's values and ours at a site, of every prompt that has both.
    fn pairs_at<'t>(&'t self, site: Site, trial: &'t Trial) -> Vec<(&'t Activation, &'t Activation)> {
        let pairs = self.references.iter().zip(&trial.taught);
        let pairs =
            pairs.filter_map(|(theirs, ours)| Some((theirs.activations.get(&site)?, ours.get(&site)?)));
        pairs.filter(|(a, b)| a.shape == b.shape).collect()
    }
}

fn said(what: &[&Hypothesis]) -> String {
    let one = |h: &&Hypothesis| {
        if h.relation.is_empty() { h.subject.clone() } else { format!("{} ({})", h.subject, h.relation) }
    };
    what.iter().map(one).collect::<Vec<_>>().join(" with ")
}

/// Whether these are other weights of a norm: a norm of another kind may pass for that.
fn edits_norm(site: Site, what: &[&Hypothesis]) -> bool {
    site.op() == Op::Norm && what.iter().any(|h| matches!(h.change, Change::Parameters(_)))
}

/// Whether a relation says so already, but for rounding.
fn said_before(relation: &str, said: &str) -> bool {
    let number = |word: &str| word.trim_end_matches(',').parse::<f64>().ok();
    let alike = |x: &str, y: &str| {
        x == y || number(x).zip(number(y)).is_some_and(|(x, y)| (x - y).abs() <= 0.01 * x.abs())
    };
    let words: Vec<&str> = said.split(' ').collect();
    let relation: Vec<&str> = relation.split([' ', ';']).collect();
    said.is_empty()
        || relation.windows(words.len()).any(|part| part.iter().zip(&words).all(|(x, y)| alike(x, y)))
}
