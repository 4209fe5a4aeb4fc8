//! Loading one part of the model for every subject, and comparing the arms' parameters on the way.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use burn::tensor::{Device, Tensor};
use rayon::prelude::*;
use ulpscope_decoder::{Architecture, Linear, Op, ParameterKind, Parameters, Part, Site, bridge};
use ulpscope_floats::{DType, Floats};
use ulpscope_metrics::{Fingerprint, difference, digest};
use ulpscope_record::{Conversion, TensorDifference, Weights};
use ulpscope_relations::{Hints, Relation, Statement, describe};
use ulpscope_weights::{Arm, Beside, Checkpoint, StoredTensor};

use crate::CompareError;
use crate::subject::Experiment;

/// Reads parameters part by part, applies the recipes, and compares the arms on the way.
pub(crate) struct Loader<'a, 'e> {
    experiment: &'e Experiment<'a>,
    /// What each subject runs.
    pub(crate) of: Vec<Architecture>,
    /// How the arms' state dicts compare so far.
    pub(crate) weights: Weights,
    /// The same tensors as those of `weights` that differ.
    pub(crate) differing: Vec<Differing>,
    /// What each arm's recipe did so far; empty for mixtures.
    pub(crate) conversions: Vec<Vec<Conversion>>,
}

/// One parameter, read for every subject.
struct Read<'a> {
    /// Each value once.
    distinct: Vec<Floats<'a>>,
    /// Which of them is each subject's.
    picks: Vec<usize>,
    /// What each arm's recipe did.
    conversions: Vec<(usize, Conversion)>,
    /// What the arms that differ from the first differ in.
    differing: Vec<(Differing, TensorDifference)>,
}

/// The parameters of one part of the model: each distinct value once, and for each subject which of
/// them are its own.
pub(crate) struct PartWeights<'c> {
    values: HashMap<String, Vec<Floats<'c>>>,
    /// One list of indices for each subject, parameters in the order of the names that were loaded.
    picks: Vec<Vec<usize>>,
    names: Vec<String>,
}

impl<'a, 'e> Loader<'a, 'e> {
    pub(crate) fn new(experiment: &'e Experiment<'a>) -> Self {
        let subjects = experiment.subjects.len();
        let tied = experiment.tied();
        let of = |i| {
            let mut of = experiment.architecture(i);
            of.tied = tied;
            of
        };
        Loader {
            experiment,
            of: (0..subjects).map(of).collect(),
            weights: Weights::default(),
            differing: Vec::new(),
            conversions: vec![Vec::new(); subjects],
        }
    }

