//! What can be measured where no exact relation holds.

use std::fmt;

use rayon::prelude::*;
use ulpscope_floats::{Float, Floats};

use super::layout::{Axis, Rearrangement};
use super::quantised::Grid;
use super::text;
use super::view::{PIECE, View};
use super::{Change, Place, Statement};

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
    /// Near to `a`, in so few different numbers a row or column that they must be codes with few scales, whose groups are not
    /// neighbours.
    Coded {
        /// What has few numbers.
        axis: Axis,
        /// How many at most.
        numbers: usize,
        /// Signal-to-noise ratio.
        sqnr_db: f64,
    },
    /// Negative elements are larger by a constant for each row: codes of a signed format, read as those of an unsigned one.
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
    /// Some rows or columns have nothing to do with the original's; of the others there is a statement of its own.
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

/// Elements that differ by single steps of their format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ulps {
    /// Elements that differ.
    pub differing: usize,
    /// Those of them in which `b` is nearer to zero.
    pub toward_zero: usize,
    /// The largest distance in numbers of the format.
    pub largest: u64,
    /// All elements.
    pub len: usize,
}

impl Ulps {
    /// What leaves differences of this kind between two roundings of one array, which is not at hand.
    pub fn likely(&self) -> Option<&'static str> {
        let share = self.differing as f64 / self.len.max(1) as f64;
        let one_sided = self.toward_zero == self.differing || self.toward_zero == 0;
        match self.largest {
            1 if one_sided && share > 0.25 => Some("as between truncation and rounding to nearest"),
            1 if !one_sided && (0.005..0.1).contains(&share) => Some("as between one rounding and two"),
            1 if !one_sided && (0.2..0.3).contains(&share) => {
                Some("as between stochastic rounding and rounding to nearest")
            }
            _ => None,
        }
    }
}

impl fmt::Display for Ulps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of the elements differ, by at most {} ulp, {} of them toward zero",
            text::percent(self.differing, self.len),
            self.largest,
            text::percent(self.toward_zero, self.differing),
        )?;
        self.likely().map_or(Ok(()), |likely| write!(f, " ({likely})"))
    }
}

/// Distances up to this are counted in ulps.
const MOST_ULPS: u64 = 2;

/// Two arrays of one format that are nowhere far apart.
pub(super) fn ulps(a: &Floats, b: &Floats) -> Option<Ulps> {
    match (a, b) {
        (Floats::F64(a), Floats::F64(b)) => ulps_of(a, b),
        (Floats::F32(a), Floats::F32(b)) => ulps_of(a, b),
        (Floats::Bf16(a), Floats::Bf16(b)) => ulps_of(a, b),
        (Floats::F16(a), Floats::F16(b)) => ulps_of(a, b),
        _ => None,
    }
}

fn ulps_of<T: Float>(a: &[T], b: &[T]) -> Option<Ulps> {
    let mut found = Ulps { differing: 0, toward_zero: 0, largest: 0, len: a.len() };
    for (x, y) in a.iter().zip(b) {
        let (Some(x), Some(y)) = (x.rank(), y.rank()) else {
            return None;
        };
        let distance = x.abs_diff(y);
        if distance > MOST_ULPS {
            return None;
        }
        found.differing += usize::from(distance > 0);
        found.toward_zero += usize::from(y.abs() < x.abs());
        found.largest = found.largest.max(distance);
    }
    Some(found)
}

/// Sums over the pairs of finite elements, from which the rest follows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moments {
    len: usize,
    finite: f64,
    equal: usize,
    pub(super) nan: usize,
    pub(super) infinite: usize,
    a: f64,
    b: f64,
    aa: f64,
    bb: f64,
    ab: f64,
    dd: f64,
    smallest: f64,
    largest: f64,
}

impl Moments {
    pub(super) fn of(a: View, b: View) -> Moments {
        const TASK: usize = 32 * PIECE;
        let part = |start: usize| {
            let (mut x, mut y) = ([0.0; PIECE], [0.0; PIECE]);
            let mut m = Moments::new();
            for start in (start..a.len().min(start + TASK)).step_by(PIECE) {
                let n = PIECE.min(a.len() - start);
                a.read(start, &mut x[..n]);
                b.read(start, &mut y[..n]);
                m.add(&x[..n], &y[..n]);
            }
            m
        };
        // Summed up in the order of the array, whichever thread was first.
        let parts: Vec<Moments> =
            (0..a.len().div_ceil(TASK)).into_par_iter().map(|i| part(i * TASK)).collect();
        parts.iter().fold(Moments::new(), |m, part| m.plus(part))
    }

