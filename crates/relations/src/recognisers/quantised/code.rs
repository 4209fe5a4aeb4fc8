//! The numbers that quantised formats scale, and whether given values are such.

use ulpscope_floats::blocks::{E2M1, IQ4NL, NF4};
use ulpscope_floats::fp8::{Fp8, Ties};

use crate::grid::Code;
use crate::recognisers::quantised::values::Values;

/// How a group's values lie on a grid.
#[derive(Clone, Copy, Debug)]
pub(super) struct Match {
    /// How unlikely that is by chance: it takes so many tosses of a coin, all heads.
    pub(super) bits: f64,
    /// Steps from the smallest to the largest, plus one.
    pub(super) levels: usize,
    /// Steps from zero to the largest magnitude, if zero is on the grid.
    pub(super) reach: Option<usize>,
    /// Whether the scale is a power of two.
    pub(super) power_of_two: bool,
    /// The distance of neighbours on a uniform grid; 0 on another.
    pub(super) step: f64,
}

/// Values on any grid.
const TRIVIAL: Match = Match { bits: 0.0, levels: 1, reach: None, power_of_two: true, step: 0.0 };

/// Steps of a uniform grid.
const MOST_STEPS: usize = 63;

impl Code {
    /// Whether all values are of this code, with one scale.
    pub(super) fn fits(self, values: &Values) -> Option<Match> {
        if values.sorted.len() < 2 || values.largest == 0.0 {
            return Some(TRIVIAL);
        }
        match self {
            Code::Uniform => uniform(values),
            Code::E2m1 => {
                // A power of two is the likelier scale; several may do where few values occur.
                let mut tops: Vec<f64> = E2M1[1..].iter().rev().copied().collect();
                tops.sort_by_key(|top| !is_power_of_two(values.largest / top));
                scaled(values, tops.into_iter(), |x| nearest(&E2M1, x))
            }
            Code::Nf4 => scaled(values, [1.0, -1.0].into_iter(), |x| nearest(&NF4, x)),
            Code::Iq4nl => {
                // The scale may be negative, and any of the numbers the largest that occurs.
                let mut tops = IQ4NL;
                tops.sort_by(|x, y| y.abs().total_cmp(&x.abs()));
                scaled(values, tops.into_iter(), |x| nearest(&IQ4NL, x))
            }
            // The largest number first, as scales are mostly chosen; then any other, in any binade.
            Code::E5m2 => scaled(values, largest(2, 15, 0), |x| small_float(x, Fp8::E5m2)),
            Code::E4m3 => scaled(values, largest(3, 8, 1), |x| small_float(x, Fp8::E4m3)),
            Code::E4m3fnuz => scaled(values, [240.0].into_iter(), |x| small_float(x, Fp8::E4m3fnuz)),
            Code::Int8 => int8(values),
            Code::Int8Affine => int8_affine(values),
        }
    }
}

/// The largest steps first. Fewer than two distinct steps would leave nothing to test.
fn uniform(values: &Values) -> Option<Match> {
    let (first, range, ends) = range(values);
    (values.sorted.len() - 1..=MOST_STEPS)
        .find_map(|steps| on_steps(values, first, range / steps as f64, ends / steps as f64))
}

fn int8(values: &Values) -> Option<Match> {
    let end = values.slack(values.largest);
    [127.0, 128.0].into_iter().find_map(|steps| on_steps(values, 0.0, values.largest / steps, end / steps))
}

/// A zero point is mostly a whole number, and rounding it may cost steps at the ends.
fn int8_affine(values: &Values) -> Option<Match> {
    let (first, range, ends) = range(values);
    [(0.0, 255.0), (0.0, 254.0), (0.0, 253.0), (first, 255.0)]
        .into_iter()
        .find_map(|(origin, steps)| on_steps(values, origin, range / steps, ends / steps))
}

/// The smallest value, how far the largest is from it, and how exactly that is known.
fn range(values: &Values) -> (f64, f64, f64) {
    let (first, last) = (values.sorted[0], values.sorted[values.sorted.len() - 1]);
    (first, last - first, values.slack(first) + values.slack(last))
}

