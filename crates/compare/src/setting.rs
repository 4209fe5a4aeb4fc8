//! One model in parts, each of which can be built and run by itself, with anything about it
//! changed.
//!
//! Lockstep runs arms and mixtures of arms. A recorded trace has no arm to take parts from: what
//! its model may have done otherwise is a [`Setting`], and every operation is judged on the trace's
//! own inputs.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use ulpscope_capture::{Activation, Activations};
use ulpscope_decoder::{
    Accumulation, Architecture, Block, Embedding, Head, Held, Op, Parameters, Part, Probe, RotaryEmbedding,
    RotaryTables, Semantics, Site, Tables, bridge,
};
use ulpscope_floats::{DType, Floats};
use ulpscope_weights::Arm;

use crate::CompareError;
use crate::parts::stored_tensor;
use crate::plan::NamedArm;
use crate::reference::Reference;
use crate::teach::Teacher;

/// How a part is computed: an arm's way, with whatever was changed.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The description.
    pub architecture: Architecture,
    /// The rotary embeddings with their buffers.
    pub rotary: Vec<RotaryEmbedding>,
    /// Attention, order of summation, departures from Hugging Face's arithmetic.
    pub semantics: Semantics,
    /// Parameters that are other than the arm's, by key of the state dict.
    pub parameters: BTreeMap<String, Arc<Floats<'static>>>,
    /// Whoever reads the first site is given the second one's activation.
    pub rewired: Vec<(Site, Site)>,
    /// A wider format to hold and compute everything in; `None`: the arm's own.
    pub compute: Option<DType>,
}

impl Setting {
    /// An arm as it is.
    pub fn of(arm: &NamedArm) -> Self {
        Setting {
            architecture: arm.arm.architecture().clone(),
            rotary: arm.arm.rotary().0,
            semantics: arm.semantics.clone(),
            parameters: BTreeMap::new(),
            rewired: Vec::new(),
            compute: None,
        }
    }
}

/// What a model does between two parts: the residual stream `[1, T, C]` and the rotary tables.
#[derive(Clone, Debug)]
pub struct State {
    x: Tensor<3>,
    tables: Tables,
}

impl State {
    /// The residual stream; behind the head, the logits `[1, T, V]`.
    pub(crate) fn into_stream(self) -> Tensor<3> {
        self.x
    }
}

/// The parameters of one model, read when a part is first run, and the modules made of them.
pub struct Parts<'a> {
    arm: Arm<'a>,
    device: Device,
    values: HashMap<String, Floats<'a>>,
    built: Vec<(Key, Module)>,
    part: Part,
}

/// Modules that are kept: of hypotheses that change no parameter, all share one.
const KEPT: usize = 3;

#[derive(Clone)]
enum Module {
    Stem(Embedding),
    Block(Box<Block>),
    Head(Box<Head>),
}

/// What shapes a module: two settings with the same key share it. It holds what it compares by
/// address.
struct Key {
    tied: bool,
    compute: Option<DType>,
    parameters: BTreeMap<String, Arc<Floats<'static>>>,
}

impl Key {
    fn of(setting: &Setting) -> Self {
        let (tied, compute) = (setting.architecture.tied, setting.compute);
        Key { tied, compute, parameters: setting.parameters.clone() }
    }

    fn fits(&self, other: &Key) -> bool {
        (self.tied, self.compute) == (other.tied, other.compute)
            && self.parameters.len() == other.parameters.len()
            && self
                .parameters
                .iter()
                .zip(&other.parameters)
                .all(|((a, x), (b, y))| a == b && Arc::ptr_eq(x, y))
    }
}

impl<'a> Parts<'a> {
    /// The parts of an arm. Nothing is read yet.
    pub fn new(arm: &Arm<'a>, device: &Device) -> Self {
        Parts {
            arm: arm.clone(),
            device: device.clone(),
            values: HashMap::new(),
            built: Vec::new(),
            part: Part::Stem,
        }
    }

