//! One block: its parameters, and the engine that runs its nodes.

use burn::tensor::Tensor;
use ulpscope_kernels::{Linear, SpinPool};

use crate::architecture::{Architecture, full};
use crate::arithmetic::Arithmetic;
use crate::attention;
use crate::departure::{Mlp, QkNorm, Residual};
use crate::layer::Layer;
use crate::mlp;
use crate::node::{Branch, Op, Shape, Source};
use crate::norm::RmsNorm;
use crate::ops::add;
use crate::parameters::Parameters;
use crate::past::Past;
use crate::probe::{Probe, product};
use crate::rotary::Tables;
use crate::site::{Part, Site};

/// The parameters of one block, in the format that the model holds them in.
#[derive(Clone, Debug)]
pub struct Block {
    pub(crate) index: usize,
    /// One for each node; `None` for a node without parameters.
    pub(crate) modules: Vec<Option<Module>>,
}

/// A node's parameters, ready to compute with. Clones share them.
#[derive(Clone, Debug)]
pub enum Module {
    /// The weight of a norm.
    Norm(RmsNorm),
    /// The weight and the bias of a linear layer, or the embedding's table.
    Linear(Linear),
}

impl Block {
    /// Builds block `index` of a model from its parameters.
    ///
    /// # Errors
    /// What `parameters` fails with.
    pub fn new<P: Parameters>(of: &Architecture, index: usize, parameters: &mut P) -> Result<Self, P::Error> {
        let part = Part::Block(index);
        let mut build = |params: &[crate::Param]| {
            let name = |i: usize| params.get(i).map(|param| full(part, &param.name));
            Ok(match (name(0), params.first().map(|weight| &weight.shape[..])) {
                (Some(weight), Some(&[width])) => {
                    Some(Module::Norm(RmsNorm::new(parameters.tensor(&weight, [width])?)))
                }
                (Some(weight), Some(&[outputs, inputs])) => {
                    Some(Module::Linear(parameters.linear(&weight, name(1).as_deref(), [outputs, inputs])?))
                }
                _ => None,
            })
        };
        let modules = of.nodes(part).iter().map(|node| build(&node.params)).collect::<Result<_, _>>()?;
        Ok(Block { index, modules })
    }

    /// Its place among the blocks.
    pub fn index(&self) -> usize {
        self.index
    }

    /// # Shapes
    /// - `x`: `[1, T, C]`, returns `[1, T, C]`
    ///
    /// # Precision
    /// The residual stream is held in the storage dtype; each of the two sums rounds.
    pub fn forward(
        &self,
        of: &Architecture,
        x: Tensor<3>,
        tables: &Tables,
        arithmetic: Arithmetic,
        probe: &mut impl Probe,
    ) -> Tensor<3> {
        let watched = of.sites_of(Part::Block(self.index)).any(|site| probe.wants(site));
        let layer = of.layers[self.index].under(arithmetic.variants);
        if !watched && let Some(fused) = self.fusing(&layer, &x, tables, arithmetic) {
            return fused.forward(x, tables);
        }
        SpinPool::scope(|| self.steps(of, layer, x, tables, arithmetic, None, probe))
    }

    /// [`Block::forward`] for tokens that come after others, whose keys and values are in `past`;
    /// these are added to it. The operations come one after the other, with whatever the probe puts
    /// between them.
    pub(crate) fn forward_after(
        &self,
        of: &Architecture,
        x: Tensor<3>,
        tables: &Tables,
        arithmetic: Arithmetic,
        past: &mut Past,
        probe: &mut impl Probe,
    ) -> Tensor<3> {
        let layer = of.layers[self.index].under(arithmetic.variants);
        self.steps(of, layer, x, tables, arithmetic, Some(past), probe)
    }

    /// Runs the nodes one after the other.
    #[allow(clippy::too_many_arguments)] // the state of one pass, taken apart at once
    pub(crate) fn steps(
        &self,
        of: &Architecture,
        layer: Layer,
        x: Tensor<3>,
        tables: &Tables,
        arithmetic: Arithmetic,
        past: Option<&mut Past>,
        probe: &mut impl Probe,
    ) -> Tensor<3> {
        let nodes = layer.nodes();
        let mut left = vec![0; nodes.len() + 1];
        nodes.iter().flat_map(|node| &node.reads).for_each(|source| left[slot(*source)] += 1);
        let mut values: Vec<Option<Value>> = vec![None; nodes.len() + 1];
        values[0] = Some(Value::Rows(x));
        let sites: Vec<Site> = of.sites_of(Part::Block(self.index)).collect();
        let mut pass = Pass { block: self, layer: &layer, sites, tables, arithmetic, past, values, left };
        for place in 0..nodes.len() {
            if let Some(value) = pass.step(place, probe) {
                pass.values[place + 1] = Some(value);
            }
        }
        pass.values.pop().flatten().expect("the last node is the block's output").rows()
    }
}

/// What a node gives.
#[derive(Clone)]
enum Value {
    Rows(Tensor<3>),
    Heads(Tensor<4>),
}

impl Value {
    fn rows(self) -> Tensor<3> {
        match self {
            Value::Rows(x) => x,
            Value::Heads(_) => panic!("a node that reads rows was given heads"),
        }
    }

    fn heads(self) -> Tensor<4> {
        match self {
            Value::Heads(x) => x,
            Value::Rows(_) => panic!("a node that reads heads was given rows"),
        }
    }

    /// `[1, T, heads·D]` or `[1, T, heads, D]` to `[1, heads, T, D]`.
    fn by_head(self, heads: usize, width: usize) -> Tensor<4> {
        let x = match self {
            Value::Rows(x) => split(x, heads, width),
            Value::Heads(x) => x,
        };
        x.swap_dims(1, 2)
    }
}

