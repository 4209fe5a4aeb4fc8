//! Buffers, and fields of the config.

use super::Fault;

causes! {
    /// Recognised by what the two recipes make of one and the same computed buffer.
    ROTARY_BUFFER (fault) "rotary-buffer-rounded": "rotary buffer rounded by a dtype cast"
        => "Load in the target dtype (from_pretrained(dtype=…)), or recompute rotary_emb.inv_freq from the config in f32 \
            after the cast; casting the buffer back with .float() does not bring the lost bits back.";
    ROPE_THETA (fault) "rope-theta": "another base of the rotary frequencies"
        => "Take rope_theta from the original config.json; a missing key means 10000 to most loaders.";
    ROPE_SCALING (fault) "rope-scaling": "another scaling of the rotary frequencies"
        => "Take rope_scaling (rope_parameters in transformers 5) from the original config.json, all of its keys.";
    EPS (fault) "rms-norm-eps": "another epsilon in the norms"
        => "Take rms_norm_eps from the original config.json; 1e-5 and 1e-6 are both common.";
    ACTIVATION (fault) "hidden-act": "another activation function"
        => "Take hidden_act from the original config.json; GELU has an exact and a tanh form.";
    WINDOW (fault) "sliding-window": "another sliding window, or none"
        => "Hide keys that are sliding_window tokens or more behind the query, in the layers that layer_types names.";
    TEMPERATURE (fault) "query-temperature": "another scaling of queries by position"
        => "Take llama_4_scaling_beta and original_max_position_embeddings from the original's rope_parameters.";
}
