//! Edits of parameters that the difference at a site allows to be named.
//!
//! What is found here is a guess: which row holds what, which element was changed and to what.
//! Running the site with the edited tensor decides. Nothing is fitted that the data could not
//! refute: every edit of a channel has to hold at all tokens, so that with one token none is tried.

use std::collections::BTreeSet;
use std::sync::Arc;

use ulpscope_capture::Activations;
use ulpscope_compare::{CompareError, Parts, Reference};
use ulpscope_decoder::{Architecture, Op, Site};
use ulpscope_floats::{DType, Floats, Rounding, ulp};
use ulpscope_record::{Finding, Subject};
use ulpscope_relations::{Description, Hints, Statement, describe};
use ulpscope_weights::Arm;

use super::evidence::{Claim, Evidence};
use super::hypothesis::{Change, Hypothesis};
use crate::causes::{self, CauseKind};
use crate::layer_groups::class;

/// Channels that are held against every other one; beyond, only against their neighbours and each
/// other.
const ALL_AGAINST_ALL: usize = 2048;
/// Guesses of one element that are run.
const GUESSES: usize = 12;

/// Channels that are each searched for one changed element.
const EDITED: usize = 16;

/// Edits that may turn ours into the trace's.
#[derive(Default)]
pub(crate) struct Edits {
    /// What is to be run.
    pub(crate) guesses: Vec<Hypothesis>,
    /// Elements of a weight each of which could be changed to the same effect, if that was looked
    /// at: of several, none is the cause.
    pub(crate) would_do: usize,
}

/// A site with parameters, and what is known of it.
pub(crate) struct Layer<'s> {
    pub(crate) site: Site,
    pub(crate) model: &'s Architecture,
    pub(crate) references: &'s [Reference],
    /// What ours gives on each prompt.
    pub(crate) taught: &'s [Activations],
    /// Whether equal inputs have to give equal bits here.
    pub(crate) exact: bool,
}

/// The module that a site is the output of, if it has parameters.
pub(crate) fn module(site: Site) -> Option<String> {
    matches!(site.op(), Op::Embed | Op::Norm | Op::Linear).then(|| site.to_string())
}

/// A parameter of ours, with its shape.
struct Parameter {
    name: String,
    shape: Vec<usize>,
    values: Floats<'static>,
}

impl Parameter {
    fn read(parts: &mut Parts, arm: &Arm, name: &str) -> Result<Self, CompareError> {
        let values = parts.parameter(name)?.into_owned();
        let model = arm.architecture();
        let shape =
            model.parameter(name).map_or_else(|| vec![model.vocab, model.width], |p| p.param.shape.clone());
        Ok(Parameter { name: name.to_owned(), shape, values })
    }

    fn subject(&self) -> Subject {
        Subject::Tensors { names: vec![self.name.clone()] }
    }

    /// The claim that other values stand in its place.
    fn replaced(&self, claim: Claim, values: Floats<'static>) -> Hypothesis {
        Hypothesis { claim, change: Change::Parameters(vec![(self.name.clone(), Arc::new(values))]) }
    }

    /// The same of what all layers would have in common.
    fn whole(&self, kind: &'static CauseKind, finding: Finding, values: Floats<'static>) -> Hypothesis {
        let claim = Claim::new(kind, class(&self.name), self.subject(), Evidence::Fact(finding));
        self.replaced(claim, values)
    }
}