    /// Reads the parameters `names` for every subject, and compares those of the arms with the
    /// first arm's.
    ///
    /// A checkpoint that serves several arms is read, and its blocks dequantised, once. Equal bits
    /// are held once.
    pub(crate) fn load(&mut self, names: Vec<String>) -> Result<PartWeights<'a>, CompareError> {
        self.experiment.unchanged()?;
        let read: Vec<Read<'a>> =
            names.par_iter().map(|name| self.read(name)).collect::<Result<_, CompareError>>()?;
        let mut part =
            PartWeights { values: HashMap::new(), picks: vec![Vec::new(); self.of.len()], names: Vec::new() };
        for (name, read) in names.into_iter().zip(read) {
            self.weights.compared += 1;
            self.weights.identical += usize::from(read.differing.is_empty());
            for (arm, conversion) in read.conversions {
                self.conversions[arm].push(conversion);
            }
            for (differing, difference) in read.differing {
                self.differing.push(differing);
                self.weights.different.push(difference);
            }
            part.picks.iter_mut().zip(read.picks).for_each(|(picks, pick)| picks.push(pick));
            part.values.insert(name.clone(), read.distinct);
            part.names.push(name);
        }
        Ok(part)
    }

    /// One parameter for every subject.
    fn read(&self, name: &str) -> Result<Read<'a>, CompareError> {
        let experiment = self.experiment;
        let subjects = experiment.subjects.len();
        let mut stored: Vec<(*const (), StoredTensor<'a>)> = Vec::new();
        // Of each of them, where its own values are, and what is said of leaving them as they are.
        let mut kept: HashMap<usize, (usize, ulpscope_weights::Conversion)> = HashMap::new();
        let mut distinct: Vec<Floats<'a>> = Vec::new();
        let mut of_arm: Vec<Option<usize>> = vec![None; subjects];
        let mut first: Option<(usize, usize)> = None;
        let (mut conversions, mut found) = (Vec::new(), Vec::new());
        for i in experiment.arms() {
            let arm = experiment.arm(i);
            let key: *const () = std::ptr::from_ref(arm.checkpoint()).cast();
            let place = match stored.iter().position(|(k, _)| *k == key) {
                Some(place) => place,
                None => {
                    stored.push((key, stored_tensor(arm, name)?));
                    stored.len() - 1
                }
            };
            let tensor = &stored[place].1;
            let keeps = arm.keeps(tensor);
            let (pick, conversion) = match kept.get(&place).filter(|_| keeps) {
                Some(known) => known.clone(),
                None => {
                    let (values, conversion) = arm.parameter_beside(tensor, &distinct);
                    let pick = match values {
                        Beside::Same(known) => known,
                        Beside::Other(values) => place_of(&mut distinct, values),
                    };
                    if keeps {
                        kept.insert(place, (pick, conversion.clone()));
                    }
                    (pick, conversion)
                }
            };
            conversions.push((i, conversion_record(conversion)));
            let (first, first_place) = *first.get_or_insert((pick, place));
            if pick != first && experiment.describe {
                let (shape, a, b) = (&tensor.shape, &distinct[first], &distinct[pick]);
                let of_files = [first_place, place].map(|place| &stored[place].1.values);
                let differing = differing(name, i, shape, [a, b], of_files, arm.architecture());
                let arm_name = &experiment.subjects[i].name;
                let difference = tensor_difference(arm_name, shape.clone(), a, b, &differing);
                found.push((differing, difference));
            }
            of_arm[i] = Some(pick);
        }
        let mut cast: HashMap<(usize, DType), usize> = HashMap::new();
        let picks = (0..subjects).map(|i| {
            let own = of_arm[experiment.origin(i, name)].expect("mixtures are made of arms");
            let dtype = experiment.dtype(i);
            *cast.entry((own, dtype)).or_insert_with(|| in_format(&mut distinct, own, dtype))
        });
        let picks = picks.collect();
        Ok(Read { distinct, picks, conversions, differing: found })
    }

    /// Builds a module for every subject: once for all that hold the same bits.
    pub(crate) fn build<M: Clone>(
        &self,
        part: &PartWeights,
        mut build: impl FnMut(usize, &Architecture, &mut PartParameters) -> Result<M, CompareError>,
    ) -> Result<Vec<M>, CompareError> {
        let mut modules: Vec<M> = Vec::with_capacity(part.picks.len());
        for i in 0..part.picks.len() {
            if let Some(twin) = (0..i).find(|&j| part.same(i, j)) {
                modules.push(modules[twin].clone());
                continue;
            }
            let mut parameters = PartParameters { part, subject: i, device: &self.experiment.device };
            modules.push(build(i, &self.of[i], &mut parameters)?);
        }
        Ok(modules)
    }

    /// Gives back the memory of a part that modules were built of, and that of the files it was
    /// read from.
    pub(crate) fn release(&self, part: PartWeights) {
        drop(part);
        self.experiment.checkpoints().into_iter().for_each(Checkpoint::release);
    }

    /// Whether two subjects compute the same function with a part: they hold the same bits and
    /// settings.
    pub(crate) fn same_function(&self, part: &PartWeights, layer: Option<usize>, i: usize, j: usize) -> bool {
        let [a, b] = [&self.of[i], &self.of[j]];
        let settings = match layer {
            Some(n) => a.layers[n] == b.layers[n],
            None => a.norm == b.norm,
        };
        part.same(i, j) && settings
    }
}

