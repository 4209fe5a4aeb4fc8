//! From sites that introduce too much to what makes them do so: by running, greedily, in forward
//! order.

mod early;

use std::collections::BTreeSet;

use ulpscope_capture::{Activation, Pattern};
use ulpscope_compare::{CompareError, NamedArm, Parts, Reference, Setting, introduced};
use ulpscope_decoder::{Op, Part, Site};
use ulpscope_record::Finding;

use super::evidence::{Claim, Evidence, Key};
use super::formula::{At, formula};
use super::found::{Found, Outcome, PartChange, Shown, Unexplained};
use super::hypothesis::{Change, Hypothesis, hypotheses};
use super::judge::Judge;
use super::merge;
use super::outputs::{self, Seen};
use super::pattern;
use super::reading::padding;
use super::trial::{Trial, Tried, best, ties};
use super::weights::{Edits, Layer};
use crate::causes;
use crate::layer_groups::class;

pub(crate) struct Search<'s, 'a> {
    arm: &'s NamedArm<'a>,
    parts: Parts<'a>,
    references: &'s [Reference],
    judge: &'s Judge,
    pattern: &'s Pattern,
    base: Setting,
    outcome: Outcome,
    /// Tokens of padding in front, which positions may count.
    padded: Vec<usize>,
}

/// A site that needs a cause, in a part that was run as it stands now.
#[derive(Clone, Copy)]
struct Spot<'p> {
    part: Part,
    site: Site,
    setting: &'p Setting,
    now: &'p Trial,
}

/// What was run at a site.
struct Attempts {
    tried: Vec<Tried>,
    /// Edits of one weight each that would do the same, if there are several.
    edits: usize,
}

/// Where a hypothesis holds.
struct Holding<'h> {
    trial: &'h Trial,
    sites: BTreeSet<Site>,
    runs_free: bool,
    ties: &'h [Claim],
}

