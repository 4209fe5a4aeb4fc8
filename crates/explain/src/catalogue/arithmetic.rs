//! Choices of arithmetic, and what formats do.

use ulpscope_decoder::{
    Variant,
    departure::{Mask, Mlp, Norm, Rope, Scale},
};

use super::Fault;

pub(crate) static ATTENTION: &Fault = &Fault {
    id: "attention-implementation",
    title: "another implementation of attention",
    remedy: "Compare with the same attn_implementation on both sides, or accept the noise of the two declared roundings.",
    fault: false,
    pervasive: false,
};
pub(crate) static ORDER: &Fault = &Fault {
    id: "summation-order",
    title: "another order of summation",
    remedy: "Nothing to mend: two honest kernels differ by this much. Name the order on both sides to remove it.",
    fault: false,
    pervasive: false,
};
pub(crate) static FORMAT: &Fault = &Fault {
    id: "compute-format",
    title: "another format of weights and activations",
    remedy: "Nothing is wrong if the format was meant; for a reference that rounds nowhere, run in f32 or f64.",
    fault: false,
    pervasive: false,
};
pub(crate) static OVERFLOW: &Fault = &Fault {
    id: "f16-overflow",
    title: "numbers beyond the range of f16",
    remedy: "Run in bf16, keep the overflowing operation in f32, or scale queries before their product with keys.",
    fault: true,
    pervasive: false,
};
pub(crate) static POSITIONS: &Fault = &Fault {
    id: "positions",
    title: "position ids rounded or shifted",
    remedy: "Build position ids as integers and convert them to f32 for the angles.",
    fault: true,
    pervasive: false,
};
static TABLE: &Fault = &Fault {
    id: "rotary-table-format",
    title: "tables of cos and sin in another format",
    remedy: "Keep the tables in f32 and round to the model's dtype where transformers does.",
    fault: false,
    pervasive: false,
};
pub(crate) static NORM_ROUNDING: &Fault = &Fault {
    id: "norm-rounding",
    title: "norms that round elsewhere",
    remedy: "Round the normalised value to the storage dtype before the weight is applied, as transformers' Llama does, or accept the noise.",
    fault: false,
    pervasive: false,
};
pub(crate) static NORM_CONVENTION: &Fault = &Fault {
    id: "norm-convention",
    title: "norms that use their weight in another way",
    remedy: "Multiply by w, not by 1 + w, and do not leave the weight out.",
    fault: true,
    pervasive: false,
};
static ROPE_ROUNDING: &Fault = &Fault {
    id: "rotary-rounding",
    title: "rotation that rounds once instead of three times",
    remedy: "Round both products and the sum, as transformers does, or accept the noise.",
    fault: false,
    pervasive: false,
};
pub(crate) static ROPE_LAYOUT: &Fault = &Fault {
    id: "rotary-layout",
    title: "rotation that pairs other elements, turns the other way, is missing or is done twice",
    remedy: "Pair element i with i + D/2 for Hugging Face's weights; permute q and k rows for adjacent pairs.",
    fault: true,
    pervasive: false,
};
pub(crate) static CACHE: &Fault = &Fault {
    id: "cache-format",
    title: "keys and values kept in another format",
    remedy: "Keep the cache in the model's dtype, or load its scales.",
    fault: true,
    pervasive: false,
};
pub(crate) static GQA: &Fault = &Fault {
    id: "grouped-heads",
    title: "query heads that read other key and value heads",
    remedy: "Repeat each key and value head for its neighbours (repeat_interleave), not in turns (repeat).",
    fault: true,
    pervasive: false,
};
pub(crate) static SCALE: &Fault = &Fault {
    id: "attention-scale",
    title: "another factor on the attention scores",
    remedy: "Multiply scores by 1/sqrt(head_dim), once; undo a scale that was folded into q_proj.",
    fault: true,
    pervasive: false,
};
static QUERY_SCALE: &Fault = &Fault {
    id: "query-scaled",
    title: "queries scaled before their product with keys",
    remedy: "Nothing is wrong; scale the scores after the product to get transformers' roundings.",
    fault: false,
    pervasive: false,
};
static SCORES: &Fault = &Fault {
    id: "score-rounding",
    title: "scores that round elsewhere",
    remedy: "Round scores before and after scaling as transformers' eager attention does, or accept the noise.",
    fault: false,
    pervasive: false,
};
pub(crate) static MASK: &Fault = &Fault {
    id: "causal-mask",
    title: "a causal mask that hides or shows other keys",
    remedy: "A query sees itself and what came before: check the mask's diagonal and its alignment with the cache.",
    fault: true,
    pervasive: false,
};
static SOFTMAX: &Fault = &Fault {
    id: "softmax-format",
    title: "a softmax that rounds at every step",
    remedy: "Compute the softmax in f32 and round its result.",
    fault: false,
    pervasive: false,
};
static ACT: &Fault = &Fault {
    id: "activation-rounding",
    title: "an activation that rounds its sigmoid",
    remedy: "Compute x * sigmoid(x) in f32 and round once.",
    fault: false,
    pervasive: false,
};
static MLP_ROUNDING: &Fault = &Fault {
    id: "gate-rounding",
    title: "a gated product that rounds once",
    remedy: "Round the activation before it is multiplied, as transformers does, or accept the noise.",
    fault: false,
    pervasive: false,
};
static MLP: &Fault = &Fault {
    id: "gate-and-up-exchanged",
    title: "gate and up projections exchanged",
    remedy: "Exchange gate_proj and up_proj; fused checkpoints store them in either order.",
    fault: true,
    pervasive: false,
};
static RESIDUAL: &Fault = &Fault {
    id: "residual-term",
    title: "a term of the residual stream that is missing",
    remedy: "Add the block's input after attention and after the feed-forward layer.",
    fault: true,
    pervasive: false,
};
pub(crate) static EMBEDDING: &Fault = &Fault {
    id: "embedding-scale",
    title: "embeddings multiplied by a constant",
    remedy: "Llama does not scale its embeddings; Gemma does, by sqrt(hidden_size).",
    fault: true,
    pervasive: false,
};
static LOGITS: &Fault = &Fault {
    id: "logits-format",
    title: "logits in another format",
    remedy: "Compare logits in one format; upcasting after the product differs from accumulating wide.",
    fault: false,
    pervasive: false,
};

