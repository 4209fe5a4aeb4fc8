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
    title: "functions or sums (exp, rsqrt, cos, a mean) whose last bits are others",
    remedy: "Nothing to mend: two honest libraries differ by this much.",
    fault: false,
    pervasive: false,
};

/// Recognised, as all below, by a rule that the trace's values at a site keep to.
pub(crate) static OUTPUT_SCALED: &Fault = &Fault {
    id: "activation-scaled",
    title: "an activation multiplied by a constant",
    remedy: "Look for a multiplier that one side applies (embedding, residual, attention or logit multipliers of Granite, Cohere, Gemma, muP): Llama has none.",
    fault: true,
    pervasive: false,
};
pub(crate) static OUTPUT_MAPPED: &Fault = &Fault {
    id: "activation-mapped",
    title: "an activation that went through a function",
    remedy: "Look for an activation function behind this operation that Llama has elsewhere, or nowhere.",
    fault: true,
    pervasive: false,
};
pub(crate) static LAYER_UNRELATED: &Fault = &Fault {
    id: "layer-unrelated",
    title: "a layer whose output has nothing to do with ours: weights that were not loaded, most likely",
    remedy: "Look whether the weight was loaded (the loader's list of missing and unexpected keys); if it was, at what the layer reads and what is done to its output.",
    fault: true,
    pervasive: false,
};
pub(crate) static OUTPUT_OFFSET: &Fault = &Fault {
    id: "activation-offset",
    title: "a constant or a bias added to an activation",
    remedy: "Look for a bias that one side has: attention_bias and mlp_bias in config.json, .bias tensors in the state dict, hooks.",
    fault: true,
    pervasive: false,
};
pub(crate) static OUTPUT_CLAMPED: &Fault = &Fault {
    id: "activation-clamped",
    title: "an activation cut off at a largest magnitude",
    remedy: "Look for a clamp (clip_qkv, a guard against overflow in f16): Llama has none.",
    fault: true,
    pervasive: false,
};
pub(crate) static OUTPUT_ROUNDED: &Fault = &Fault {
    id: "activation-rounded",
    title: "activations rounded to a narrower format or quantised",
    remedy: "Nothing is wrong if quantised activations were meant (W8A8, f8); otherwise look for a cast or an observer.",
    fault: false,
    pervasive: false,
};
pub(crate) static OUTPUT_REARRANGED: &Fault = &Fault {
    id: "activation-rearranged",
    title: "the values of an activation in other places",
    remedy: "Look at the reshape or the transpose after this operation, and at the order of heads.",
    fault: true,
    pervasive: false,
};
pub(crate) static OUTPUT_ZERO: &Fault = &Fault {
    id: "activation-partly-zero",
    title: "an activation, or part of one, that is zero",
    remedy: "Look for what is skipped, masked or pruned there: padded tokens, heads, layers.",
    fault: true,
    pervasive: false,
};
pub(crate) static DROPOUT: &Fault = &Fault {
    id: "dropout-active",
    title: "dropout that is on",
    remedy: "Call model.eval() before anything is compared.",
    fault: true,
    pervasive: false,
};
pub(crate) static ADAPTER_ACTIVE: &Fault = &Fault {
    id: "adapter-active",
    title: "something of low rank added to a layer's output, as an adapter (LoRA) does",
    remedy: "Unload or disable the adapter (PEFT's disable_adapter), or merge it into both sides.",
    fault: true,
    pervasive: false,
};

