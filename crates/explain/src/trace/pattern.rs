//! What can be said of a difference whose cause is not known.

use ulpscope_capture::Activation;
use ulpscope_decoder::{Op, Site};
use ulpscope_floats::{DType, ulp};

use crate::statistics::as_many;

/// Relative error of a function in f32 that is put down to its last bits.
const LAST_BITS: f64 = 1.0 / (1u64 << 20) as f64;

/// Whether the differences at a site are single steps of its format, and no more of them than an
/// error in the last bits of an f32 function would make: such an error moves a result over a
/// boundary of rounding in a share of cases that is its size over that of a step. Two roundings are
/// allowed for.
pub(crate) fn last_bits(site: Site, pairs: &[(&Activation, &Activation)], chance: f64) -> bool {
    let Some(differing) = of_function(site, pairs, 0.0) else { return false };
    let expected = |a: &Activation| {
        let share = (2.0 * LAST_BITS / (2.0 * a.values.dtype().unit_roundoff())).min(1.0);
        share * a.values.len() as f64
    };
    as_many(differing, pairs.iter().map(|(a, _)| expected(a)).sum()) >= chance
}

/// Whether a few elements of a site are off by single steps of its format: what any sum may be, of
/// whatever order, that is made elsewhere.
pub(crate) fn few_steps(pairs: &[(&Activation, &Activation)]) -> bool {
    /// One of so many elements.
    const RARELY: u64 = 1000;
    let len: usize = pairs.iter().map(|(a, _)| a.values.len()).sum();
    /// So few prove nothing of however small a tensor.
    const FEW: u64 = 2;
    steps(pairs, 0.0, |_| 1.5)
        .is_some_and(|differing| differing > 0 && (differing <= FEW || differing * RARELY <= len as u64))
}

/// Whether the differences at a site are no more than another library's function may have beside
/// the one that was tried: single steps of the format in a few elements, or nothing beside the
/// largest of them.
pub(crate) fn nearly(site: Site, pairs: &[(&Activation, &Activation)]) -> bool {
    let most = |(a, _): &(&Activation, &Activation)| {
        (0..a.values.len()).map(|i| a.values.get(i).abs()).fold(0.0, f64::max)
    };
    let largest = pairs.iter().map(most).fold(0.0, f64::max);
    let len: usize = pairs.iter().map(|(a, _)| a.values.len()).sum();
    let narrow = pairs.iter().any(|(a, _)| a.values.dtype() != DType::F32);
    of_function(site, pairs, LAST_BITS * largest)
        .is_some_and(|differing| !narrow || differing as usize * 100 <= len)
}

/// The elements at a function's output that differ by more than `beside`, if none does by more than
/// single steps.
fn of_function(site: Site, pairs: &[(&Activation, &Activation)], beside: f64) -> Option<u64> {
    let function = matches!(site.op(), Op::Table(_) | Op::Norm | Op::Softmax | Op::Act);
    if !function || pairs.is_empty() {
        return None;
    }
    // In f32 the last bits themselves are stored.
    steps(pairs, beside, |dtype| if dtype == DType::F32 { 8.0 } else { 1.0 })
}

/// The elements that differ by more than `beside`, if none does by more than so many steps of its
/// format.
fn steps(pairs: &[(&Activation, &Activation)], beside: f64, most: impl Fn(DType) -> f64) -> Option<u64> {
    let mut differing = 0;
    for (a, b) in pairs {
        let dtype = a.values.dtype();
        for i in 0..a.values.len() {
            let (x, y) = (a.values.get(i), b.values.get(i));
            let apart = (x - y).abs();
            if x == y || (x.is_nan() && y.is_nan()) || apart <= beside {
                continue;
            }
            differing += 1;
            if !apart.is_finite() || apart > most(dtype) * ulp(x.abs().max(y.abs()), dtype) {
                return None;
            }
        }
    }
    Some(differing)
}

/// What differs at a site where no number does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Odd {
    /// Elements that are infinite or NaN in the trace alone, with the first: its row, its channel
    /// and what it is. All others are equal.
    NotFinite { count: usize, first: f64, at: [usize; 2] },
    /// Zeros of another sign. All others have the same bits.
    ZeroSigns(usize),
}

