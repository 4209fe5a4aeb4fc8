//! The parts of the model that stand outside its blocks, and the whole.

use burn::tensor::{Device, Tensor};
use ulpscope_floats::Floats;
use ulpscope_kernels::{Linear, SpinPool, bridge};

use crate::architecture::Architecture;
use crate::arithmetic::Arithmetic;
use crate::block::{Block, Module};
use crate::departure;
use crate::norm::RmsNorm;
use crate::ops::{scale, wide};
use crate::parameters::Parameters;
use crate::past::Past;
use crate::probe::{Probe, product};
use crate::rotary::{Held, RotaryEmbedding, Tables};
use crate::semantics::Semantics;
use crate::site::{Part, Site};

/// `model.embed_tokens`: one row per token. With tied weights it is the output layer, too, and held
/// once.
#[derive(Clone, Debug)]
pub struct Embedding {
    pub(crate) weight: Linear,
}

impl Embedding {
    /// Builds the embedding from its parameter.
    ///
    /// # Errors
    /// What `parameters` fails with.
    pub fn new<P: Parameters>(of: &Architecture, parameters: &mut P) -> Result<Self, P::Error> {
        let name = &of.nodes(Part::Stem)[0].params[0].name;
        Ok(Embedding { weight: parameters.linear(name, None, [of.vocab, of.width])? })
    }

    /// Rows for `ids`, `[1, T, C]`, bit for bit, unless they are scaled.
    ///
    /// # Panics
    /// If an id is not below the size of the vocabulary.
    pub fn forward(
        &self,
        of: &Architecture,
        ids: &[u32],
        arithmetic: Arithmetic,
        probe: &mut impl Probe,
    ) -> Tensor<3> {
        let [vocabulary, width] = self.weight.shape();
        let ids: Vec<usize> = ids.iter().map(|&id| id as usize).collect();
        assert!(ids.iter().all(|&id| id < vocabulary), "token ids are below the vocabulary's {vocabulary}");
        let mut rows = self.weight.rows(&ids);
        let factor = match arithmetic.variants.embedding {
            Some(departure::Embedding::Scaled) => Some((width as f64).sqrt()),
            None => of.embed_scale,
        };
        if let Some(factor) = factor {
            // A factor is a buffer in the storage dtype.
            let factor = Floats::from(vec![factor]).cast(bridge::dtype(&rows)).get(0);
            rows = scale(rows, factor);
        }
        probe.at(of.site_of(Part::Stem, 0), rows)
    }

    /// The same table as an output layer: `lm_head` with tied weights.
    pub fn as_linear(&self) -> Linear {
        self.weight.clone()
    }
}

/// `model.norm` and `lm_head`.
#[derive(Clone, Debug)]
pub struct Head {
    pub(crate) norm: RmsNorm,
    pub(crate) lm_head: Linear,
}

impl Head {
    /// Builds the head from its parameters; with tied weights, from the embedding's.
    ///
    /// # Errors
    /// What `parameters` fails with.
    pub fn new<P: Parameters>(
        of: &Architecture,
        embedding: &Embedding,
        parameters: &mut P,
    ) -> Result<Self, P::Error> {
        let [norm, lm_head] = [0, 1].map(|place| &of.nodes(Part::Head)[place].params[0].name);
        let norm = RmsNorm::new(parameters.tensor(norm, [of.width])?);
        let lm_head = if of.tied {
            embedding.as_linear()
        } else {
            parameters.linear(lm_head, None, [of.vocab, of.width])?
        };
        Ok(Head { norm, lm_head })
    }

    /// `[1, T, C]` to logits `[1, T, V]`, in the storage dtype, unless a variant keeps them wide.
    pub fn forward(
        &self,
        of: &Architecture,
        x: Tensor<3>,
        arithmetic: Arithmetic,
        probe: &mut impl Probe,
    ) -> Tensor<3> {
        let normed = self.norm(of, x, arithmetic, probe);
        self.logits(of, normed, arithmetic, probe)
    }

    /// The norm alone: `[1, T, C]`, returns the same.
    pub fn norm(
        &self,
        of: &Architecture,
        x: Tensor<3>,
        arithmetic: Arithmetic,
        probe: &mut impl Probe,
    ) -> Tensor<3> {
        let mut norm = of.norm;
        norm.kind = arithmetic.variants.norm.or(norm.kind);
        probe.at(of.site_of(Part::Head, 0), SpinPool::scope(|| self.norm.forward(x, norm)))
    }

    /// The output layer alone, on what [`norm`](Head::norm) gives: `[1, T, C]` to `[1, T, V]`.
    pub fn logits(
        &self,
        of: &Architecture,
        mut normed: Tensor<3>,
        arithmetic: Arithmetic,
        probe: &mut impl Probe,
    ) -> Tensor<3> {
        if let Some(departure::Head::F32) = arithmetic.variants.head {
            // A linear layer rounds to the dtype of its input. The products stay the same.
            normed = wide(normed);
        }
        product(probe, of.logits(), || {
            SpinPool::scope(|| self.lm_head.forward(normed, arithmetic.accumulation))
        })
    }
}

/// A whole model in memory. To compare models larger than that, run their parts block by block.
#[derive(Clone, Debug)]
pub struct Model {
    pub(crate) architecture: Architecture,
    pub(crate) embedding: Embedding,
    rotary: Vec<RotaryEmbedding>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) head: Head,
}

