//! The order of a sum, found out by adding.

use std::collections::BTreeMap;

use ulpscope_floats::DType;

use crate::tree::{Node, SumTree};

/// The longest sum whose order is looked for.
const LONGEST: usize = 1 << 16;
/// Numbers in one batch of rows.
const BATCH: usize = 4 << 20;
/// The most numbers that a single step is believed to add.
const WIDEST: usize = 1024;

/// The numbers that a sum is probed with.
///
/// All `unit`s together vanish when added to `big`, even in an accumulator of f64. (For inputs in
/// f16, in one of f32 at most: f16 has no larger numbers.)
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Masks {
    /// Swallows units.
    pub big: f32,
    /// What is counted.
    pub unit: f32,
    /// How many units the output can count, one by one.
    pub countable: usize,
}

impl Masks {
    /// For inputs and outputs of these formats.
    pub fn new(input: DType, output: DType) -> Self {
        let counted = match output {
            DType::Bf16 => 1 << 8,
            DType::F16 => 1 << 11,
            DType::F32 | DType::F64 => 1 << 24,
        };
        match input {
            // 2^15 is the largest power of two in f16, 2^-24 the smallest: in f32, 2^14 units
            // vanish.
            DType::F16 => Masks { big: 2f32.powi(15), unit: 2f32.powi(-24), countable: counted.min(1 << 13) },
            _ => Masks { big: 2f32.powi(100), unit: 1.0, countable: counted },
        }
    }
}

/// What a sum was found to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// It adds in this order.
    Tree(SumTree),
    /// Nothing is ever lost: the sum is exact, or its accumulator wider than the probes reach.
    Exact,
}

/// A sum whose order cannot be found.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// Too few or too many products.
    #[error("a sum of {length} products can't be probed: K is 1 to {LONGEST}")]
    Length {
        /// K.
        length: usize,
    },
    /// Ones are not added up to their number.
    #[error(
        "{expected} ones are added up to {got}: this product does not add its inputs as they are; try another dtype"
    )]
    Count {
        /// How many there were.
        expected: usize,
        /// What came out.
        got: f32,
    },
    /// Sizes of subtrees that no tree has.
    #[error(
        "with +big at {plus} and -big at {minus}, {size} of {length} products are lost, which fits no tree with the \
         other answers: rows of this product are not added alike, or not always in the same order; try --m 1"
    )]
    NotATree {
        /// Index of the positive number.
        plus: usize,
        /// Index of the negative one.
        minus: usize,
        /// Products lost, those two included.
        size: usize,
        /// K.
        length: usize,
    },
}

/// Finds the order in which `sums` adds K products.
///
/// `sums` is given rows of `length` numbers, one after the other, and returns the sum of each row
/// as the arithmetic in question computes it, from products with 1. It must treat every row alike.
///
/// The method is FPRev's (arXiv 2411.00442). With `+big` at i, `-big` at j and a unit everywhere
/// else, the units that meet one of the two before these cancel are lost. The others survive. So
/// the number of the lost is the size of the smallest subtree that holds i and j; from such sizes
/// the tree follows. Here i is drawn at random (by a fixed rule), which takes some 2·K rows for a
/// sequential sum and K·log₂(K)/2 for a balanced one.
///
/// What this cannot see: whether a product is rounded before it is added, since all products here
/// are exact; and whether a number goes through further roundings that leave powers of two alone.
/// Comparing the bits of [`SumTree::sum`] on other numbers shows the latter.
///
/// # Errors
/// If K is 0 or above 2^16, or what `sums` answers fits no tree.
pub fn recover(
    length: usize,
    masks: Masks,
    sums: impl FnMut(&[f32]) -> Vec<f32>,
) -> Result<Recovered, ProbeError> {
    if length == 0 || length > LONGEST {
        return Err(ProbeError::Length { length });
    }
    let mut search = Search { length, masks, sums, nodes: Vec::new(), random: 1 };
    search.units_are_counted()?;
    let all: Vec<usize> = (0..length).collect();
    if length > 2 {
        // An exact sum loses nothing but the two that cancel, wherever they are.
        let sizes = search.sizes(0, &all[1..])?;
        if sizes.iter().all(|&size| size == 2) {
            return Ok(Recovered::Exact);
        }
    }
    let found = search.part(&all, length + 1, 0)?;
    debug_assert_eq!(found.node + 1, search.nodes.len());
    Ok(Recovered::Tree(SumTree::new(&search.nodes)))
}

