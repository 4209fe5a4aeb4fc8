//! The parts of the model that stand outside its blocks, and the whole.

use burn::tensor::{Device, Tensor};
use ulpscope_floats::Floats;
use ulpscope_kernels::{Linear, bridge, team};

use crate::arithmetic::Arithmetic;
use crate::block::Block;
use crate::config::LlamaConfig;
use crate::norm::RmsNorm;
use crate::ops::{scale, wide};
use crate::parameters::Parameters;
use crate::past::Past;
use crate::probe::{Probe, product};
use crate::rotary::RotaryEmbedding;
use crate::semantics::Semantics;
use crate::site::Site;
use crate::variant;

/// `model.embed_tokens`: one row per token. With tied weights it is the output layer, too, and held once.
#[derive(Clone, Debug)]
pub struct Embedding {
    weight: Linear,
}

impl Embedding {
    /// Builds the embedding from its parameter.
    ///
    /// # Errors
    /// What `parameters` fails with.
    pub fn new<P: Parameters>(config: &LlamaConfig, parameters: &mut P) -> Result<Self, P::Error> {
        let shape = [config.vocab_size, config.hidden_size];
        let weight = parameters.linear("model.embed_tokens.weight", None, shape)?;
        Ok(Embedding { weight })
    }

    /// Rows for `ids`, `[1, T, C]`, bit for bit, unless a variant scales them.
    ///
    /// # Panics
    /// If an id is not below the size of the vocabulary.
    pub fn forward(&self, ids: &[u32], arithmetic: Arithmetic, probe: &mut impl Probe) -> Tensor<3> {
        let [vocabulary, width] = self.weight.shape();
        let ids: Vec<usize> = ids.iter().map(|&id| id as usize).collect();
        assert!(ids.iter().all(|&id| id < vocabulary), "token ids are below the vocabulary's {vocabulary}");
        let mut rows = self.weight.rows(&ids);
        if let Some(variant::Embedding::Scaled) = arithmetic.variants.embedding {
            // Gemma holds the factor in the storage dtype.
            let factor = Floats::from(vec![(width as f64).sqrt()]).cast(bridge::dtype(&rows)).get(0);
            rows = scale(rows, factor);
        }
        probe.at(Site::EmbedTokens, rows)
    }

    /// The same table as an output layer: `lm_head` with tied weights.
    pub fn as_linear(&self) -> Linear {
        self.weight.clone()
    }
}

/// `model.norm` and `lm_head`.
#[derive(Clone, Debug)]
pub struct Head {
    norm: RmsNorm,
    lm_head: Linear,
}

impl Head {
    /// Builds the head from its parameters; with tied weights, from the embedding's.
    ///
    /// # Errors
    /// What `parameters` fails with.
    pub fn new<P: Parameters>(
        config: &LlamaConfig,
        embedding: &Embedding,
        parameters: &mut P,
    ) -> Result<Self, P::Error> {
        let norm =
            RmsNorm::new(parameters.tensor("model.norm.weight", [config.hidden_size])?, config.rms_norm_eps);
        let lm_head = if config.tie_word_embeddings {
            embedding.as_linear()
        } else {
            parameters.linear("lm_head.weight", None, [config.vocab_size, config.hidden_size])?
        };
        Ok(Head { norm, lm_head })
    }

    /// `[1, T, C]` to logits `[1, T, V]`, in the storage dtype, unless a variant keeps them wide.
    pub fn forward(&self, x: Tensor<3>, arithmetic: Arithmetic, probe: &mut impl Probe) -> Tensor<3> {
        let normed = self.norm(x, arithmetic, probe);
        self.logits(normed, arithmetic, probe)
    }

    /// `model.norm` alone: `[1, T, C]`, returns the same.
    pub fn norm(&self, x: Tensor<3>, arithmetic: Arithmetic, probe: &mut impl Probe) -> Tensor<3> {
        probe.at(Site::Norm, team(|| self.norm.forward(x, arithmetic.variants.norm)))
    }

