//! An order of summation as the kernels carry it out.

use crate::Accumulation;
use crate::storage::CHUNK;

/// What happens within one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaf {
    /// Chunks of 16 pairs, even and odd products apart.
    Tile32,
    /// One accumulator; of a pair, the even index first.
    EvenFirst,
    /// One accumulator; of a pair, the odd index first.
    OddFirst,
}

/// A run of pairs of products that one leaf adds up, and what becomes of the sum.
///
/// Pair p holds the indices 2p and 2p+1. If K is odd, its last element is *lone*: a pair whose odd
/// half must not be touched, because adding a zero to `-0` would change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// First pair.
    pub(crate) start: usize,
    /// Number of whole pairs.
    pub(crate) pairs: usize,
    /// Distance from one pair to the next.
    pub(crate) step: isize,
    /// A lone last element follows the pairs; or, if the steps go backwards, precedes them.
    pub(crate) lone: Option<usize>,
    /// The sum goes on a stack. How often the two topmost entries of it are then added, left to
    /// right.
    pub(crate) merges: usize,
}

/// An order of summation for one K: segments in sequence, combined on a stack that ends with one
/// entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) leaf: Leaf,
    pub(crate) segments: Vec<Segment>,
    /// Largest number of entries on the stack.
    pub(crate) depth: usize,
    /// The K it was made for.
    pub(crate) length: usize,
}

impl Plan {
    /// The plan of `order` for K = `length`, which is at least 1. [`Accumulation::Exact`] has none.
    pub(crate) fn new(order: Accumulation, length: usize) -> Option<Self> {
        Plan::cut(order, length, length)
    }

    /// Whether every segment is added to the sum of those before it.
    pub(crate) fn runs_on(&self) -> bool {
        self.segments.iter().enumerate().all(|(i, segment)| segment.merges == usize::from(i > 0))
    }

    /// The plan of `order` for the first `length` of K = `whole` products, if all the others are
    /// zeros. `length` is at least 1, and even if it is less than `whole`.
    ///
    /// The blocks are the blocks of the whole plan. A block of zeros has the sum `+0`, and adding a
    /// zero changes no sum but `-0`. So every result other than `-0` is the result of the whole
    /// plan.
    pub(crate) fn cut(order: Accumulation, length: usize, whole: usize) -> Option<Self> {
        let leaf = match order {
            Accumulation::Tile32 | Accumulation::Tile32Blocked => Leaf::Tile32,
            Accumulation::Dot2 | Accumulation::Dot2Lanes | Accumulation::Reversed => Leaf::OddFirst,
            Accumulation::Sequential
            | Accumulation::SequentialBlocked
            | Accumulation::Pairwise
            | Accumulation::SplitK(_) => Leaf::EvenFirst,
            Accumulation::Exact => return None,
        };
        let mut segments = match order {
            Accumulation::Reversed => vec![backwards(length)],
            Accumulation::Dot2Lanes => lanes(length),
            _ => blocks(length, order.block(whole)),
        };
        if order == Accumulation::Pairwise {
            for (i, segment) in segments.iter_mut().enumerate() {
                segment.merges = (i + 1).trailing_zeros() as usize;
            }
            let left = segments.len().count_ones() as usize - 1;
            segments.last_mut()?.merges += left;
        }
        Some(Plan::of(leaf, segments, length))
    }

    /// The plan for products that are summed in sequence, in blocks of so many (an even number,
    /// unless there is only one).
    pub(crate) fn sequential(length: usize, block: usize) -> Self {
        Plan::of(Leaf::EvenFirst, blocks(length, block), length)
    }

    /// The plan without its first `products`, if those are zeros. Their number is a multiple of
    /// [`CHUNK`] and below the plan's length. Indices count from there.
    ///
    /// Sums begin at `+0`, and zeros leave them there. So every result other than `-0` is the
    /// result of the whole plan.
    pub(crate) fn without(self, products: usize) -> Self {
        if products == 0 {
            return self;
        }
        assert!(products.is_multiple_of(CHUNK) && products < self.length);
        let (gone, in_order) = (products / 2, self.runs_on());
        let mut segments: Vec<Segment> = self
            .segments
            .into_iter()
            .map(|segment| {
                let step = segment.step.unsigned_abs();
                let left_out = match segment.step {
                    ..0 => gone,
                    _ => gone.saturating_sub(segment.start).div_ceil(step),
                };
                let left_out = left_out.min(segment.pairs);
                let start = if segment.step < 0 { segment.start } else { segment.start + left_out * step };
                Segment {
                    start: start.saturating_sub(gone),
                    pairs: segment.pairs - left_out,
                    lone: segment.lone.map(|pair| pair - gone),
                    ..segment
                }
            })
            .collect();
        if in_order {
            segments.retain(|segment| segment.pairs > 0 || segment.lone.is_some());
            segments[0].merges = 0;
        }
        Plan::of(self.leaf, segments, self.length - products)
    }

