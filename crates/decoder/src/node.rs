//! Nodes: the operations of a model, one after the other, as data.

use crate::site::AttentionKind;

/// One operation: what it does, what it reads, what comes out, which parameters it has.
///
/// Nodes are listed in forward order. Everything that has to know how a model is put together goes
/// through them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Node {
    /// The name of its site: below the block, empty for the block's output; outside of blocks the
    /// whole name.
    pub name: &'static str,
    /// What it does.
    pub op: Op,
    /// What it reads.
    pub reads: Vec<Source>,
    /// The shape of what comes out.
    pub shape: Shape,
    /// What stands along its last dimension.
    pub along: Along,
    /// Its parameters: a weight, then a bias if it has one.
    pub params: Vec<Param>,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Op {
    /// Rows of a table, one for each token.
    Embed,
    /// The cosines (or sines) of a rotary embedding, by its index.
    Table(usize),
    /// Normalisation of each row.
    Norm,
    /// A linear layer.
    Linear,
    /// Rotation of queries or keys by their positions, by the index of the tables.
    Rope(usize),
    /// Queries scaled by their position.
    ScaleQuery,
    /// Products of queries and keys, scaled and masked. Eager attention only.
    Scores,
    /// Probabilities of the scores. Eager attention only.
    Softmax,
    /// Values weighted with probabilities; heads concatenated.
    Mix,
    /// The activation function.
    Act,
    /// The product of the activation and the other half of the feed-forward layer.
    Mul,
    /// The residual sum around attention, or around the feed-forward layer.
    Add(Branch),
}

impl Op {
    /// Whether its output is stored with this attention: fused attention keeps neither scores nor
    /// probabilities.
    pub fn exists(self, attention: AttentionKind) -> bool {
        attention == AttentionKind::Eager || !self.of_pairs()
    }

    /// Whether its output has a place for every pair of tokens.
    pub fn of_pairs(self) -> bool {
        matches!(self, Op::Scores | Op::Softmax)
    }

    /// Whether it is part of attention, between its linear layers.
    pub fn attends(self) -> bool {
        matches!(self, Op::Rope(_) | Op::ScaleQuery | Op::Scores | Op::Softmax | Op::Mix)
    }

    /// Whether PyTorch has a module for it.
    pub fn is_module(self) -> bool {
        matches!(self, Op::Embed | Op::Norm | Op::Linear | Op::Act)
    }
}

/// The two branches of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Branch {
    /// Attention.
    Attention,
    /// The feed-forward layer.
    FeedForward,
}

/// Where a node gets an activation from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// What the part begins with: the residual stream behind the part before it.
    Input,
    /// The node of the same part with this index.
    Node(usize),
}

/// What stands along the last dimension of an activation, whatever its size: two activations of one
/// shape and kind can stand in for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Along {
    /// Channels of the residual stream.
    Stream,
    /// Query heads.
    Queries,
    /// Key and value heads.
    Keys,
    /// Neurons of the feed-forward layer.
    Inner,
    /// Angles of a rotary table.
    Angles,
    /// The vocabulary.
    Vocabulary,
}

/// A shape for any number of tokens T.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// `[1, T, width]`.
    Rows(usize),
    /// `[1, T, heads, width]`.
    TokenHeads(usize, usize),
    /// `[1, heads, T, width]`.
    Heads(usize, usize),
    /// `[1, heads, T, T]`.
    Pairs(usize),
}

impl Shape {
    /// The shape for so many tokens.
    pub fn dims(self, tokens: usize) -> Vec<usize> {
        match self {
            Shape::Rows(width) => vec![1, tokens, width],
            Shape::TokenHeads(heads, width) => vec![1, tokens, heads, width],
            Shape::Heads(heads, width) => vec![1, heads, tokens, width],
            Shape::Pairs(heads) => vec![1, heads, tokens, tokens],
        }
    }

