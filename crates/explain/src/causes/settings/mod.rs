//! Buffers, and fields of the config.

registry! {
    ROTARY_BUFFER = rotary_buffer_rounded;
    ROPE_THETA = rope_theta;
    ROPE_SCALING = rope_scaling;
    EPS = rms_norm_eps;
    ACTIVATION = hidden_act;
    WINDOW = sliding_window;
    TEMPERATURE = query_temperature;
}
