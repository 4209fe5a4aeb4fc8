//! Buffers, and fields of the config.

use super::Fault;

/// Recognised by what the two recipes make of one and the same computed buffer.
pub(crate) static ROTARY_BUFFER: &Fault = &Fault {
    id: "rotary-buffer-rounded",
    title: "rotary buffer rounded by a dtype cast",
    remedy: "Load in the target dtype (from_pretrained(dtype=…)), or recompute rotary_emb.inv_freq from the config \
             in f32 after the cast; casting the buffer back with .float() does not bring the lost bits back.",
    fault: true,
    pervasive: false,
};
pub(crate) static ROPE_THETA: &Fault = &Fault {
    id: "rope-theta",
    title: "another base of the rotary frequencies",
    remedy: "Take rope_theta from the original config.json; a missing key means 10000 to most loaders.",
    fault: true,
    pervasive: false,
};
pub(crate) static ROPE_SCALING: &Fault = &Fault {
    id: "rope-scaling",
    title: "another scaling of the rotary frequencies",
    remedy: "Take rope_scaling (rope_parameters in transformers 5) from the original config.json, all of its keys.",
    fault: true,
    pervasive: false,
};
pub(crate) static EPS: &Fault = &Fault {
    id: "rms-norm-eps",
    title: "another epsilon in the norms",
    remedy: "Take rms_norm_eps from the original config.json; 1e-5 and 1e-6 are both common.",
    fault: true,
    pervasive: false,
};
pub(crate) static ACTIVATION: &Fault = &Fault {
    id: "hidden-act",
    title: "another activation function",
    remedy: "Take hidden_act from the original config.json; GELU has an exact and a tanh form.",
    fault: true,
    pervasive: false,
};

pub(crate) static WINDOW: &Fault = &Fault {
    id: "sliding-window",
    title: "another sliding window, or none",
    remedy: "Hide keys that are sliding_window tokens or more behind the query, in the layers that layer_types names.",
    fault: true,
    pervasive: false,
};
pub(crate) static TEMPERATURE: &Fault = &Fault {
    id: "query-temperature",
    title: "another scaling of queries by position",
    remedy: "Take llama_4_scaling_beta and original_max_position_embeddings from the original's rope_parameters.",
    fault: true,
    pervasive: false,
};

pub(super) static ALL: [&Fault; 7] =
    [ROTARY_BUFFER, ROPE_THETA, ROPE_SCALING, EPS, ACTIVATION, WINDOW, TEMPERATURE];
