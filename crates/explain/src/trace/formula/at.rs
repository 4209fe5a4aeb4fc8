//! A site on a trace's own inputs: what formulas are evaluated on and held against.

use ulpscope_capture::{Activation, Activations};
use ulpscope_compare::{CompareError, Parts, Reference};
use ulpscope_decoder::{Architecture, Attention, AttentionKind, Op, Part, Role, RopeParameters, Site};
use ulpscope_floats::{DType, Floats};

use super::numbers;
use crate::trace::pattern::hidden;

/// A site on every prompt.
pub(crate) struct At<'s> {
    pub(crate) site: Site,
    pub(crate) model: &'s Architecture,
    /// Attention of the site's block.
    pub(crate) spec: Attention,
    pub(crate) attention: AttentionKind,
    /// The trace's format.
    pub(crate) dtype: DType,
    /// Ours.
    pub(crate) own: DType,
    pub(crate) cases: Vec<Case<'s>>,
    /// Weight and bias of a norm or linear layer; of a rotation, those of the layer that it reads.
    pub(crate) weight: Option<Floats<'static>>,
    pub(crate) bias: Option<Vec<f64>>,
    /// At gate or up, the weights of both.
    pub(crate) halves: Option<[Floats<'static>; 2]>,
}

/// A site on one prompt.
pub(crate) struct Case<'s> {
    pub(crate) recorded: &'s Activations,
    pub(crate) tokens: usize,
    /// Tokens in front that were not recorded.
    pub(crate) before: usize,
    pub(crate) ours: Vec<f64>,
    pub(crate) theirs: Vec<f64>,
}

/// How many times nearer than ours a formula has to be.
const NEARER: f64 = 6.0;
/// A formula has to say something of half of the elements, or of so many.
const ENOUGH: u64 = 4096;
/// Rows of logits that are looked at, the first of a prompt: they are long.
const ROWS: usize = 64;
/// Tokens of a prompt on which attention is evaluated: it takes the square of them.
const LONGEST: usize = 128;

impl<'s> At<'s> {
    /// `taught` is what ours gives on each reference's inputs. `None` if no prompt has the site.
    pub(crate) fn read_all(
        site: Site,
        model: &'s Architecture,
        attention: AttentionKind,
        references: &'s [Reference],
        taught: &[Activations],
        parts: &mut Parts,
    ) -> Result<Option<Self>, CompareError> {
        let mut formats = None;
        let cases: Vec<Case> = (references.iter().zip(taught))
            .filter_map(|(reference, taught)| {
                let (theirs, ours) = (reference.activations.get(&site)?, taught.get(&site)?);
                let pairs = site.op().of_pairs() || site.op() == Op::Mix;
                let short = !pairs || reference.ids.len() <= LONGEST;
                let judged = short && reference.judged.contains(&site) && theirs.shape == ours.shape;
                formats = formats.or(Some((theirs.values.dtype(), ours.values.dtype())));
                let tokens = reference.ids.len();
                let looked_at = if site == model.logits() { tokens.min(ROWS) } else { tokens };
                let rows = |activation: &Activation| {
                    let mut all = activation.values.to_f64();
                    all.truncate(all.len() / tokens.max(1) * looked_at);
                    all
                };
                judged.then(|| Case {
                    recorded: &reference.activations,
                    tokens: looked_at,
                    before: reference.before,
                    ours: rows(ours),
                    theirs: rows(theirs),
                })
            })
            .collect();
        let layer = model.layers.get(site.layer().unwrap_or(0));
        let (Some((dtype, own)), Some(layer), false) = (formats, layer, cases.is_empty()) else {
            return Ok(None);
        };
        let (weight, bias, halves) = (None, None, None);
        let spec = layer.attention;
        let mut at = At { site, model, spec, attention, dtype, own, cases, weight, bias, halves };
        // What is rotated may be rotated before it is rounded.
        let of_parameters = match site.op() {
            Op::Norm | Op::Linear => Some(site),
            Op::Rope(_) => at.reads_first().filter(|from| from.op() == Op::Linear),
            _ => None,
        };
        if let Some(from) = of_parameters {
            at.weight = Some(parts.parameter(&format!("{from}.weight"))?.into_owned());
            at.bias = parts.parameter(&format!("{from}.bias")).ok().map(|bias| bias.to_f64());
        }
        if (at.plays(Role::Gate) || at.plays(Role::Up))
            && let Some([gate, up]) = at.gate_and_up()
        {
            let mut read =
                |site| parts.parameter(&format!("{site}.weight")).map(|weight| weight.into_owned());
            at.halves = Some([read(gate)?, read(up)?]);
        }
        Ok(Some(at))
    }