/// Whether the values lie a whole number of steps from `origin`, which is a value, or zero; `off`
/// is how far the step may be from the true one.
fn on_steps(values: &Values, origin: f64, step: f64, off: f64) -> Option<Match> {
    let from_origin = if origin == 0.0 { 0.0 } else { values.slack(origin) };
    let (first, range, _) = range(values);
    let ends = [first, first + range];
    // Each number of steps that was tried is another chance to hit.
    let mut bits = -(range / step).max(1.0).log2();
    for x in &values.sorted {
        let place = (x - origin) / step;
        let whole = place.round();
        let slack = values.slack(*x) + from_origin + whole.abs() * off;
        if (place - whole).abs() * step > slack {
            return None;
        }
        if *x != origin && !ends.contains(x) {
            bits -= (2.0 * slack / step).min(1.0).log2();
        }
    }
    let below = origin / step;
    let slack = (from_origin + below.abs() * off) / step;
    let reach = ((below - below.round()).abs() <= slack).then(|| (values.largest / step).round() as usize);
    Some(Match {
        bits: bits.max(0.0),
        levels: (range / step).round() as usize + 1,
        reach,
        power_of_two: is_power_of_two(step),
        step,
    })
}

/// Whether some scale leads from numbers of a code to the values: `nearest` rounds to such a number
/// and gives the distance of its neighbours; `tops` are those that the largest magnitude may be,
/// the likeliest first.
fn scaled(
    values: &Values,
    tops: impl Iterator<Item = f64>,
    nearest: impl Fn(f64) -> (f64, f64),
) -> Option<Match> {
    tops.enumerate().find_map(|(tried, top)| {
        let scale = values.peak / top;
        let end = values.slack(values.largest);
        let mut bits = -((tried + 1) as f64).log2();
        for x in &values.sorted {
            let (code, gap) = nearest(x / scale);
            let slack = values.slack(*x) + (code / top).abs() * end;
            if (code * scale - x).abs() > slack {
                return None;
            }
            if x.abs() != values.largest {
                bits -= (2.0 * slack / (gap * scale).abs()).min(1.0).log2();
            }
        }
        let power_of_two = is_power_of_two(scale);
        Some(Match {
            bits: bits.max(0.0),
            levels: values.sorted.len(),
            reach: nearest(0.0).0.eq(&0.0).then_some(0),
            power_of_two,
            step: 0.0,
        })
    })
}

/// The number of a sorted table that is nearest to `x`, by magnitude if the table has no negative
/// ones; and how far its nearest neighbour is.
fn nearest(table: &[f64], x: f64) -> (f64, f64) {
    let signed = table[0] < 0.0;
    let wanted = if signed { x } else { x.abs() };
    let above = table.partition_point(|t| *t < wanted).clamp(1, table.len() - 1);
    let at = if wanted - table[above - 1] < table[above] - wanted { above - 1 } else { above };
    let gap = [at.checked_sub(1), Some(at + 1)]
        .into_iter()
        .flatten()
        .filter_map(|i| table.get(i))
        .map(|t| (t - table[at]).abs())
        .fold(f64::INFINITY, f64::min);
    (if signed { table[at] } else { table[at].copysign(x) }, gap)
}

/// The number of `format` nearest to `x`, and the spacing there.
///
/// Ties go away from zero, as in most quantisers. The scale is chosen such that no number is beyond
/// the largest.
fn small_float(x: f64, format: Fp8) -> (f64, f64) {
    (format.nearest(x, Ties::Away), format.spacing(x))
}

/// Magnitudes of a small float that the largest value may have: with exponent `top` and all others
/// below, the largest number first, which for e4m3 is 448 and for e5m2 57344: the former's
/// `missing` one is its NaN.
fn largest(bits: i32, top: i32, missing: i32) -> impl Iterator<Item = f64> {
    let per_binade = 1 << bits;
    (0..2 * top + bits).flat_map(move |down| {
        let skip = if down == 0 { missing } else { 0 };
        (skip..per_binade)
            .map(move |i| f64::from(2 * per_binade - 1 - i) * f64::from(top - down - bits).exp2())
    })
}

fn is_power_of_two(x: f64) -> bool {
    x.to_bits() & ((1 << 52) - 1) == 0
}
