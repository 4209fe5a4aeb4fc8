//! The numbers that quantised formats scale, and whether given values are such.

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

const E2M1: [f64; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

/// ggml's `kvalues_iq4nl`.
const IQ4NL: [f64; 16] = [
    -127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0,
];

/// From bitsandbytes' `create_normal_map`, as in its kernels.
const NF4: [f64; 16] = [
    -1.0,
    -0.696_192_800_998_687_7,
    -0.525_073_051_452_636_7,
    -0.394_917_488_098_144_53,
    -0.284_441_381_692_886_35,
    -0.184_773_430_228_233_34,
    -0.091_050_036_251_544_95,
    0.0,
    0.079_580_299_556_255_34,
    0.160_930_201_411_247_25,
    0.246_112_301_945_686_34,
    0.337_915_241_718_292_24,
    0.440_709_829_330_444_34,
    0.562_617_003_917_694_1,
    0.722_956_836_223_602_3,
    1.0,
];

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
            Code::E5m2 => scaled(values, largest(2, 15, 0), |x| small_float(x, 2, -14)),
            Code::E4m3 => scaled(values, largest(3, 8, 1), |x| small_float(x, 3, -6)),
            Code::E4m3fnuz => scaled(values, [240.0].into_iter(), |x| small_float(x, 3, -7)),
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

/// Whether the values lie a whole number of steps from `origin`, which is a value, or zero; `off` is how far the step
/// may be from the true one.
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

/// Whether some scale leads from numbers of a code to the values: `nearest` rounds to such a number and gives the
/// distance of its neighbours; `tops` are those that the largest magnitude may be, the likeliest first.
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

/// The number of a sorted table that is nearest to `x`, by magnitude if the table has no negative ones; and how
/// far its nearest neighbour is.
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

/// `x` rounded to `bits` bits after the leading one, exponents from `lowest` on; and the spacing there. Numbers beyond
/// the format's largest are not told apart: the scale is chosen such that there are none.
fn small_float(x: f64, bits: i32, lowest: i32) -> (f64, f64) {
    let exponent = if x == 0.0 { lowest } else { (x.abs().log2().floor() as i32).max(lowest) };
    let spacing = f64::from(exponent - bits).exp2();
    ((x / spacing).round() * spacing, spacing)
}

/// Magnitudes of a small float that the largest value may have: with exponent `top` and all others below, the
/// largest number first, which for e4m3 is 448 and for e5m2 57344: the former's `missing` one is its NaN.
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
