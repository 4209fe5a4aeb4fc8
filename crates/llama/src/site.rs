//! Sites: the named observation points of the model.

use std::fmt;
use std::str::FromStr;

use crate::config::LlamaConfig;

/// How attention is computed; two declared semantics, as in transformers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AttentionKind {
    /// Separate operations, each rounded to the storage dtype.
    Eager,
    #[default]
    /// PyTorch's fused `scaled_dot_product_attention` on CPU: scores stay in f32.
    Sdpa,
}

impl fmt::Display for AttentionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            AttentionKind::Eager => "eager",
            AttentionKind::Sdpa => "sdpa",
        })
    }
}

impl FromStr for AttentionKind {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "eager" => Ok(AttentionKind::Eager),
            "sdpa" => Ok(AttentionKind::Sdpa),
            _ => Err(format!("unknown attention `{s}`; known are eager and sdpa")),
        }
    }
}

/// A named observation point. Module outputs carry PyTorch's module path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Site {
    /// `model.embed_tokens`, `[1, T, C]`.
    EmbedTokens,
    /// `model.rotary_emb.cos`, `[1, T, D]`.
    RotaryCos,
    /// `model.rotary_emb.sin`, `[1, T, D]`.
    RotarySin,
    /// A site of block N, `model.layers.N…`.
    Block(usize, BlockSite),
    /// `model.norm`, `[1, T, C]`.
    Norm,
    /// `lm_head`: the logits, `[1, T, V]`.
    LmHead,
}

macro_rules! block_sites {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),* $(,)?) => {
        /// A site inside a block, in forward order.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum BlockSite { $($(#[$doc])* $variant),* }

        impl BlockSite {
            /// All of them, in forward order.
            pub const ALL: &'static [BlockSite] = &[$(BlockSite::$variant),*];

            /// The name below `model.layers.N`; empty for the block's output.
            pub fn name(self) -> &'static str {
                match self { $(BlockSite::$variant => $name),* }
            }
        }
    };
}

block_sites! {
    /// `[1, T, C]`
    InputLayernorm = "input_layernorm",
    /// `[1, T, H·D]`
    QProj = "self_attn.q_proj",
    /// `[1, T, G·D]`
    KProj = "self_attn.k_proj",
    /// `[1, T, G·D]`
    VProj = "self_attn.v_proj",
    /// Queries after rotation, `[1, H, T, D]`
    QRope = "self_attn.q_rope",
    /// Keys after rotation, `[1, G, T, D]`
    KRope = "self_attn.k_rope",
    /// Scaled and masked scores, `[1, H, T, T]`; eager only
    Scores = "self_attn.scores",
    /// Softmax of the scores, `[1, H, T, T]`; eager only
    Probs = "self_attn.probs",
    /// Heads concatenated, the input of `o_proj`, `[1, T, H·D]`
    Context = "self_attn.context",
    /// `[1, T, C]`
    OProj = "self_attn.o_proj",
    /// The residual stream after attention, `[1, T, C]`
    ResidMid = "resid_mid",
    /// `[1, T, C]`
    PostAttentionLayernorm = "post_attention_layernorm",
    /// `[1, T, F]`
    GateProj = "mlp.gate_proj",
    /// `[1, T, F]`
    UpProj = "mlp.up_proj",
    /// `[1, T, F]`
    ActFn = "mlp.act_fn",
    /// `act_fn(gate) · up`, the input of `down_proj`, `[1, T, F]`
    Product = "mlp.product",
    /// `[1, T, C]`
    DownProj = "mlp.down_proj",
    /// The block's output, `[1, T, C]`
    Output = "",
}

impl BlockSite {
    /// Whether the site exists with this attention.
    pub fn exists(self, attention: AttentionKind) -> bool {
        attention == AttentionKind::Eager || !matches!(self, BlockSite::Scores | BlockSite::Probs)
    }
}

impl Site {
    /// Every site of a model, in forward order.
    pub fn all(config: &LlamaConfig, attention: AttentionKind) -> Vec<Site> {
        let blocks = (0..config.num_hidden_layers).flat_map(|n| {
            BlockSite::ALL.iter().filter(move |s| s.exists(attention)).map(move |&s| Site::Block(n, s))
        });
        let stem = [Site::EmbedTokens, Site::RotaryCos, Site::RotarySin];
        stem.into_iter().chain(blocks).chain([Site::Norm, Site::LmHead]).collect()
    }