impl Model {
    /// Builds the model from its parameters and its rotary buffers.
    ///
    /// # Errors
    /// What `parameters` fails with.
    pub fn new<P: Parameters>(
        of: &Architecture,
        rotary: Vec<RotaryEmbedding>,
        parameters: &mut P,
    ) -> Result<Self, P::Error> {
        let embedding = Embedding::new(of, parameters)?;
        let blocks = (0..of.layers.len()).map(|n| Block::new(of, n, parameters)).collect::<Result<_, _>>()?;
        let head = Head::new(of, &embedding, parameters)?;
        Ok(Model { architecture: of.clone(), embedding, rotary, blocks, head })
    }

    /// A model of parts that were built one by one. Clones of parts share their parameters.
    pub fn from_parts(
        of: &Architecture,
        embedding: Embedding,
        rotary: Vec<RotaryEmbedding>,
        blocks: Vec<Block>,
        head: Head,
    ) -> Self {
        Model { architecture: of.clone(), embedding, rotary, blocks, head }
    }

    /// What it is.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// The parameters of the node at `site`, if it has some. `lm_head` has the embedding's with
    /// tied weights.
    pub fn module(&self, site: Site) -> Option<Module> {
        match (site.part(), site.place()) {
            (Part::Stem, 0) => Some(Module::Linear(self.embedding.weight.clone())),
            (Part::Block(n), place) => self.blocks.get(n)?.modules.get(place)?.clone(),
            (Part::Head, 0) => Some(Module::Norm(self.head.norm.clone())),
            (Part::Head, 1) => Some(Module::Linear(self.head.lm_head.clone())),
            _ => None,
        }
    }

    /// Replaces the parameters of the node at `site`. With tied weights, the embedding's are
    /// `lm_head`'s, too.
    ///
    /// Nothing happens where the node has parameters of another kind, or none.
    pub fn set_module(&mut self, site: Site, module: Module) {
        match (site.part(), site.place(), module) {
            (Part::Stem, 0, Module::Linear(weight)) => {
                if self.architecture.tied {
                    self.head.lm_head = weight.clone();
                }
                self.embedding.weight = weight;
            }
            (Part::Block(n), place, new) => {
                let held = self.blocks.get_mut(n).and_then(|block| block.modules.get_mut(place)?.as_mut());
                match (held, new) {
                    (Some(Module::Norm(held)), Module::Norm(new)) => *held = new,
                    (Some(Module::Linear(held)), Module::Linear(new)) => *held = new,
                    _ => {}
                }
            }
            (Part::Head, 0, Module::Norm(norm)) => self.head.norm = norm,
            (Part::Head, 1, Module::Linear(lm_head)) if !self.architecture.tied => {
                self.head.lm_head = lm_head
            }
            _ => {}
        }
    }

    /// Logits `[1, T, V]` for a prompt of T tokens. `semantics` is an [`Arithmetic`], an attention,
    /// or what differs from block to block.
    ///
    /// # Panics
    /// If `ids` is empty or has an id outside the vocabulary.
    pub fn forward(&self, ids: &[u32], semantics: impl Into<Semantics>, probe: &mut impl Probe) -> Tensor<3> {
        assert!(!ids.is_empty(), "a prompt has at least one token");
        let semantics = semantics.into();
        let (of, outside) = (&self.architecture, semantics.at(None));
        let mut x = self.embedding.forward(of, ids, outside, probe);
        let (dtype, device) = (bridge::dtype(&x), self.device());
        let tables = Tables::new(&self.rotary, 0..ids.len(), Held { dtype, device: &device }, outside, probe);
        SpinPool::scope(|| {
            for (layer, block) in self.blocks.iter().enumerate() {
                x = block.forward(of, x, &tables, semantics.at(Some(layer)), probe);
            }
            self.head.forward(of, x, outside, probe)
        })
    }

    /// Reads tokens that follow those in `past`, one entry for each block, empty at first: the
    /// stream behind the last block, `[1, T, C]`, for [`Model::logits`].
    ///
    /// # Precision
    /// Linear layers and norms take each token alone. The bits of attention depend on the number of
    /// keys: exponentials come in whole vectors of 16, and some orders of summation cut their sums
    /// by the length. So tokens that are read one by one may have other bits than tokens that are
    /// read at once, as in PyTorch.
    ///
    /// # Panics
    /// If `ids` is empty or has an id outside the vocabulary.
    pub fn read(&self, ids: &[u32], semantics: &Semantics, past: &mut Vec<Past>) -> Tensor<3> {
        assert!(!ids.is_empty(), "something is read");
        past.resize_with(self.blocks.len(), Past::default);
        let before = past.first().map_or(0, Past::tokens);
        let (of, outside) = (&self.architecture, semantics.at(None));
        let mut x = self.embedding.forward(of, ids, outside, &mut ());
        let (dtype, device) = (bridge::dtype(&x), self.device());
        let tables = Tables::new(
            &self.rotary,
            before..before + ids.len(),
            Held { dtype, device: &device },
            outside,
            &mut (),
        );
        SpinPool::scope(|| {
            for (layer, (block, past)) in self.blocks.iter().zip(past).enumerate() {
                x = block.forward_after(of, x, &tables, semantics.at(Some(layer)), past, &mut ());
            }
            x
        })
    }

    /// Logits `[1, rows, V]` of the last `rows` tokens of a stream `[1, T, C]`.
    ///
    /// # Panics
    /// If the stream has fewer tokens.
    pub fn logits(&self, stream: Tensor<3>, rows: usize, semantics: &Semantics) -> Tensor<3> {
        let tokens = stream.dims()[1];
        assert!(rows <= tokens, "{rows} rows of {tokens}");
        let stream = stream.narrow(1, tokens - rows, rows);
        self.head.forward(&self.architecture, stream, semantics.at(None), &mut ())
    }

    /// The device that holds the parameters.
    pub fn device(&self) -> Device {
        self.embedding.weight.device()
    }
}
