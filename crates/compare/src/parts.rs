//! Loading one part of the model for every subject, and comparing the arms' parameters on the way.

use std::collections::HashMap;

use burn::tensor::{Device, Tensor};
use ulpscope_floats::{DType, Floats};
use ulpscope_llama::{LlamaConfig, Parameters, bridge};
use ulpscope_metrics::{Fingerprint, Hints, Statement, describe, difference, digest};
use ulpscope_record::{Conversion, TensorDifference, Weights};
use ulpscope_weights::{Arm, StoredTensor};

use crate::CompareError;
use crate::subject::Experiment;

/// Reads parameters part by part, applies the recipes, and compares the arms on the way.
pub(crate) struct Loader<'a, 'e> {
    experiment: &'e Experiment<'a>,
    configs: Vec<LlamaConfig>,
    /// How the arms' state dicts compare so far.
    pub(crate) weights: Weights,
    /// The same tensors as those of `weights` that differ.
    pub(crate) differing: Vec<Differing>,
    /// What each arm's recipe did so far; empty for mixtures.
    pub(crate) conversions: Vec<Vec<Conversion>>,
}

/// The parameters of one part of the model: each distinct value once, and for each subject which of them are its own.
pub(crate) struct Part<'c> {
    values: HashMap<String, Vec<Floats<'c>>>,
    /// One list of indices for each subject, parameters in the order of the names that were loaded.
    picks: Vec<Vec<usize>>,
    names: Vec<String>,
}

impl<'a, 'e> Loader<'a, 'e> {
    pub(crate) fn new(experiment: &'e Experiment<'a>) -> Self {
        let subjects = experiment.subjects.len();
        let tied = experiment.tied();
        let config = |i| LlamaConfig { tie_word_embeddings: tied, ..experiment.config(i) };
        Loader {
            experiment,
            configs: (0..subjects).map(config).collect(),
            weights: Weights::default(),
            differing: Vec::new(),
            conversions: vec![Vec::new(); subjects],
        }
    }

    /// Reads the parameters `names` for every subject, and compares those of the arms with the first arm's.
    ///
    /// A checkpoint that serves several arms is read, and its blocks dequantised, once. Equal bits are held once.
    pub(crate) fn load(&mut self, names: Vec<String>) -> Result<Part<'a>, CompareError> {
        let experiment = self.experiment;
        experiment.unchanged()?;
        let subjects = experiment.subjects.len();
        let mut part = Part { values: HashMap::new(), picks: vec![Vec::new(); subjects], names };
        for name in &part.names {
            let mut stored: Vec<(*const (), StoredTensor<'a>)> = Vec::new();
            let mut distinct: Vec<Floats<'a>> = Vec::new();
            let mut of_arm: Vec<Option<usize>> = vec![None; subjects];
            let mut first: Option<usize> = None;
            let mut identical = true;
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
                let (values, conversion) = arm.parameter_of(tensor);
                self.conversions[i].push(conversion_record(conversion));
                let known = distinct.iter().position(|v| same_bits(v, &values));
                if let Some(first) = first
                    && known != Some(first)
                    && experiment.describe
                {
                    identical = false;
                    let shape = &tensor.shape;
                    let found = differing(name, i, shape, &distinct[first], &values, arm.config());
                    let arm_name = &experiment.subjects[i].name;
                    let difference =
                        tensor_difference(arm_name, shape.clone(), &distinct[first], &values, &found);
                    self.differing.push(found);
                    self.weights.different.push(difference);
                }
                let pick = known.unwrap_or_else(|| {
                    distinct.push(values);
                    distinct.len() - 1
                });
                first.get_or_insert(pick);
                of_arm[i] = Some(pick);
            }
            self.weights.compared += 1;
            self.weights.identical += usize::from(identical);
            let mut cast: HashMap<(usize, DType), usize> = HashMap::new();
            for (i, picks) in part.picks.iter_mut().enumerate() {
                let own = of_arm[experiment.origin(i, name)].expect("mixtures are made of arms");
                let dtype = experiment.dtype(i);
                let pick = cast.entry((own, dtype)).or_insert_with(|| in_format(&mut distinct, own, dtype));
                picks.push(*pick);
            }
            part.values.insert(name.clone(), distinct);
        }
        Ok(part)
    }

    /// Builds a module for every subject: once for all that hold the same bits and settings.
    pub(crate) fn build<M: Clone>(
        &self,
        part: &Part,
        mut build: impl FnMut(usize, &LlamaConfig, &mut PartParameters) -> Result<M, CompareError>,
    ) -> Result<Vec<M>, CompareError> {
        let mut modules: Vec<M> = Vec::with_capacity(part.picks.len());
        for i in 0..part.picks.len() {
            if let Some(twin) = (0..i).find(|&j| part.same(i, j) && self.same_settings(i, j)) {
                modules.push(modules[twin].clone());
                continue;
            }
            let mut parameters = PartParameters { part, subject: i, device: &self.experiment.device };
            modules.push(build(i, &self.configs[i], &mut parameters)?);
        }
        Ok(modules)
    }

    /// Whether what is not a parameter but shapes a module is the same for two subjects.
    fn same_settings(&self, i: usize, j: usize) -> bool {
        let settings = |c: &LlamaConfig| {
            (c.rms_norm_eps.to_bits(), c.hidden_act, c.attention_bias, c.mlp_bias, c.tie_word_embeddings)
        };
        settings(&self.configs[i]) == settings(&self.configs[j])
    }
}