/// Sites of a kind without a formula after which none is tried at more of them.
const FRUITLESS: usize = 3;
/// The best of single hypotheses that are tried together with every other.
const PAIRED: usize = 4;
/// Tokens that show the rank of a usual adapter.
const RANK_TOKENS: usize = 2 * 64;
/// Facts of a cause that are kept beside the first.
const ELSEWHERE: usize = 4;

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
        let (outcome, padded) = (Outcome::default(), Vec::new());
        Search { arm, parts, references, judge, pattern, base, outcome, padded }
    }

    /// With prompts that stand behind so many tokens of padding.
    pub(crate) fn behind(mut self, padded: &[usize]) -> Self {
        self.padded = padded.to_vec();
        self
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
        let found = std::mem::take(&mut self.outcome.found);
        self.outcome.found = merge::merged(found, self.base.architecture.layers.len());
        Ok(self.outcome)
    }

    fn part(&mut self, part: Part) -> Result<(), CompareError> {
        let mut setting = self.base.clone();
        let mut now = self.trial(part, &setting)?;
        let mut settled = BTreeSet::new();
        for site in now.all() {
            let spot = Spot { part, site, setting: &setting, now: &now };
            if now.beyond(site)
                && !settled.contains(&site)
                && let Some((changed, trial)) = self.site(spot, &mut settled)?
            {
                (setting, now) = (changed, trial);
            }
        }
        Ok(())
    }

    /// Finds what accounts for one site; returns the part's new setting and state if it holds for
    /// the whole part. What holds at some sites only is entered for those, which are `settled`
    /// then.
    fn site(
        &mut self,
        spot: Spot,
        settled: &mut BTreeSet<Site>,
    ) -> Result<Option<(Setting, Trial)>, CompareError> {
        if self.early(spot)? {
            return Ok(None);
        }
        let attempts = self.try_all(spot)?;
        let Some(index) = best(&attempts.tried) else {
            self.unaccounted(spot, &attempts)?;
            return Ok(None);
        };
        let mut tried = attempts.tried;
        if self.may_be_another_norm(spot.site, &tried[index]) && self.by_formula(spot)? {
            return Ok(None);
        }
        let ties = ties(&tried, index);
        Ok(self.accept(spot, tried.swap_remove(index), &ties, settled))
    }

    /// Runs everything that may account for a site: what is known first, then single hypotheses,
    /// edits, pairs.
    fn try_all(&mut self, spot: Spot) -> Result<Attempts, CompareError> {
        let Spot { site, setting, now, .. } = spot;
        let first = pattern::first_token(&self.pairs_at(site, now));
        let mut all = hypotheses(site, setting, self.arm.arm.dtype(), first);
        let attention = setting.semantics.base.attention;
        padding::hypotheses(&mut all, &self.padded, |variant| {
            variant.touches(&setting.architecture, attention, self.arm.arm.dtype()).contains(&site)
        });
        // What was found before is the likeliest.
        let known: Vec<Key> = self.outcome.found.iter().map(|f| f.claim.key.clone()).collect();
        let rank = |h: &Hypothesis| known.iter().position(|key| *key == h.claim.key).unwrap_or(usize::MAX);
        all.sort_by_key(rank);
        let mut tried: Vec<Tried> = Vec::new();
        for hypothesis in all {
            let is_known = rank(&hypothesis) < known.len();
            let attempt = self.attempt(spot, vec![hypothesis])?;
            let enough = is_known && attempt.fits && !attempt.harm;
            tried.push(attempt);
            if enough {
                break;
            }
        }
        if tried.iter().any(|t| t.fits) {
            return Ok(Attempts { tried, edits: 0 });
        }
        let exact = self.judge.exact(&site.to_string());
        let (model, taught) = (&setting.architecture, &now.taught[..]);
        let layer = Layer { site, model, references: self.references, taught, exact };
        let Edits { guesses, would_do } = layer.edits(&mut self.parts, &self.arm.arm)?;
        for hypothesis in guesses {
            tried.push(self.attempt(spot, vec![hypothesis])?);
        }
        // Single steps of the format are no sign of two causes at once.
        if !tried.iter().any(|t| t.fits) && !pattern::few_steps(&self.pairs_at(site, now)) {
            let pairs = self.pairs(spot, &tried)?;
            tried.extend(pairs);
        }
        Ok(Attempts { tried, edits: would_do })
    }

    /// Two at once, where one alone makes it better but not good.
    fn pairs(&mut self, spot: Spot, tried: &[Tried]) -> Result<Vec<Tried>, CompareError> {
        let before = spot.now.error(spot.site);
        let mut better: Vec<&Tried> = tried.iter().filter(|t| t.error < 0.9 * before).collect();
        better.sort_by(|x, y| x.error.total_cmp(&y.error));
        let mut pairs = Vec::new();
        for first in better.into_iter().take(PAIRED) {
            for second in tried.iter().filter(|t| t.trial.differing(spot.site) > 0) {
                let (half, other) = (&first.what[0], &second.what[0]);
                let same = half.claim.about == other.claim.about && half.change.rewired().is_none();
                if same || half.claim.key == other.claim.key {
                    continue;
                }
                let pair = self.attempt(spot, vec![half.clone(), other.clone()])?;
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

    fn attempt(&mut self, spot: Spot, what: Vec<Hypothesis>) -> Result<Tried, CompareError> {
        let Spot { part, site, setting, now } = spot;
        let trial = self.trial(part, &changed(part, setting, &what))?;
        let (equal, harm, error) = (trial.equal(site), trial.harmed(now), trial.error(site));
        // A change that takes the site away explains nothing of it.
        let there = trial.at(site).count() == now.at(site).count();
        let sites: BTreeSet<Site> =
            what.iter().flat_map(|h| h.change.sites(&self.base.architecture, site)).collect();
        // What reads zeros gives zeros, whatever it is.
        let of_zeros = |change: &Change| matches!(change, Change::Rewired { by, .. } if self.zeros(*by));
        let of_zeros = what.iter().any(|h| of_zeros(&h.change));
        let fits = there && !of_zeros && !sites.into_iter().any(|site| trial.beyond(site));
        Ok(Tried { what, trial, fits, equal: equal && there, harm, error })
    }

    fn trial(&mut self, part: Part, setting: &Setting) -> Result<Trial, CompareError> {
        let mut trial = Trial::default();
        for (prompt, reference) in self.references.iter().enumerate() {
            let taught = self.parts.by_rows(part, setting, reference)?;
            for (&site, t) in &taught {
                let judged = self.pattern.matches(site) && reference.judged.contains(&site);
                let Some(a) = reference.activations.get(&site).filter(|a| judged && a.shape == t.shape)
                else {
                    continue;
                };
                let rows = reference.differing_rows(&setting.architecture, site, t);
                let (a, t) = (reference.behind(a), reference.behind(t));
                let found = introduced(&self.arm.name, site, prompt, &a, &t);
                let judged = self.judge.judge(&found, &rows);
                trial.sites.insert((site, prompt), (found, judged));
            }
            trial.taught.push(taught);
        }
        Ok(trial)
    }

    /// Whether other weights of a norm may be what a norm of another kind gives: they fit but for
    /// bits, or are ours times a constant, which may be the root of the width.
    fn may_be_another_norm(&self, site: Site, tried: &Tried) -> bool {
        let scaled = tried.what.iter().any(|h| h.claim.evidence.is_scaled());
        let doubtful = scaled || !tried.equal || self.outcome.found.iter().any(|f| f.shown == Shown::Formula);
        doubtful && edits_norm(site, tried)
    }

    /// Enters what was found, and gives the part with it if it holds for the whole part.
    fn accept(
        &mut self,
        spot: Spot,
        best: Tried,
        ties: &[Claim],
        settled: &mut BTreeSet<Site>,
    ) -> Option<(Setting, Trial)> {
        let Spot { part, site, setting, now } = spot;
        let model = &setting.architecture;
        let mended = |s: &Site| now.beyond(*s) && !best.trial.beyond(*s) && !settled.contains(s);
        let mended: BTreeSet<Site> = now.all().into_iter().filter(mended).collect();
        // Rewiring affects one reader only: it holds for exactly the sites that read the tensor.
        let attention = self.base.semantics.base.attention;
        let rewired = best.rewired();
        let reader = |s: &Site| model.reads(*s, attention).iter().any(|read| rewired.contains(read));
        let local = best.harm || !rewired.is_empty();
        let sites: BTreeSet<Site> = match (best.harm, rewired.is_empty()) {
            (false, true) => mended,
            (true, _) => BTreeSet::from([site]),
            (false, false) => mended.into_iter().filter(reader).collect(),
        };
        let readers: Vec<Site> = model.sites(attention).into_iter().filter(reader).collect();
        let all_readers = !readers.is_empty() && readers.iter().all(|s| sites.contains(s));
        for hypothesis in &best.what {
            let runs_free = (!local || all_readers) && !best.harm && hypothesis.change.runs_free(part, model);
            self.enter(
                spot,
                hypothesis,
                Holding { trial: &best.trial, sites: sites.clone(), runs_free, ties },
            );
        }
        if local {
            settled.extend(sites);
            return None;
        }
        Some((changed(part, setting, &best.what), best.trial))
    }

    /// Enters a hypothesis that holds; at other layers before, it is one cause with it.
    fn enter(&mut self, spot: Spot, hypothesis: &Hypothesis, holding: Holding) -> &mut Found {
        let Holding { trial, sites, runs_free, ties } = holding;
        let mut claim = hypothesis.claim.clone();
        // A norm whose squares are infinite in its format gives zeros: that is no choice of where
        // to round.
        if claim.kind == causes::NORM_ROUNDING && sites.iter().any(|site| self.zeros(*site)) {
            claim.kind = causes::OVERFLOW;
        }
        let mended = |s: &Site| spot.now.differing(*s).saturating_sub(trial.differing(*s));
        let found = self.found(&claim, Shown::Run);
        if found.sites.is_empty() {
            found.ties = ties.to_vec();
        }
        found.keep_ties(ties);
        found.claim.join(&claim);
        found.mended += sites.iter().map(mended).sum::<u64>();
        found.equal.extend(sites.iter().filter(|site| trial.equal(**site)));
        found.sites.extend(sites);
        found.changes.push(PartChange { part: spot.part, change: hypothesis.change.clone(), runs_free });
        found
    }

    /// The cause of a claim's key, entered if it is new.
    fn found(&mut self, claim: &Claim, shown: Shown) -> &mut Found {
        let all = &mut self.outcome.found;
        let at = all.iter().position(|f| f.claim.key == claim.key).unwrap_or_else(|| {
            all.push(Found::new(claim.clone(), shown));
            all.len() - 1
        });
        &mut all[at]
    }

    /// Enters what was recognised at a site, and not run.
    fn recognised(&mut self, claim: Claim, site: Site, shown: Shown) {
        let found = self.found(&claim, shown);
        found.claim.join(&claim);
        if shown == Shown::Formula && !found.shows(&claim.evidence) && found.elsewhere.len() < ELSEWHERE {
            found.elsewhere.push((site, claim.evidence));
        }
        found.sites.insert(site);
    }

    /// What no hypothesis accounts for to the last bit may be a function's last bits, in ours as it
    /// is or as a hypothesis has it; or the values themselves may say what they are of ours.
    fn unaccounted(&mut self, spot: Spot, Attempts { tried, edits }: &Attempts) -> Result<(), CompareError> {
        let Spot { site, now, .. } = spot;
        let pairs = self.pairs_at(site, now);
        if let Some((kind, finding)) = outputs::odd(&pairs) {
            self.recognised(Claim::at_site(kind, site, Evidence::Fact(finding)), site, Shown::Values);
            return Ok(());
        }
        if pattern::last_bits(site, &pairs, self.judge.chance()) || pattern::few_steps(&pairs) {
            let evidence = Evidence::Fact(match edits {
                0 | 1 => Finding::new("neighbours"),
                _ => Finding::new("neighbours-or-edit").with("edits", *edits),
            });
            let mut claim = Claim::at_site(causes::LAST_BITS, site, evidence);
            claim.key.place.clear();
            self.recognised(claim, site, Shown::LastBits);
            return Ok(());
        }
        if let Some(near) = tried.iter().find(|t| self.nearly(site, t)) {
            if edits_norm(site, near) && self.by_formula(spot)? {
                return Ok(());
            }
            let sites = BTreeSet::from([site]);
            let holding = Holding { trial: &near.trial, sites, runs_free: true, ties: &[] };
            self.enter(spot, &near.what[0], holding).shown = Shown::Nearly;
            return Ok(());
        }
        if self.by_formula(spot)? {
            return Ok(());
        }
        let pairs = self.pairs_at(site, now);
        let attention = self.base.architecture.layers.first().map(|layer| layer.attention);
        let heads = attention.map_or([1; 2], |attention| [attention.heads, attention.groups]);
        let place = match outputs::seen(site, &pairs, &heads) {
            Seen::Rule { kind, evidence } => {
                self.recognised(Claim::at_site(kind, site, evidence), site, Shown::Values);
                return Ok(());
            }
            Seen::Place(statement) => Some(statement),
            Seen::Nothing => None,
        };
        let tried = tried.iter().filter_map(|t| t.single().cloned()).collect();
        let pattern = pattern::pattern(site, &pairs);
        let too_short = site.op() == Op::Linear && self.tokens() < RANK_TOKENS;
        let short_of = too_short.then(|| self.tokens());
        self.outcome.unexplained.push(Unexplained { site, tried, pattern, place, short_of });
        Ok(())
    }

    /// Tokens of all prompts.
    fn tokens(&self) -> usize {
        self.references.iter().map(|reference| reference.ids.len()).sum()
    }

    /// Whether a single hypothesis leaves no more than the last bits of a function.
    fn nearly(&self, site: Site, tried: &Tried) -> bool {
        let [only] = &tried.what[..] else { return false };
        let sites = only.change.sites(&self.base.architecture, site);
        let mut there = sites.into_iter().filter(|s| tried.trial.at(*s).count() > 0);
        !tried.harm && there.all(|s| pattern::nearly(s, &self.pairs_at(s, &tried.trial)))
    }

    /// Whether a trace is zero throughout at a site.
    fn zeros(&self, site: Site) -> bool {
        let zero = |x: &Activation| (0..x.values.len()).all(|i| x.values.get(i) == 0.0);
        self.references.iter().filter_map(|r| r.activations.get(&site)).any(zero)
    }

    /// Enters the formula that gives the trace's values at a site, if one does.
    fn by_formula(&mut self, spot: Spot) -> Result<bool, CompareError> {
        let Spot { site, setting, now, .. } = spot;
        let kind = class(&site.to_string());
        // What no formula gives in some layers is not sought in all.
        let fruitless =
            self.outcome.unexplained.iter().filter(|u| class(&u.site.to_string()) == kind).count();
        if fruitless >= FRUITLESS {
            return Ok(false);
        }
        let attention = setting.semantics.base.attention;
        let model = &setting.architecture;
        let at = At::read_all(site, model, attention, self.references, &now.taught, &mut self.parts)?;
        let Some(formula) = at.and_then(|at| formula(&at)) else { return Ok(false) };
        let mut claim = Claim::at_site(formula.kind, site, Evidence::Fact(formula.finding));
        // The same formula at another kind of site is one cause with it.
        let same =
            |f: &&Found| f.shown == Shown::Formula && f.claim.kind == claim.kind && f.shows(&claim.evidence);
        if let Some(known) = self.outcome.found.iter().find(same) {
            claim.key = known.claim.key.clone();
        }
        self.recognised(claim, site, Shown::Formula);
        Ok(true)
    }

    /// The trace's values and ours at a site, of every prompt that has both.
    fn pairs_at<'t>(&'t self, site: Site, trial: &'t Trial) -> Vec<(&'t Activation, &'t Activation)> {
        let pairs = self.references.iter().zip(&trial.taught);
        let pairs =
            pairs.filter_map(|(theirs, ours)| Some((theirs.activations.get(&site)?, ours.get(&site)?)));
        pairs.filter(|(a, b)| a.shape == b.shape).collect()
    }
}

/// A setting with some hypotheses put into a part.
fn changed(part: Part, setting: &Setting, what: &[Hypothesis]) -> Setting {
    let mut changed = setting.clone();
    what.iter().for_each(|hypothesis| hypothesis.change.apply(part, &mut changed));
    changed
}

/// Whether these are other weights of a norm.
fn edits_norm(site: Site, tried: &Tried) -> bool {
    site.op() == Op::Norm && tried.edits_parameters()
}
