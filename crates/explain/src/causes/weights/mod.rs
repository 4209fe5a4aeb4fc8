//! What can happen to parameters, recognised by how the two sides of a tensor are related.

registry! {
    ROUNDED = rounded;
    TRUNCATED = truncated;
    TWICE = rounded_twice;
    NEIGHBOURS = rounded_otherwise;
    OVERFLOWED = overflowed;
    CLAMPED = clamped;
    QUANTISED = quantised;
    DEQUANTISED = dequantised_wrongly;
    MISREAD = misread;
    SCALED = scaled;
    OFFSET = offset;
    NORM = norm_plus_one;
    SIGNS = sign_flipped;
    PERMUTED = qk_permutation;
    ROWS = rows_permuted;
    TRANSPOSED = transposed;
    SHIFTED = shifted;
    CORRUPTED = corrupted;
    ZEROED = partly_zero;
    PRUNED = pruned;
    PARTLY = partly_changed;
    ROTATED = rotated;
    ADAPTER = low_rank_update;
    REDUCED = of_low_rank;
    UPDATE_ALONE = update_without_base;
    AVERAGED = heads_averaged;
    FUNCTION = mapped;
    CONSTANT = constant;
    NOT_FINITE = not_finite;
    UNRELATED = reinitialised;
    HEAD = head_not_tied;
    EXCHANGED = tensors_exchanged;
    LAYERS = layers_exchanged;
    SPLIT = fused_split;
    FOLDED_PARTLY = folded_partly;
    FOLDED_TWICE = norm_folded_and_kept;
    NEURONS = neurons_permuted_partly;
    NOISY = changed;
}