impl Layer<'_> {
    /// Edits that may turn ours into the trace's, the most specific last.
    pub(crate) fn edits(&self, parts: &mut Parts, arm: &Arm) -> Result<Edits, CompareError> {
        let Some(module) = module(self.site) else { return Ok(Edits::default()) };
        let weight = Parameter::read(parts, arm, &format!("{module}.weight"))?;
        let bias = (self.model.node(self.site).params.len() > 1)
            .then(|| Parameter::read(parts, arm, &format!("{module}.bias")))
            .transpose()?;
        let mut found = Vec::new();
        if let Some(bias) = &bias {
            found.extend(self.biases(bias));
        }
        if self.site.op() == Op::Embed {
            found.extend([1, -1].map(|by| self.row_beside(&weight, by)));
            found.extend(self.rows_of_tokens(&weight));
            return Ok(Edits { guesses: found, would_do: 0 });
        }
        found.extend(recast(arm, &weight)?);
        found.extend(self.others(parts, arm, &weight)?);
        let edits = match self.site.op() {
            Op::Linear => self.channels(&weight, bias.as_ref()),
            _ => Edits { guesses: self.norm(&weight), would_do: 0 },
        };
        found.extend(edits.guesses);
        Ok(Edits { guesses: found, ..edits })
    }

    fn heads(&self) -> [usize; 2] {
        let attention =
            self.site.layer().or(Some(0)).and_then(|n| self.model.layers.get(n)).map(|l| l.attention);
        attention.map_or([1; 2], |attention| [attention.heads, attention.groups])
    }

    /// An edit of some elements, named by what the tensor has become.
    fn edited(&self, weight: &Parameter, values: Floats<'static>) -> Option<Hypothesis> {
        if values.bytes() == weight.values.bytes() {
            return None;
        }
        let statement = describe(&weight.values, &values, &weight.shape, &Hints { heads: &self.heads() });
        let kind = match &statement {
            Statement::Exact(_) | Statement::Described(Description::Constant { .. }) => {
                causes::of_statement(self.model.kind(&weight.name)?, &statement)
            }
            Statement::Described(_) => causes::PARTLY,
        };
        let claim = Claim::new(kind, weight.name.clone(), weight.subject(), Evidence::Related(statement));
        Some(weight.replaced(claim, values))
    }

    fn biases(&self, bias: &Parameter) -> Vec<Hypothesis> {
        let map = |f: fn(f64) -> f64| {
            same_format(&bias.values, (0..bias.values.len()).map(|i| f(bias.values.get(i))))
        };
        vec![
            bias.whole(causes::BIAS, Finding::new("bias-missing"), map(|_| 0.0)),
            bias.whole(causes::SIGNS, Finding::new("tensor-negated"), map(|x| -x)),
            bias.whole(causes::SCALED, Finding::new("tensor-doubled"), map(|x| 2.0 * x)),
        ]
    }

    /// Tensors of the same shape elsewhere in the model, and this one transposed.
    fn others(
        &self,
        parts: &mut Parts,
        arm: &Arm,
        weight: &Parameter,
    ) -> Result<Vec<Hypothesis>, CompareError> {
        let mut found = Vec::new();
        if let [rows, columns] = weight.shape[..]
            && rows == columns
        {
            let turned = (0..rows * columns).map(|i| weight.values.get(i % rows * columns + i / rows));
            let values = same_format(&weight.values, turned);
            found.push(weight.whole(causes::TRANSPOSED, Finding::new("tensor-transposed"), values));
        }
        let layer = self.site.layer();
        let others = arm.architecture().parameters().into_iter().filter(|other| {
            let near = other.site.layer();
            let near = near.is_none_or(|n| layer.is_none_or(|own| n.abs_diff(own) <= 1 || n == 0));
            other.param.shape == weight.shape && other.name != weight.name && near
        });
        for name in others.map(|other| other.name) {
            let values = parts.parameter(&name)?.into_owned();
            if values.dtype() == weight.values.dtype() && values.bytes() != weight.values.bytes() {
                let finding = Finding::new("holds").with("tensor", weight.name.as_str()).with("from", name);
                let (place, about) = (weight.name.clone(), weight.subject());
                let claim = Claim::new(causes::EXCHANGED, place, about, Evidence::Fact(finding));
                found.push(weight.replaced(claim, values));
            }
        }
        Ok(found)
    }

    /// The rows of a linear layer that are other rows, of another sign or size, or changed in one
    /// element.
    fn channels(&self, weight: &Parameter, bias: Option<&Parameter>) -> Edits {
        let [rows, columns] = weight.shape[..] else { return Edits::default() };
        let Some(data) = self.data(rows, bias) else { return Edits::default() };
        let unit = weight.values.dtype().unit_roundoff();
        let tolerance = 24.0 * unit;
        let differing: Vec<usize> = (0..rows)
            .filter(|&j| {
                let (y, z) = (&data.theirs[j], &data.ours[j]);
                if self.exact { y != z } else { apart(y, z, 1.0) > tolerance * norm(y).max(norm(z)) }
            })
            .collect();
        if differing.is_empty() {
            return Edits::default();
        }
        let mut edits: Vec<(usize, Row)> = Vec::new();
        let mut unknown = Vec::new();
        for &j in &differing {
            match other_row(&data, j, &differing, tolerance) {
                Some(row) => edits.push((j, row)),
                None => unknown.push(j),
            }
        }
        let build = |edits: &[(usize, Row)]| {
            let mut values: Vec<f64> = (0..rows * columns).map(|i| weight.values.get(i)).collect();
            for (j, row) in edits {
                for c in 0..columns {
                    let at = |row: usize| weight.values.get(row * columns + c);
                    values[j * columns + c] = match row {
                        Row::Zero => 0.0,
                        Row::Of(i, factor) => at(*i) * factor,
                        Row::Element(i, value) if *i == c => *value,
                        Row::Element(..) => at(*j),
                    };
                }
            }
            self.edited(weight, same_format(&weight.values, values.into_iter()))
        };
        if unknown.is_empty() {
            return Edits { guesses: build(&edits).into_iter().collect(), would_do: 0 };
        }
        // Few channels may have one changed element each; of one, every guess is run. An edit that
        // another would do the work of is no finding.
        let Some(inputs) = self.inputs(columns) else { return Edits::default() };
        let most = if unknown.len() == 1 { GUESSES } else { 1 };
        if unknown.len() > EDITED {
            return Edits::default();
        }
        let found: Vec<_> = unknown.iter().map(|&j| (j, elements(&data, &inputs, weight, j, most))).collect();
        let would_do = found.iter().map(|(_, found)| found.would_do).max().unwrap_or(0);
        let by_chance =
            unknown.iter().any(|&j| one_step(&data.theirs[j], &data.ours[j], weight.values.dtype()));
        if would_do > 1 || by_chance {
            return Edits { guesses: Vec::new(), would_do };
        }
        let guesses: Vec<Vec<(usize, Row)>> = match &found[..] {
            [(only, found)] => found.best.iter().map(|row| vec![(*only, *row)]).collect(),
            several => {
                vec![several.iter().filter_map(|(j, found)| Some((*j, *found.best.last()?))).collect()]
            }
        };
        let guesses = (guesses.into_iter())
            .filter_map(|guess| build(&edits.iter().copied().chain(guess).collect::<Vec<_>>()));
        Edits { guesses: guesses.collect(), would_do }
    }

    /// Each channel of a linear layer over all tokens, ours and the trace's, less the bias.
    fn data(&self, rows: usize, bias: Option<&Parameter>) -> Option<Data> {
        let mut data = Data { ours: vec![Vec::new(); rows], theirs: vec![Vec::new(); rows] };
        for (reference, taught) in self.references.iter().zip(self.taught) {
            let judged = reference.judged.contains(&self.site);
            let (Some(y), Some(z)) = (reference.activations.get(&self.site), taught.get(&self.site)) else {
                continue;
            };
            if !judged || y.shape != z.shape || y.shape.last() != Some(&rows) {
                continue;
            }
            for i in 0..y.values.len() {
                let less = bias.map_or(0.0, |bias| bias.values.get(i % rows));
                data.theirs[i % rows].push(y.values.get(i) - less);
                data.ours[i % rows].push(z.values.get(i) - less);
            }
        }
        (data.ours.first().is_some_and(|channel| channel.len() >= 2)).then_some(data)
    }

    /// What the layer reads, each channel over all tokens.
    fn inputs(&self, columns: usize) -> Option<Vec<Vec<f64>>> {
        let [from] = self.model.reads(self.site, Default::default())[..] else {
            return None;
        };
        let mut inputs = vec![Vec::new(); columns];
        for reference in self.references {
            if let Some(x) = reference.activations.get(&from).filter(|x| x.shape.last() == Some(&columns)) {
                (0..x.values.len()).for_each(|i| inputs[i % columns].push(x.values.get(i)));
            }
        }
        Some(inputs)
    }

    /// A norm's weight as the trace's quotients have it, where every token agrees on it.
    fn norm(&self, weight: &Parameter) -> Vec<Hypothesis> {
        let width = weight.values.len();
        let Some(data) = self.data(width, None) else { return Vec::new() };
        let mut changed = Vec::with_capacity(width);
        for c in 0..width {
            let own = weight.values.get(c);
            if data.theirs[c] == data.ours[c] {
                changed.push(own);
                continue;
            }
            if own == 0.0 || norm(&data.ours[c]) == 0.0 {
                return Vec::new();
            }
            let ratio = dot(&data.theirs[c], &data.ours[c]) / dot(&data.ours[c], &data.ours[c]);
            let tolerance = 8.0 * weight.values.dtype().unit_roundoff();
            if apart(&data.theirs[c], &data.ours[c], ratio) > tolerance * norm(&data.theirs[c]) {
                return Vec::new();
            }
            changed.push(own * ratio);
        }
        let found = same_format(&weight.values, changed.iter().copied());
        // The quotient is known to a few bits; numbers that somebody would have chosen come first.
        let as_known = |f: fn(f64) -> f64| {
            let values = changed.iter().enumerate().map(|(c, &new)| {
                let own = weight.values.get(c);
                if new == own { own } else { f(own) }
            });
            same_format(&weight.values, values)
        };
        let known = [as_known(|w| -w), as_known(|w| w + 1.0), as_known(|w| w - 1.0), as_known(|_| 1.0)];
        known.into_iter().chain([found]).filter_map(|values| self.edited(weight, values)).collect()
    }

    /// Every token's embedding read so many rows further on.
    fn row_beside(&self, weight: &Parameter, by: isize) -> Hypothesis {
        let (rows, columns) = (weight.shape[0], weight.values.len() / weight.shape[0]);
        let from = |i: usize| (i / columns).saturating_add_signed(by).min(rows - 1) * columns + i % columns;
        let moved = (0..weight.values.len()).map(|i| weight.values.get(from(i)));
        let finding = Finding::new("rows-beside").with("by", i32::from(by > 0));
        weight.whole(causes::TOKEN_IDS, finding, same_format(&weight.values, moved))
    }

    /// Rows of the embedding that are another token's, or zero, or of another sign or size.
    fn rows_of_tokens(&self, weight: &Parameter) -> Vec<Hypothesis> {
        let [rows, columns] = weight.shape[..] else { return Vec::new() };
        let row =
            |i: usize| -> Vec<f64> { (0..columns).map(|c| weight.values.get(i * columns + c)).collect() };
        let mut values: Vec<f64> = (0..rows * columns).map(|i| weight.values.get(i)).collect();
        let mut seen = BTreeSet::new();
        for reference in self.references.iter().filter(|r| r.judged.contains(&self.site)) {
            let Some(x) = reference.activations.get(&self.site) else { continue };
            for (t, &id) in reference.ids.iter().enumerate().filter(|(_, id)| (**id as usize) < rows) {
                let id = id as usize;
                if (t + 1) * columns > x.values.len() || !seen.insert(id) {
                    continue;
                }
                let theirs: Vec<f64> = (0..columns).map(|c| x.values.get(t * columns + c)).collect();
                let ours = row(id);
                if theirs == ours {
                    continue;
                }
                let negated = theirs.iter().zip(&ours).all(|(a, b)| *a == -b);
                let zero = theirs.iter().all(|a| *a == 0.0);
                let other = || (0..rows).any(|other| other != id && row(other) == theirs);
                let sparse = theirs.iter().zip(&ours).filter(|(a, b)| a != b).count() * 8 <= columns;
                if !(negated || zero || sparse || other()) {
                    return Vec::new();
                }
                values[id * columns..(id + 1) * columns].copy_from_slice(&theirs);
            }
        }
        self.edited(weight, same_format(&weight.values, values.into_iter())).into_iter().collect()
    }
}

