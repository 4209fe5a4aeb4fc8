//! What a block is: its settings, and the nodes that follow from them.

use std::sync::Arc;

use crate::activation::Activation;
use crate::departure::{
    self, Act, Cache, Gqa, Mask, Mlp, QkNorm, Residual, Scale, Scores, Softmax, Variants,
};
use crate::node::{Along, Branch, NewLinear, Node, Nodes, Op, Rows, Shape, Source};

/// One block: what a family says of it. A departure overrides a field.
///
/// Attention and a gated feed-forward layer, each normalised before and added to the residual
/// stream.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Layer {
    /// Attention.
    pub attention: Attention,
    /// The feed-forward layer.
    pub feed_forward: FeedForward,
    /// All its norms.
    pub norm: Norm,
    /// A term of the residual stream that is missing.
    pub residual: Option<Residual>,
    nodes: Arc<[Node]>,
}

/// A root-mean-square norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    /// Added to the mean square before the root.
    pub eps: f64,
    /// Where it rounds, and how it uses its weight, if not as `R(w · R(x / √(mean(x²) + ε)))`.
    pub kind: Option<departure::Norm>,
}

/// Grouped-query attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// Query heads, H.
    pub heads: usize,
    /// Key and value heads, G; divides H.
    pub groups: usize,
    /// Width of a head, D.
    pub head_dim: usize,
    /// Whether q, k and v have a bias, and whether o has.
    pub bias: [bool; 2],
    /// Whether queries and keys are normalised, each head by itself, before they are rotated.
    pub qk_norm: bool,
    /// How these norms depart from that.
    pub qk_norm_kind: Option<QkNorm>,
    /// How queries and keys are rotated, if not by halves with three roundings.
    pub rotation: Option<departure::Rope>,
    /// What rotated queries are multiplied by, if they are.
    pub query_scale: Option<QueryScale>,
    /// What scores are multiplied by, if not by `1 / √D`.
    pub scale: Option<Scale>,
    /// Which keys a query sees.
    pub mask: Mask,
    /// Which key and value head a query head reads, if not heads in runs of H/G.
    pub gqa: Option<Gqa>,
    /// Where eager scores round, if not at every step.
    pub scores: Option<Scores>,
    /// Where the softmax rounds, if not once at its end.
    pub softmax: Option<Softmax>,
    /// The format of keys and values, if not the storage dtype.
    pub cache: Option<Cache>,
}

/// `R(q · R(1 + β · ln(1 + ⌊position / original⌋)))`: queries far behind the trained context count
/// for more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QueryScale {
    /// β.
    pub beta: f64,
    /// The context that the model was trained with.
    pub original: f64,
}

/// The gated feed-forward layer, `down(act(gate(x)) · up(x))`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FeedForward {
    /// Width between its linear layers, F.
    pub width: usize,
    /// The activation of the gate.
    pub act: Activation,
    /// Whether its linear layers have biases.
    pub bias: bool,
    /// Where the activation rounds, if not once at its end.
    pub rounding: Option<Act>,
    /// How gate and up are multiplied, if not as `R(R(act(gate)) · up)`.
    pub gating: Option<Mlp>,
}

/// The part that a node plays in its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Queries as scores read them.
    Query,
    /// Keys as scores read them.
    Key,
    /// Values.
    Value,
    /// Scores.
    Scores,
    /// Probabilities.
    Probs,
    /// What probabilities make of values.
    Context,
    /// What attention adds to the residual stream.
    Attended,
    /// What the activation reads.
    Gate,
    /// The other half of the product.
    Up,
    /// The activation.
    Act,
    /// What the feed-forward layer adds to the residual stream.
    Down,
}

impl Attention {
    /// Attention with these heads and nothing else: no biases, no norms, every earlier key seen.
    pub fn new(heads: usize, groups: usize, head_dim: usize) -> Self {
        Attention {
            heads,
            groups,
            head_dim,
            bias: [false; 2],
            qk_norm: false,
            qk_norm_kind: None,
            rotation: None,
            query_scale: None,
            scale: None,
            mask: Mask::Causal,
            gqa: None,
            scores: None,
            softmax: None,
            cache: None,
        }
    }

    /// Width of all query heads together, H·D.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key (or value) heads together, G·D.
    pub fn key_width(&self) -> usize {
        self.groups * self.head_dim
    }
}

impl FeedForward {
    /// A layer of this width and activation, without biases.
    pub fn new(width: usize, act: Activation) -> Self {
        FeedForward { width, act, bias: false, rounding: None, gating: None }
    }
}

impl Layer {
    /// A block of these settings in a residual stream of this width.
    pub fn new(width: usize, attention: Attention, feed_forward: FeedForward, norm: Norm) -> Self {
        let nodes = nodes(width, &attention, &feed_forward);
        Layer { attention, feed_forward, norm, residual: None, nodes }
    }

    /// Its nodes, in forward order. They depend on sizes, biases and norms alone.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The index of the node that plays a part in the block, if one does.
    pub fn place(&self, role: Role) -> Option<usize> {
        let first = |op| self.nodes.iter().position(|node| node.op == op);
        let source = |place: usize, i: usize| match self.nodes[place].reads.get(i) {
            Some(Source::Node(place)) => Some(*place),
            _ => None,
        };
        match role {
            Role::Query => source(first(Op::Scores)?, 0),
            Role::Key => source(first(Op::Scores)?, 1),
            Role::Value => source(first(Op::Mix)?, 1),
            Role::Scores => first(Op::Scores),
            Role::Probs => first(Op::Softmax),
            Role::Context => first(Op::Mix),
            Role::Attended => source(first(Op::Add(Branch::Attention))?, 1),
            Role::Gate => source(first(Op::Act)?, 0),
            Role::Up => source(first(Op::Mul)?, 1),
            Role::Act => first(Op::Act),
            Role::Down => source(first(Op::Add(Branch::FeedForward))?, 1),
        }
    }

