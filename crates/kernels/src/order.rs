//! The orders in which a sum of products can be taken.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use crate::KernelError;

/// The order in which the K products `x[k]·w[k]` of one output are added up.
///
/// Every order but [`Accumulation::Exact`] works in f32 and only ever does two things, each rounded
/// once, to nearest, ties to even, subnormals kept: a fused multiply-add, `acc = fma(x, w, acc)`,
/// and the sum of two accumulators. (Products of 16-bit numbers are exact in f32 as long as they
/// are neither subnormal nor too large, so that for them the fusion seldom matters. For f32 weights
/// it always does.) An accumulator starts at `+0`.
///
/// [`dot`](crate::dot) is each definition as plain scalar code. Every fast path gives the same
/// bits.
///
/// ```
/// use ulpscope_kernels::{Accumulation, dot};
///
/// let x = [1e8f32, 1.0, -1e8, 1.0];
/// let ones = [1.0f32; 4];
/// assert_eq!(dot(Accumulation::Sequential, &x, &ones), 1.0); // 1e8 + 1 loses the 1
/// assert_eq!(dot(Accumulation::Tile32, &x, &ones), 2.0); // even and odd apart
/// assert_eq!(dot(Accumulation::Exact, &x, &ones), 2.0);
/// assert_eq!("split-k(4)".parse::<Accumulation>().unwrap().to_string(), "split-k(4)");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Accumulation {
    /// Chunks of 32: the even products of a chunk are added in sequence, the odd ones apart, and
    /// `total += even + odd`, chunk after chunk. What AMX tiles do, and oneDNN on AMX up to 32
    /// rows.
    #[default]
    Tile32,
    /// [`Accumulation::Tile32`] within equal blocks of K that have totals of their own, added up in
    /// order: what oneDNN does on AMX above 32 rows.
    ///
    /// A block is K divided by the fewest blocks of at most 384 (rounded up to a multiple of 32):
    /// 288 for K = 576 and 384 for K = 1536. Those two lengths were measured; for others the rule
    /// is a guess that agrees with them, and down_proj at 33 to 36 rows is known to use yet another
    /// block.
    Tile32Blocked,
    /// One accumulator that takes the products in pairs (k, k+1), *that of the odd index first*:
    /// what `vdpbf16ps` does. K above 512 is cut into blocks of 512, above 1024 into blocks of
    /// 1024, summed apart and added up in order: oneDNN on CPUs with AVX512_BF16 but no AMX, for
    /// two rows or more.
    ///
    /// In [`attention_sdpa`](crate::attention_sdpa) it stands for what MKL does there on AMD's
    /// CPUs, orders by the shape of a product. (On Intel's they are not known.) PyTorch has blocks
    /// of 32 queries, 64 from 192 on, 256 from 768 on, and looks at 512 keys at a time.
    /// - Scores of a lone query, or of a lone key, are summed in four lanes (the n-th takes every
    ///   fourth product; then the second half is added to the first, and so on); of two or three
    ///   queries, or fewer than twelve keys, in four lanes for whole fours of keys and in eight for
    ///   the rest; all others in sequence, or in stretches as values are.
    /// - Weighted values of a lone query are summed by fours of keys, `sum += (0 + 2) + (1 + 3)`,
    ///   what is left over last key first; of two or three queries in sequence; both begin with the
    ///   sum of the keys before. Of more queries, up to 192 keys are summed in sequence, up to 384
    ///   in stretches of half as many, rounded down, and more in stretches of 192, each added to
    ///   the sum of those before.
    ///
    /// So the bits of a token depend on how many come with it, as they do in PyTorch.
    Dot2,
    /// Sixteen accumulators, the n-th taking the pairs (k, k+1) with `k / 2 ≡ n (mod 16)`, odd
    /// index first, combined at distances 8, 4, 1, 2: oneDNN with AVX512_BF16 for a single row. In
    /// [`attention_sdpa`](crate::attention_sdpa) it is [`Accumulation::Dot2`] of every query by
    /// itself, with the keys that are there when it comes: so a model reads token by token.
    Dot2Lanes,
    /// One accumulator, k ascending.
    Sequential,
    /// One accumulator, k ascending, in blocks of K as [`Accumulation::Dot2`] cuts them, summed
    /// apart and added up in order: oneDNN's f16 on CPUs with AVX512_FP16, for two rows or more.
    SequentialBlocked,
    /// One accumulator, k descending.
    Reversed,
    /// Stretches of 32 are summed in sequence and then combined as in binary counting: as soon as
    /// two neighbouring sums cover equally many stretches, they are added; what is left at the end
    /// is added from the right.
    Pairwise,
    /// n contiguous stretches of equal length (K / n, rounded up to an even number), summed in
    /// sequence, the sums added up in order. Some of the last ones may be shorter or missing.
    SplitK(NonZeroUsize),
    /// The sum as if computed with infinite precision, bias included, rounded *once*, straight to
    /// the format of the output. An exact zero is `+0`.
    Exact,
}

