//! What two tensors have to do with each other, as data and as sentences.

use std::fmt;

use crate::grid::Grid;
use crate::place::Place;
use crate::rearrangement::{Axis, Rearrangement};
use crate::recognisers::ulps::Ulps;
use crate::relation::{Change, Relation};
use crate::text;

/// What two tensors have to do with each other.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// A rule, verified on every element.
    Exact(Relation),
    /// No rule was found; this is how far apart they are.
    Described(Description),
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Statement::Exact(relation) => relation.fmt(f),
            Statement::Described(description) => description.fmt(f),
        }
    }
}

/// Two tensors in numbers. Nothing here is a rule that leads from one to the other.
#[derive(Clone, Debug, PartialEq)]
pub enum Description {
    /// They have different numbers of elements.
    Lengths {
        /// Elements of each side.
        len: [usize; 2],
    },
    /// `b` has NaNs or infinities where `a` is finite.
    NotFinite {
        /// NaNs of `b` where `a` is finite.
        nan: usize,
        /// Infinities of `b` where `a` is finite.
        infinite: usize,
        /// All elements.
        len: usize,
    },
    /// All elements of `b` are one number.
    Constant {
        /// The number.
        value: f64,
    },
    /// Both are in one format, and no element is more than two of its numbers off.
    Ulps(Ulps),
    /// Near to `a`, or to a multiple of it, and on no grid that is known.
    Noisy {
        /// The factor by which `b` is nearest to `a`; 1 unless another is much better.
        gain: f64,
        /// Signal-to-noise ratio, `gain * a` being the signal.
        sqnr_db: f64,
        /// The share of elements that are equal.
        equal: f64,
    },
    /// Something of low rank was added, as a merged adapter is.
    Update {
        /// Its rank, up to the rounding of `b`.
        rank: usize,
        /// Whether that was seen in a part of the rows and columns only.
        sampled: bool,
        /// Signal-to-noise ratio, what was added being the noise.
        sqnr_db: f64,
    },
    /// `b` has a low rank, which `a` has not, as a truncated decomposition leaves it.
    Reduced {
        /// Its rank, up to its rounding.
        rank: usize,
        /// Whether that was seen in a part of the rows and columns only.
        sampled: bool,
        /// Signal-to-noise ratio.
        sqnr_db: f64,
    },
    /// The products of rows, or of columns, are those of `a`: it is in another basis.
    Rotated {
        /// What the basis mixes.
        axis: Axis,
        /// How far products are apart at most, as a share of the lengths.
        apart: f64,
    },
    /// Near to `a`, or to a multiple of it, only once `a` is rearranged.
    Aligned {
        /// How `a` must be rearranged.
        by: Rearrangement,
        /// The factor by which `b` is nearest to it then; 1 unless another is much better.
        gain: f64,
        /// Signal-to-noise ratio then.
        sqnr_db: f64,
        /// The grid that `b` lies on, if it is quantised.
        grid: Option<Grid>,
    },
    /// Near to `a`, in so few different numbers a row or column that they must be codes with few
    /// scales, whose groups are not neighbours.
    Coded {
        /// What has few numbers.
        axis: Axis,
        /// How many at most.
        numbers: usize,
        /// Signal-to-noise ratio.
        sqnr_db: f64,
    },
    /// Negative elements are larger by a constant for each row: codes of a signed format, read as
    /// those of an unsigned one.
    Unsigned {
        /// The constant, as a multiple of the largest magnitude of its row.
        by: f64,
    },
    /// Heads of each group are their mean.
    Averaged {
        /// How many heads there are.
        heads: usize,
        /// How many of them are one now.
        group: usize,
    },
    /// Some rows or columns have nothing to do with the original's; of the others there is a
    /// statement of its own.
    Except {
        /// What is known of those near to the original's.
        rest: Box<Statement>,
        /// The others, and what they are.
        parts: Vec<(Place, Change)>,
    },
    /// Uncorrelated.
    Unrelated {
        /// Correlation coefficient.
        correlation: f64,
        /// Root mean square of each side.
        rms: [f64; 2],
        /// Whether mean and spread are about the same, as when weights are initialised again.
        alike: bool,
    },
    /// Neither near nor unrelated.
    Correlated {
        /// Correlation coefficient.
        correlation: f64,
        /// Signal-to-noise ratio.
        sqnr_db: f64,
        /// The share of elements that are equal.
        equal: f64,
    },
}