/// Channels over tokens.
struct Data {
    ours: Vec<Vec<f64>>,
    theirs: Vec<Vec<f64>>,
}

/// What a row of a linear weight has become.
#[derive(Clone, Copy, Debug)]
enum Row {
    Zero,
    /// That row times a factor.
    Of(usize, f64),
    /// This element is another number.
    Element(usize, f64),
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

/// Whether two differ at one place alone, and there by a single step of their format: no edit that
/// gives it can be held against another place.
fn one_step(y: &[f64], z: &[f64], dtype: DType) -> bool {
    let mut differing = y.iter().zip(z).filter(|(y, z)| y != z);
    let near = |y: f64, z: f64| y.is_finite() && (y - z).abs() <= 1.5 * ulp(y.abs().max(z.abs()), dtype);
    let step = differing.next().is_some_and(|(y, z)| near(*y, *z));
    step && differing.next().is_none()
}

/// `|y - factor·z|`.
fn apart(y: &[f64], z: &[f64], factor: f64) -> f64 {
    y.iter().zip(z).map(|(y, z)| (y - factor * z) * (y - factor * z)).sum::<f64>().sqrt()
}

/// The row that channel `j` is, by what it gives.
fn other_row(data: &Data, j: usize, differing: &[usize], tolerance: f64) -> Option<Row> {
    let y = &data.theirs[j];
    let size = norm(y);
    if !size.is_finite() {
        return None;
    }
    if size <= tolerance * norm(&data.ours[j]) {
        return Some(Row::Zero);
    }
    let rows = data.ours.len();
    let near: Vec<usize> = if rows <= ALL_AGAINST_ALL {
        (0..rows).collect()
    } else {
        let around = j.saturating_sub(2)..(j + 3).min(rows);
        around.chain(differing.iter().copied().take(ALL_AGAINST_ALL)).collect()
    };
    let mut best: (f64, Option<Row>) = (tolerance, None);
    let mut second = f64::INFINITY;
    for i in near {
        let (yz, zz) = (dot(y, &data.ours[i]), dot(&data.ours[i], &data.ours[i]));
        // The same row is no explanation: what differs is less than the tolerance.
        if i == j && yz > 0.0 {
            continue;
        }
        // |y - k·z|² for k = ±1, without another pass.
        let distance = (size * size - 2.0 * yz.abs() + zz).max(0.0).sqrt() / size;
        if distance < best.0 {
            (second, best) = (best.0, (distance, Some(Row::Of(i, yz.signum()))));
        } else {
            second = second.min(distance);
        }
    }
    if let (distance, Some(row)) = best {
        // With few tokens, two rows may look the same; then neither is known.
        return (distance == 0.0 || second > 1.5 * distance).then_some(row);
    }
    // Another size.
    let z = &data.ours[j];
    let factor = dot(y, z) / dot(z, z);
    let scaled = factor.is_finite() && apart(y, z, factor) <= tolerance * size;
    (scaled && (factor - 1.0).abs() > tolerance).then(|| Row::Of(j, nice(factor)))
}

/// A number that somebody would have chosen, if one is near.
fn nice(factor: f64) -> f64 {
    let power = factor.abs().log2().round().exp2() * factor.signum();
    let tenth = (factor * 10.0).round() / 10.0;
    [power, tenth].into_iter().find(|n| (n / factor - 1.0).abs() < 0.01).unwrap_or(factor)
}

/// Elements of a row that may have become another number.
struct Elements {
    /// The best guesses, in order.
    best: Vec<Row>,
    /// Elements that can be changed so that the row gives all of the trace's values.
    would_do: usize,
}

/// Values that one element of row `j` may have become, the best first: a flipped bit, another sign,
/// zero, twice, half, or the number nearest to what the difference says.
///
/// The row's products are summed exactly, with the element changed, and rounded as the layer
/// rounds; the guess at which that gives most of the trace's values is the best.
fn elements(data: &Data, inputs: &[Vec<f64>], weight: &Parameter, j: usize, most: usize) -> Elements {
    let theirs = &data.theirs[j];
    let columns = inputs.len();
    if inputs.iter().any(|x| x.len() != theirs.len()) {
        return Elements { best: Vec::new(), would_do: 0 };
    }
    let own = |i: usize| weight.values.get(j * columns + i);
    let sums: Vec<f64> =
        (0..theirs.len()).map(|t| (0..columns).map(|i| own(i) * inputs[i][t]).sum::<f64>()).collect();
    let missing: Vec<f64> = theirs.iter().zip(&sums).map(|(y, sum)| y - sum).collect();
    let unit = weight.values.dtype().unit_roundoff();
    let mut guesses: Vec<(usize, bool, f64, Row)> = Vec::new();
    for (i, x) in inputs.iter().enumerate() {
        let xx = dot(x, x);
        if xx == 0.0 {
            continue;
        }
        let step = dot(&missing, x) / xx;
        let nearest = same_format(&weight.values, [own(i) + step].into_iter()).get(0);
        let simple = flips(&weight.values, j * columns + i);
        let simple = simple.into_iter().chain([-own(i), 0.0, 2.0 * own(i), own(i) / 2.0]);
        for (fitted, value) in simple.map(|value| (false, value)).chain([(true, nearest)]) {
            if !value.is_finite() || value == own(i) {
                continue;
            }
            let change = value - own(i);
            // Half a step of the format, and the order of summation.
            let near =
                |t: usize| (theirs[t] - sums[t] - change * x[t]).abs() <= 1.01 * unit * theirs[t].abs();
            let missed = (0..theirs.len()).filter(|&t| !near(t)).count();
            guesses.push((missed, fitted, apart(&missing, x, change), Row::Element(i, value)));
        }
    }
    let do_it = guesses.iter().filter(|(missed, ..)| *missed == 0);
    let places = do_it.filter_map(|(.., row)| if let Row::Element(i, _) = row { Some(*i) } else { None });
    let would_do = places.collect::<BTreeSet<usize>>().len();
    guesses.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then(a.2.total_cmp(&b.2)));
    guesses.truncate(most);
    Elements { best: guesses.into_iter().map(|(.., row)| row).collect(), would_do }
}

