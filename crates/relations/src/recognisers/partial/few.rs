//! A handful of elements that differ, one by one, down to the bit.

use std::fmt;

use ulpscope_floats::{Floats, Rounding};

use crate::side::Side;
use crate::text::exact;
use crate::view::View;

/// As many as this are named one by one.
pub(super) const MOST: usize = 16;

/// As many of them are written out.
const SHOWN: usize = 3;

/// One side is the other, perhaps rounded, but for a few elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Few {
    /// All of them, in order.
    pub changed: Vec<Changed>,
    /// How many elements there are.
    pub len: usize,
    /// How the rest was rounded, if it was.
    pub rounded: Option<Rounding>,
    /// The side that was changed to give the other one.
    pub of: Side,
}

/// An element that differs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Changed {
    /// Its row.
    pub row: usize,
    /// Its column.
    pub column: usize,
    /// What it should be.
    pub from: f64,
    /// What it is.
    pub to: f64,
    /// The bits that differ, if both sides are stored in one format and nothing was rounded; bit 0
    /// is the lowest.
    pub bits: Option<u64>,
}

impl Changed {
    /// The bit that was flipped, if it was a single one.
    pub fn flipped_bit(&self) -> Option<u32> {
        self.bits.filter(|bits| bits.count_ones() == 1).map(u64::trailing_zeros)
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {}]: {} became {}", self.row, self.column, exact(self.from), exact(self.to))?;
        match self.flipped_bit() {
            Some(bit) => write!(f, " (bit {bit} flipped)"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Few {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = self.of.to_string();
        let source = self.rounded.map_or(of.clone(), |by| by.formula(&of));
        let result = self.of.other();
        match &self.changed[..] {
            [one] => write!(f, "{result} = {source}, except element {one}"),
            many => {
                write!(f, "{result} = {source}, except {} of {} elements: ", many.len(), self.len)?;
                let shown: Vec<_> = many.iter().take(SHOWN).map(ToString::to_string).collect();
                let more = if many.len() > SHOWN { ", …" } else { "" };
                write!(f, "{}{more}", shown.join(", "))
            }
        }
    }
}

pub(super) fn few(of: Side, a: View, b: View, columns: usize, at: &[usize]) -> Few {
    let comparable = a.rounding().is_none() && a.floats().dtype() == b.floats().dtype();
    let changed = |&i: &usize| Changed {
        row: i / columns,
        column: i % columns,
        from: a.get(i),
        to: b.get(i),
        bits: comparable.then(|| bits(a.floats(), i) ^ bits(b.floats(), i)),
    };
    Few { changed: at.iter().map(changed).collect(), len: a.len(), rounded: a.rounding(), of }
}

/// The bits of element `i` as they are stored.
fn bits(x: &Floats, i: usize) -> u64 {
    let one = x.slice(i..i + 1);
    one.bytes().iter().rev().fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}
