//! A closer look at one site: how differences are distributed, where they lie, and the first ones
//! bit for bit.

use ulpscope_capture::Activation;
use ulpscope_floats::Floats;
use ulpscope_record::{Channel, Element, SiteDetail};

/// Differing elements that are named.
const ELEMENTS: usize = 8;
/// Channels that are named.
const CHANNELS: usize = 6;
/// Magnitude from which an activation is called massive, if it is also this many times the tensor's
/// median magnitude (Sun et al., Massive Activations in Large Language Models, 2024).
const MASSIVE: [f64; 2] = [100.0, 1000.0];
/// The exponent of f64's smallest number, and how many there are up to that of its largest.
const LOWEST_EXPONENT: i32 = -1074;
const EXPONENTS: usize = (f64::MAX_EXP - LOWEST_EXPONENT) as usize;
/// Elements of a tensor up to which it is looked at.
pub(crate) const LARGEST: usize = 1 << 22;

/// Looks at `b` beside the reference's `a`; nothing where they do not differ, have no channels, or
/// are too large.
pub(crate) fn detail(a: &Activation, b: &Activation, introduced: bool) -> Option<SiteDetail> {
    let width = *a.shape.last().filter(|width| **width > 0)?;
    let len = a.values.len();
    if len > LARGEST || b.values.len() != len {
        return None;
    }
    let (x, y) = (a.values.to_f64(), b.values.to_f64());

    let mut sums = vec![(0.0, 0.0f64); width];
    let mut exponents = [0; EXPONENTS];
    for (x, y) in x.chunks_exact(width).zip(y.chunks_exact(width)) {
        for ((sum, largest), (x, y)) in sums.iter_mut().zip(x.iter().zip(y)) {
            let apart = (x - y).abs();
            // NaN where both are the same infinity or NaN, which is no difference.
            *sum += if x == y { 0.0 } else { apart };
            *largest = largest.max(x.abs());
            if apart > 0.0 && apart.is_finite() {
                exponents[(exponent(apart) - LOWEST_EXPONENT) as usize] += 1;
            }
        }
    }
    let found = exponents.iter().position(|&n| n > 0).zip(exponents.iter().rposition(|&n| n > 0));
    let (lowest_exponent, by_exponent) = found.map_or((0, Vec::new()), |(lowest, highest)| {
        (LOWEST_EXPONENT + lowest as i32, exponents[lowest..=highest].to_vec())
    });

    let rows = (len / width).max(1) as f64;
    let mut channels: Vec<Channel> = (sums.iter().enumerate())
        .map(|(index, &(sum, largest))| Channel { index, mean_abs: sum / rows, largest })
        .collect();
    let [least, times] = MASSIVE;
    let mut massive: Vec<Channel> =
        channels.iter().filter(|channel| channel.largest > least).copied().collect();
    if !massive.is_empty() {
        let least = least.max(times * median_magnitude(&mut x.clone()));
        massive.retain(|channel| channel.largest > least);
    }
    massive.sort_by(|a, b| b.largest.total_cmp(&a.largest));
    massive.truncate(CHANNELS);
    channels.retain(|channel| channel.mean_abs != 0.0);
    channels.sort_by(|a, b| b.mean_abs.total_cmp(&a.mean_abs));
    channels.truncate(CHANNELS);

    let elements: Vec<Element> = (differing(&a.values, &b.values, ELEMENTS).into_iter())
        .map(|i| Element {
            index: place(i, &a.shape),
            values: [x[i], y[i]],
            bits: [bits(&a.values, i), bits(&b.values, i)],
        })
        .collect();
    let differs = !elements.is_empty();
    differs.then_some(SiteDetail { introduced, by_exponent, lowest_exponent, channels, massive, elements })
}