    /// `lm_head` alone, on what [`norm`](Head::norm) gives: `[1, T, C]` to `[1, T, V]`.
    pub fn logits(&self, mut normed: Tensor<3>, arithmetic: Arithmetic, probe: &mut impl Probe) -> Tensor<3> {
        if let Some(variant::Head::F32) = arithmetic.variants.head {
            // A linear layer rounds to the dtype of its input. The products stay the same.
            normed = wide(normed);
        }
        product(probe, Site::LmHead, || team(|| self.lm_head.forward(normed, arithmetic.accumulation)))
    }
}

/// A whole model in memory. To compare models larger than that, run their parts block by block.
#[derive(Clone, Debug)]
pub struct Llama {
    embedding: Embedding,
    rotary: RotaryEmbedding,
    blocks: Vec<Block>,
    head: Head,
}

impl Llama {
    /// Builds the model from its parameters and its rotary buffers.
    ///
    /// # Errors
    /// What `parameters` fails with.
    pub fn new<P: Parameters>(
        config: &LlamaConfig,
        rotary: RotaryEmbedding,
        parameters: &mut P,
    ) -> Result<Self, P::Error> {
        let embedding = Embedding::new(config, parameters)?;
        let blocks = (0..config.num_hidden_layers)
            .map(|n| Block::new(config, n, parameters))
            .collect::<Result<_, _>>()?;
        let head = Head::new(config, &embedding, parameters)?;
        Ok(Llama { embedding, rotary, blocks, head })
    }

    /// Logits `[1, T, V]` for a prompt of T tokens. `semantics` is an [`Arithmetic`], an attention, or what differs
    /// from block to block.
    ///
    /// # Panics
    /// If `ids` is empty or has an id outside the vocabulary.
    pub fn forward(&self, ids: &[u32], semantics: impl Into<Semantics>, probe: &mut impl Probe) -> Tensor<3> {
        assert!(!ids.is_empty(), "a prompt has at least one token");
        let semantics = semantics.into();
        let outside = semantics.at(None);
        let mut x = self.embedding.forward(ids, outside, probe);
        let rope = self.rotary.forward(ids.len(), bridge::dtype(&x), outside, &self.device(), probe);
        team(|| {
            for (layer, block) in self.blocks.iter().enumerate() {
                x = block.forward(x, &rope, semantics.at(Some(layer)), probe);
            }
            self.head.forward(x, outside, probe)
        })
    }

    /// A model of parts that were built one by one. Clones of parts share their parameters.
    pub fn from_parts(embedding: Embedding, rotary: RotaryEmbedding, blocks: Vec<Block>, head: Head) -> Self {
        Llama { embedding, rotary, blocks, head }
    }

    /// Reads tokens that follow those in `past`, one entry for each block, empty at first: the stream behind the last
    /// block, `[1, T, C]`, for [`Llama::logits`].
    ///
    /// # Precision
    /// Linear layers and norms take each token alone. An attention's bits depend on how many keys it is given (its
    /// exponentials come in whole vectors of 16, and some orders of summation cut their sums by the length), so that
    /// tokens that are read one by one may have other bits than tokens that are read at once, as in PyTorch.
    ///
    /// # Panics
    /// If `ids` is empty or has an id outside the vocabulary.
    pub fn read(&self, ids: &[u32], semantics: &Semantics, past: &mut Vec<Past>) -> Tensor<3> {
        assert!(!ids.is_empty(), "something is read");
        past.resize_with(self.blocks.len(), Past::default);
        let before = past.first().map_or(0, Past::tokens);
        let outside = semantics.at(None);
        let mut x = self.embedding.forward(ids, outside, &mut ());
        let tokens = before..before + ids.len();
        let rope = self.rotary.tables(tokens, bridge::dtype(&x), outside, &self.device(), &mut ());
        team(|| {
            for (layer, (block, past)) in self.blocks.iter().zip(past).enumerate() {
                x = block.forward_after(x, &rope, semantics.at(Some(layer)), Some(past), &mut ());
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
        self.head.forward(stream.narrow(1, tokens - rows, rows), semantics.at(None), &mut ())
    }

    /// The device that holds the parameters.
    pub fn device(&self) -> Device {
        self.embedding.weight.device()
    }
}