impl PartWeights<'_> {
    /// Whether two subjects hold the same bits.
    fn same(&self, i: usize, j: usize) -> bool {
        self.picks[i] == self.picks[j]
    }

    /// Gives the values back, once modules were built of them, and still knows whose are the same.
    pub(crate) fn forget_values(&mut self) {
        self.values.clear();
    }

    /// The sites of linear layers whose parameters two subjects share.
    pub(crate) fn same_products(&self, of: &Architecture, part: Part, i: usize, j: usize) -> BTreeSet<Site> {
        let parameters = of.parameters_of(part);
        let site = |name: &str| match parameters.iter().find(|p| p.name == name) {
            Some(parameter) => Some(parameter.site).filter(|site| site.op() == Op::Linear),
            // The output layer, where it is the embedding.
            None => (name == of.embedding_weight()).then(|| of.logits()),
        };
        let mut sites: HashMap<Site, bool> = HashMap::new();
        for ((name, a), b) in self.names.iter().zip(&self.picks[i]).zip(&self.picks[j]) {
            if let Some(site) = site(name) {
                *sites.entry(site).or_insert(true) &= a == b;
            }
        }
        sites.into_iter().filter_map(|(site, same)| same.then_some(site)).collect()
    }

    /// Makes this part depend on the parameters of another as well.
    pub(crate) fn also(&mut self, other: &PartWeights) {
        self.names.extend(other.names.iter().cloned());
        for (own, others) in self.picks.iter_mut().zip(&other.picks) {
            own.extend(others);
        }
    }
}

/// The index of `distinct[own]` in another format, which is added if it is not there yet.
fn in_format(distinct: &mut Vec<Floats>, own: usize, dtype: DType) -> usize {
    if distinct[own].dtype() == dtype {
        return own;
    }
    let cast = distinct[own].cast(dtype);
    place_of(distinct, cast)
}

/// The index of values among others, to which they are added if they are not there yet.
fn place_of<'a>(distinct: &mut Vec<Floats<'a>>, values: Floats<'a>) -> usize {
    distinct.iter().position(|v| same_bits(v, &values)).unwrap_or_else(|| {
        distinct.push(values);
        distinct.len() - 1
    })
}

fn same_bits(a: &Floats, b: &Floats) -> bool {
    a.dtype() == b.dtype() && a.bytes() == b.bytes()
}

/// Hands one subject's parameters to its module.
pub(crate) struct PartParameters<'p> {
    part: &'p PartWeights<'p>,
    subject: usize,
    device: &'p Device,
}

impl PartParameters<'_> {
    fn value(&self, name: &str) -> &Floats<'_> {
        let place = self.part.names.iter().position(|n| n == name).expect("the part holds its parameters");
        &self.part.values[name][self.part.picks[self.subject][place]]
    }
}

impl Parameters for PartParameters<'_> {
    type Error = CompareError;

    fn tensor<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Result<Tensor<D>, CompareError> {
        Ok(bridge::tensor(self.value(name).view(), shape, self.device))
    }

    fn linear(
        &mut self,
        weight: &str,
        bias: Option<&str>,
        [outputs, inputs]: [usize; 2],
    ) -> Result<Linear, CompareError> {
        let pick = |name: &str| self.value(name).view();
        Ok(Linear::of_values(&pick(weight), bias.map(pick).as_ref(), [outputs, inputs], self.device))
    }
}

/// A parameter as stored. A tied head is the embedding under another name.
pub(crate) fn stored_tensor<'c>(arm: &Arm<'c>, name: &str) -> Result<StoredTensor<'c>, CompareError> {
    let of = arm.architecture();
    if of.tied && name == of.head_weight() {
        let embedding = arm.checkpoint().tensor(of.embedding_weight())?;
        return Ok(StoredTensor { name: name.to_owned(), ..embedding });
    }
    Ok(arm.checkpoint().tensor(name)?)
}