    /// The first site that this one reads.
    pub(crate) fn reads_first(&self) -> Option<Site> {
        self.model.reads(self.site, self.attention).first().copied()
    }

    /// Whether a formula gives the trace's values, but for a few roundings. Where it is NaN it says
    /// nothing; it has to say something of enough.
    pub(crate) fn explains(&self, formula: impl Fn(&Case) -> Option<Vec<f64>>) -> bool {
        self.values(formula).is_some_and(|values| self.near(&values))
    }

    /// The same of a formula that says something of few elements, of all kinds.
    pub(crate) fn explains_some(&self, formula: impl Fn(&Case) -> Option<Vec<f64>>) -> bool {
        let Some(values) = self.values(formula) else { return false };
        let (mut apart, mut before, mut size) = (0.0, 0.0, 0.0);
        for (y, z, f) in self.elements(&values) {
            (apart, before, size) = (apart + (y - f).powi(2), before + (y - z).powi(2), size + y * y);
        }
        size > 0.0 && apart <= self.roundings().powi(2) * size && apart * NEARER * NEARER <= before
    }

    /// The same, or that it comes as near at nearly all elements, or has the trace's bits at nearly
    /// all.
    pub(crate) fn gives(&self, formula: impl Fn(&Case) -> Option<Vec<f64>>) -> bool {
        let values = self.values(formula);
        values.is_some_and(|v| self.near(&v) || self.mostly_near(&v) || self.has_bits(v))
    }

    /// Whether it has the trace's bits.
    pub(crate) fn reproduces(&self, formula: impl Fn(&Case) -> Option<Vec<f64>>) -> bool {
        self.values(formula).is_some_and(|values| self.has_bits(values))
    }

    /// Whether it has the trace's bits at nearly all elements, whatever ours has.
    pub(crate) fn has_nearly_all(&self, formula: impl Fn(&Case) -> Option<Vec<f64>>) -> bool {
        let Some(values) = self.values(formula) else { return false };
        let values: Vec<Vec<f64>> = values.into_iter().map(|values| self.rounded(values)).collect();
        let [differing, all] = self
            .elements(&values)
            .fold([0u64; 2], |[differing, all], (y, _, f)| [differing + u64::from(y != f), all + 1]);
        all > 0 && differing * 50 <= all && self.has_bits(values)
    }

    /// What a formula gives on every prompt.
    pub(crate) fn values(&self, formula: impl Fn(&Case) -> Option<Vec<f64>>) -> Option<Vec<Vec<f64>>> {
        let whole = |case: &Case| formula(case).filter(|values| values.len() == case.theirs.len());
        self.cases.iter().map(whole).collect()
    }

