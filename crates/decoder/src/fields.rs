//! Settings in which two decoders of one shape may differ. Each can be exchanged between them.

use crate::architecture::Architecture;
use crate::layer::Layer;

/// A setting that no parameter holds and that changes what is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Field {
    /// ε of all norms.
    NormEps,
    /// The activation of the feed-forward layers.
    Activation,
    /// Base, scaling and factors of the rotary embeddings, and the length that some scalings go by.
    Rope,
    /// Which keys a query sees, layer by layer.
    Mask,
    /// What queries are multiplied by at their positions.
    QueryScale,
    /// What embeddings are multiplied by.
    EmbedScale,
}

impl Field {
    /// All of them.
    pub const ALL: &'static [Field] =
        &[Field::NormEps, Field::Activation, Field::Rope, Field::Mask, Field::QueryScale, Field::EmbedScale];

    /// The key of config.json that it is known by.
    pub fn key(self) -> &'static str {
        match self {
            Field::NormEps => "rms_norm_eps",
            Field::Activation => "hidden_act",
            Field::Rope => "rope_parameters",
            Field::Mask => "sliding_window",
            Field::QueryScale => "llama_4_scaling_beta",
            Field::EmbedScale => "embedding scale",
        }
    }

    /// Whether two decoders differ in it.
    pub fn differs(self, a: &Architecture, b: &Architecture) -> bool {
        let layers =
            |same: &dyn Fn(&Layer, &Layer) -> bool| !a.layers.iter().zip(&b.layers).all(|(a, b)| same(a, b));
        match self {
            Field::NormEps => {
                let eps = |a: f64, b: f64| a.to_bits() == b.to_bits();
                !eps(a.norm.eps, b.norm.eps) || layers(&|a, b| eps(a.norm.eps, b.norm.eps))
            }
            Field::Activation => layers(&|a, b| a.feed_forward.act == b.feed_forward.act),
            // What the length is for depends on the kind of scaling; the default kind does not read
            // it.
            Field::Rope => {
                let reads_length = |of: &Architecture| of.ropes.iter().any(|r| r.parameters.growth() != 1.0);
                a.ropes != b.ropes
                    || (a.max_positions != b.max_positions && (reads_length(a) || reads_length(b)))
            }
            Field::Mask => layers(&|a, b| a.attention.mask == b.attention.mask),
            Field::QueryScale => layers(&|a, b| a.attention.query_scale == b.attention.query_scale),
            Field::EmbedScale => a.embed_scale != b.embed_scale,
        }
    }

    /// Gives a decoder another's setting.
    pub fn take(self, of: &mut Architecture, from: &Architecture) {
        let norm_eps = from.norm.eps;
        let pairs = of.layers.iter_mut().zip(&from.layers);
        match self {
            Field::NormEps => {
                pairs.for_each(|(layer, from)| layer.norm.eps = from.norm.eps);
                of.norm.eps = norm_eps;
            }
            Field::Activation => {
                pairs.for_each(|(layer, from)| layer.feed_forward.act = from.feed_forward.act)
            }
            Field::Rope => {
                of.ropes.clone_from(&from.ropes);
                of.max_positions = from.max_positions;
            }
            Field::Mask => pairs.for_each(|(layer, from)| layer.attention.mask = from.attention.mask),
            Field::QueryScale => {
                pairs.for_each(|(layer, from)| layer.attention.query_scale = from.attention.query_scale);
            }
            Field::EmbedScale => of.embed_scale = from.embed_scale,
        }
    }
}
