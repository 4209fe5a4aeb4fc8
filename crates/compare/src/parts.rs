//! Loading one part of the model for every arm, and comparing its parameters on the way.

use std::collections::HashMap;

use burn::tensor::{Device, Tensor};
use ulpscope_floats::Floats;
use ulpscope_llama::{Parameters, bridge};
use ulpscope_metrics::{difference, relation};
use ulpscope_record::{Conversion, TensorDifference, Weights};
use ulpscope_weights::{Arm, StoredTensor};

use crate::CompareError;
use crate::plan::NamedArm;

/// Compares parameters part by part, and remembers what it found.
pub(crate) struct Loader<'a> {
    pub(crate) arms: &'a [NamedArm<'a>],
    pub(crate) device: &'a Device,
    /// How the state dicts compare so far.
    pub(crate) weights: Weights,
    /// What each arm's recipe did so far.
    pub(crate) conversions: Vec<Vec<Conversion>>,
}

/// The parameters of one part, for one arm. The reference's own are shared by the arms that hold the same bits.
pub(crate) struct Part<'c> {
    values: HashMap<String, Floats<'c>>,
    /// Whether every parameter has the reference's dtype and bits.
    pub(crate) same_as_reference: bool,
}

impl<'a> Loader<'a> {
    pub(crate) fn new(arms: &'a [NamedArm<'a>], device: &'a Device) -> Self {
        Loader { arms, device, weights: Weights::default(), conversions: vec![Vec::new(); arms.len()] }
    }

    /// Reads the parameters `names` for every arm, applies its recipe, and compares them with the reference's.
    ///
    /// A checkpoint that serves several arms is read, and its blocks dequantised, once.
    pub(crate) fn load(&mut self, names: &[String]) -> Result<Vec<Part<'a>>, CompareError> {
        let empty = |first: bool| Part { values: HashMap::new(), same_as_reference: first };
        let mut parts: Vec<Part<'a>> = (0..self.arms.len()).map(|i| empty(i == 0)).collect();
        let mut same = vec![true; self.arms.len()];
        for name in names {
            let mut stored: Vec<(*const (), StoredTensor<'a>)> = Vec::new();
            for NamedArm { arm, .. } in self.arms {
                let key = std::ptr::from_ref(arm.checkpoint()).cast();
                if !stored.iter().any(|(k, _)| *k == key) {
                    stored.push((key, stored_tensor(arm, name)?));
                }
            }
            let of = |arm: &Arm| {
                let key: *const () = std::ptr::from_ref(arm.checkpoint()).cast();
                &stored.iter().find(|(k, _)| *k == key).expect("it was just read").1
            };
            let mut identical = true;
            let mut reference: Option<Floats<'a>> = None;
            for (i, NamedArm { name: arm_name, arm, .. }) in self.arms.iter().enumerate() {
                let (values, conversion) = arm.parameter_of(of(arm));
                self.conversions[i].push(conversion_record(conversion));
                let Some(reference) = &reference else {
                    reference = Some(values);
                    continue;
                };
                if reference.dtype() == values.dtype() && reference.bytes() == values.bytes() {
                    continue;
                }
                identical = false;
                same[i] = false;
                let shape = of(arm).shape.clone();
                self.weights.different.push(tensor_difference(name, arm_name, shape, reference, &values));
                parts[i].values.insert(name.clone(), values);
            }
            self.weights.compared += 1;
            self.weights.identical += usize::from(identical);
            parts[0].values.insert(name.clone(), reference.expect("there is a reference arm"));
        }
        for (part, same) in parts.iter_mut().zip(same) {
            part.same_as_reference = same;
        }
        Ok(parts)
    }

    /// Builds a module for every arm: once where the parameters are the reference's, bit for bit.
    pub(crate) fn build<M: Clone>(
        &self,
        parts: &[Part],
        mut build: impl FnMut(usize, &mut PartParameters) -> Result<M, CompareError>,
    ) -> Result<Vec<M>, CompareError> {
        let mut modules: Vec<M> = Vec::with_capacity(parts.len());
        for (i, part) in parts.iter().enumerate() {
            // What is not a parameter but shapes the module (eps, activation) must be the same, too.
            let config = |i: usize| self.arms[i].arm.config();
            let same_settings = config(0).rms_norm_eps == config(i).rms_norm_eps
                && config(0).hidden_act == config(i).hidden_act
                && config(0).attention_bias == config(i).attention_bias
                && config(0).mlp_bias == config(i).mlp_bias
                && config(0).tie_word_embeddings == config(i).tie_word_embeddings;
            if i > 0 && part.same_as_reference && same_settings {
                modules.push(modules[0].clone());
                continue;
            }
            let mut parameters =
                PartParameters { own: &part.values, reference: &parts[0].values, device: self.device };
            modules.push(build(i, &mut parameters)?);
        }
        Ok(modules)
    }
}

/// Hands one arm's parameters to its module: its own where they differ, the reference's where they do not.
pub(crate) struct PartParameters<'a> {
    own: &'a HashMap<String, Floats<'a>>,
    reference: &'a HashMap<String, Floats<'a>>,
    device: &'a Device,
}

impl Parameters for PartParameters<'_> {
    type Error = CompareError;

    fn tensor<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Result<Tensor<D>, CompareError> {
        let values =
            self.own.get(name).or_else(|| self.reference.get(name)).expect("the part holds its parameters");
        Ok(bridge::tensor(values.view(), shape, self.device))
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

fn tensor_difference(name: &str, arm: &str, shape: Vec<usize>, a: &Floats, b: &Floats) -> TensorDifference {
    let d = difference(a, b).expect("both have the shape that the config gives");
    TensorDifference {
        name: name.to_owned(),
        arm: arm.to_owned(),
        shape,
        dtypes: [a.dtype().to_string(), b.dtype().to_string()],
        equal: d.equal_fraction(),
        mean_abs: d.mean_abs(),
        max_abs: d.max_abs,
        nonfinite: d.nonfinite,
        relation: relation(a, b).map(|r| r.to_string()),
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
