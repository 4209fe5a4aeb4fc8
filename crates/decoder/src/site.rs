//! Sites: the named observation points of a model, and the parts it is run in.

use std::fmt;
use std::str::FromStr;

use crate::node::Op;

/// How attention is computed; two declared semantics, as in transformers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AttentionKind {
    /// Separate operations, each rounded to the storage dtype.
    Eager,
    #[default]
    /// PyTorch's fused `scaled_dot_product_attention` on CPU: scores stay in f32.
    Sdpa,
}

impl fmt::Display for AttentionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            AttentionKind::Eager => "eager",
            AttentionKind::Sdpa => "sdpa",
        })
    }
}

impl FromStr for AttentionKind {
    type Err = UnknownAttention;

    fn from_str(s: &str) -> Result<Self, UnknownAttention> {
        match s {
            "eager" => Ok(AttentionKind::Eager),
            "sdpa" => Ok(AttentionKind::Sdpa),
            _ => Err(UnknownAttention(s.to_owned())),
        }
    }
}

/// A name that is no kind of attention.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown attention `{0}`; known are eager and sdpa")]
pub struct UnknownAttention(pub String);

/// A part of a model: what is built, run and dropped together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// Embedding and rotary tables.
    Stem,
    /// One block.
    Block(usize),
    /// Final norm and output layer.
    Head,
}

impl Part {
    /// The parts of a model of this many blocks, in forward order.
    pub fn all(layers: usize) -> Vec<Part> {
        let blocks = (0..layers).map(Part::Block);
        std::iter::once(Part::Stem).chain(blocks).chain([Part::Head]).collect()
    }

    /// The index of the block that it is.
    pub fn layer(self) -> Option<usize> {
        match self {
            Part::Block(n) => Some(n),
            _ => None,
        }
    }
}

/// A named observation point: one node of one part. Module outputs carry PyTorch's module path.
///
/// Sites come from an [`Architecture`](crate::Architecture), which knows their names. They are
/// ordered as the forward pass visits them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Site {
    part: Part,
    /// Index among the nodes of the part.
    place: usize,
    name: &'static str,
    op: Op,
    /// What the names of all blocks begin with.
    blocks: &'static str,
}

impl Site {
    pub(crate) fn new(
        part: Part,
        place: usize,
        (name, op): (&'static str, Op),
        blocks: &'static str,
    ) -> Self {
        Site { part, place, name, op, blocks }
    }

    /// The part that it is in.
    pub fn part(self) -> Part {
        self.part
    }

    /// The index of the block that it is in.
    pub fn layer(self) -> Option<usize> {
        self.part.layer()
    }

    /// The index of its node in the part.
    pub fn place(self) -> usize {
        self.place
    }

    /// What its node does.
    pub fn op(self) -> Op {
        self.op
    }

    /// The name below its block, empty for the block's output; outside of blocks the whole name.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Whether it is a block's output.
    pub fn is_output(self) -> bool {
        self.layer().is_some() && self.name.is_empty()
    }

    /// The same node of another block. A site outside of blocks stays as it is.
    #[must_use]
    pub fn at_layer(self, layer: usize) -> Self {
        match self.part {
            Part::Block(_) => Site { part: Part::Block(layer), ..self },
            _ => self,
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.part, self.name) {
            (Part::Block(n), "") => f.pad(&format!("{}.{n}", self.blocks)),
            (Part::Block(n), name) => f.pad(&format!("{}.{n}.{name}", self.blocks)),
            (_, name) => f.pad(name),
        }
    }
}

/// A name that stands for no site.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no site of this model; sites look like `model.layers.0.self_attn.q_proj`")]
pub struct UnknownSite(pub String);

/// The number of the layer that a parameter or site is in, and its name there: 3 and
/// `mlp.up_proj.weight` of `model.layers.3.mlp.up_proj.weight`. `None` for one in no layer.
pub fn layer_of(name: &str) -> Option<(usize, &str)> {
    let (number, place) = name.strip_prefix("model.layers.")?.split_once('.')?;
    Some((number.parse().ok()?, place))
}