/// `[1, T, heads·D]` to `[1, T, heads, D]`.
fn split(x: Tensor<3>, heads: usize, width: usize) -> Tensor<4> {
    let [batch, tokens, _] = x.dims();
    x.reshape([batch, tokens, heads, width])
}

/// Where a pass keeps what a source gives.
fn slot(source: Source) -> usize {
    match source {
        Source::Input => 0,
        Source::Node(place) => place + 1,
    }
}

/// One pass through a block, and what it holds until the last node that reads it.
struct Pass<'a> {
    block: &'a Block,
    layer: &'a Layer,
    sites: Vec<Site>,
    tables: &'a Tables,
    arithmetic: Arithmetic,
    past: Option<&'a mut Past>,
    values: Vec<Option<Value>>,
    /// How often each value is still going to be read.
    left: Vec<usize>,
}

impl Pass<'_> {
    /// What the i-th source of a node gives. Its last reader takes it.
    fn read(&mut self, place: usize, i: usize) -> Value {
        let slot = slot(self.layer.nodes()[place].reads[i]);
        self.left[slot] -= 1;
        let value = if self.left[slot] == 0 { self.values[slot].take() } else { self.values[slot].clone() };
        value.expect("sources come before their readers")
    }

    /// The node that the i-th source of a node is.
    fn source(&self, place: usize, i: usize) -> usize {
        match self.layer.nodes()[place].reads[i] {
            Source::Node(source) => source,
            Source::Input => panic!("a node that reads another was given the block's input"),
        }
    }

    /// Runs a node. Some are run with the node that reads them, which may fuse the two.
    fn step(&mut self, place: usize, probe: &mut impl Probe) -> Option<Value> {
        let node = &self.layer.nodes()[place];
        let (site, layer, order) = (self.sites[place], self.layer, self.arithmetic.accumulation);
        Some(match node.op {
            Op::Linear => {
                let x = self.read(place, 0).rows();
                let Some(Module::Linear(linear)) = &self.block.modules[place] else { return None };
                Value::Rows(product(probe, site, || linear.forward(x, order)))
            }
            Op::Norm => {
                let x = self.read(place, 0).rows();
                let Some(Module::Norm(norm)) = &self.block.modules[place] else { return None };
                match node.shape {
                    Shape::TokenHeads(heads, width) => {
                        let x = match layer.attention.qk_norm_kind {
                            None => norm.forward(split(x, heads, width), layer.norm),
                            Some(QkNorm::None) => split(x, heads, width),
                            Some(QkNorm::AllHeads) => {
                                let norm = RmsNorm::new(norm.weight.clone().repeat_dim(0, heads));
                                split(norm.forward(x, layer.norm), heads, width)
                            }
                        };
                        Value::Heads(probe.at(site, x))
                    }
                    _ => Value::Rows(probe.at(site, norm.forward(x, layer.norm))),
                }
            }
            Op::Rope(table) => {
                let Shape::Heads(heads, width) = node.shape else { return None };
                let x = self.read(place, 0).by_head(heads, width);
                Value::Heads(probe.at(site, self.tables.ropes[table].rotate(x, layer.attention.rotation)))
            }
            Op::ScaleQuery => {
                let x = self.read(place, 0).heads();
                let scale = layer.attention.query_scale?;
                Value::Heads(probe.at(site, self.tables.scale(x, scale)))
            }
            Op::Mix => Value::Rows(self.mix(place, probe)),
            Op::Mul => {
                let act = self.source(place, 0);
                let (gate, up) = (self.read(act, 0).rows(), self.read(place, 1).rows());
                let (gate, up) = match layer.feed_forward.gating {
                    Some(Mlp::Swapped) => (up, gate),
                    _ => (gate, up),
                };
                let gated = mlp::gated(&layer.feed_forward, [gate, up], self.sites[act], probe);
                Value::Rows(probe.at(site, gated))
            }
            Op::Add(branch) => {
                let (stream, added) = (self.read(place, 0).rows(), self.read(place, 1).rows());
                Value::Rows(probe.at(site, residual(stream, added, branch, layer.residual)))
            }
            // Attention computes its scores, and a product its activation.
            Op::Scores | Op::Softmax | Op::Act | Op::Embed | Op::Table(_) => return None,
        })
    }

    /// Attention between its linear layers: scores, probabilities and context.
    fn mix(&mut self, place: usize, probe: &mut impl Probe) -> Tensor<3> {
        let probs = self.source(place, 0);
        let scores = self.source(probs, 0);
        let spec = &self.layer.attention;
        let [q, k] = [0, 1].map(|i| self.read(scores, i).heads());
        let v = self.read(place, 1).by_head(spec.groups, spec.head_dim);
        let sites = [self.sites[scores], self.sites[probs]];
        let mixed = attention::mix(spec, [q, k, v], sites, self.arithmetic, self.past.as_deref_mut(), probe);
        let [batch, _, tokens, _] = mixed.dims();
        let context = mixed.swap_dims(1, 2).reshape([batch, tokens, spec.query_width()]);
        probe.at(self.sites[place], context)
    }
}

/// The residual sum, or what is left of it where a term is missing.
fn residual(stream: Tensor<3>, added: Tensor<3>, branch: Branch, missing: Option<Residual>) -> Tensor<3> {
    match (missing, branch) {
        (Some(Residual::SkipAttention), Branch::Attention)
        | (Some(Residual::SkipMlp), Branch::FeedForward) => stream,
        (Some(Residual::DropBeforeAttention), Branch::Attention)
        | (Some(Residual::DropBeforeMlp), Branch::FeedForward) => added,
        _ => add(stream, added),
    }
}
