//! A factor or a summand, and which constants the elements allow.

use ulpscope_floats::DType;

use crate::cell::{Interval, cell};

/// What was done to every element with one constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Multiplied by it.
    Times,
    /// It was added.
    Plus,
}

/// Elements that must constrain the constant. Four hit a common interval by chance once in millions
/// of times.
pub(crate) const EVIDENCE: usize = 4;

impl Operation {
    pub(crate) const ALL: [Operation; 2] = [Operation::Times, Operation::Plus];

    /// The constants that turn some number of `x` into one of `result`: what may have been rounded
    /// to what is there, or a single number that was not. `None` if that says nothing about them.
    pub(crate) fn solve(self, x: Interval, result: Interval) -> Option<Interval> {
        if !(x.low.is_finite() && x.high.is_finite()) || (x.contains(0.0) && self == Operation::Times) {
            return None;
        }
        let (low, high) = match self {
            Operation::Times => {
                let turned = |i: Interval| Interval { low: -i.high, high: -i.low };
                let (x, result) = if x.low > 0.0 { (x, result) } else { (turned(x), turned(result)) };
                (
                    result.low / if result.low > 0.0 { x.high } else { x.low },
                    result.high / if result.high > 0.0 { x.low } else { x.high },
                )
            }
            Operation::Plus => (result.low - x.high, result.high - x.low),
        };
        // The quotient or difference was itself rounded, to f64.
        let slack = match self {
            Operation::Times => 0.0,
            Operation::Plus => x.low.abs().max(x.high.abs()),
        };
        let outwards = |end: f64| 4.0 * f64::EPSILON * (end.abs() + slack);
        let widen = |end: f64, by: f64| if end.is_finite() { end + by } else { end };
        Some(Interval { low: widen(low, -outwards(low)), high: widen(high, outwards(high)) })
    }

    pub(crate) fn apply(self, x: f64, constant: f64) -> f64 {
        match self {
            Operation::Times => x * constant,
            Operation::Plus => x + constant,
        }
    }

    /// The constant that changes nothing.
    pub(crate) fn neutral(self) -> f64 {
        match self {
            Operation::Times => 1.0,
            Operation::Plus => 0.0,
        }
    }
}

/// What the elements seen so far say about a constant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fit {
    /// What fits all of them.
    pub(crate) interval: Interval,
    /// How many of them narrow the constant down, zeros not counted.
    pub(crate) evidence: usize,
    smallest: f64,
    largest: f64,
}

impl Fit {
    pub(crate) const NEW: Fit =
        Fit { interval: Interval::ALL, evidence: 0, smallest: f64::INFINITY, largest: f64::NEG_INFINITY };

    /// Takes the element `x`, which became `y`, into account: `y` was rounded to `to`, and `x`
    /// before to `from`.
    pub(crate) fn add(&mut self, operation: Operation, x: f64, y: f64, from: Option<DType>, to: DType) {
        let source = from.map_or(Interval { low: x, high: x }, |from| cell(x, from));
        let Some(fits) = operation.solve(source, cell(y, to)) else {
            return;
        };
        self.interval = self.interval.and(fits);
        let x = if operation == Operation::Times { x.abs() } else { x };
        self.smallest = self.smallest.min(x);
        self.largest = self.largest.max(x);
        self.evidence += usize::from(y != 0.0 && y.is_finite());
    }

    /// Whether the interval is there, finite, and tight enough to say something.
    pub(crate) fn tells(&self, operation: Operation, format: DType) -> bool {
        let Interval { low, high } = self.interval;
        let narrow = match operation {
            // One element narrows a factor to an ulp; a constant array is a multiple of any other.
            Operation::Times => {
                let ulp = 4.0 * format.unit_roundoff();
                self.interval.width() <= ulp * low.abs().max(high.abs()) && self.largest > self.smallest
            }
            // What was added must be known better than the elements differ, else anything constant
            // is a sum.
            Operation::Plus => self.largest - self.smallest >= 4.0 * self.interval.width(),
        };
        low.is_finite() && high.is_finite() && low <= high && (low > 0.0 || high < 0.0) && narrow
    }
}