    /// The trace's, ours and a formula's value of each element of which it says something and that
    /// no mask hides.
    pub(crate) fn elements<'v>(
        &'v self,
        values: &'v [Vec<f64>],
    ) -> impl Iterator<Item = (f64, f64, f64)> + 'v {
        let triples = move |(case, values): (&'v Case, &'v Vec<f64>)| {
            let all = case.theirs.iter().zip(&case.ours).zip(values).enumerate();
            all.filter(move |(i, _)| self.is_judged(case, *i)).map(|(_, ((y, z), f))| (*y, *z, *f))
        };
        let seen = |(y, z, f): &(f64, f64, f64)| !f.is_nan() && !self.hides(*y, *z);
        self.cases.iter().zip(values).flat_map(triples).filter(seen)
    }

    /// Whether an element is of a token that was recorded.
    fn is_judged(&self, case: &Case, i: usize) -> bool {
        if case.before == 0 {
            return true;
        }
        let [_, inner] = self.model.node(self.site).shape.blocks(case.tokens);
        i / inner % case.tokens >= case.before
    }

    /// Whether a formula gives the trace's values but for roundings, however near ours is.
    pub(crate) fn near_all(&self, formula: impl Fn(&Case) -> Option<Vec<f64>>) -> bool {
        let Some(values) = self.values(formula) else { return false };
        let [apart, _, size] = self.distances(&values);
        apart <= self.roundings() * size
    }

    pub(crate) fn near(&self, values: &[Vec<f64>]) -> bool {
        let [apart, before, size] = self.distances(values);
        apart <= self.roundings() * size && apart <= before / NEARER
    }

    /// Root mean squares of trace less formula, of trace less ours, and of the trace; infinite
    /// where it says too little.
    pub(crate) fn distances(&self, values: &[Vec<f64>]) -> [f64; 3] {
        let (mut apart, mut before, mut size, mut known) = (0.0, 0.0, 0.0, 0u64);
        for (y, z, f) in self.elements(values) {
            known += 1;
            apart += (y - f).powi(2);
            before += (y - z).powi(2);
            size += y * y;
        }
        let mean = |sum: f64| (sum / known as f64).sqrt();
        if known < ENOUGH && 2 * known <= self.visible().count() as u64 {
            [f64::INFINITY, 0.0, 0.0]
        } else {
            [mean(apart), mean(before), mean(size)]
        }
    }

    /// Whether ours is far at most elements, and a formula at few: a code that flips is one of few
    /// that are far off.
    pub(crate) fn mostly_near(&self, values: &[Vec<f64>]) -> bool {
        let squares = self.visible().map(|y| y * y);
        let step = self.roundings() * (squares.sum::<f64>() / self.visible().count() as f64).sqrt();
        let (mut near, mut before, mut known) = (0u64, 0u64, 0u64);
        for (y, z, f) in self.elements(values) {
            known += 1;
            near += u64::from((y - f).abs() <= step);
            before += u64::from((y - z).abs() <= step);
        }
        known >= 64 && near * 50 >= known * 49 && before * 2 <= known
    }

    /// Whether a formula, rounded to the trace's format, has the trace's bits at nearly all
    /// elements where ours has not.
    pub(crate) fn has_bits(&self, values: Vec<Vec<f64>>) -> bool {
        let values: Vec<Vec<f64>> = values.into_iter().map(|values| self.rounded(values)).collect();
        let (mut differing, mut before) = (0u64, 0u64);
        for (y, z, f) in self.elements(&values) {
            differing += u64::from(y != f);
            before += u64::from(y != z);
        }
        let enough = if differing == 0 { 8 } else { 20 };
        before >= enough && NEARER * differing as f64 <= before as f64
    }

    /// Whether ours is what the trace has, but for a few roundings.
    pub(crate) fn agrees(&self) -> bool {
        let ours: Vec<Vec<f64>> = self.cases.iter().map(|case| case.ours.clone()).collect();
        let [apart, _, size] = self.distances(&ours);
        apart <= self.roundings() * size
    }

    /// The trace's values that no mask hides.
    pub(crate) fn visible(&self) -> impl Iterator<Item = f64> + '_ {
        let pairs = self.cases.iter().flat_map(move |case| {
            let all = case.theirs.iter().zip(&case.ours).enumerate();
            all.filter(move |(i, _)| self.is_judged(case, *i)).map(|(_, pair)| pair)
        });
        pairs.filter(|(y, z)| !self.hides(**y, **z)).map(|(y, _)| *y)
    }

    /// Errors of a few roundings of the format, relative. Sums in f32 have errors of many steps,
    /// beside which other formats' own rounding is large.
    pub(crate) fn roundings(&self) -> f64 {
        let steps = if matches!(self.dtype, DType::F32 | DType::F64) { 100.0 } else { 1.5 };
        steps * self.dtype.unit_roundoff()
    }

    /// Numbers rounded to the trace's format.
    pub(crate) fn rounded(&self, values: Vec<f64>) -> Vec<f64> {
        cast(values, self.dtype)
    }

    /// The number between two positive ones with which a formula comes nearest.
    pub(crate) fn best(
        &self,
        [low, high]: [f64; 2],
        formula: impl Fn(f64, &Case) -> Option<Vec<f64>>,
    ) -> f64 {
        let apart = |x: f64| {
            let values = self.values(|case| formula(x, case));
            values.map_or(f64::INFINITY, |values| self.distances(&values)[0])
        };
        numbers::simple(numbers::least([low, high], apart))
    }

    /// The factors, one for each group of elements, with which ours comes nearest to the trace's.
    pub(crate) fn factors(&self, groups: usize, group: impl Fn(&Case, usize) -> usize) -> Vec<f64> {
        let mut sums = vec![[0.0; 2]; groups];
        for case in &self.cases {
            for (i, (y, z)) in case.theirs.iter().zip(&case.ours).enumerate() {
                if let Some([zy, zz]) = sums.get_mut(group(case, i)).filter(|_| !self.hides(*y, *z)) {
                    (*zy, *zz) = (*zy + z * y, *zz + z * z);
                }
            }
        }
        sums.into_iter().map(|[zy, zz]| zy / zz).collect()
    }

    pub(crate) fn hides(&self, y: f64, z: f64) -> bool {
        hidden(self.site, y) || hidden(self.site, z)
    }

    /// The site that plays a part in the same block.
    pub(crate) fn beside(&self, role: Role) -> Option<Site> {
        self.in_layer(self.site.layer()?, role)
    }

    /// The site that plays a part in a block.
    pub(crate) fn in_layer(&self, layer: usize, role: Role) -> Option<Site> {
        Some(self.model.site_of(Part::Block(layer), self.model.layers.get(layer)?.place(role)?))
    }

    pub(crate) fn plays(&self, role: Role) -> bool {
        self.beside(role) == Some(self.site)
    }

    /// The linear layers whose outputs are multiplied in the feed-forward layer.
    pub(crate) fn gate_and_up(&self) -> Option<[Site; 2]> {
        Some([self.beside(Role::Gate)?, self.beside(Role::Up)?])
    }

    /// What the trace has at another site of the same block.
    pub(crate) fn read(&self, case: &Case, role: Role) -> Option<Vec<f64>> {
        case.read(self.beside(role)?)
    }

    /// Base and scaling of the rotary embedding that the site reads, or is a table of.
    pub(crate) fn rope(&self) -> &'s RopeParameters {
        &self.model.ropes[self.rope_index()].parameters
    }

    pub(crate) fn rope_index(&self) -> usize {
        match self.site.op() {
            Op::Table(index) | Op::Rope(index) => index,
            _ => 0,
        }
    }

    /// What a table of cosines or sines has of an angle.
    pub(crate) fn table_of(&self, angle: f64) -> f64 {
        if self.model.tables(self.rope_index()).first() == Some(&self.site) {
            angle.cos()
        } else {
            angle.sin()
        }
    }

    /// One over the root of a head's width, by which scores are multiplied.
    pub(crate) fn scale(&self) -> f64 {
        1.0 / (self.spec.head_dim as f64).sqrt()
    }
}

impl Case<'_> {
    /// What the trace has at a site.
    pub(crate) fn read(&self, site: Site) -> Option<Vec<f64>> {
        Some(self.recorded.get(&site)?.values.to_f64())
    }
}

/// Numbers rounded to a format.
pub(crate) fn cast(values: Vec<f64>, dtype: DType) -> Vec<f64> {
    Floats::from(values).cast(dtype).to_f64()
}