struct Search<F> {
    length: usize,
    masks: Masks,
    sums: F,
    nodes: Vec<Node>,
    random: u64,
}

/// Part of a tree.
struct Found {
    node: usize,
    /// Leaves below its root in the whole tree: more than its own if the root adds other parts,
    /// too.
    size: usize,
}

impl<F: FnMut(&[f32]) -> Vec<f32>> Search<F> {
    /// The tree over `set`. Its root may be the node of size `above`, which then adds more than two
    /// parts.
    fn part(&mut self, set: &[usize], above: usize, depth: usize) -> Result<Found, ProbeError> {
        let pivot = set[self.draw(set.len())];
        let mut node = self.push(Node { leaf: pivot, parts: Vec::new() });
        let others: Vec<usize> = set.iter().copied().filter(|&k| k != pivot).collect();
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (&k, size) in others.iter().zip(self.sizes(pivot, &others)?) {
            groups.entry(size).or_default().push(k);
        }
        let (mut known, mut size) = (1, 1);
        for (lost, group) in groups {
            // Everything below a node is in `set`, unless it is the node above.
            let fits = known + group.len() == lost || (lost == above && known + group.len() < lost);
            if !fits || depth > WIDEST {
                return Err(ProbeError::NotATree {
                    plus: pivot,
                    minus: group[0],
                    size: lost,
                    length: self.length,
                });
            }
            let other = self.part(&group, lost, depth + 1)?;
            let mut parts = vec![node];
            if other.size == lost && group.len() > 1 {
                parts.append(&mut self.nodes[other.node].parts);
                // Its last node was only a place to keep them.
                self.nodes.truncate(other.node);
            } else {
                parts.push(other.node);
            }
            node = self.push(Node { leaf: 0, parts });
            known += group.len();
            size = lost;
        }
        Ok(Found { node, size })
    }

