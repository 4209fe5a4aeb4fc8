use proptest::prelude::*;
use ulpscope_floats::DType;

use super::*;

fn noise(len: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    };
    (0..len).map(|_| next() * (8.0 * next()).exp2()).collect()
}

fn of(a: &[f64], b: &[f64]) -> Difference {
    difference(&Floats::from(a), &Floats::from(b)).unwrap()
}

/// One element after another, in the obvious way.
fn naive(a: &Floats, b: &Floats) -> Difference {
    let mut d = Difference { len: a.len() as u64, ..Difference::EMPTY };
    for i in 0..a.len() {
        let (x, y) = (a.get(i), b.get(i));
        d.equal += u64::from(x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan());
        d.nonfinite[0] += u64::from(!x.is_finite());
        d.nonfinite[1] += u64::from(!y.is_finite());
        d.allclose &= x == y || x.is_finite() && y.is_finite() && (x - y).abs() <= 1e-8 + 1e-5 * y.abs();
        if x.is_finite() && y.is_finite() {
            d.finite += 1;
            if (x - y).abs() > d.max_abs {
                (d.max_abs, d.max_index) = ((x - y).abs(), Some(i as u64));
            }
            d.sum_abs += (x - y).abs();
            d.sum_sq_diff += (x - y) * (x - y);
            d.sum_sq_a += x * x;
            d.sum_sq_b += y * y;
            d.dot += x * y;
        }
    }
    d
}

/// Counts and maxima exactly; sums to what the order of summation can change.
fn assert_like_naive(a: &Floats, b: &Floats) {
    let (got, want) = (difference(a, b).unwrap(), naive(a, b));
    let counts = |d: &Difference| (d.len, d.equal, d.finite, d.nonfinite, d.max_abs, d.max_index, d.allclose);
    assert_eq!(counts(&got), counts(&want), "{} against {}", a.dtype(), b.dtype());
    let sums = |d: &Difference| [d.sum_abs, d.sum_sq_diff, d.sum_sq_a, d.sum_sq_b, d.dot];
    // Every term of `dot` is at most the mean of the squares, which bounds its error too.
    let scale = [want.sum_abs, want.sum_sq_diff, want.sum_sq_a, want.sum_sq_b, want.sum_sq_a + want.sum_sq_b];
    for ((got, want), scale) in sums(&got).into_iter().zip(sums(&want)).zip(scale) {
        assert!((got - want).abs() <= 1e-13 * scale, "{got} {want}, {} elements", a.len());
    }
}

#[test]
fn every_pair_of_formats_at_block_boundaries() {
    for len in [0, 1, 3, 4, 1023, 1025, 4095, 4096, 4097, 8191, 8193, 20_000] {
        let (a, b) = (noise(len, 1), noise(len, 2));
        let mixed: Vec<f64> = a
            .iter()
            .zip(&b)
            .enumerate()
            .map(|(i, (x, y))| if i % 3 == 0 { *x } else { x + 1e-3 * y })
            .collect();
        for (da, db) in DType::ALL.iter().flat_map(|a| DType::ALL.map(|b| (*a, b))) {
            assert_like_naive(&Floats::from(&a[..]).cast(da), &Floats::from(&mixed[..]).cast(db));
        }
    }
}

#[test]
fn identity_gives_zero_distance() {
    for dtype in DType::ALL {
        let x = Floats::from(noise(10_001, 3)).cast(dtype);
        let d = difference(&x, &x).unwrap();
        assert!(d.identical() && d.allclose);
        assert_eq!(
            (d.equal_fraction(), d.mean_abs(), d.rms(), d.max_abs, d.max_index),
            (1.0, 0.0, 0.0, 0.0, None)
        );
        assert_eq!(
            (d.cosine(), d.cosine_distance(), d.relative_l2(), d.sqnr_db()),
            (1.0, 0.0, 0.0, f64::INFINITY)
        );
        assert_eq!((d.sum_sq_a, d.sum_sq_a), (d.sum_sq_b, d.dot));
    }
}

