//! Where a variant shows first.

use ulpscope_floats::DType;

use super::{Cache, Mlp, Norm, Rope, Scores, Table, Variant};
use crate::activation::Activation;
use crate::config::LlamaConfig;
use crate::site::{AttentionKind, BlockSite, Site};

impl Variant {
    /// The sites whose outputs it can change while their inputs stay as they are, in forward order: those of one block
    /// as `Site::Block(0, _)`, which stands for all. Empty where the variant is without effect.
    ///
    /// A site listed here may still come out equal on a given prompt: `positions=bf16` needs more than 257 tokens,
    /// `table=bf16` a cosine that bf16 does not hold.
    pub fn touches(self, config: &LlamaConfig, attention: AttentionKind, dtype: DType) -> Vec<Site> {
        use BlockSite as B;
        let eager = attention == AttentionKind::Eager;
        // 32 bits and more are computed in what they are stored in: an intermediate rounding changes nothing there.
        let narrow = dtype.size() < 4;
        let block = |sites: &[BlockSite]| sites.iter().map(|&site| Site::Block(0, site)).collect();
        let tables = || vec![Site::RotaryCos, Site::RotarySin];
        let rotated = || block(&[B::QRope, B::KRope]);
        let scores = || block(if eager { &[B::Scores] } else { &[B::Context] });
        let both = || block(if eager { &[B::Scores, B::Context] } else { &[B::Context] });
        let none = Vec::new;
        match self {
            Variant::Embedding(_) => vec![Site::EmbedTokens],
            Variant::Positions(_) => tables(),
            Variant::Table(table) => match (table, dtype) {
                (Table::Bf16, DType::Bf16) | (Table::F16, DType::F16) | (Table::F32, DType::F32) => none(),
                _ => tables(),
            },
            Variant::Norm(Norm::Fused | Norm::Storage) if !narrow => none(),
            Variant::Norm(_) => {
                let mut sites: Vec<Site> = block(&[B::InputLayernorm, B::PostAttentionLayernorm]);
                sites.push(Site::Norm);
                sites
            }
            Variant::Rope(Rope::Fused) if !narrow => none(),
            Variant::Rope(_) => rotated(),
            Variant::Cache(cache) => match (cache, dtype) {
                (Cache::Bf16, DType::Bf16) | (Cache::F16, DType::F16) => none(),
                _ => both(),
            },
            Variant::Gqa(_) => {
                let (heads, groups) = (config.num_attention_heads, config.num_key_value_heads);
                if groups == 1 || groups == heads { none() } else { both() }
            }
            Variant::Scale(_) => scores(),
            Variant::Scores(Scores::Unrounded | Scores::F32) if !eager || !narrow => none(),
            Variant::Scores(_) => scores(),
            Variant::Mask(_) => scores(),
            Variant::Softmax(_) if eager => block(&[B::Probs]),
            Variant::Softmax(_) => block(&[B::Context]),
            Variant::Residual(value) => block(&[value.site()]),
            Variant::Act(_) if config.hidden_act != Activation::Silu => none(),
            Variant::Act(_) => block(&[B::ActFn]),
            Variant::Mlp(Mlp::Fused) if !narrow => none(),
            Variant::Mlp(Mlp::Fused) => block(&[B::Product]),
            Variant::Mlp(Mlp::Swapped) => block(&[B::ActFn, B::Product]),
            Variant::Head(_) if !narrow => none(),
            Variant::Head(_) => vec![Site::LmHead],
        }
    }

    /// Whether it acts inside blocks, so that it can be restricted to some.
    pub fn in_blocks(self) -> bool {
        !matches!(self, Variant::Embedding(_) | Variant::Positions(_) | Variant::Table(_) | Variant::Head(_))
    }
}

impl super::Residual {
    fn site(self) -> BlockSite {
        match self {
            super::Residual::DropBeforeAttention | super::Residual::SkipAttention => BlockSite::ResidMid,
            super::Residual::DropBeforeMlp | super::Residual::SkipMlp => BlockSite::Output,
        }
    }
}