    pub(super) fn new() -> Moments {
        Moments { smallest: f64::INFINITY, largest: f64::NEG_INFINITY, ..Moments::default() }
    }

    pub(super) fn add(&mut self, a: &[f64], b: &[f64]) {
        for (&x, &y) in a.iter().zip(b) {
            self.len += 1;
            self.smallest = if y < self.smallest { y } else { self.smallest };
            self.largest = if y > self.largest { y } else { self.largest };
            if x.is_finite() && y.is_finite() {
                self.finite += 1.0;
                self.equal += usize::from(x == y);
                self.a += x;
                self.b += y;
                self.aa += x * x;
                self.bb += y * y;
                self.ab += x * y;
                self.dd += (x - y) * (x - y);
            } else if x.is_finite() {
                self.nan += usize::from(y.is_nan());
                self.infinite += usize::from(y.is_infinite());
            }
        }
    }

    fn plus(self, other: &Moments) -> Moments {
        Moments {
            len: self.len + other.len,
            finite: self.finite + other.finite,
            equal: self.equal + other.equal,
            nan: self.nan + other.nan,
            infinite: self.infinite + other.infinite,
            a: self.a + other.a,
            b: self.b + other.b,
            aa: self.aa + other.aa,
            bb: self.bb + other.bb,
            ab: self.ab + other.ab,
            dd: self.dd + other.dd,
            smallest: self.smallest.min(other.smallest),
            largest: self.largest.max(other.largest),
        }
    }

    /// The number that all of `b` is.
    pub(super) fn constant(&self) -> Option<f64> {
        (self.smallest == self.largest && self.finite as usize == self.len).then_some(self.smallest)
    }

    pub(super) fn equal(&self) -> f64 {
        self.equal as f64 / self.len.max(1) as f64
    }

    /// Correlation coefficient; 0 if either side is constant.
    pub(super) fn correlation(&self) -> f64 {
        let n = self.finite;
        let covariance = self.ab - self.a * self.b / n;
        let (va, vb) = (self.aa - self.a * self.a / n, self.bb - self.b * self.b / n);
        // What is left of a constant is rounding.
        let tiny = 1e-12;
        if va <= tiny * self.aa || vb <= tiny * self.bb { 0.0 } else { covariance / (va * vb).sqrt() }
    }

    /// The factor by which `a` is nearest to `b`.
    pub(super) fn gain(&self) -> f64 {
        self.ab / self.aa
    }

    /// The sum of the squares of `a`.
    pub(super) fn signal(&self) -> f64 {
        self.aa
    }

    /// The sum of the squares of `b - a`.
    pub(super) fn noise(&self) -> f64 {
        self.dd
    }

    /// The same with `b` times the factor that leaves least.
    pub(super) fn unscaled(&self) -> f64 {
        let along = if self.bb > 0.0 { self.ab * self.ab / self.bb } else { 0.0 };
        (self.aa - along).max(0.0)
    }

    /// The same with the summand to `b` that leaves least.
    pub(super) fn unshifted(&self) -> f64 {
        (self.dd - (self.b - self.a).powi(2) / self.finite.max(1.0)).max(0.0)
    }

    /// Signal-to-noise ratio of `b` to `gain * a`, in dB.
    pub(super) fn sqnr_db(&self, gain: f64) -> f64 {
        // Of nearly equal arrays the difference of the sums would be rounding alone.
        let noise =
            if gain == 1.0 { self.dd } else { self.bb - 2.0 * gain * self.ab + gain * gain * self.aa };
        10.0 * (gain * gain * self.aa / noise.max(0.0)).log10()
    }

    pub(super) fn rms(&self) -> [f64; 2] {
        [self.aa, self.bb].map(|squares| (squares / self.finite.max(1.0)).sqrt())
    }

    fn means(&self) -> [f64; 2] {
        [self.a, self.b].map(|sum| sum / self.finite.max(1.0))
    }

