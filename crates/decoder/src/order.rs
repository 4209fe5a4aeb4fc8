//! The order of sites in the forward pass, from their names alone: for files that do not name their
//! model.

use std::sync::OnceLock;

use crate::activation::Activation;
use crate::layer::{Attention, FeedForward, Layer, Norm, QueryScale};
use crate::site::{Part, layer_of};

/// A key to sort names of sites by, in forward order; `None` for a name that no usual decoder has.
///
/// A block with every optional node stands for all.
pub fn forward_order(name: &str) -> Option<(Part, usize)> {
    static BLOCK: OnceLock<Layer> = OnceLock::new();
    const STEM: [&str; 3] = ["model.embed_tokens", "model.rotary_emb.cos", "model.rotary_emb.sin"];
    const HEAD: [&str; 2] = ["model.norm", "lm_head"];
    if let Some(place) = STEM.iter().position(|site| *site == name) {
        return Some((Part::Stem, place));
    }
    if let Some(place) = HEAD.iter().position(|site| *site == name) {
        return Some((Part::Head, place));
    }
    let block = BLOCK.get_or_init(|| {
        let query_scale = Some(QueryScale { beta: 0.0, original: 1.0 });
        let attention = Attention { qk_norm: true, query_scale, ..Attention::new(1, 1, 2) };
        Layer::new(2, attention, FeedForward::new(1, Activation::Silu), Norm { eps: 0.0, kind: None })
    });
    // The output of a block has no name of its own.
    let output = format!("{name}.");
    let (layer, inner) = layer_of(name).or_else(|| layer_of(&output))?;
    let place = block.nodes().iter().position(|node| node.name == inner)?;
    Some((Part::Block(layer), place))
}