    /// The shape of its activation for a prompt of so many tokens.
    pub fn shape(self, config: &LlamaConfig, tokens: usize) -> Vec<usize> {
        let (heads, groups, width) =
            (config.num_attention_heads, config.num_key_value_heads, config.head_dim);
        let block = match self {
            Site::EmbedTokens | Site::Norm => return vec![1, tokens, config.hidden_size],
            Site::RotaryCos | Site::RotarySin => return vec![1, tokens, width],
            Site::LmHead => return vec![1, tokens, config.vocab_size],
            Site::Block(_, block) => block,
        };
        match block {
            BlockSite::QProj | BlockSite::Context => vec![1, tokens, heads * width],
            BlockSite::KProj | BlockSite::VProj => vec![1, tokens, groups * width],
            BlockSite::QRope => vec![1, heads, tokens, width],
            BlockSite::KRope => vec![1, groups, tokens, width],
            BlockSite::Scores | BlockSite::Probs => vec![1, heads, tokens, tokens],
            BlockSite::GateProj | BlockSite::UpProj | BlockSite::ActFn | BlockSite::Product => {
                vec![1, tokens, config.intermediate_size]
            }
            BlockSite::InputLayernorm
            | BlockSite::OProj
            | BlockSite::ResidMid
            | BlockSite::PostAttentionLayernorm
            | BlockSite::DownProj
            | BlockSite::Output => vec![1, tokens, config.hidden_size],
        }
    }

    /// The index of the block that the site is in.
    pub fn layer(self) -> Option<usize> {
        match self {
            Site::Block(n, _) => Some(n),
            _ => None,
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Site::EmbedTokens => f.pad("model.embed_tokens"),
            Site::RotaryCos => f.pad("model.rotary_emb.cos"),
            Site::RotarySin => f.pad("model.rotary_emb.sin"),
            Site::Block(n, BlockSite::Output) => f.pad(&format!("model.layers.{n}")),
            Site::Block(n, site) => f.pad(&format!("model.layers.{n}.{}", site.name())),
            Site::Norm => f.pad("model.norm"),
            Site::LmHead => f.pad("lm_head"),
        }
    }
}

/// A name that stands for no site.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no site of a Llama; sites look like `model.layers.0.self_attn.q_proj`")]
pub struct UnknownSite(pub String);

impl FromStr for Site {
    type Err = UnknownSite;

    fn from_str(s: &str) -> Result<Self, UnknownSite> {
        let unknown = || UnknownSite(s.to_owned());
        match s {
            "model.embed_tokens" => return Ok(Site::EmbedTokens),
            "model.rotary_emb.cos" => return Ok(Site::RotaryCos),
            "model.rotary_emb.sin" => return Ok(Site::RotarySin),
            "model.norm" => return Ok(Site::Norm),
            "lm_head" => return Ok(Site::LmHead),
            _ => {}
        }
        let rest = s.strip_prefix("model.layers.").ok_or_else(unknown)?;
        let (index, name) = rest.split_once('.').unwrap_or((rest, ""));
        let n: usize = index.parse().map_err(|_| unknown())?;
        let site = BlockSite::ALL.iter().find(|site| site.name() == name).ok_or_else(unknown)?;
        let site = Site::Block(n, *site);
        // Only the canonical spelling: no `model.layers.007`, no trailing dot.
        if site.to_string() == s { Ok(site) } else { Err(unknown()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for n in [0, 29] {
            for &site in BlockSite::ALL {
                let site = Site::Block(n, site);
                assert_eq!(site.to_string().parse(), Ok(site));
            }
        }
        assert_eq!("model.layers.3".parse(), Ok(Site::Block(3, BlockSite::Output)));
        for bad in
            ["model.layers.03", "model.layers.3.", "model.layers.x", "layers.3", "model.layers.3.self_attn"]
        {
            assert!(bad.parse::<Site>().is_err(), "{bad}");
        }
    }
}