impl Part<'_> {
    /// Whether two subjects hold the same bits.
    pub(crate) fn same(&self, i: usize, j: usize) -> bool {
        self.picks[i] == self.picks[j]
    }

    /// Makes this part depend on the parameters of another as well.
    pub(crate) fn also(&mut self, other: &Part) {
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
    distinct.iter().position(|v| same_bits(v, &cast)).unwrap_or_else(|| {
        distinct.push(cast);
        distinct.len() - 1
    })
}

fn same_bits(a: &Floats, b: &Floats) -> bool {
    a.dtype() == b.dtype() && a.bytes() == b.bytes()
}

/// Hands one subject's parameters to its module.
pub(crate) struct PartParameters<'p> {
    part: &'p Part<'p>,
    subject: usize,
    device: &'p Device,
}

impl Parameters for PartParameters<'_> {
    type Error = CompareError;

    fn tensor<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Result<Tensor<D>, CompareError> {
        let place = self.part.names.iter().position(|n| n == name).expect("the part holds its parameters");
        let pick = self.part.picks[self.subject][place];
        Ok(bridge::tensor(self.part.values[name][pick].view(), shape, self.device))
    }
}

/// A parameter as stored. A tied head is the embedding under another name.
fn stored_tensor<'c>(arm: &Arm<'c>, name: &str) -> Result<StoredTensor<'c>, CompareError> {
    if name == "lm_head.weight" && arm.config().tie_word_embeddings {
        let embedding = arm.checkpoint().tensor("model.embed_tokens.weight")?;
        return Ok(StoredTensor { name: name.to_owned(), ..embedding });
    }
    Ok(arm.checkpoint().tensor(name)?)
}

/// How one tensor of an arm differs from the first arm's, in a form to reason with.
#[derive(Clone, Debug)]
pub struct Differing {
    /// Name in the state dict.
    pub name: String,
    /// Index of the arm.
    pub arm: usize,
    /// What the two have to do with each other.
    pub statement: Statement,
    /// The values of the first arm and of this one, for finding tensors that changed places.
    pub fingerprints: [Fingerprint; 2],
}

fn differing(
    name: &str,
    arm: usize,
    shape: &[usize],
    a: &Floats,
    b: &Floats,
    config: &LlamaConfig,
) -> Differing {
    let heads = [config.num_attention_heads, config.num_key_value_heads];
    let print = |x: &Floats| Fingerprint {
        name: name.to_owned(),
        shape: shape.to_vec(),
        digest: digest(&x.cast(b.dtype())),
    };
    let statement = describe(a, b, shape, &Hints { heads: &heads });
    // Places can only have been exchanged where values have nothing to do with each other.
    let exact = matches!(statement, Statement::Exact(_));
    let fingerprints = if exact {
        [a, b].map(|_| Fingerprint { name: name.to_owned(), shape: shape.to_vec(), digest: 0 })
    } else {
        [print(a), print(b)]
    };
    Differing { name: name.to_owned(), arm, statement, fingerprints }
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
        relation: Some(differing.statement.to_string()),
    }
}

pub(crate) fn conversion_record(c: ulpscope_weights::Conversion) -> Conversion {
    Conversion {
        name: c.name,
        from: c.from,
        to: c.to.to_string(),
        action: c.action.to_string(),
        elements: c.elements,
        changed: c.changed,
        overflowed: c.overflowed,
        flushed: c.flushed,
        nonfinite: c.nonfinite + c.overflowed,
    }
}
