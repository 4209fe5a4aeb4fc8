//! Orders that rows are found in, and the names of those that have one.

use std::collections::HashMap;
use std::fmt;

/// A permutation: where each place's content came from ([`Order::source`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Two changed places.
    Swapped(usize, usize),
    /// Last to first.
    Reversed,
    /// Each two neighbours changed places.
    Neighbours,
    /// Each moved this many places toward the end, and from there to the start.
    Rolled(isize),
    /// Each head's rows were put into another layout for rotary embeddings.
    Heads {
        /// The layout they are in now.
        to: HeadLayout,
        /// The number of heads.
        heads: usize,
    },
    /// Put into a layout that they were in already.
    HeadsTwice {
        /// The layout.
        to: HeadLayout,
        /// The number of heads.
        heads: usize,
    },
    /// Put into a layout for one number of heads, and back for another: a wrong head count.
    HeadsMismatched {
        /// The layout they were put into first.
        to: HeadLayout,
        /// The number of heads that this was done for.
        heads: usize,
        /// The number of heads that it was undone for.
        undone_for: usize,
    },
    /// Blocks of neighbours changed places as they are.
    Blocks {
        /// Length of a block.
        size: usize,
        /// For each block, which one it was.
        source: Vec<usize>,
    },
    /// Any other.
    Other {
        /// For each place, which one it was.
        source: Vec<usize>,
    },
}

/// How the rows of a head's query or key projection lie, of which rotary embeddings turn pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadLayout {
    /// Pairs are neighbours: Meta's checkpoints, GGUF files of Llama models.
    Interleaved,
    /// Pairs are half a head apart: Hugging Face.
    HalfSplit,
}

impl HeadLayout {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            HeadLayout::Interleaved => HeadLayout::HalfSplit,
            HeadLayout::HalfSplit => HeadLayout::Interleaved,
        }
    }

    /// For place `i` in this layout, which place it was in the other, with `width` rows for a head.
    fn source(self, i: usize, width: usize) -> usize {
        let (start, place) = (i - i % width, i % width);
        start
            + match self {
                HeadLayout::Interleaved => place % 2 * (width / 2) + place / 2,
                HeadLayout::HalfSplit => place % (width / 2) * 2 + place / (width / 2),
            }
    }
}

impl fmt::Display for HeadLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HeadLayout::Interleaved => "interleaved",
            HeadLayout::HalfSplit => "half-split",
        })
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moved = |source: &[usize]| source.iter().enumerate().filter(|(i, s)| i != *s).count();
        match self {
            Order::Swapped(i, j) => write!(f, "{i} and {j} swapped"),
            Order::Reversed => f.write_str("in reverse"),
            Order::Neighbours => {
                f.write_str("each two neighbours swapped, as nibbles in the wrong order are")
            }
            Order::Rolled(by) => write!(f, "rolled by {by}"),
            Order::Heads { to, heads } => write!(f, "{to} layout of {heads} {}", plural(*heads, "head")),
            Order::HeadsTwice { to, heads } => {
                write!(f, "{to} layout of {heads} {}, applied twice", plural(*heads, "head"))
            }
            Order::HeadsMismatched { to, heads, undone_for } => {
                write!(f, "{to} layout of {heads} {}, undone for {undone_for}", plural(*heads, "head"))
            }
            Order::Blocks { size, source } => {
                write!(f, "{} of {} blocks of {size} moved", moved(source), source.len())
            }
            Order::Other { source } => write!(f, "{} of {} moved", moved(source), source.len()),
        }
    }
}

fn plural(n: usize, what: &str) -> String {
    if n == 1 { what.to_owned() } else { format!("{what}s") }
}

impl Order {
    /// The place among `n` that the content of place `i` came from.
    pub fn source(&self, i: usize, n: usize) -> usize {
        match self {
            Order::Swapped(x, y) if i == *x => *y,
            Order::Swapped(x, y) if i == *y => *x,
            Order::Swapped(..) => i,
            Order::Reversed => n - 1 - i,
            Order::Neighbours if i ^ 1 < n => i ^ 1,
            Order::Neighbours => i,
            Order::Rolled(by) => (i as isize - by).rem_euclid(n as isize) as usize,
            Order::Heads { to, heads } => to.source(i, n / heads),
            Order::HeadsTwice { to, heads } => to.source(to.source(i, n / heads), n / heads),
            // The last step is undone first: it says where its content was after the first one.
            Order::HeadsMismatched { to, heads, undone_for } => {
                to.source(to.other().source(i, n / undone_for), n / heads)
            }
            Order::Blocks { size, source } => source[i / size] * size + i % size,
            Order::Other { source } => source[i],
        }
    }

    /// Whether this is a layout of heads, of `n` rows in all: few rows, many times over, are an
    /// order of packed codes.
    pub fn of_heads(&self, n: usize) -> bool {
        const FEW: usize = 16;
        match self {
            Order::Heads { heads, .. } | Order::HeadsTwice { heads, .. } => n / heads >= FEW || *heads <= FEW,
            Order::HeadsMismatched { .. } => true,
            _ => false,
        }
    }