/// An element with each of its bits flipped.
fn flips(values: &Floats, i: usize) -> Vec<f64> {
    let (dtype, size) = (values.dtype(), values.dtype().size());
    let own = &values.bytes()[i * size..][..size];
    let flip = |bit: usize| {
        let mut bytes = own.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        // Aligned, as its reader wants it.
        match dtype {
            DType::Bf16 | DType::F16 => {
                let bits = u16::from_le_bytes([bytes[0], bytes[1]]);
                if dtype == DType::Bf16 {
                    f64::from(ulpscope_floats::bf16::from_bits(bits))
                } else {
                    f64::from(ulpscope_floats::f16::from_bits(bits))
                }
            }
            DType::F32 => f64::from(f32::from_le_bytes(bytes.try_into().expect("four bytes"))),
            DType::F64 => f64::from_le_bytes(bytes.try_into().expect("eight bytes")),
        }
    };
    (0..8 * size).map(flip).collect()
}

/// Numbers rounded to the format of others.
fn same_format(like: &Floats, values: impl Iterator<Item = f64>) -> Floats<'static> {
    Floats::from(values.collect::<Vec<f64>>()).cast(like.dtype())
}

/// The weight by another way to its format.
fn recast(arm: &Arm, weight: &Parameter) -> Result<Vec<Hypothesis>, CompareError> {
    let dtype = weight.values.dtype();
    let model = arm.architecture();
    let tied = model.tied && weight.name == model.head_weight();
    let source = if tied { model.embedding_weight() } else { &weight.name };
    let stored = arm.checkpoint().tensor(source)?.values.cast(DType::F32);
    let through = |by: DType| stored.cast(by).cast(dtype);
    let named = |rule: &str, by: DType| Finding::new(rule).with("format", by.to_string());
    let rounded = |by: DType| (causes::ROUNDED, named("tensor-rounded-before", by), through(by));
    let mut ways = match dtype {
        DType::Bf16 => vec![
            (causes::TRUNCATED, Finding::new("tensor-truncated"), Rounding::TruncateBf16.apply(&stored)),
            (causes::TWICE, named("tensor-cast-through", DType::F16), through(DType::F16)),
        ],
        DType::F32 => vec![rounded(DType::Bf16), rounded(DType::F16)],
        DType::F16 => vec![rounded(DType::Bf16)],
        DType::F64 => Vec::new(),
    };
    ways.retain(|(.., values)| values.bytes() != weight.values.bytes());
    Ok(ways.into_iter().map(|(kind, finding, values)| weight.whole(kind, finding, values)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_step_at_one_token_shows_no_edit() {
        let dtype = DType::Bf16;
        let step = ulp(1.0, dtype);
        assert!(one_step(&[1.0 + step, 2.0, 3.0], &[1.0, 2.0, 3.0], dtype));
        assert!(!one_step(&[1.0 + 2.0 * step, 2.0, 3.0], &[1.0, 2.0, 3.0], dtype), "two steps");
        assert!(!one_step(&[1.0 + step, 2.0, 3.0 + 2.0 * step], &[1.0, 2.0, 3.0], dtype), "two tokens");
        assert!(!one_step(&[f64::INFINITY, 2.0], &[1.0, 2.0], dtype), "no number");
        assert!(!one_step(&[1.0, 2.0], &[1.0, 2.0], dtype), "nothing");
    }

    #[test]
    fn an_edit_that_others_would_do_is_counted() {
        let values: Vec<f32> = (0..8).map(|i| 1.0 + i as f32 / 8.0).collect();
        let weight = Parameter {
            name: "w".into(),
            shape: vec![1, 8],
            values: Floats::from(values.clone()).cast(DType::Bf16),
        };
        let dot = |w: &[f32], x: &[f64]| w.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum::<f64>();
        let row = |w: &[f32], inputs: &[Vec<f64>]| -> Vec<f64> {
            let tokens = 0..inputs[0].len();
            let sums = tokens.map(|t| dot(w, &inputs.iter().map(|x| x[t]).collect::<Vec<_>>()));
            Floats::from(sums.collect::<Vec<f64>>()).cast(DType::Bf16).to_f64()
        };
        let counted = |inputs: &[Vec<f64>]| {
            let mut edited = values.clone();
            edited[3] = -edited[3];
            let data = Data { ours: vec![row(&values, inputs)], theirs: vec![row(&edited, inputs)] };
            elements(&data, inputs, &weight, 0, 1).would_do
        };
        // One token: whichever element it is, some number does.
        assert_eq!(counted(&(0..8).map(|i| vec![1.0 + f64::from(i)]).collect::<Vec<_>>()), 8);
        // Several tokens with inputs of their own agree on one.
        let apart = |i: u32| (0..6u32).map(|t| f64::from((i * 7 + t * t * 5) % 11) - 5.0).collect::<Vec<_>>();
        assert_eq!(counted(&(0..8).map(apart).collect::<Vec<_>>()), 1);
    }
}
