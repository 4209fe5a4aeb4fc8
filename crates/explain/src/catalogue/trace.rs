//! What only a trace can show: operations of a port that are not ours.

use super::Fault;

/// Recognised by running the operation on another tensor that was recorded.
pub(crate) static WIRING: &Fault = &Fault {
    id: "reads-another-tensor",
    title: "an operation that reads another tensor than it should",
    remedy: "Look at the block's forward pass: a norm stands before its layer in Llama, and the residual stream is carried around both.",
    fault: true,
    pervasive: false,
};
/// Recognised by running the linear layer without its bias.
pub(crate) static BIAS: &Fault = &Fault {
    id: "bias-dropped",
    title: "a bias that was dropped",
    remedy: "Read attention_bias and mlp_bias from config.json, and load the .bias tensors of the state dict.",
    fault: true,
    pervasive: false,
};
/// Recognised by size and number alone: single steps of the format, as rare as a function's last bits in f32 make them.
pub(crate) static LAST_BITS: &Fault = &Fault {
    id: "function-last-bits",
    title: "functions (exp, rsqrt, cos, or a mean) whose last bits in f32 are others",
    remedy: "Nothing to mend: two honest libraries differ by this much.",
    fault: false,
    pervasive: false,
};

pub(super) static ALL: [&Fault; 3] = [WIRING, BIAS, LAST_BITS];