/// What differs at a site, if that are infinities and NaN of the trace's, or signs of zeros, alone.
pub(crate) fn odd(pairs: &[(&Activation, &Activation)]) -> Option<Odd> {
    let (mut lost, mut first, mut signs, mut row) = (0, None, 0, 0);
    for (a, b) in pairs {
        let width = a.shape.last().copied().unwrap_or(1).max(1);
        for i in 0..a.values.len() {
            let (x, y) = (a.values.get(i), b.values.get(i));
            if x == y {
                signs += usize::from(x.is_sign_negative() != y.is_sign_negative());
            } else if !x.is_finite() && y.is_finite() {
                lost += 1;
                first = first.or(Some((x, [row + i / width, i % width])));
            } else if !(x.is_nan() && y.is_nan()) {
                return None;
            }
        }
        row += a.values.len() / width;
    }
    match first {
        Some((first, at)) => Some(Odd::NotFinite { count: lost, first, at }),
        None => (signs > 0).then_some(Odd::ZeroSigns(signs)),
    }
}

/// The first token of any prompt at which the two differ; 0 where they do not.
pub(crate) fn first_token(pairs: &[(&Activation, &Activation)]) -> usize {
    let first = |(a, b): &(&Activation, &Activation)| {
        let [.., tokens, width] = a.shape[..] else { return None };
        let at = (0..a.values.len()).filter(|&i| a.values.get(i) != b.values.get(i));
        at.map(|i| i / width.max(1) % tokens.max(1)).min()
    };
    pairs.iter().filter_map(first).min().unwrap_or(0)
}

/// Whether a score is that of a key which is not seen: minus infinity, or the lowest number of its
/// format. f16's is nearer to other numbers, but no score is so low.
pub(crate) fn hidden(site: Site, score: f64) -> bool {
    site.op().of_pairs() && score < -60_000.0
}

/// How the trace's values at a site differ from ours.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pattern {
    /// Elements that differ, of all.
    pub(crate) differing: [u64; 2],
    /// Channels in which some differ, and all channels.
    pub(crate) channels: (Vec<usize>, usize),
    /// Rows in which some differ, of all.
    pub(crate) rows: [usize; 2],
    /// Numbers that are none, of the trace's and of ours.
    pub(crate) nonfinite: [u64; 2],
    pub(crate) likeness: Likeness,
}

/// How the two are related as a whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Likeness {
    /// The trace's is nearly so many times ours; what is left, as a share of it.
    Multiple {
        factor: f64,
        left: f64,
    },
    /// The cosine of the angle between them.
    Cosine(f64),
    /// The trace's is zero.
    Zero,
    Unknown,
}