    /// With departures in place of what the family says.
    #[must_use]
    pub fn under(&self, variants: Variants) -> Self {
        let mut layer = self.clone();
        let Variants {
            norm,
            qk_norm,
            rope,
            cache,
            gqa,
            scale,
            scores,
            mask,
            softmax,
            residual,
            act,
            mlp,
            ..
        } = variants;
        let attention = &mut layer.attention;
        layer.norm.kind = norm.or(layer.norm.kind);
        attention.qk_norm_kind = qk_norm.or(attention.qk_norm_kind);
        attention.rotation = rope.or(attention.rotation);
        attention.cache = cache.or(attention.cache);
        attention.gqa = gqa.or(attention.gqa);
        attention.scale = scale.or(attention.scale);
        attention.scores = scores.or(attention.scores);
        attention.mask = mask.unwrap_or(attention.mask);
        attention.softmax = softmax.or(attention.softmax);
        layer.residual = residual.or(layer.residual);
        layer.feed_forward.rounding = act.or(layer.feed_forward.rounding);
        layer.feed_forward.gating = mlp.or(layer.feed_forward.gating);
        layer
    }
}

/// How a block is put together. No other place knows.
fn nodes(width: usize, attention: &Attention, feed_forward: &FeedForward) -> Arc<[Node]> {
    let Attention { heads, groups, head_dim, bias, .. } = *attention;
    let (queries, keys, inner) = (attention.query_width(), attention.key_width(), feed_forward.width);
    let stream = (Along::Stream, Shape::Rows(width));
    let mut all = Nodes::new();
    let normed = all.add("input_layernorm", Op::Norm, &[Source::Input], stream);
    all.with("attn_norm", &[width], false, Rows::Plain);
    let linear = |name, gguf, reads, along, shape, bias, rows| NewLinear {
        name,
        gguf,
        reads,
        along,
        shape,
        bias,
        rows,
    };
    let mut q = all.linear(linear(
        "self_attn.q_proj",
        "attn_q",
        normed,
        Along::Queries,
        [queries, width],
        bias[0],
        Rows::Queries(heads),
    ));
    let norm = |all: &mut Nodes, name, gguf, reads, along, heads| {
        let norm = all.add(name, Op::Norm, &[reads], (along, Shape::TokenHeads(heads, head_dim)));
        all.with(gguf, &[head_dim], false, Rows::Plain);
        norm
    };
    if attention.qk_norm {
        q = norm(&mut all, "self_attn.q_norm", "attn_q_norm", q, Along::Queries, heads);
    }
    let mut k = all.linear(linear(
        "self_attn.k_proj",
        "attn_k",
        normed,
        Along::Keys,
        [keys, width],
        bias[0],
        Rows::Keys(groups),
    ));
    if attention.qk_norm {
        k = norm(&mut all, "self_attn.k_norm", "attn_k_norm", k, Along::Keys, groups);
    }
    let v = all.linear(linear(
        "self_attn.v_proj",
        "attn_v",
        normed,
        Along::Keys,
        [keys, width],
        bias[0],
        Rows::Values(groups),
    ));
    let mut q =
        all.add("self_attn.q_rope", Op::Rope(0), &[q], (Along::Queries, Shape::Heads(heads, head_dim)));
    let k = all.add("self_attn.k_rope", Op::Rope(0), &[k], (Along::Keys, Shape::Heads(groups, head_dim)));
    if attention.query_scale.is_some() {
        q = all.add(
            "self_attn.q_scaled",
            Op::ScaleQuery,
            &[q],
            (Along::Queries, Shape::Heads(heads, head_dim)),
        );
    }
    let scores = all.add("self_attn.scores", Op::Scores, &[q, k], (Along::Queries, Shape::Pairs(heads)));
    let probs = all.add("self_attn.probs", Op::Softmax, &[scores], (Along::Queries, Shape::Pairs(heads)));
    let context = all.add("self_attn.context", Op::Mix, &[probs, v], (Along::Queries, Shape::Rows(queries)));
    let attended = all.linear(linear(
        "self_attn.o_proj",
        "attn_output",
        context,
        Along::Stream,
        [width, queries],
        bias[1],
        Rows::Plain,
    ));
    let mid = all.add("resid_mid", Op::Add(Branch::Attention), &[Source::Input, attended], stream);
    let normed = all.add("post_attention_layernorm", Op::Norm, &[mid], stream);
    all.with("ffn_norm", &[width], false, Rows::Plain);
    let bias = feed_forward.bias;
    // PyTorch computes the activation before `up_proj`, which reads nothing of it.
    let gate = all.linear(linear(
        "mlp.gate_proj",
        "ffn_gate",
        normed,
        Along::Inner,
        [inner, width],
        bias,
        Rows::Plain,
    ));
    let up =
        all.linear(linear("mlp.up_proj", "ffn_up", normed, Along::Inner, [inner, width], bias, Rows::Plain));
    let act = all.add("mlp.act_fn", Op::Act, &[gate], (Along::Inner, Shape::Rows(inner)));
    let product = all.add("mlp.product", Op::Mul, &[act, up], (Along::Inner, Shape::Rows(inner)));
    let fed = all.linear(linear(
        "mlp.down_proj",
        "ffn_down",
        product,
        Along::Stream,
        [width, inner],
        bias,
        Rows::Plain,
    ));
    all.add("", Op::Add(Branch::FeedForward), &[mid, fed], stream);
    all.finish()
}