pub(crate) static QK_NORM: &Fault = &Fault {
    id: "qk-norm",
    title: "norms of queries and keys that are missing, or over all heads at once",
    remedy: "Normalise each head by itself, with its weight of head_dim numbers, after q_proj and k_proj and before rotation.",
    fault: true,
    pervasive: false,
};

pub(super) static ALL: [&Fault; 24] = [
    QK_NORM,
    ATTENTION,
    ORDER,
    FORMAT,
    OVERFLOW,
    POSITIONS,
    TABLE,
    NORM_ROUNDING,
    NORM_CONVENTION,
    ROPE_ROUNDING,
    ROPE_LAYOUT,
    CACHE,
    GQA,
    SCALE,
    QUERY_SCALE,
    SCORES,
    MASK,
    SOFTMAX,
    ACT,
    MLP_ROUNDING,
    MLP,
    RESIDUAL,
    EMBEDDING,
    LOGITS,
];

/// The entry that a departure from Hugging Face's arithmetic falls under.
pub(crate) fn of_variant(variant: Variant) -> &'static Fault {
    match variant {
        Variant::Embedding(_) => EMBEDDING,
        Variant::Positions(_) => POSITIONS,
        Variant::Table(_) => TABLE,
        Variant::Norm(Norm::Fused | Norm::Storage | Norm::Divided) => NORM_ROUNDING,
        Variant::Norm(Norm::PlusOne | Norm::Gemma | Norm::NoWeight) => NORM_CONVENTION,
        Variant::QkNorm(_) => QK_NORM,
        Variant::Rope(Rope::Fused) => ROPE_ROUNDING,
        Variant::Rope(_) => ROPE_LAYOUT,
        Variant::Cache(_) => CACHE,
        Variant::Gqa(_) => GQA,
        Variant::Scale(Scale::Query) => QUERY_SCALE,
        Variant::Scale(_) => SCALE,
        Variant::Scores(_) => SCORES,
        Variant::Mask(Mask::Causal) => super::WINDOW,
        Variant::Mask(_) => MASK,
        Variant::Softmax(_) => SOFTMAX,
        Variant::Residual(_) => RESIDUAL,
        Variant::Act(_) => ACT,
        Variant::Mlp(Mlp::Fused) => MLP_ROUNDING,
        Variant::Mlp(Mlp::Swapped) => MLP,
        Variant::Head(_) => LOGITS,
    }
}
