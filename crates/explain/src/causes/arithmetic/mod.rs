//! Choices of arithmetic, and what formats do.

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
