//! What only a trace can show: operations of a port that are not ours.

use super::Fault;

causes! {
    /// Recognised by running the operation on another tensor that was recorded.
    WIRING (fault) "reads-another-tensor": "an operation that reads another tensor than it should"
        => "Look at the block's forward pass: a norm stands before its layer, and the residual stream is carried \
            around both.";
    /// Recognised by running the linear layer without its bias.
    BIAS (fault) "bias-dropped": "a bias that was dropped"
        => "Read attention_bias and mlp_bias from config.json, and load the .bias tensors of the state dict.";
    /// Recognised by size and number alone: single steps of the format, as rare as a function's last bits in f32 make them.
    LAST_BITS (choice) "function-last-bits": "functions or sums (exp, rsqrt, cos, a mean) whose last bits are others"
        => "Nothing to mend: two honest libraries differ by this much.";
    /// Recognised, as all below, by a rule that the trace's values at a site keep to.
    OUTPUT_SCALED (fault) "activation-scaled": "an activation multiplied by a constant"
        => "Look for a multiplier that one side applies (embedding, residual, attention or logit multipliers of Granite, \
            Cohere, Gemma, muP): this model has none.";
    OUTPUT_MAPPED (fault) "activation-mapped": "an activation that went through a function"
        => "Look for an activation function behind this operation that this model has elsewhere, or nowhere.";
    LAYER_UNRELATED (fault) "layer-unrelated": "a layer whose output has nothing to do with ours: weights that were not loaded, most likely"
        => "Look whether the weight was loaded (the loader's list of missing and unexpected keys); if it was, at what the \
            layer reads and what is done to its output.";
    OUTPUT_OFFSET (fault) "activation-offset": "a constant or a bias added to an activation"
        => "Look for a bias that one side has: attention_bias and mlp_bias in config.json, .bias tensors in the state dict, \
            hooks.";
    OUTPUT_CLAMPED (fault) "activation-clamped": "an activation cut off at a largest magnitude"
        => "Look for a clamp (clip_qkv, a guard against overflow in f16): this model has none.";
    OUTPUT_ROUNDED (choice) "activation-rounded": "activations rounded to a narrower format or quantised"
        => "Nothing is wrong if quantised activations were meant (W8A8, f8); otherwise look for a cast or an observer.";
    OUTPUT_REARRANGED (fault) "activation-rearranged": "the values of an activation in other places"
        => "Look at the reshape or the transpose after this operation, and at the order of heads.";
    OUTPUT_ZERO (fault) "activation-partly-zero": "an activation, or part of one, that is zero"
        => "Look for what is skipped, masked or pruned there: padded tokens, heads, layers.";
    DROPOUT (fault) "dropout-active": "dropout that is on"
        => "Call model.eval() before anything is compared.";
    ADAPTER_ACTIVE (fault) "adapter-active": "something of low rank added to a layer's output, as an adapter (LoRA) does"
        => "Unload or disable the adapter (PEFT's disable_adapter), or merge it into both sides.";
    /// Recognised, as all below, by evaluating the formula on the trace's inputs.
    SOFT_CAP (fault) "soft-cap": "scores or logits bent towards a largest magnitude by tanh"
        => "This model has no attn_logit_softcapping and no final_logit_softcapping (Gemma 2 has): load the config into the \
            class that it belongs to.";
    POSITION_BIAS (fault) "position-bias": "positions that enter by another way: a bias on scores, or sines added to embeddings"
        => "This model has none beside its rotation; ALiBi and relative position biases belong to other architectures.";
    NORM_KIND (fault) "norm-kind": "a norm of another kind, or where this model has none"
        => "Each of this model's norms is an RMSNorm, applied once, where `ulpscope sites` lists it; look for a LayerNorm, or for \
            one norm too many.";
    SOFTMAX_KIND (fault) "softmax-kind": "a softmax of another kind"
        => "Probabilities sum to 1 here; attention sinks and softmax-one belong to other architectures.";
    BRANCH (fault) "residual-branch": "a branch that is added to the residual stream otherwise: multiplied, or elsewhere"
        => "This model adds attention and MLP as they are; residual multipliers (Granite, MiniCPM) belong to other architectures.";
    PARTIAL_ROTARY (fault) "partial-rotary": "rotation of a part of each head only"
        => "This model rotates whole heads; partial_rotary_factor belongs to other architectures.";
    CACHE_SHIFTED (fault) "cache-shifted": "attention that reads queries, keys or values of other places"
        => "Look at the index at which the cache is written and read, and at the order of its arguments.";
    GATED_PRODUCT (fault) "gated-product": "gate and up projections put together in another way"
        => "The MLP is down_proj(act(gate_proj(x)) * up_proj(x)).";
    CACHE_EMPTY (fault) "cache-empty": "keys or values of some positions that are zero"
        => "Write keys and values into the cache before attention reads them, those of the last token, too.";
    PARTIAL_SUM (fault) "sum-of-a-part": "a linear layer that sums a part of its inputs only"
        => "Add up what all ranks of a tensor-parallel layer compute (the all-reduce behind o_proj and down_proj).";
    TOKEN_IDS (fault) "token-ids-shifted": "embeddings of the token ids beside"
        => "Ids count rows from 0; compare the sizes of the vocabularies, and what was inserted in front.";
    ANGLES (fault) "rotary-angles-format": "rotary angles computed in 16 bits"
        => "Multiply positions and inv_freq in f32 (autocast off), and round only cos and sin.";
    COMPUTED_OTHERWISE (choice) "layer-format": "a layer computed in another format"
        => "Nothing is wrong if that was meant (autocast, TF32, a kernel of another format); otherwise set the format that \
            the model was loaded in.";
    VOCABULARY_MASKED (choice) "vocabulary-masked": "logits of some tokens set so low that they are never chosen"
        => "Nothing is wrong if those tokens are padding of the vocabulary or forbidden on purpose.";
}