    fn of(leaf: Leaf, segments: Vec<Segment>, length: usize) -> Self {
        let mut height = 0;
        let mut depth = 0;
        for segment in &segments {
            height += 1;
            depth = depth.max(height);
            height -= segment.merges;
        }
        debug_assert_eq!(height, 1, "{segments:?} leave one sum");
        Plan { leaf, segments, depth, length }
    }
}

/// Sums a whole plan: `$leaf` sums `$segment`, and `$add` adds two sums. It is a macro so that both
/// are compiled with the instructions of the function around it.
macro_rules! evaluate {
    ($plan:expr, |$segment:ident| $leaf:expr, |$left:ident, $right:ident| $add:expr) => {{
        let plan: &$crate::plan::Plan = $plan;
        if plan.runs_on() {
            let $segment = &plan.segments[0];
            let mut total = $leaf;
            for $segment in &plan.segments[1..] {
                let ($left, $right) = (total, $leaf);
                total = $add;
            }
            total
        } else {
            let mut stack = Vec::with_capacity(plan.depth);
            for $segment in &plan.segments {
                let mut sums = $leaf;
                for _ in 0..$segment.merges {
                    let ($left, $right) = (stack.pop().expect("a plan merges what it has pushed"), sums);
                    sums = $add;
                }
                stack.push(sums);
            }
            stack.pop().expect("a plan leaves one sum")
        }
    }};
}
pub(crate) use evaluate;

/// Contiguous blocks of `block` products, ascending, each added to those before it. `block` is even
/// unless there is only one.
fn blocks(length: usize, block: usize) -> Vec<Segment> {
    (0..length)
        .step_by(block)
        .map(|start| {
            let end = length.min(start + block);
            let lone = (end == length && length % 2 == 1).then_some(length / 2);
            let merges = usize::from(start > 0);
            Segment { start: start / 2, pairs: (end - start) / 2, step: 1, lone, merges }
        })
        .collect()
}

fn backwards(length: usize) -> Segment {
    let pairs = length / 2;
    let lone = (length % 2 == 1).then_some(pairs);
    Segment { start: pairs.saturating_sub(1), pairs, step: -1, lone, merges: 0 }
}

/// One segment per lane, in the order in which a binary tree over distances 8, 4, 1 and 2 visits
/// them.
fn lanes(length: usize) -> Vec<Segment> {
    let whole = length / 2;
    let order = (0..4).flat_map(|group| [0, 8, 4, 12].map(|lane| group + lane));
    let merges = [0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0, 4];
    let segment = |(lane, merges): (usize, usize)| {
        let pairs = whole.saturating_sub(lane).div_ceil(16);
        let lone = (length % 2 == 1 && whole % 16 == lane).then_some(whole);
        Segment { start: lane, pairs, step: 16, lone, merges }
    };
    order.zip(merges).map(segment).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every order for some lengths, and what is left of it without its first products.
    #[test]
    fn every_product_is_visited_once() {
        for order in Accumulation::ALL {
            for length in [1, 2, 3, 31, 32, 33, 63, 64, 513, 576, 1025, 1536, 2561] {
                for gone in [0, 32, 96, 512, 1024, 2560].into_iter().filter(|gone| *gone < length) {
                    let Some(plan) = Plan::new(order, length) else { continue };
                    let plan = plan.without(gone);
                    assert_eq!(plan.length, length - gone);
                    let mut seen = vec![0; plan.length];
                    for segment in &plan.segments {
                        let lone = segment.lone.iter().map(|p| 2 * p);
                        let at = |i: usize| (segment.start as isize + i as isize * segment.step) as usize;
                        let pairs = (0..segment.pairs).flat_map(|i| [2 * at(i), 2 * at(i) + 1]);
                        lone.chain(pairs).for_each(|k| seen[k] += 1);
                    }
                    assert!(seen.iter().all(|&n| n == 1), "{order} over {length} from {gone}: {seen:?}");
                }
            }
        }
    }
}
