//! The tree of a sum: which numbers are added first.

use std::fmt;

/// One step of a sum, in postfix notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// Takes the product of this index.
    Leaf(usize),
    /// Adds this many of the latest sums at once: 2 for an ordinary addition.
    Add(usize),
}

/// In which order K products are added up.
///
/// Addition is commutative, so that of two operands none is the first: the one with the smaller
/// smallest index is written first, and two trees are equal if they give the same bits by
/// construction. Adding to a zero is no addition.
///
/// A node adds two sums. More than two only where a machine adds several numbers in one step, as
/// tensor cores do.
///
/// `Display` writes ordinary arithmetic, left to right, parentheses first: `(0+2+…+30)+(1+3+…+31)`.
/// What repeats is written once, `[18 times, 32 apart: …]`, its copies added from left to right.
/// Braces hold what is added in one step, `{0, 1, 2, 3}`.
///
/// ```
/// use ulpscope_kernels::{Accumulation, Masks, Recovered, dot, recover};
/// use ulpscope_floats::DType;
///
/// let masks = Masks::new(DType::Bf16, DType::F32);
/// let ones = [1.0; 64];
/// let sums = |rows: &[f32]| rows.chunks(64).map(|x| dot(Accumulation::Tile32, x, &ones)).collect();
/// let Recovered::Tree(tree) = recover(64, masks, sums)? else { panic!("no tree") };
/// assert_eq!(tree.to_string(), "[2 times, 32 apart: (0+2+…+30)+(1+3+…+31)]");
/// # Ok::<(), ulpscope_kernels::ProbeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SumTree {
    steps: Vec<Step>,
}

impl SumTree {
    /// From nodes that name their parts, the last of them the root. A node without parts is the
    /// leaf `leaf`.
    pub(crate) fn new(nodes: &[Node]) -> Self {
        // Chains are as deep as the sum is long: no recursion here.
        let smallest = nodes.iter().fold(Vec::new(), |mut smallest: Vec<usize>, node| {
            smallest.push(node.parts.iter().map(|&p| smallest[p]).min().unwrap_or(node.leaf));
            smallest
        });
        let mut steps = Vec::new();
        let mut open: Vec<(usize, bool)> =
            nodes.len().checked_sub(1).map(|root| (root, false)).into_iter().collect();
        while let Some((at, visited)) = open.pop() {
            let node = &nodes[at];
            if node.parts.is_empty() {
                steps.push(Step::Leaf(node.leaf));
            } else if visited {
                steps.push(Step::Add(node.parts.len()));
            } else {
                open.push((at, true));
                let mut parts = node.parts.clone();
                parts.sort_by_key(|&p| std::cmp::Reverse(smallest[p]));
                open.extend(parts.into_iter().map(|p| (p, false)));
            }
        }
        SumTree { steps }
    }

    /// How many numbers are added up.
    pub fn leaves(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step, Step::Leaf(_))).count()
    }

    /// The most numbers that are added in one step: 2, or 0 if there is nothing to add.
    pub fn widest(&self) -> usize {
        let width = |step: &Step| if let Step::Add(n) = step { *n } else { 0 };
        self.steps.iter().map(width).max().unwrap_or(0)
    }

    /// The most additions that a product goes through: a bound on the rounding error in units of
    /// half an ulp.
    pub fn depth(&self) -> usize {
        let mut stack = Vec::new();
        for step in &self.steps {
            match step {
                Step::Leaf(_) => stack.push(0),
                Step::Add(n) => {
                    let parts = stack.split_off(stack.len() - n);
                    stack.push(1 + parts.into_iter().max().unwrap_or(0));
                }
            }
        }
        stack.pop().unwrap_or(0)
    }

    /// Adds these products in this order, in f32. `None` if some step adds more than two numbers:
    /// how a machine rounds such a step is not known.
    ///
    /// # Panics
    /// If there are fewer products than leaves.
    pub fn sum(&self, products: &[f32]) -> Option<f32> {
        let mut stack = Vec::new();
        for step in &self.steps {
            let value = match step {
                Step::Leaf(k) => products[*k],
                Step::Add(2) => stack.pop()? + stack.pop()?,
                Step::Add(_) => return None,
            };
            stack.push(value);
        }
        stack.pop()
    }
}

impl fmt::Display for SumTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::tree_text::text(&self.steps))
    }
}

/// A leaf, or a sum of earlier nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    pub(crate) leaf: usize,
    pub(crate) parts: Vec<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(leaf: usize) -> Node {
        Node { leaf, parts: Vec::new() }
    }

    fn add(parts: &[usize]) -> Node {
        Node { leaf: 0, parts: parts.to_vec() }
    }

    #[test]
    fn operands_have_no_order_but_additions_have() {
        let a = SumTree::new(&[leaf(0), leaf(1), leaf(2), add(&[0, 1]), add(&[3, 2])]);
        let b = SumTree::new(&[leaf(2), leaf(1), leaf(0), add(&[1, 2]), add(&[0, 3])]);
        let c = SumTree::new(&[leaf(0), leaf(1), leaf(2), add(&[1, 2]), add(&[0, 3])]);
        assert_eq!(a, b);
        assert_ne!(a, c);
        assert_eq!((a.leaves(), a.depth(), a.widest()), (3, 2, 2));
        assert_eq!(a.sum(&[1e8, -1e8, 1.0]), Some(1.0));
        assert_eq!(c.sum(&[1e8, -1e8, 1.0]), Some(0.0));
    }

    #[test]
    fn a_step_of_three_has_no_rounding_of_ours() {
        let tree = SumTree::new(&[leaf(0), leaf(1), leaf(2), add(&[0, 1, 2])]);
        assert_eq!((tree.widest(), tree.depth(), tree.sum(&[1.0; 3])), (3, 1, None));
        assert_eq!(tree.to_string(), "{0, 1, 2}");
    }

    #[test]
    fn a_sum_of_one_number_is_the_number() {
        let tree = SumTree::new(&[leaf(0)]);
        assert_eq!((tree.leaves(), tree.depth(), tree.sum(&[3.0])), (1, 0, Some(3.0)));
    }
}