/// How one tensor of an arm differs from the first arm's, in a form to reason with.
#[derive(Clone, Debug)]
pub struct Differing {
    /// Name in the state dict.
    pub name: String,
    /// What it is.
    pub kind: ParameterKind,
    /// Index of the arm.
    pub arm: usize,
    /// What the two have to do with each other.
    pub statement: Statement,
    /// Whether that is said of the values as they are stored, and not of what the recipes make of
    /// them.
    pub stored: bool,
    /// Whether the stored values are the same, so that only recipes can have made the difference.
    pub of_recipes: bool,
    /// The values of the first arm and of this one, for finding tensors that changed places.
    pub fingerprints: [Fingerprint; 2],
}

impl fmt::Display for Differing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.stored { "as stored, " } else { "" }, self.statement)
    }
}

/// `of_recipes` are the values of both arms, `of_files` what their recipes made them from.
fn differing(
    name: &str,
    arm: usize,
    shape: &[usize],
    of_recipes: [&Floats; 2],
    of_files: [&Floats; 2],
    of: &Architecture,
) -> Differing {
    let heads = of.layers.first().map_or([1; 2], |layer| [layer.attention.heads, layer.attention.groups]);
    let hints = Hints { heads: &heads };
    let [a, b] = of_recipes;
    let print = |x: &Floats| Fingerprint {
        name: name.to_owned(),
        shape: shape.to_vec(),
        digest: digest(&x.cast(b.dtype())),
    };
    let same = same_values(of_files);
    let (statement, stored) = match (!same).then(|| as_stored(shape, of_recipes, of_files, &hints)).flatten()
    {
        Some(relation) => (Statement::Exact(relation), true),
        None => (describe(a, b, shape, &hints), false),
    };
    // Places can only have been exchanged where values have nothing to do with each other.
    let exact = matches!(statement, Statement::Exact(_));
    let fingerprints = if exact {
        [a, b].map(|_| Fingerprint { name: name.to_owned(), shape: shape.to_vec(), digest: 0 })
    } else {
        [print(a), print(b)]
    };
    let kind = of.kind(name).expect("it is a parameter of the model");
    Differing { name: name.to_owned(), kind, arm, statement, stored, of_recipes: same, fingerprints }
}

/// What two stored tensors have to do with each other, where a recipe rounds one of them: a
/// truncation, a grid or a factor is exact there, and hidden by the rounding.
fn as_stored(
    shape: &[usize],
    of_recipes: [&Floats; 2],
    of_files: [&Floats; 2],
    hints: &Hints,
) -> Option<Relation> {
    let [a, b] = of_files;
    let narrowed =
        of_recipes.iter().zip(of_files).any(|(made, stored)| made.dtype().size() < stored.dtype().size());
    if !narrowed {
        return None;
    }
    match describe(a, b, shape, hints) {
        Statement::Exact(relation) => Some(relation),
        Statement::Described(_) => None,
    }
}

/// Whether two tensors hold the same numbers, be it in two formats.
fn same_values([a, b]: [&Floats; 2]) -> bool {
    let wide = |x: &Floats| x.cast(DType::F64);
    std::ptr::eq(a, b)
        || same_bits(a, b)
        || (a.dtype() != b.dtype() && a.len() == b.len() && wide(a).bytes() == wide(b).bytes())
}

fn tensor_difference(
    arm: &str,
    shape: Vec<usize>,
    a: &Floats,
    b: &Floats,
    differing: &Differing,
) -> TensorDifference {
    let d = difference(a, b).expect("both have the shape that the config gives");
    TensorDifference {
        name: differing.name.clone(),
        arm: arm.to_owned(),
        shape,
        dtypes: [a.dtype().to_string(), b.dtype().to_string()],
        equal: d.equal_fraction(),
        mean_abs: d.mean_abs(),
        max_abs: d.max_abs,
        nonfinite: d.nonfinite,
        relation: Some(differing.to_string()),
    }
}

pub(crate) fn conversion_record(c: ulpscope_weights::Conversion) -> Conversion {
    Conversion {
        name: c.name,
        from: c.from,
        to: c.to.to_string(),
        action: c.action,
        elements: c.elements,
        changed: c.changed,
        overflowed: c.overflowed,
        flushed: c.flushed,
        nonfinite: c.nonfinite + c.overflowed,
    }
}
