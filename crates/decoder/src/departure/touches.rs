//! Where a variant shows first.

use ulpscope_floats::DType;

use super::{Cache, Mlp, Norm, Residual, Rope, Scores, Table, Variant, Variants};
use crate::activation::Activation;
use crate::architecture::Architecture;
use crate::node::{Branch, Op};
use crate::site::{AttentionKind, Site};

impl Variant {
    /// The sites whose outputs it can change while their inputs stay as they are, in forward order.
    /// Empty where it is without effect.
    ///
    /// A site listed here may still come out equal on a given prompt: `positions=bf16` needs more
    /// than 257 tokens, `table=bf16` a cosine that bf16 does not hold.
    pub fn touches(self, of: &Architecture, attention: AttentionKind, dtype: DType) -> Vec<Site> {
        let touched = |site: &Site| {
            let overrides = !self.in_blocks()
                || site.layer().is_none_or(|n| {
                    let layer = &of.layers[n];
                    layer.under(Variants::default().with(self)) != *layer
                });
            overrides && self.acts_on(of, *site, attention, dtype)
        };
        of.sites(attention).into_iter().filter(touched).collect()
    }

    /// Whether it acts on a node, as [`Variant::touches`] says.
    fn acts_on(self, of: &Architecture, site: Site, attention: AttentionKind, dtype: DType) -> bool {
        let op = site.op();
        let eager = attention == AttentionKind::Eager;
        // 32 bits and more are computed in what they are stored in: an intermediate rounding
        // changes nothing there.
        let narrow = dtype.size() < 4;
        let scores = op == if eager { Op::Scores } else { Op::Mix };
        let products = matches!(op, Op::Scores | Op::Mix);
        match self {
            Variant::Embedding(_) => op == Op::Embed,
            Variant::Positions(_) => matches!(op, Op::Table(_) | Op::ScaleQuery),
            Variant::Table(table) => {
                let same = [(Table::Bf16, DType::Bf16), (Table::F16, DType::F16), (Table::F32, DType::F32)];
                matches!(op, Op::Table(_)) && !same.contains(&(table, dtype))
            }
            Variant::Norm(Norm::Fused | Norm::Storage) if !narrow => false,
            Variant::Norm(_) => op == Op::Norm,
            Variant::QkNorm(_) => op == Op::Norm && of.node(site).params[0].shape != [of.width],
            Variant::Rope(Rope::Fused) if !narrow => false,
            Variant::Rope(_) => matches!(op, Op::Rope(_)),
            Variant::Cache(cache) => {
                products && !matches!((cache, dtype), (Cache::Bf16, DType::Bf16) | (Cache::F16, DType::F16))
            }
            Variant::Gqa(_) => {
                let layer = site.layer().map(|n| of.layers[n].attention);
                products && layer.is_some_and(|a| a.groups != 1 && a.groups != a.heads)
            }
            Variant::Scale(_) | Variant::Mask(_) => scores,
            Variant::Scores(Scores::Unrounded | Scores::F32) => scores && eager && narrow,
            Variant::Softmax(_) => op == if eager { Op::Softmax } else { Op::Mix },
            Variant::Residual(value) => op == Op::Add(value.branch()),
            Variant::Act(_) => {
                op == Op::Act
                    && site.layer().is_some_and(|n| of.layers[n].feed_forward.act == Activation::Silu)
            }
            Variant::Mlp(Mlp::Fused) => op == Op::Mul && narrow,
            Variant::Mlp(Mlp::Swapped) => matches!(op, Op::Act | Op::Mul),
            Variant::Head(_) => site == of.logits() && narrow,
        }
    }

    /// Whether it acts inside blocks, so that it can be restricted to some.
    pub fn in_blocks(self) -> bool {
        !matches!(self, Variant::Embedding(_) | Variant::Positions(_) | Variant::Table(_) | Variant::Head(_))
    }
}

impl Residual {
    fn branch(self) -> Branch {
        match self {
            Residual::DropBeforeAttention | Residual::SkipAttention => Branch::Attention,
            Residual::DropBeforeMlp | Residual::SkipMlp => Branch::FeedForward,
        }
    }
}