/// Recognised, as all below, by evaluating the formula on the trace's inputs.
pub(crate) static SOFT_CAP: &Fault = &Fault {
    id: "soft-cap",
    title: "scores or logits bent towards a largest magnitude by tanh",
    remedy: "Llama has no attn_logit_softcapping and no final_logit_softcapping (Gemma 2 has): load the config into the class that it belongs to.",
    fault: true,
    pervasive: false,
};
pub(crate) static POSITION_BIAS: &Fault = &Fault {
    id: "position-bias",
    title: "positions that enter by another way: a bias on scores, or sines added to embeddings",
    remedy: "Llama has none beside its rotation; ALiBi and relative position biases belong to other architectures.",
    fault: true,
    pervasive: false,
};
pub(crate) static NORM_KIND: &Fault = &Fault {
    id: "norm-kind",
    title: "a norm of another kind, or where Llama has none",
    remedy: "Llama has an RMSNorm before attention, before the MLP and at the end, each once, and none on queries, keys or outputs of layers.",
    fault: true,
    pervasive: false,
};
pub(crate) static SOFTMAX_KIND: &Fault = &Fault {
    id: "softmax-kind",
    title: "a softmax of another kind",
    remedy: "Llama's probabilities sum to 1; attention sinks and softmax-one belong to other architectures.",
    fault: true,
    pervasive: false,
};
pub(crate) static BRANCH: &Fault = &Fault {
    id: "residual-branch",
    title: "a branch that is added to the residual stream otherwise: multiplied, or elsewhere",
    remedy: "Llama adds attention and MLP as they are; residual multipliers (Granite, MiniCPM) belong to other architectures.",
    fault: true,
    pervasive: false,
};
pub(crate) static PARTIAL_ROTARY: &Fault = &Fault {
    id: "partial-rotary",
    title: "rotation of a part of each head only",
    remedy: "Llama rotates whole heads; partial_rotary_factor belongs to other architectures.",
    fault: true,
    pervasive: false,
};
pub(crate) static CACHE_SHIFTED: &Fault = &Fault {
    id: "cache-shifted",
    title: "attention that reads queries, keys or values of other places",
    remedy: "Look at the index at which the cache is written and read, and at the order of its arguments.",
    fault: true,
    pervasive: false,
};
pub(crate) static GATED_PRODUCT: &Fault = &Fault {
    id: "gated-product",
    title: "gate and up projections put together in another way",
    remedy: "Llama's MLP is down_proj(act(gate_proj(x)) * up_proj(x)).",
    fault: true,
    pervasive: false,
};
pub(crate) static CACHE_EMPTY: &Fault = &Fault {
    id: "cache-empty",
    title: "keys or values of some positions that are zero",
    remedy: "Write keys and values into the cache before attention reads them, those of the last token, too.",
    fault: true,
    pervasive: false,
};
pub(crate) static PARTIAL_SUM: &Fault = &Fault {
    id: "sum-of-a-part",
    title: "a linear layer that sums a part of its inputs only",
    remedy: "Add up what all ranks of a tensor-parallel layer compute (the all-reduce behind o_proj and down_proj).",
    fault: true,
    pervasive: false,
};
pub(crate) static TOKEN_IDS: &Fault = &Fault {
    id: "token-ids-shifted",
    title: "embeddings of the token ids beside",
    remedy: "Ids count rows from 0; compare the sizes of the vocabularies, and what was inserted in front.",
    fault: true,
    pervasive: false,
};
pub(crate) static ANGLES: &Fault = &Fault {
    id: "rotary-angles-format",
    title: "rotary angles computed in 16 bits",
    remedy: "Multiply positions and inv_freq in f32 (autocast off), and round only cos and sin.",
    fault: true,
    pervasive: false,
};
pub(crate) static COMPUTED_OTHERWISE: &Fault = &Fault {
    id: "layer-format",
    title: "a layer computed in another format",
    remedy: "Nothing is wrong if that was meant (autocast, TF32, a kernel of another format); otherwise set the format that the model was loaded in.",
    fault: false,
    pervasive: false,
};
pub(crate) static VOCABULARY_MASKED: &Fault = &Fault {
    id: "vocabulary-masked",
    title: "logits of some tokens set so low that they are never chosen",
    remedy: "Nothing is wrong if those tokens are padding of the vocabulary or forbidden on purpose.",
    fault: false,
    pervasive: false,
};

pub(super) static ALL: [&Fault; 27] = [
    WIRING,
    BIAS,
    LAST_BITS,
    OUTPUT_SCALED,
    OUTPUT_MAPPED,
    LAYER_UNRELATED,
    OUTPUT_OFFSET,
    OUTPUT_CLAMPED,
    OUTPUT_ROUNDED,
    OUTPUT_REARRANGED,
    OUTPUT_ZERO,
    DROPOUT,
    ADAPTER_ACTIVE,
    SOFT_CAP,
    POSITION_BIAS,
    NORM_KIND,
    SOFTMAX_KIND,
    BRANCH,
    PARTIAL_ROTARY,
    CACHE_SHIFTED,
    GATED_PRODUCT,
    CACHE_EMPTY,
    PARTIAL_SUM,
    TOKEN_IDS,
    ANGLES,
    COMPUTED_OTHERWISE,
    VOCABULARY_MASKED,
];
