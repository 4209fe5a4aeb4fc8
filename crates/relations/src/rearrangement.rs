//! The same numbers in other places: transposed, rows or columns in another order, shifted.

use std::fmt;

use ulpscope_floats::Rounding;

use crate::order::{HeadLayout, Order};
use crate::side::Side;

/// One side holds the numbers of the other in another order.
#[derive(Clone, Debug, PartialEq)]
pub struct Rearranged {
    /// Where they went.
    pub by: Rearrangement,
    /// How they were rounded, if they were.
    pub rounded: Option<Rounding>,
    /// The side that was rearranged to give the other one.
    pub of: Side,
}

/// Where the numbers of one side are found in the other.
#[derive(Clone, Debug, PartialEq)]
pub enum Rearrangement {
    /// Element `[i, j]` of the one, taken as `[rows, columns]`, is element `[j, i]` of the other.
    Transposed {
        /// Rows of the one that was transposed.
        rows: usize,
        /// Its columns.
        columns: usize,
    },
    /// Rows, columns or elements in another order.
    Permuted {
        /// What changed places.
        axis: Axis,
        /// How.
        order: Order,
        /// How many there are.
        of: usize,
    },
    /// As by joining shards along the wrong dimension.
    Shards {
        /// How many shards of columns there are.
        count: usize,
        /// Whether they lie one after the other, each with all rows, where they should lie side by
        /// side; else they lay so, and are side by side now.
        stacked: bool,
    },
    /// Everything lies some places further on. Nothing came round again from the other end.
    Shifted {
        /// What is counted. Elements go on into the next row, columns do not.
        axis: Axis,
        /// How many places toward the end; negative: toward the start.
        by: isize,
        /// What lies in the places that became free.
        edge: Edge,
    },
}

/// What a rearrangement moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Whole rows: the first dimension.
    Rows,
    /// Whole columns: all dimensions but the first, taken as one.
    Columns,
    /// Single elements, in the order in which they are stored.
    Elements,
}

impl Axis {
    fn one(self) -> &'static str {
        match self {
            Axis::Rows => "row",
            Axis::Columns => "column",
            Axis::Elements => "element",
        }
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.one())
    }
}

impl fmt::Display for Rearranged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = self.of.to_string();
        let source = self.rounded.map_or(of.clone(), |by| by.formula(&of));
        write!(f, "{} = {source} {}", self.of.other(), self.by)
    }
}

impl fmt::Display for Rearrangement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rearrangement::Transposed { rows, columns } if rows == columns => f.write_str("transposed"),
            Rearrangement::Transposed { rows, columns } => {
                write!(f, "taken as [{rows}, {columns}] and transposed")
            }
            Rearrangement::Permuted { axis, order, of } => match order {
                Order::Swapped(i, j) => write!(f, "with {axis} {i} and {j} swapped"),
                Order::Reversed => write!(f, "with {axis} in reverse order"),
                Order::Rolled(by) => write!(f, "with {axis} rolled by {by} of {of}"),
                // What is no head has no rotary layout.
                Order::Heads { to, heads } if *axis == Axis::Columns || !order.of_heads(*of) => {
                    let how = match to {
                        HeadLayout::Interleaved => "the halves interleaved",
                        HeadLayout::HalfSplit => "the even ones before the odd ones",
                    };
                    write!(f, "with {axis} permuted: of each {}, {how}", of / heads)
                }
                _ => write!(f, "with {axis} permuted: {order}"),
            },
            Rearrangement::Shards { count, stacked: true } => {
                write!(f, "with its {count} shards of columns one after the other, as if they were of rows")
            }
            Rearrangement::Shards { count, stacked: false } => {
                write!(
                    f,
                    "taken as {count} shards of columns, one after the other, that were put side by side"
                )
            }
            Rearrangement::Shifted { axis: Axis::Rows, by, edge: Edge::Kept } => {
                let (from, edge) = if *by > 0 { ("before", "first") } else { ("after", "last") };
                let by = by.abs();
                write!(f, "with each row that of {by} {from}, the {edge} {by} as they were")
            }
            Rearrangement::Shifted { axis, by, edge } => {
                let what = if by.abs() == 1 { axis.one().to_owned() } else { axis.to_string() };
                write!(f, "shifted by {by} {what}, {edge}")
            }
        }
    }
}

/// What lies where nothing was shifted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// What was shifted out at the other end.
    Wrapped,
    /// Zeros.
    Zero,
    /// What was there before.
    Kept,
    /// Other numbers.
    Other,
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Edge::Wrapped => "around the end",
            Edge::Zero => "zeros behind",
            Edge::Kept => "the edge as it was",
            Edge::Other => "other numbers behind",
        })
    }
}