/// The pattern of the difference between `a`, the trace's, and `b`, ours.
pub(crate) fn pattern(site: Site, pairs: &[(&Activation, &Activation)]) -> Pattern {
    let (mut differing, mut all, mut channels, mut rows) = (0u64, 0u64, Vec::new(), Vec::new());
    let (mut ab, mut aa, mut bb, mut nonfinite) = (0.0, 0.0, 0.0, [0u64; 2]);
    let mut tokens = 0;
    for (a, b) in pairs {
        let width = a.shape.last().copied().unwrap_or(1).max(1);
        channels.resize(width, 0u64);
        let count = a.values.len() / width;
        rows.resize(tokens + count, 0u64);
        for i in 0..a.values.len() {
            let (x, y) = (a.values.get(i), b.values.get(i));
            all += 1;
            nonfinite[0] += u64::from(!x.is_finite());
            nonfinite[1] += u64::from(!y.is_finite());
            if x != y && !(x.is_nan() && y.is_nan()) {
                differing += 1;
                channels[i % width] += 1;
                rows[tokens + i / width] += 1;
            }
            if x.is_finite() && y.is_finite() && !hidden(site, x) && !hidden(site, y) {
                (ab, aa, bb) = (ab + x * y, aa + x * x, bb + y * y);
            }
        }
        tokens += count;
    }
    let cosine = ab / (aa * bb).sqrt();
    let left = (1.0 - cosine * cosine).max(0.0).sqrt();
    let likeness = match () {
        () if cosine.is_finite() && left < 0.02 => Likeness::Multiple { factor: ab / bb, left },
        () if cosine.is_finite() => Likeness::Cosine(cosine),
        () if aa == 0.0 => Likeness::Zero,
        () => Likeness::Unknown,
    };
    let touched = (0..channels.len()).filter(|&c| channels[c] > 0).collect();
    Pattern {
        differing: [differing, all],
        channels: (touched, channels.len()),
        rows: [rows.iter().filter(|count| **count > 0).count(), rows.len()],
        nonfinite,
        likeness,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::site;
    use ulpscope_floats::Floats;

    fn activation(values: &[f32], dtype: DType) -> Activation {
        Activation { shape: vec![1, values.len() / 4, 4], values: Floats::from(values.to_vec()).cast(dtype) }
    }

    #[test]
    fn single_steps_are_last_bits_only_while_they_are_rare() {
        let values: Vec<f32> = (0..4096).map(|i| 1.0 + (i % 64) as f32 / 64.0).collect();
        let a = activation(&values, DType::Bf16);
        let moved = |count: usize, step: f32| {
            let values = values.iter().enumerate().map(|(i, x)| if i < count { x + step } else { *x });
            activation(&values.collect::<Vec<_>>(), DType::Bf16)
        };
        let test = |b: &Activation, site| last_bits(site, &[(&a, b)], 1e-5);
        assert!(test(&moved(2, 0.007_812_5), site("model.norm")));
        assert!(!test(&moved(60, 0.007_812_5), site("model.norm")), "too many");
        assert!(!test(&moved(2, 0.015_625), site("model.norm")), "two steps");
        assert!(!test(&moved(2, 0.007_812_5), site("model.embed_tokens")), "no function");
    }

    #[test]
    fn what_is_no_number_is_told_apart() {
        let a = |values: &[f32]| activation(values, DType::F32);
        let ours = a(&[1.0, 0.0, 3.0, 4.0, 1.0, 2.0, f32::NAN, 4.0]);
        let odd = |theirs: &[f32]| odd(&[(&a(theirs), &ours)]);
        assert_eq!(odd(&[1.0, 0.0, 3.0, 4.0, 1.0, 2.0, f32::NAN, 4.0]), None);
        let infinite = Odd::NotFinite { count: 1, first: f64::NEG_INFINITY, at: [1, 1] };
        assert_eq!(odd(&[1.0, -0.0, 3.0, 4.0, 1.0, f32::NEG_INFINITY, f32::NAN, 4.0]), Some(infinite));
        assert_eq!(odd(&[1.0, -0.0, 3.0, 4.0, 1.0, 2.0, f32::NAN, 4.0]), Some(Odd::ZeroSigns(1)));
        assert_eq!(odd(&[1.5, 0.0, 3.0, f32::INFINITY, 1.0, 2.0, f32::NAN, 4.0]), None, "another number");
        assert_eq!(odd(&[1.0, 0.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0]), None, "ours is none");
    }

    #[test]
    fn a_few_steps_are_finite() {
        let values: Vec<f32> = (0..4096).map(|i| 1.0 + (i % 64) as f32).collect();
        let with = |i: usize, x: f32| {
            let mut values = values.clone();
            values[i] = x;
            activation(&values, DType::Bf16)
        };
        let ours = activation(&values, DType::Bf16);
        assert!(few_steps(&[(&with(0, 1.007_812_5), &ours)]));
        assert!(!few_steps(&[(&with(0, f32::INFINITY), &ours)]));
    }

    #[test]
    fn a_pattern_says_where_and_how_two_differ() {
        let a = activation(&[1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0], DType::F32);
        let b = activation(&[1.0, 2.5, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0], DType::F32);
        let found = pattern(site("model.norm"), &[(&a, &b)]);
        assert_eq!((found.differing, found.channels, found.rows), ([1, 8], (vec![1], 4), [1, 2]));
        let half = activation(&[0.5, 1.0, 1.5, 2.0, 0.5, 1.0, 1.5, 2.0], DType::F32);
        let likeness = pattern(site("model.norm"), &[(&half, &a)]).likeness;
        assert!(matches!(likeness, Likeness::Multiple { factor, left } if factor == 0.5 && left < 1e-6));
        let zero = activation(&[0.0; 8], DType::F32);
        assert_eq!(pattern(site("model.norm"), &[(&zero, &a)]).likeness, Likeness::Zero);
    }
}