impl Accumulation {
    /// Every order, [`Accumulation::SplitK`] with 4 stretches.
    pub const ALL: [Accumulation; 10] = [
        Accumulation::Tile32,
        Accumulation::Tile32Blocked,
        Accumulation::Dot2,
        Accumulation::Dot2Lanes,
        Accumulation::Sequential,
        Accumulation::SequentialBlocked,
        Accumulation::Reversed,
        Accumulation::Pairwise,
        Accumulation::SplitK(NonZeroUsize::new(4).unwrap()),
        Accumulation::Exact,
    ];

    /// The order that products of this format are summed in unless another is asked for: PyTorch's
    /// on server CPUs with AMX and AVX512_FP16, [`Accumulation::Tile32`] for bf16 and
    /// [`Accumulation::SequentialBlocked`] for f16. That of its f32 products is not known; they
    /// take `Tile32`, too.
    pub fn of(dtype: ulpscope_floats::DType) -> Self {
        match dtype {
            ulpscope_floats::DType::F16 => Accumulation::SequentialBlocked,
            _ => Accumulation::Tile32,
        }
    }

    /// The order of products within [`attention_sdpa`](crate::attention_sdpa), `None` if it depends
    /// on their shapes.
    pub fn within_sdpa(self) -> Option<Self> {
        Some(self).filter(|order| !matches!(order, Accumulation::Dot2 | Accumulation::Dot2Lanes))
    }

    /// Length of the blocks whose sums are added in order at the end; `length` if there is only
    /// one.
    pub(crate) fn block(self, length: usize) -> usize {
        let equal = |blocks: usize, multiple: usize| length.div_ceil(blocks).next_multiple_of(multiple);
        match self {
            Accumulation::Tile32Blocked => equal(length.div_ceil(384).max(1), 32),
            Accumulation::Dot2 | Accumulation::SequentialBlocked if length > 1024 => 1024,
            Accumulation::Dot2 | Accumulation::SequentialBlocked if length > 512 => 512,
            Accumulation::SplitK(n) => equal(n.get(), 2),
            Accumulation::Pairwise => 32,
            _ => length,
        }
    }
}

impl fmt::Display for Accumulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Accumulation::Tile32 => f.pad("tile32"),
            Accumulation::Tile32Blocked => f.pad("tile32-blocked"),
            Accumulation::Dot2 => f.pad("dot2"),
            Accumulation::Dot2Lanes => f.pad("dot2-lanes"),
            Accumulation::Sequential => f.pad("sequential"),
            Accumulation::SequentialBlocked => f.pad("sequential-blocked"),
            Accumulation::Reversed => f.pad("reversed"),
            Accumulation::Pairwise => f.pad("pairwise"),
            Accumulation::SplitK(n) => f.pad(&format!("split-k({n})")),
            Accumulation::Exact => f.pad("exact"),
        }
    }
}

impl FromStr for Accumulation {
    type Err = KernelError;

    fn from_str(name: &str) -> Result<Self, KernelError> {
        let split = || name.strip_prefix("split-k(")?.strip_suffix(')')?.parse().ok();
        let named = || Accumulation::ALL.into_iter().find(|order| order.to_string() == name);
        split()
            .map(Accumulation::SplitK)
            .or_else(named)
            .ok_or_else(|| KernelError::UnknownOrder { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for order in Accumulation::ALL {
            assert_eq!(order.to_string().parse::<Accumulation>().unwrap(), order);
        }
        for wrong in ["", "tile", "split-k(0)", "split-k()", "split-k(2", "Exact"] {
            assert!(wrong.parse::<Accumulation>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn blocks_have_the_measured_lengths() {
        assert_eq!(Accumulation::Tile32Blocked.block(576), 288);
        assert_eq!(Accumulation::Tile32Blocked.block(1536), 384);
        assert_eq!(Accumulation::Dot2.block(512), 512);
        assert_eq!(Accumulation::Dot2.block(576), 512);
        assert_eq!(Accumulation::Dot2.block(1536), 1024);
    }
}