#[test]
fn closed_forms() {
    let d = of(&[3.0, 4.0], &[4.0, 3.0]);
    assert_eq!((d.mean_abs(), d.rms(), d.cosine()), (1.0, 1.0, 24.0 / 25.0));
    assert!((d.cosine_distance() - 0.04).abs() < 1e-16);
    assert_eq!(d.relative_l2(), (2.0f64 / 25.0).sqrt());
    assert!((d.sqnr_db() - 10.0 * 12.5f64.log10()).abs() < 1e-12);
    assert_eq!(of(&[1.0, -2.0], &[-1.0, 2.0]).cosine(), -1.0);
    assert_eq!(of(&[1.0, 0.0], &[0.0, 1.0]).cosine(), 0.0);
    let zeros = of(&[0.0, 0.0], &[1.0, 0.0]);
    assert_eq!((zeros.cosine(), zeros.cosine_distance()), (0.0, 1.0));
    assert_eq!((zeros.relative_l2(), zeros.sqnr_db()), (f64::INFINITY, f64::NEG_INFINITY));
    // A distance that `1 - cosine` in f64 could not tell from 0.
    let tiny = of(&[1.0, 0.0], &[1.0, 1e-10]);
    assert!((tiny.cosine_distance() / 0.5e-20 - 1.0).abs() < 1e-9, "{}", tiny.cosine_distance());
}

#[test]
fn nothing_differs_between_empty_arrays() {
    let d = of(&[], &[]);
    assert_eq!(d, Difference::EMPTY);
    assert!(d.identical() && d.allclose);
    assert_eq!((d.equal_fraction(), d.mean_abs(), d.rms(), d.cosine()), (1.0, 0.0, 0.0, 1.0));
}

#[test]
fn zeros_of_two_signs_differ_in_bits_but_not_in_value() {
    let d = of(&[0.0, 0.0], &[-0.0, 0.0]);
    assert_eq!((d.equal, d.max_abs, d.max_index, d.allclose), (1, 0.0, None, true));
    assert_eq!((d.cosine(), d.sqnr_db(), d.mean_abs()), (1.0, f64::INFINITY, 0.0));
}

#[test]
fn non_finite_values_are_counted_and_left_out_of_the_sums() {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let d = of(&[1.0, nan, nan, inf, inf, 2.0], &[1.5, nan, 1.0, inf, -inf, 2.0]);
    assert_eq!((d.len, d.equal, d.finite, d.nonfinite), (6, 3, 2, [4, 3]));
    assert_eq!((d.mean_abs(), d.max_abs, d.max_index, d.allclose), (0.25, 0.5, Some(0), false));
    assert_eq!(d.sum_sq_a, 5.0);
    assert!(of(&[nan], &[1.0]).mean_abs().is_nan(), "no finite pair, and not equal");
    let same = of(&[nan, -inf], &[nan, -inf]);
    assert!(same.identical() && same.mean_abs() == 0.0 && same.cosine() == 1.0);
    // NaN payloads, in a 16-bit format and across formats.
    let bits = |b: u16| Floats::from(vec![ulpscope_floats::f16::from_bits(b)]);
    assert!(difference(&bits(0x7e00), &bits(0xfd55)).unwrap().identical());
    assert!(difference(&bits(0x7e01), &Floats::from(vec![f64::NAN])).unwrap().identical());
}

/// `torch.allclose`, its documentation's examples and the ends of its tolerance.
#[test]
fn allclose_as_in_pytorch() {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let close = |a: &[f64], b: &[f64]| of(a, b).allclose;
    assert!(!close(&[10000.0, 1e-07], &[10000.1, 1e-08]));
    assert!(close(&[10000.0, 1e-08], &[10000.1, 1e-09]));
    assert!(!close(&[1.0, nan], &[1.0, nan]));
    assert!(close(&[inf, -inf], &[inf, -inf]) && !close(&[inf], &[-inf]) && !close(&[1e300], &[inf]));
    // Relative to b: 1e5 + 1.000005 is within 1e-5 of the larger side only.
    assert!(close(&[100_000.0], &[100_001.000_005]) && !close(&[100_001.000_005], &[100_000.0]));
    assert!(close(&[0.0], &[1e-8]) && !close(&[1.1e-8], &[0.0]));
    // One step of bf16 is far beyond the tolerance.
    let step = |x: f64| Floats::from(vec![x]).cast(DType::Bf16);
    assert!(!difference(&step(1.0), &step(1.0078125)).unwrap().allclose);
}