    fn push(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// A number below `n`, by Knuth's linear congruence: the same search every time.
    fn draw(&mut self, n: usize) -> usize {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as usize % n
    }

    fn units_are_counted(&mut self) -> Result<(), ProbeError> {
        let counted = self.length.min(self.masks.countable);
        let mut row = vec![0.0; self.length];
        row[..counted].fill(self.masks.unit);
        let got = (self.sums)(&row)[0] / self.masks.unit;
        if got == counted as f32 { Ok(()) } else { Err(ProbeError::Count { expected: counted, got }) }
    }

    /// The size of the smallest subtree with `plus` and each of `others`.
    fn sizes(&mut self, plus: usize, others: &[usize]) -> Result<Vec<usize>, ProbeError> {
        let Masks { big, unit, countable } = self.masks;
        let rounds = self.length.div_ceil(countable);
        let mut sizes = Vec::with_capacity(others.len());
        for others in others.chunks((BATCH / (self.length * rounds)).max(1)) {
            let mut rows = vec![0.0f32; others.len() * rounds * self.length];
            for (i, row) in rows.chunks_exact_mut(self.length).enumerate() {
                let first = i % rounds * countable;
                row[first..self.length.min(first + countable)].fill(unit);
                (row[plus], row[others[i / rounds]]) = (big, -big);
            }
            let sums = (self.sums)(&rows);
            assert_eq!(sums.len(), others.len() * rounds, "one sum for each row");
            for sums in sums.chunks(rounds) {
                let left = sums.iter().map(|sum| sum / unit).sum::<f32>();
                let whole = left.fract() == 0.0 && left >= 0.0 && left <= (self.length - 2) as f32;
                if !whole {
                    return Err(ProbeError::Count { expected: self.length - 2, got: left });
                }
                sizes.push(self.length - left as usize);
            }
        }
        Ok(sizes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Accumulation, dot};

    fn recovered(length: usize, mut sum: impl FnMut(&[f32]) -> f32) -> Result<Recovered, ProbeError> {
        recover(length, Masks::new(DType::Bf16, DType::F32), |rows| {
            rows.chunks(length).map(&mut sum).collect()
        })
    }

    fn by_order(order: Accumulation, length: usize) -> String {
        match recovered(length, |x| dot(order, x, &vec![1.0; length])).unwrap() {
            Recovered::Tree(tree) => {
                assert_eq!(tree.leaves(), length);
                assert_eq!(tree.widest(), 2);
                tree.to_string()
            }
            Recovered::Exact => "exact".to_owned(),
        }
    }

    #[test]
    fn orders_are_what_their_definitions_say() {
        let tile = "(0+2+…+30)+(1+3+…+31)";
        assert_eq!(by_order(Accumulation::Tile32, 32), tile);
        assert_eq!(by_order(Accumulation::Tile32, 576), format!("[18 times, 32 apart: {tile}]"));
        assert_eq!(
            by_order(Accumulation::Tile32, 100),
            format!("[3 times, 32 apart: {tile}]+((96+98)+(97+99))")
        );
        assert_eq!(
            by_order(Accumulation::Tile32Blocked, 576),
            format!("[2 times, 288 apart: [9 times, 32 apart: {tile}]]")
        );
        assert_eq!(by_order(Accumulation::Sequential, 100), "0+1+…+99");
        assert_eq!(by_order(Accumulation::Reversed, 100), "99+98+…+0");
        assert_eq!(by_order(Accumulation::Dot2, 64), "1+0+3+2+…+63+62");
        assert_eq!(by_order(Accumulation::Dot2, 576), "1+0+3+2+…+511+510+(513+512+515+514+…+575+574)");
        assert_eq!(
            by_order(Accumulation::Dot2Lanes, 64),
            "[2 times, 4 apart: [2 times, 2 apart: [2 times, 8 apart: (1+0+33+32)+(17+16+49+48)]]]"
        );
        assert_eq!(by_order(Accumulation::Pairwise, 128), "[2 times, 64 apart: (0+1+…+31)+(32+33+…+63)]");
        assert_eq!(by_order("split-k(3)".parse().unwrap(), 96), "[3 times, 32 apart: 0+1+…+31]");
        assert_eq!(by_order(Accumulation::Exact, 64), "exact");
    }

    #[test]
    fn the_tree_has_the_bits_of_the_sum() {
        for order in Accumulation::ALL {
            for length in [1, 2, 3, 33, 64, 100, 576, 1536] {
                let ones = vec![1.0; length];
                let Recovered::Tree(tree) = recovered(length, |x| dot(order, x, &ones)).unwrap() else {
                    assert_eq!(order, Accumulation::Exact);
                    continue;
                };
                let x: Vec<f32> = (0..length as u32)
                    .map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 8_388_608.0 - 1.0)
                    .collect();
                assert_eq!(tree.sum(&x), Some(dot(order, &x, &ones)), "{order} over {length}");
            }
        }
    }

    /// Four at a time, as a tensor core: f64 here stands for an adder that aligns all to the
    /// largest.
    #[test]
    fn steps_of_more_than_two_are_seen() {
        let fused = |x: &[f32]| {
            x.chunks(4).fold(0.0f32, |acc, x| {
                let largest = x.iter().fold(acc.abs(), |m, x| m.max(x.abs()));
                let kept = |v: f32| if v.abs() < largest * 2f32.powi(-23) { 0.0 } else { f64::from(v) };
                (kept(acc) + x.iter().map(|&v| kept(v)).sum::<f64>()) as f32
            })
        };
        let Recovered::Tree(tree) = recovered(12, fused).unwrap() else { panic!("a tree") };
        assert_eq!(tree.widest(), 5);
        assert_eq!(tree.to_string(), "{{{0, 1, 2, 3}, 4, 5, 6, 7}, 8, 9, 10, 11}");
    }

    /// A bf16 output counts no further than 256, an f16 input reaches no further than 2^15.
    #[test]
    fn formats_are_no_obstacle() {
        for (input, output) in
            [(DType::Bf16, DType::Bf16), (DType::F16, DType::F16), (DType::F16, DType::F32)]
        {
            let masks = Masks::new(input, output);
            let ones = [1.0; 1000];
            let sums = |rows: &[f32]| {
                let sums: Vec<f32> = rows.chunks(1000).map(|x| dot(Accumulation::Tile32, x, &ones)).collect();
                ulpscope_floats::Floats::from(sums).cast(output).as_f32().into_owned()
            };
            let exact = recovered(1000, |x| dot(Accumulation::Tile32, x, &ones));
            assert_eq!(recover(1000, masks, sums), exact, "{input} to {output}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(recovered(0, |_| 0.0), Err(ProbeError::Length { length: 0 }));
        assert!(matches!(recovered(8, |_| 1.0), Err(ProbeError::Count { expected: 8, .. })));
        // Every other row is added in another order.
        let mut n = 0;
        let error = recovered(64, |x| {
            n += 1;
            let order = if n % 2 == 0 { Accumulation::Sequential } else { Accumulation::Pairwise };
            dot(order, x, &[1.0; 64])
        });
        assert!(matches!(error, Err(ProbeError::NotATree { .. })), "{error:?}");
    }
}