    /// A parameter as the recipe leaves it.
    ///
    /// # Errors
    /// If the checkpoint does not have it, or can't be read.
    pub fn parameter(&mut self, name: &str) -> Result<Floats<'_>, CompareError> {
        if !self.values.contains_key(name) {
            let stored = stored_tensor(&self.arm, name)?;
            self.values.insert(name.to_owned(), self.arm.parameter_of(&stored).0);
        }
        Ok(self.values[name].view())
    }

    /// What each site of a part gives on a reference's inputs. Sites that the reference lacks pass
    /// on their own.
    ///
    /// # Errors
    /// [`CompareError`] if parameters can't be read.
    pub fn forced(
        &mut self,
        part: Part,
        setting: &Setting,
        ids: &[u32],
        reference: &Activations,
    ) -> Result<Activations, CompareError> {
        let rewired;
        let mut given = reference;
        if !setting.rewired.is_empty() {
            let mut changed = reference.clone();
            for (of, by) in &setting.rewired {
                if let Some(activation) = reference.get(by) {
                    changed.insert(*of, activation.clone());
                }
            }
            rewired = changed;
            given = &rewired;
        }
        let module = self.module(part, setting)?;
        let dtype = setting.compute.unwrap_or(self.arm.dtype());
        let none = BTreeSet::new();
        let mut teacher = Teacher::new(given, &none, &self.device);
        let of = &setting.architecture;
        let state = match of.begins_with(part) {
            None => None,
            Some(site) => {
                let Some(start) = given.get(&site).and_then(|a| stream(a, dtype, &self.device)) else {
                    return Ok(Activations::new());
                };
                let arithmetic = setting.semantics.at(None);
                let tokens = 0..ids.len();
                let mut tables = Tables::new(
                    &setting.rotary,
                    tokens,
                    Held { dtype, device: &self.device },
                    arithmetic,
                    &mut (),
                );
                for (i, rope) in tables.ropes.iter_mut().enumerate() {
                    // Tables keep the format that they were recorded in, which may be wider than
                    // the rest.
                    let table = |site| {
                        let a: &Activation = given.get(&site)?;
                        let fits = a.shape == of.shape(site, ids.len());
                        stream(a, a.values.dtype(), &self.device).filter(|_| fits)
                    };
                    if let [Some(cos), Some(sin)] = of.tables(i).map(table) {
                        *rope = RotaryTables { cos, sin };
                    }
                }
                Some(State { x: start, tables })
            }
        };
        module.run(setting, ids, dtype, state, &self.device, &mut teacher);
        let mut taught = teacher.taught;
        for (site, x) in taught.iter_mut().filter(|(site, _)| site.op() == Op::Scores) {
            given.get(site).into_iter().for_each(|given| hide_alike(x, given));
        }
        Ok(taught)
    }

    /// As [`forced`](Self::forced), each [token](Reference::rows) in the order that it has there.
    ///
    /// # Errors
    /// [`CompareError`] if parameters can't be read.
    pub fn by_rows(
        &mut self,
        part: Part,
        setting: &Setting,
        reference: &Reference,
    ) -> Result<Activations, CompareError> {
        let Reference { ids, activations, rows, .. } = reference;
        let mut taught = self.forced(part, setting, ids, activations)?;
        let orders: HashSet<Accumulation> = rows.values().copied().collect();
        for order in orders {
            let other = self.forced(part, &in_order(setting, order), ids, activations)?;
            let tokens = || rows.iter().filter(|(_, own)| **own == order).map(|(token, _)| *token);
            for (site, x) in &mut taught {
                let [blocks, elements] = setting.architecture.node(*site).shape.blocks(ids.len());
                if let Some(y) = other.get(site).filter(|y| y.shape == x.shape) {
                    let width = elements * x.values.dtype().size();
                    let mut bytes = x.values.bytes().to_vec();
                    for token in tokens() {
                        for start in (0..blocks).map(|block| (block * ids.len() + token) * width) {
                            bytes[start..start + width]
                                .copy_from_slice(&y.values.bytes()[start..start + width]);
                        }
                    }
                    x.values = Floats::from_bytes(x.values.dtype(), &bytes).into_owned();
                }
            }
        }
        Ok(taught)
    }

    /// Runs a part freely, from its predecessor's state.
    ///
    /// # Errors
    /// [`CompareError`] if parameters can't be read.
    pub fn free(
        &mut self,
        part: Part,
        setting: &Setting,
        ids: &[u32],
        state: Option<State>,
    ) -> Result<(State, Activations), CompareError> {
        let module = self.module(part, setting)?;
        let dtype = setting.compute.unwrap_or(self.arm.dtype());
        let mut probe = Rewire { rewired: &setting.rewired, seen: Activations::new() };
        if let (Some(state), Some(site)) = (&state, setting.architecture.begins_with(part)) {
            probe.seen.insert(site, Activation::of(&state.x));
        }
        let begins = probe.seen.keys().next().copied();
        let state = module.run(setting, ids, dtype, state, &self.device, &mut probe);
        if let Some(site) = begins {
            probe.seen.remove(&site);
        }
        Ok((state, probe.seen))
    }

    fn module(&mut self, part: Part, setting: &Setting) -> Result<Module, CompareError> {
        if self.part != part {
            // A tied head needs the embedding again, which is read at once from a memory map.
            self.built.clear();
            self.values.clear();
            self.part = part;
        }
        let key = Key::of(setting);
        if let Some((_, module)) = self.built.iter().find(|(k, _)| k.fits(&key)) {
            return Ok(module.clone());
        }
        let of = &setting.architecture;
        let mut source = Source { parts: self, setting };
        let module = match part {
            Part::Stem => Module::Stem(Embedding::new(of, &mut source)?),
            Part::Block(n) => Module::Block(Box::new(Block::new(of, n, &mut source)?)),
            Part::Head => {
                let embedding = Embedding::new(of, &mut source)?;
                Module::Head(Box::new(Head::new(of, &embedding, &mut source)?))
            }
        };
        if self.built.len() >= KEPT {
            self.built.remove(1);
        }
        self.built.push((key, module.clone()));
        Ok(module)
    }
}

