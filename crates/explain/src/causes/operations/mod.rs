//! What only a trace can show: operations of a port that are not ours.

registry! {
    WIRING = reads_another_tensor;
    BIAS = bias_dropped;
    LAST_BITS = function_last_bits;
    OUTPUT_SCALED = activation_scaled;
    OUTPUT_MAPPED = activation_mapped;
    LAYER_UNRELATED = layer_unrelated;
    OUTPUT_OFFSET = activation_offset;
    OUTPUT_CLAMPED = activation_clamped;
    OUTPUT_ROUNDED = activation_rounded;
    OUTPUT_REARRANGED = activation_rearranged;
    OUTPUT_ZERO = activation_partly_zero;
    NOT_FINITE_OUTPUT = activation_not_finite;
    ZERO_SIGN = zero_sign;
    DROPOUT = dropout_active;
    ADAPTER_ACTIVE = adapter_active;
    SOFT_CAP = soft_cap;
    POSITION_BIAS = position_bias;
    NORM_KIND = norm_kind;
    SOFTMAX_KIND = softmax_kind;
    BRANCH = residual_branch;
    PARTIAL_ROTARY = partial_rotary;
    CACHE_SHIFTED = cache_shifted;
    GATED_PRODUCT = gated_product;
    CACHE_EMPTY = cache_empty;
    PARTIAL_SUM = sum_of_a_part;
    TOKEN_IDS = token_ids_shifted;
    ANGLES = rotary_angles_format;
    COMPUTED_OTHERWISE = layer_format;
    VOCABULARY_MASKED = vocabulary_masked;
    NORM_UNROUNDED = norm_of_unrounded_sum;
    STREAM_UNROUNDED = stream_unrounded;
    ROTATION_UNROUNDED = rotation_unrounded;
    CONTEXT_UNROUNDED = context_unrounded;
    PADDED_POSITIONS = padded_positions;
    AUTOCAST = autocast;
    CACHED_PREFIX = cached_prefix;
    MERGE_ROUNDING = merge_rounding;
}
