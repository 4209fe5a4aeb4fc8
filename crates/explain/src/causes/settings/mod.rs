//! Buffers, and fields of the config.

use ulpscope_decoder::{Architecture, Variant, departure::Mask};

registry! {
    ROTARY_BUFFER = rotary_buffer_rounded;
    ROPE_THETA = rope_theta;
    ROPE_SCALING = rope_scaling;
    EPS = rms_norm_eps;
    ACTIVATION = hidden_act;
    WINDOW = sliding_window;
    TEMPERATURE = query_temperature;
}

/// Whether a departure only changes how far back queries see: in a model without a window none
/// does.
fn is_of_windows(variant: Variant, of: &Architecture) -> bool {
    let window = |mask: Mask| matches!(mask, Mask::Window(_));
    match variant {
        Variant::Mask(mask) => {
            mask == Mask::Causal || window(mask) && of.layers.iter().any(|layer| window(layer.attention.mask))
        }
        _ => false,
    }
}