#[test]
fn the_largest_difference_is_found_wherever_it_is() {
    for at in [0, 3, 4095, 4096, 9_999] {
        let a = noise(10_000, 4);
        let mut b = a.clone();
        b[at] += 1000.0;
        let last = b.len() - 1;
        b[last] = a[last] + if at == last { 1000.0 } else { 999.0 };
        let d = of(&a, &b);
        assert_eq!(d.max_index, Some(at as u64));
    }
    // The first of equals, and not the infinite difference of an infinity.
    assert_eq!(of(&[f64::INFINITY, 0.0, 0.0], &[0.0, 1.0, 1.0]).max_index, Some(1));
}

#[test]
fn lengths_must_agree() {
    let error = difference(&Floats::from(vec![0.0f32; 3]), &Floats::from(vec![0.0f32; 5])).unwrap_err();
    assert_eq!(error, MetricsError::LengthMismatch { a: 3, b: 5 });
    assert!(error.to_string().contains("a has 3 elements, b has 5"), "{error}");
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let a = Floats::from(noise(3_000_001, 5)).cast(DType::F32);
    let b = a.cast(DType::Bf16);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| difference(&a, &b).unwrap())
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(5));
}

#[test]
fn merging_parts_gives_the_whole() {
    let (a, b) = (noise(10_000, 6), noise(10_000, 7));
    let whole = of(&a, &b);
    let merged = of(&a[..3000], &b[..3000]).merge(of(&a[3000..], &b[3000..]));
    assert_eq!((merged.len, merged.equal, merged.finite), (whole.len, whole.equal, whole.finite));
    assert_eq!(
        (merged.max_abs, merged.max_index, merged.allclose),
        (whole.max_abs, whole.max_index, whole.allclose)
    );
    assert!((merged.dot - whole.dot).abs() <= 1e-13 * (whole.sum_sq_a + whole.sum_sq_b));
    assert_eq!(whole.merge(Difference::EMPTY), whole);
    assert_eq!(Difference::EMPTY.merge(whole), whole);
}

proptest! {
    /// Any bits at all: subnormals, infinities and NaNs among them.
    #[test]
    fn any_bits_agree_with_the_naive_oracle(
        pairs in prop::collection::vec((any::<u16>(), any::<u16>(), any::<bool>()), 0..200),
    ) {
        let pick = |f: fn(u16) -> f32| {
            let a: Vec<f32> = pairs.iter().map(|p| f(p.0)).collect();
            let b: Vec<f32> = pairs.iter().map(|p| f(if p.2 { p.0 } else { p.1 })).collect();
            (Floats::from(a), Floats::from(b))
        };
        let bf = |bits| ulpscope_floats::bf16::from_bits(bits).to_f32();
        let half = |bits| ulpscope_floats::f16::from_bits(bits).to_f32();
        for (a, b) in [pick(bf), pick(half)] {
            for dtype in DType::ALL {
                assert_like_naive(&a.cast(dtype), &b.cast(dtype));
                assert_like_naive(&a, &b.cast(dtype));
            }
        }
    }

    /// The measures are symmetric where they should be, and obey their bounds.
    #[test]
    fn bounds_hold(a in prop::collection::vec(-1e3f64..1e3, 1..100), seed: u64) {
        let b: Vec<f64> = a.iter().zip(noise(a.len(), seed)).map(|(a, n)| a + n).collect();
        let (forth, back) = (of(&a, &b), of(&b, &a));
        prop_assert_eq!((forth.sum_abs, forth.max_abs), (back.sum_abs, back.max_abs));
        prop_assert_eq!(forth.cosine(), back.cosine());
        prop_assert!(forth.mean_abs() <= forth.max_abs * (1.0 + 1e-14));
        prop_assert!(forth.mean_abs() <= forth.rms() * (1.0 + 1e-14));
        prop_assert!((0.0..=1.0).contains(&forth.equal_fraction()) && forth.cosine().abs() <= 1.0);
        prop_assert!((forth.cosine_distance() - (1.0 - forth.cosine())).abs() < 1e-12);
    }
}