    /// The blocks that have a row for each token, and the elements of a row:
    /// `[blocks, T, elements]` holds what [`dims`](Self::dims) does.
    pub fn blocks(self, tokens: usize) -> [usize; 2] {
        match self {
            Shape::Rows(width) => [1, width],
            Shape::TokenHeads(heads, width) => [1, heads * width],
            Shape::Heads(heads, width) => [heads, width],
            Shape::Pairs(heads) => [heads, tokens],
        }
    }
}

/// A parameter of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Param {
    /// Its name in PyTorch's state dict: below the block, or outside of blocks the whole name.
    pub name: String,
    /// Its name in files of Hugging Face's layout, where that is another one.
    pub disk: Option<&'static str>,
    /// Its name in a GGUF, without the block's prefix.
    pub gguf: String,
    /// Linear weights are `[out, in]`.
    pub shape: Vec<usize>,
    /// What its rows are.
    pub rows: Rows,
}

/// What the rows of a parameter are: so many heads of a kind, or plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rows {
    /// No heads.
    Plain,
    /// Heads of queries, which are rotated.
    Queries(usize),
    /// Heads of keys, which are rotated.
    Keys(usize),
    /// Heads of values.
    Values(usize),
}

impl Rows {
    /// The number of heads, if they are rotated. Some converters permute the rows of these.
    pub fn rotated(self) -> Option<usize> {
        match self {
            Rows::Queries(heads) | Rows::Keys(heads) => Some(heads),
            _ => None,
        }
    }

    /// Whether query heads may share them.
    pub fn shared(self) -> bool {
        matches!(self, Rows::Keys(_) | Rows::Values(_))
    }
}

/// What a parameter is, apart from its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ParameterKind {
    /// What its node does.
    pub op: Op,
    /// The block that it is in.
    pub layer: Option<usize>,
    /// The branch of the block.
    pub branch: Option<Branch>,
    /// What its rows are.
    pub rows: Rows,
    /// Whether it is a bias.
    pub bias: bool,
}

/// Nodes of one part, named as they are added.
pub(crate) struct Nodes(Vec<Node>);

impl Nodes {
    pub(crate) fn new() -> Self {
        Nodes(Vec::new())
    }

    /// Adds a node that reads these.
    pub(crate) fn add(
        &mut self,
        name: &'static str,
        op: Op,
        reads: &[Source],
        (along, shape): (Along, Shape),
    ) -> Source {
        self.0.push(Node { name, op, reads: reads.to_vec(), shape, along, params: Vec::new() });
        Source::Node(self.0.len() - 1)
    }

    /// Adds parameters to the node that was added last: a weight of this shape, and a bias if asked
    /// for.
    pub(crate) fn with(&mut self, gguf: &str, weight: &[usize], bias: bool, rows: Rows) {
        let node = self.0.last_mut().expect("a node was added");
        let mut push = |kind: &str, shape: &[usize]| {
            node.params.push(Param {
                name: format!("{}.{kind}", node.name),
                disk: None,
                gguf: format!("{gguf}.{kind}"),
                shape: shape.to_vec(),
                rows,
            });
        };
        push("weight", weight);
        if bias {
            push("bias", &weight[..1]);
        }
    }

    /// Adds a linear layer.
    pub(crate) fn linear(&mut self, linear: NewLinear) -> Source {
        let NewLinear { name, gguf, reads, along, shape: [outputs, inputs], bias, rows } = linear;
        let node = self.add(name, Op::Linear, &[reads], (along, Shape::Rows(outputs)));
        self.with(gguf, &[outputs, inputs], bias, rows);
        node
    }

    pub(crate) fn finish(self) -> std::sync::Arc<[Node]> {
        self.0.into()
    }
}

/// What a linear layer is made of.
pub(crate) struct NewLinear {
    pub(crate) name: &'static str,
    pub(crate) gguf: &'static str,
    pub(crate) reads: Source,
    pub(crate) along: Along,
    /// `[out, in]`.
    pub(crate) shape: [usize; 2],
    pub(crate) bias: bool,
    pub(crate) rows: Rows,
}
