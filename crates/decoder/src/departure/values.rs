//! The closed sets: what each class of arithmetic can be other than Hugging Face's.
//!
//! R rounds to the storage dtype. Every value says what it computes, and which programs compute it
//! so, if any is known.

use std::fmt;

macro_rules! values {
    ($($(#[$doc:meta])* $class:ident { $($(#[$about:meta])* $value:ident = $name:literal),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $class { $($(#[$about])* $value),* }

        impl $class {
            /// All of them.
            pub const ALL: &'static [Self] = &[$($class::$value),*];

            /// The value of this name.
            pub(crate) fn read(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.to_string() == name)
            }

            /// The names that are read.
            pub(crate) fn known() -> String {
                [$($name),*].join(", ")
            }
        }

        impl fmt::Display for $class {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $($class::$value => $name),* })
            }
        }
    )*};
}

values! {
    /// Where `R(w · R(x / √(mean(x²) + ε)))` of the norms rounds, and what it does with its weight.
    Norm {
        /// `R(w · x / √(mean(x²) + ε))`, one rounding: vLLM, `torch.nn.functional.rms_norm`, fused
        /// kernels.
        Fused = "fused",
        /// Every step rounded: square, mean, sum with ε, root, both products. Code without a
        /// widening cast.
        Storage = "storage",
        /// `R(x / √…)` by a division, where Hugging Face multiplies by a reciprocal: burn-nn. In 16
        /// bits it shows in a few outputs of 100,000.
        Divided = "divided",
        /// The weight is used as 1 + w, the sum in the compute dtype: a convention of Gemma's on
        /// weights without it.
        PlusOne = "plus-one",
        /// `R((1 + w) · x / √…)`, one rounding: Gemma.
        Gemma = "gemma",
        /// The weight is left out.
        NoWeight = "no-weight",
    }

    /// What the norms of queries and keys do, instead of normalising each head by itself.
    QkNorm {
        /// Nothing: queries and keys are rotated as they are.
        None = "none",
        /// All heads of a token are normalised together, each with the same weight.
        AllHeads = "all-heads",
    }

    /// How queries and keys are rotated, instead of `R(R(x·cos) + R(rotate_half(x)·sin))`.
    Rope {
        /// `R(x·cos + rotate_half(x)·sin)`, one rounding: vLLM, fused kernels, `torch.compile`.
        Fused = "fused",
        /// Elements 2i and 2i + 1 make a pair, not i and i + D/2: Meta's layout on Hugging Face's
        /// weights.
        Interleaved = "interleaved",
        /// Adjacent pairs with one rounding: Meta's code, which multiplies complex numbers in f32.
        InterleavedFused = "interleaved-fused",
        /// The sine with the other sign.
        Negated = "negated",
        /// No rotation.
        None = "none",
    }

    /// The format that cos and sin are rounded to, instead of the storage dtype. The tables keep
    /// the storage dtype if that holds the format exactly, and are f32 otherwise. Rotation rounds
    /// as always.
    Table {
        /// As caches of a model in bf16 have it.
        Bf16 = "bf16",
        /// As caches of a model in f16 have it.
        F16 = "f16",
        /// Not rounded beyond f32.
        F32 = "f32",
    }

    /// What the product of query and key is multiplied by, instead of `1 / √D`.
    Scale {
        /// Nothing.
        None = "none",
        /// `1 / √D` twice: in eager attention two multiplications, each rounded.
        Twice = "twice",
        /// `1 / D`, as μP has it.
        Width = "1/D",
        /// Queries are scaled and rounded after rotation, the product is not scaled: JAX and TPU
        /// code, OPT.
        Query = "query",
    }

    /// Which key and value head a query head reads, instead of heads in runs of H/G.
    Gqa {
        /// Query head h reads head h mod G: `repeat` for `repeat_interleave`.
        Tiled = "tiled",
    }

    /// Where eager scores round, instead of `R(R(R(q kᵀ)·scale) + mask)`. In sdpa they never do.
    Scores {
        /// `R(R(q kᵀ·scale) + mask)`: the product is scaled before it is rounded.
        Unrounded = "unrounded",
        /// Not at all; the scores are in the compute dtype: llama.cpp with f32 scores.
        F32 = "f32",
    }

    /// Where the softmax rounds, instead of once at its end.
    Softmax {
        /// At every step, `R(e / R(Σ e))` with `e = R(exp(R(s - max)))`; in sdpa, too,
        /// probabilities are then normalised before they meet the values.
        Storage = "storage",
    }

    /// The format in which keys (rotated) and values are kept for the products, then widened or
    /// rounded back.
    Cache {
        /// bf16.
        Bf16 = "bf16",
        /// f16.
        F16 = "f16",
        /// OCP's 8-bit float of 4 exponent bits, without a scale; beyond 448 it saturates.
        E4m3 = "e4m3",
        /// OCP's 8-bit float of 5 exponent bits, without a scale; from 61440 on it is infinite.
        E5m2 = "e5m2",
    }

    /// Where SiLU rounds, instead of once at its end. Other activations do not depend on it.
    Act {
        /// `R(x · R(sigmoid(x)))`: burn-nn, JAX.
        Rounded = "rounded",
    }

    /// How the gate meets the other half of the feed-forward layer, instead of
    /// `R(R(act(gate)) · up)`.
    Mlp {
        /// `R(act(gate) · up)`, one rounding: vLLM, fused kernels. `act_fn` is still shown rounded;
        /// if a probe puts another tensor there, that one is multiplied.
        Fused = "fused",
        /// `R(R(act(up)) · gate)`: the two projections exchanged.
        Swapped = "swapped",
    }

    /// A term of the residual stream that is missing.
    Residual {
        /// The block's input is not carried around attention: `resid_mid` is `o_proj`.
        DropBeforeAttention = "drop-before-attention",
        /// The stream is not carried around the feed-forward layer: the output is `down_proj`.
        DropBeforeMlp = "drop-before-mlp",
        /// What attention found is not added.
        SkipAttention = "skip-attention",
        /// What the feed-forward layer found is not added.
        SkipMlp = "skip-mlp",
    }

    /// What happens to embeddings on the way into the first block.
    Embedding {
        /// `R(x · R(√C))`: Gemma.
        Scaled = "scaled",
    }

    /// Where the logits round, instead of to the storage dtype.
    Head {
        /// Not at all: logits are f32 (f64 for f64), the sum of the same products.
        F32 = "f32",
    }
}