    /// The order that leads from keys `a` to the same keys in other places, `b`. `None` if they are
    /// other keys.
    pub(crate) fn of(a: &[u64], b: &[u64], heads: &[usize]) -> Option<Order> {
        let n = a.len();
        let leads = |order: &Order| (0..n).all(|i| b[i] == a[order.source(i, n)]);
        let moved: Vec<usize> = (0..n).filter(|&i| a[i] != b[i]).take(3).collect();
        if let [i, j] = moved[..]
            && leads(&Order::Swapped(i, j))
        {
            return Some(Order::Swapped(i, j));
        }
        // Where keys occur more than once, several orders lead from one to the other; names go
        // first.
        let rolls = (1..n).filter(|&k| a[k] == b[0]).take(16).map(|k| {
            let back = k as isize;
            Order::Rolled(if k > n / 2 { n as isize - back } else { -back })
        });
        // Blocks that moved whole are likelier than a layout for head counts that the model has
        // not.
        let known = |order: &Order| match order {
            Order::HeadsMismatched { heads: to, undone_for, .. } => {
                heads.contains(to) && heads.contains(undone_for)
            }
            _ => true,
        };
        [Order::Reversed, Order::Neighbours]
            .into_iter()
            .chain(rolls)
            .find(&leads)
            .or_else(|| head_orders(n, heads).filter(known).find(&leads))
            .or_else(|| match by_key(a, b)? {
                blocks @ Order::Blocks { .. } => Some(blocks),
                other => head_orders(n, heads).find(leads).or(Some(other)),
            })
    }
}

/// All orders of head layouts that `n` rows can be in, likelier ones first.
pub(crate) fn head_orders(n: usize, heads: &[usize]) -> impl Iterator<Item = Order> + use<> {
    let fits = move |heads: &usize| *heads > 0 && n.is_multiple_of(2 * *heads) && n / heads >= 4;
    let mut counts: Vec<usize> = heads.iter().copied().filter(fits).collect();
    // More heads than this no model has, and vectors of a million elements have many divisors.
    counts.extend((1..=n.min(1024)).filter(fits).filter(|h| !heads.contains(h)));
    let layouts = [HeadLayout::Interleaved, HeadLayout::HalfSplit];
    let once = counts.clone().into_iter().flat_map(move |heads| layouts.map(|to| Order::Heads { to, heads }));
    let twice =
        counts.clone().into_iter().flat_map(move |heads| layouts.map(|to| Order::HeadsTwice { to, heads }));
    let pairs = counts.clone().into_iter().flat_map(move |heads| {
        let others = counts.clone().into_iter().filter(move |other| *other != heads);
        others.flat_map(move |undone_for| layouts.map(|to| Order::HeadsMismatched { to, heads, undone_for }))
    });
    once.chain(twice).chain(pairs)
}

/// The order by which equal keys pair up; of several equal ones, those that can stay where they
/// are.
fn by_key(a: &[u64], b: &[u64]) -> Option<Order> {
    let n = a.len();
    let mut places: HashMap<u64, Vec<usize>> = HashMap::with_capacity(n);
    for i in (0..n).rev().filter(|&i| a[i] != b[i]) {
        places.entry(a[i]).or_default().push(i);
    }
    let source: Vec<usize> = (0..n)
        .map(|i| if a[i] == b[i] { Some(i) } else { places.get_mut(&b[i])?.pop() })
        .collect::<Option<_>>()?;
    let whole = |size: &usize| {
        source.chunks(*size).all(|c| c[0] % size == 0 && c.iter().enumerate().all(|(i, s)| *s == c[0] + i))
    };
    let size = (2..=n / 2).rev().filter(|size| n.is_multiple_of(*size)).find(whole);
    Some(match size {
        Some(size) => Order::Blocks { size, source: source.iter().step_by(size).map(|s| s / size).collect() },
        None => Order::Other { source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(order: &Order, a: &[u64]) -> Vec<u64> {
        (0..a.len()).map(|i| a[order.source(i, a.len())]).collect()
    }

    #[test]
    fn every_order_is_recognised() {
        let a: Vec<u64> = (0..48u64).map(|i| i * 17 + 5).collect();
        let orders = [
            Order::Swapped(3, 40),
            Order::Reversed,
            Order::Neighbours,
            Order::Rolled(1),
            Order::Rolled(-5),
            Order::Heads { to: HeadLayout::Interleaved, heads: 3 },
            Order::Heads { to: HeadLayout::HalfSplit, heads: 2 },
            Order::HeadsTwice { to: HeadLayout::Interleaved, heads: 3 },
            Order::HeadsMismatched { to: HeadLayout::Interleaved, heads: 3, undone_for: 1 },
            Order::Blocks { size: 12, source: vec![2, 0, 1, 3] },
        ];
        for order in orders {
            let found = Order::of(&a, &apply(&order, &a), &[3, 1]);
            assert_eq!(found, Some(order));
        }
        let mut other: Vec<usize> = (0..48).collect();
        other.swap(1, 20);
        other.swap(20, 33);
        let order = Order::Other { source: other };
        assert_eq!(Order::of(&a, &apply(&order, &a), &[]), Some(order));
        assert_eq!(Order::of(&a, &a.iter().map(|x| x + 1).collect::<Vec<_>>(), &[]), None);
    }

    #[test]
    fn layouts_are_what_converters_do() {
        // w.reshape(heads, 2, d/2).swapaxes(1, 2) of one head of 8 rows.
        let rows = [0u64, 1, 2, 3, 4, 5, 6, 7];
        let order = Order::Heads { to: HeadLayout::Interleaved, heads: 1 };
        assert_eq!(apply(&order, &rows), [0, 4, 1, 5, 2, 6, 3, 7]);
        let back = Order::Heads { to: HeadLayout::HalfSplit, heads: 1 };
        assert_eq!(apply(&back, &apply(&order, &rows)), rows);
    }

    #[test]
    fn equal_rows_do_not_hide_a_layout() {
        let a: Vec<u64> = (0..64u64).map(|i| if i % 3 == 0 { 7 } else { i }).collect();
        for heads in [1, 2, 4] {
            let order = Order::Heads { to: HeadLayout::Interleaved, heads };
            assert_eq!(Order::of(&a, &apply(&order, &a), &[]), Some(order));
        }
    }
}