/// The upper median of the magnitudes; 0 of nothing.
fn median_magnitude(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    values.iter_mut().for_each(|value| *value = value.abs());
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

/// The first `most` indices of elements whose bits differ, or of formats that differ, whose values
/// do.
fn differing(a: &Floats, b: &Floats, most: usize) -> Vec<usize> {
    fn bits<const SIZE: usize>(a: &Floats, b: &Floats, most: usize) -> Vec<usize> {
        let pairs = a.bytes().as_chunks::<SIZE>().0.iter().zip(b.bytes().as_chunks::<SIZE>().0);
        pairs.enumerate().filter(|(_, (a, b))| a != b).map(|(i, _)| i).take(most).collect()
    }
    match a.dtype().size() {
        _ if a.dtype() != b.dtype() => {
            let same = |i: usize| a.get(i) == b.get(i) || a.get(i).is_nan() && b.get(i).is_nan();
            (0..a.len()).filter(|&i| !same(i)).take(most).collect()
        }
        2 => bits::<2>(a, b, most),
        4 => bits::<4>(a, b, most),
        _ => bits::<8>(a, b, most),
    }
}

/// The power of two at or below a positive number.
fn exponent(value: f64) -> i32 {
    let biased = (value.to_bits() >> 52) as i32;
    // A subnormal number's is that of its first bit.
    if biased > 0 { biased - 1023 } else { -1011 - value.to_bits().leading_zeros() as i32 }
}

fn bits(values: &Floats, i: usize) -> String {
    let size = values.dtype().size();
    let bytes = &values.bytes()[i * size..][..size];
    let digits: String = (bytes.iter().rev()).map(|byte| format!("{byte:02x}")).collect();
    format!("0x{digits}")
}

/// The index of each dimension.
pub(crate) fn place(mut i: usize, shape: &[usize]) -> Vec<usize> {
    let mut index: Vec<usize> = (shape.iter().rev())
        .map(|&size| {
            let at = i % size.max(1);
            i /= size.max(1);
            at
        })
        .collect();
    index.reverse();
    index
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulpscope_floats::DType;

    fn activation(values: Vec<f32>, dtype: DType) -> Activation {
        Activation { shape: vec![1, values.len() / 4, 4], values: Floats::from(values).cast(dtype) }
    }

    #[test]
    fn channels_exponents_and_bits_of_a_hand_made_pair() {
        let a = activation(vec![1.0, 2.0, 0.5, 0.0, 1.0, -2.0, 0.5, 600.0], DType::Bf16);
        let b = activation(vec![1.0, 2.5, 0.5, 0.0, 1.25, -2.0, 0.5, 604.0], DType::Bf16);
        let found = detail(&a, &b, true).unwrap();
        assert_eq!(
            found.channels.iter().map(|c| (c.index, c.mean_abs)).collect::<Vec<_>>(),
            [(3, 2.0), (1, 0.25), (0, 0.125)]
        );
        // 0.5 and 0.25 and 4.
        assert_eq!((found.lowest_exponent, found.by_exponent), (-2, vec![1, 1, 0, 0, 1]));
        let first = &found.elements[0];
        assert_eq!((first.index.clone(), first.values), (vec![0, 0, 1], [2.0, 2.5]));
        assert_eq!(first.bits, ["0x4000", "0x4020"]);
        assert_eq!(found.elements[2].index, [0, 1, 3]);
        assert!(found.massive.is_empty(), "600 is not massive beside a median of 1");
    }

    #[test]
    fn exponents() {
        let least = f64::from_bits(1);
        for (value, wanted) in
            [(1.0, 0), (1.9, 0), (2.0, 1), (0.25f64.next_down(), -3), (least, -1074), (3.0 * least, -1073)]
        {
            assert_eq!(exponent(value), wanted, "{value:e}");
        }
        assert_eq!(
            [f64::MIN_POSITIVE, f64::MIN_POSITIVE.next_down(), f64::MAX].map(exponent),
            [-1022, -1023, 1023]
        );
    }

    #[test]
    fn massive_activations_are_named() {
        let mut values = vec![0.01; 40_000];
        values[6] = 24_576.0;
        let mut moved = values.clone();
        moved[0] = 0.02;
        let found = detail(&activation(values, DType::F32), &activation(moved, DType::F32), false).unwrap();
        assert_eq!(found.massive.iter().map(|c| (c.index, c.largest)).collect::<Vec<_>>(), [(2, 24_576.0)]);
    }

    #[test]
    fn what_is_equal_or_empty_has_no_detail() {
        let a = activation(vec![1.0, f32::NAN, 3.0, f32::INFINITY], DType::F16);
        assert_eq!(detail(&a, &a, false), None);
        assert_eq!(detail(&a, &activation(vec![1.0, f32::NAN, 3.0, f32::INFINITY], DType::F32), false), None);
        let empty = Activation { shape: vec![1, 0, 0], values: Floats::from(Vec::<f32>::new()) };
        assert_eq!(detail(&empty, &empty, false), None);
    }

    #[test]
    fn infinities_and_zeros_of_two_signs_are_differences_without_an_exponent() {
        let a = activation(vec![0.0, 1.0, f32::INFINITY, 2.0], DType::F32);
        let b = activation(vec![-0.0, 1.0, 5.0, 2.0], DType::F32);
        let found = detail(&a, &b, true).unwrap();
        assert_eq!(found.elements.len(), 2);
        assert!(found.by_exponent.is_empty());
        assert_eq!(found.channels[0].mean_abs, f64::INFINITY);
    }
}
