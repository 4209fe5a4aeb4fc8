//! Choices of arithmetic, and what formats do.

use ulpscope_decoder::{
    Architecture, Variant,
    departure::{Mask, Mlp, Norm, Rope, Scale},
};

use crate::causes::CauseKind;

registry! {
    ATTENTION = attention_implementation;
    ORDER = summation_order;
    FORMAT = compute_format;
    OVERFLOW = f16_overflow;
    POSITIONS = positions;
    TABLE = rotary_table_format;
    NORM_ROUNDING = norm_rounding;
    NORM_CONVENTION = norm_convention;
    ROPE_ROUNDING = rotary_rounding;
    ROPE_LAYOUT = rotary_layout;
    CACHE = cache_format;
    GQA = grouped_heads;
    SCALE = attention_scale;
    QUERY_SCALE = query_scaled;
    SCORES = score_rounding;
    MASK = causal_mask;
    SOFTMAX = softmax_format;
    ACT = activation_rounding;
    MLP_ROUNDING = gate_rounding;
    MLP = gate_and_up_exchanged;
    RESIDUAL = residual_term;
    EMBEDDING = embedding_scale;
    LOGITS = logits_format;
    QK_NORM = qk_norm;
}

/// The entry that a departure from a model's own arithmetic falls under.
pub(crate) fn of_variant(variant: Variant, of: &Architecture) -> &'static CauseKind {
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