    /// The factor to `a` beside which `b` is near, and how near; 1 unless another is much better.
    pub(super) fn near(&self) -> Option<(f64, f64)> {
        let (plain, gain, correlation) = (self.sqnr_db(1.0), self.gain(), self.correlation());
        let scaled = self.sqnr_db(gain);
        // Without a correlation, two arrays of one mean are near only as constants are.
        if plain > NEAR_DB && correlation > 0.5 && scaled < plain + 3.0 {
            return Some((1.0, plain));
        }
        (scaled > NEAR_DB && correlation.abs() > 0.5).then_some((gain, scaled))
    }

    /// The description in these numbers alone.
    pub(super) fn describe(&self) -> Description {
        if self.nan + self.infinite > 0 {
            return Description::NotFinite { nan: self.nan, infinite: self.infinite, len: self.len };
        }
        if let Some(value) = self.constant() {
            return Description::Constant { value };
        }
        let (correlation, equal) = (self.correlation(), self.equal());
        if let Some((gain, sqnr_db)) = self.near() {
            return Description::Noisy { gain, sqnr_db, equal };
        }
        // Five standard deviations of the coefficient of unrelated numbers.
        let chance = (5.0 / self.finite.max(1.0).sqrt()).max(0.02);
        if correlation.abs() < chance && equal < 0.1 {
            let (rms, means) = (self.rms(), self.means());
            let alike =
                (0.8..1.25).contains(&(rms[1] / rms[0])) && (means[0] - means[1]).abs() < 0.2 * rms[0];
            return Description::Unrelated { correlation, rms, alike };
        }
        Description::Correlated { correlation, sqnr_db: self.sqnr_db(1.0), equal }
    }
}

/// From here on one array is said to be near another.
pub(super) const NEAR_DB: f64 = 10.0;

#[cfg(test)]
mod tests {
    use ulpscope_floats::{DType, Rounding};

    use super::*;
    use crate::samples::{build, gaussian};

    fn said(a: &Floats, b: &Floats) -> String {
        Moments::of(View::plain(a), View::plain(b)).describe().to_string()
    }

    #[test]
    fn what_is_measured() {
        let (a, other) = (gaussian(100_000, 1), gaussian(100_000, 2));
        let noisy = build(&a, |i| a.get(i) + 0.01 * other.get(i));
        assert!(said(&a, &noisy).starts_with("b = a plus noise, SQNR 40.0 dB, 0"), "{}", said(&a, &noisy));
        let half = build(&a, |i| 0.5 * a.get(i) + 0.005 * other.get(i));
        assert!(said(&a, &half).starts_with("b = 0.5*a plus noise, SQNR 40.0 dB"), "{}", said(&a, &half));
        let fresh = said(&a, &other);
        assert!(fresh.starts_with("unrelated numbers of the same distribution: correlation "), "{fresh}");
        let larger = build(&other, |i| 3.0 * other.get(i));
        assert!(said(&a, &larger).starts_with("unrelated numbers: correlation "), "{}", said(&a, &larger));
        assert_eq!(said(&a, &build(&a, |_| 0.25)), "every element of b is 0.25");
        let mixed = build(&a, |i| a.get(i) + other.get(i));
        assert!(said(&a, &mixed).starts_with("no simple relation: correlation 0.7"), "{}", said(&a, &mixed));
        let broken = build(&a, |i| if i < 5 { f64::NAN } else { other.get(i) });
        assert_eq!(said(&a, &broken), "b has 5 NaNs and 0 infinities where a has none (0.005 %)");
    }

    #[test]
    fn two_roundings_of_one_array() {
        let x = gaussian(50_000, 3);
        let nearest = x.cast(DType::Bf16);
        let likely = |b: &Floats| ulps(&nearest, b).and_then(|u| u.likely());
        assert_eq!(
            likely(&Rounding::TruncateBf16.apply(&x)),
            Some("as between truncation and rounding to nearest")
        );
        assert_eq!(likely(&Rounding::NearestBf16ViaF16.apply(&x)), Some("as between one rounding and two"));
        assert_eq!(ulps(&nearest, &gaussian(50_000, 4).cast(DType::Bf16)), None);
        let said = ulps(&nearest, &Rounding::NearestBf16ViaF16.apply(&x)).unwrap().to_string();
        assert!(said.contains(" % of the elements differ, by at most 1 ulp, "), "{said}");
    }
}
