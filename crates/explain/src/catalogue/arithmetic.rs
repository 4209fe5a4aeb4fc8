//! Choices of arithmetic, and what formats do.

use ulpscope_decoder::{
    Architecture, Variant,
    departure::{Mask, Mlp, Norm, Rope, Scale},
};

use super::Fault;

causes! {
    ATTENTION (choice) "attention-implementation": "another implementation of attention"
        => "Compare with the same attn_implementation on both sides, or accept the noise of the two declared roundings.";
    ORDER (choice) "summation-order": "another order of summation"
        => "Nothing to mend: two honest kernels differ by this much. Name the order on both sides to remove it.";
    FORMAT (choice) "compute-format": "another format of weights and activations"
        => "Nothing is wrong if the format was meant; for a reference that rounds nowhere, run in f32 or f64.";
    OVERFLOW (fault) "f16-overflow": "numbers beyond the range of f16"
        => "Run in bf16, keep the overflowing operation in f32, or scale queries before their product with keys.";
    POSITIONS (fault) "positions": "position ids rounded or shifted"
        => "Build position ids as integers and convert them to f32 for the angles.";
    TABLE (choice) "rotary-table-format": "tables of cos and sin in another format"
        => "Keep the tables in f32 and round to the model's dtype where transformers does.";
    NORM_ROUNDING (choice) "norm-rounding": "norms that round elsewhere"
        => "Round the normalised value to the storage dtype before the weight is applied, as transformers does, or \
            accept the noise.";
    NORM_CONVENTION (fault) "norm-convention": "norms that use their weight in another way"
        => "Multiply by w, not by 1 + w, and do not leave the weight out.";
    ROPE_ROUNDING (choice) "rotary-rounding": "rotation that rounds once instead of three times"
        => "Round both products and the sum, as transformers does, or accept the noise.";
    ROPE_LAYOUT (fault) "rotary-layout": "rotation that pairs other elements, turns the other way, is missing or is done twice"
        => "Pair element i with i + D/2 for Hugging Face's weights; permute q and k rows for adjacent pairs.";
    CACHE (fault) "cache-format": "keys and values kept in another format"
        => "Keep the cache in the model's dtype, or load its scales.";
    GQA (fault) "grouped-heads": "query heads that read other key and value heads"
        => "Repeat each key and value head for its neighbours (repeat_interleave), not in turns (repeat).";
    SCALE (fault) "attention-scale": "another factor on the attention scores"
        => "Multiply scores by 1/sqrt(head_dim), once; undo a scale that was folded into q_proj.";
    QUERY_SCALE (choice) "query-scaled": "queries scaled before their product with keys"
        => "Nothing is wrong; scale the scores after the product to get transformers' roundings.";
    SCORES (choice) "score-rounding": "scores that round elsewhere"
        => "Round scores before and after scaling as transformers' eager attention does, or accept the noise.";
    MASK (fault) "causal-mask": "a causal mask that hides or shows other keys"
        => "A query sees itself and what came before: check the mask's diagonal and its alignment with the cache.";
    SOFTMAX (choice) "softmax-format": "a softmax that rounds at every step"
        => "Compute the softmax in f32 and round its result.";
    ACT (choice) "activation-rounding": "an activation that rounds its sigmoid"
        => "Compute x * sigmoid(x) in f32 and round once.";
    MLP_ROUNDING (choice) "gate-rounding": "a gated product that rounds once"
        => "Round the activation before it is multiplied, as transformers does, or accept the noise.";
    MLP (fault) "gate-and-up-exchanged": "gate and up projections exchanged"
        => "Exchange gate_proj and up_proj; fused checkpoints store them in either order.";
    RESIDUAL (fault) "residual-term": "a term of the residual stream that is missing"
        => "Add the block's input after attention and after the feed-forward layer.";
    EMBEDDING (fault) "embedding-scale": "embeddings multiplied by a constant"
        => "This model does not scale its embeddings; Gemma does, by sqrt(hidden_size).";
    LOGITS (choice) "logits-format": "logits in another format"
        => "Compare logits in one format; upcasting after the product differs from accumulating wide.";
    QK_NORM (fault) "qk-norm": "norms of queries and keys that are missing, or over all heads at once"
        => "Normalise each head by itself, with its weight of head_dim numbers, after q_proj and k_proj and before rotation.";
}

/// The entry that a departure from a model's own arithmetic falls under.
pub(crate) fn of_variant(variant: Variant, of: &Architecture) -> &'static Fault {
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
        Variant::Mask(mask) if of_windows(mask, of) => super::WINDOW,
        Variant::Mask(_) => MASK,
        Variant::Softmax(_) => SOFTMAX,
        Variant::Residual(_) => RESIDUAL,
        Variant::Act(_) => ACT,
        Variant::Mlp(Mlp::Fused) => MLP_ROUNDING,
        Variant::Mlp(Mlp::Swapped) => MLP,
        Variant::Head(_) => LOGITS,
    }
}

/// Whether a mask only says otherwise how far back queries see: none does in a model without a window.
fn of_windows(mask: Mask, of: &Architecture) -> bool {
    let window = |mask: Mask| matches!(mask, Mask::Window(_));
    mask == Mask::Causal || window(mask) && of.layers.iter().any(|layer| window(layer.attention.mask))
}