impl Module {
    /// Runs it. The head leaves the state as it was, but for `x`, which is the logits.
    fn run(
        &self,
        setting: &Setting,
        ids: &[u32],
        dtype: DType,
        state: Option<State>,
        device: &Device,
        probe: &mut impl Probe,
    ) -> State {
        let of = &setting.architecture;
        let outside = setting.semantics.at(None);
        match (self, state) {
            (Module::Stem(embedding), _) => {
                let x = embedding.forward(of, ids, outside, probe);
                let tables =
                    Tables::new(&setting.rotary, 0..ids.len(), Held { dtype, device }, outside, probe);
                State { x, tables }
            }
            (Module::Block(block), Some(State { x, tables })) => {
                let arithmetic = setting.semantics.at(Some(block.index()));
                State { x: block.forward(of, x, &tables, arithmetic, probe), tables }
            }
            (Module::Head(head), Some(State { x, tables })) => {
                State { x: head.forward(of, x, outside, probe), tables }
            }
            (_, None) => panic!("blocks and the head run on a state"),
        }
    }
}

/// Gives scores that both hide a reference's numbers: every program hides by one of its own.
fn hide_alike(x: &mut Activation, given: &Activation) {
    if x.shape != given.shape || x.values.bytes() == given.values.bytes() {
        return;
    }
    let hidden = |x: f64, dtype: DType| x <= dtype.min() / 2.0;
    let [own, other] = [&x.values, &given.values].map(|x| (x.to_f64(), x.dtype()));
    let both = |i: usize| hidden(own.0[i], own.1) && hidden(other.0[i], other.1);
    let values: Vec<f64> = (0..own.0.len()).map(|i| if both(i) { other.0[i] } else { own.0[i] }).collect();
    x.values = Floats::from(values).cast(own.1);
}

/// The same in another order of summation.
pub fn in_order(setting: &Setting, order: Accumulation) -> Setting {
    let mut setting = setting.clone();
    setting.semantics.base.accumulation = order;
    setting
}

/// An activation as the residual stream of a model in this format.
fn stream(a: &Activation, dtype: DType, device: &Device) -> Option<Tensor<3>> {
    let shape: [usize; 3] = a.shape.clone().try_into().ok()?;
    Some(bridge::tensor(a.values.cast(dtype), shape, device))
}

/// Records, and gives one site's activation in another's place where that was asked for and has
/// been computed.
struct Rewire<'s> {
    rewired: &'s [(Site, Site)],
    seen: Activations,
}

impl Probe for Rewire<'_> {
    fn at<const D: usize>(&mut self, site: Site, x: Tensor<D>) -> Tensor<D> {
        self.seen.insert(site, Activation::of(&x));
        let by = self.rewired.iter().find(|(of, _)| *of == site).and_then(|(_, by)| self.seen.get(by));
        match by {
            Some(a) if a.shape == x.dims() => {
                bridge::tensor(a.values.cast(bridge::dtype(&x)), x.dims(), &x.device())
            }
            _ => x,
        }
    }
}

/// Hands out an arm's parameters, or what a setting has in their place.
struct Source<'p, 'a> {
    parts: &'p mut Parts<'a>,
    setting: &'p Setting,
}

impl Parameters for Source<'_, '_> {
    type Error = CompareError;

    fn tensor<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Result<Tensor<D>, CompareError> {
        let dtype = self.setting.compute.unwrap_or(self.parts.arm.dtype());
        let device = self.parts.device.clone();
        let values = match self.setting.parameters.get(name) {
            Some(changed) => changed.view(),
            None => self.parts.parameter(name)?,
        };
        Ok(if values.dtype() == dtype {
            bridge::tensor(values, shape, &device)
        } else {
            bridge::tensor(values.cast(dtype), shape, &device)
        })
    }
}