/// `a`, or a multiple of it.
fn times(gain: f64) -> String {
    match gain {
        1.0 => "a".to_owned(),
        -1.0 => "-a".to_owned(),
        _ => format!("{}*a", text::short(gain)),
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use text::{decibels, percent, share, short};
        match self {
            Description::Lengths { len: [a, b] } => write!(f, "a has {a} elements, b has {b}"),
            Description::NotFinite { nan, infinite, len } => {
                write!(
                    f,
                    "b has {nan} NaNs and {infinite} infinities where a has none ({})",
                    percent(nan + infinite, *len)
                )
            }
            Description::Constant { value } => write!(f, "every element of b is {}", text::exact(*value)),
            Description::Ulps(ulps) => ulps.fmt(f),
            Description::Noisy { gain, sqnr_db, equal } => {
                let a = times(*gain);
                write!(f, "b = {a} plus noise, SQNR {}, {} equal", decibels(*sqnr_db), share(*equal))
            }
            Description::Update { rank, sampled, sqnr_db } => {
                write!(f, "b = a plus a matrix of rank {rank}{}, SQNR {}", part(*sampled), decibels(*sqnr_db))
            }
            Description::Reduced { rank, sampled, sqnr_db } => {
                write!(f, "b has rank {rank}{}, SQNR {}", part(*sampled), decibels(*sqnr_db))
            }
            Description::Rotated { axis, apart } => {
                let across = if *axis == Axis::Columns { Axis::Rows } else { Axis::Columns };
                write!(
                    f,
                    "b = a with its {axis} rotated or permuted: products of {across} are the same to {}",
                    share(*apart)
                )
            }
            Description::Aligned { by, gain, sqnr_db, grid } => {
                write!(f, "b = {} {by}", times(*gain))?;
                if sqnr_db.is_finite() {
                    write!(f, ", plus noise, SQNR {}", decibels(*sqnr_db))?;
                }
                grid.as_ref().map_or(Ok(()), |grid| write!(f, "; b lies on a grid {grid}"))
            }
            Description::Except { rest, parts } => {
                write!(f, "{rest}")?;
                (parts.iter().enumerate()).try_for_each(|(i, (place, change))| {
                    write!(f, "{}{place}{change}", if i == 0 { ", except " } else { ", and " })
                })
            }
            Description::Coded { axis, numbers, sqnr_db } => {
                let each = if *axis == Axis::Columns { "column" } else { "row" };
                write!(
                    f,
                    "b = a quantised: at most {numbers} different numbers in each {each}, SQNR {}",
                    decibels(*sqnr_db)
                )
            }
            Description::Unsigned { by } => write!(
                f,
                "b = a, but for negative elements, which are larger by {} times the largest of their row, as signed codes are \
                 that are read as unsigned",
                short(*by)
            ),
            Description::Averaged { heads, group } => {
                write!(f, "b = a with its {heads} heads in groups of {group}, of which each is the mean")
            }
            Description::Unrelated { correlation, rms: [a, b], alike } => {
                let what =
                    if *alike { "unrelated numbers of the same distribution" } else { "unrelated numbers" };
                write!(f, "{what}: correlation {}, rms {} and {}", short(*correlation), short(*a), short(*b))
            }
            Description::Correlated { correlation, sqnr_db, equal } => write!(
                f,
                "no simple relation: correlation {}, SQNR {}, {} equal",
                short(*correlation),
                decibels(*sqnr_db),
                share(*equal)
            ),
        }
    }
}

/// What a rank is known of.
fn part(sampled: bool) -> &'static str {
    if sampled { " (seen in a part of it)" } else { "" }
}
