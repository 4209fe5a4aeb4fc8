use proptest::prelude::*;
use ulpscope_floats::DType;

use super::*;

fn compare(p: &[f64], q: &[f64], vocab: usize) -> LogitDifference {
    compare_logits(&Floats::from(p), &Floats::from(q), vocab, 3).unwrap()
}

/// Logits of a distribution, shifted, as softmax does not see shifts.
fn logits(probabilities: &[f64], shift: f64) -> Vec<f64> {
    probabilities.iter().map(|p| p.ln() + shift).collect()
}

#[test]
fn two_tokens_have_a_closed_form() {
    for (p, q) in [(0.5, 0.25), (0.9, 0.1), (0.3, 0.300_001), (1e-9, 0.5), (0.6, 0.6 + 1e-7)] {
        let d = compare(&logits(&[p, 1.0 - p], 3.0), &logits(&[q, 1.0 - q], -7.0), 2);
        let kl = |p: f64, q: f64| p * (p / q).ln() + (1.0 - p) * ((1.0 - p) / (1.0 - q)).ln();
        assert!((d.mean_kl - kl(p, q)).abs() < 1e-15, "{p} {q}: {} {}", d.mean_kl, kl(p, q));
        assert!((d.mean_reverse_kl - kl(q, p)).abs() < 1e-15, "{p} {q}");
    }
}

/// KL ≈ ½ Var_p(Δ) for small Δ, here far below what `Σ p ln(p/q)` resolves.
#[test]
fn tiny_divergences_are_resolved() {
    let p: Vec<f64> = (0..1000).map(|i| f64::from(i).sin() * 4.0).collect();
    let delta = |i: usize| (i as f64 * 1.7).cos() * 1e-9;
    let q: Vec<f64> = p.iter().enumerate().map(|(i, x)| x + delta(i)).collect();
    let weight: f64 = p.iter().map(|x| x.exp()).sum();
    let mean_of =
        |f: &dyn Fn(f64) -> f64| (0..1000).map(|i| p[i].exp() / weight * f(q[i] - p[i])).sum::<f64>();
    let shift = mean_of(&|d| d);
    let variance = mean_of(&|d| (d - shift) * (d - shift));
    let kl = compare(&p, &q, 1000).mean_kl;
    assert!((kl / (0.5 * variance) - 1.0).abs() < 1e-5, "{kl:e} {:e}", 0.5 * variance);
}

#[test]
fn identical_logits_give_zero_and_full_agreement() {
    let x: Vec<f64> = (0..3000).map(|i| (f64::from(i) * 0.37).sin() * 30.0).collect();
    for dtype in DType::ALL {
        let x = Floats::from(&x[..]).cast(dtype);
        let d = compare_logits(&x, &x, 1000, 10).unwrap();
        assert_eq!((d.mean_kl, d.mean_reverse_kl, d.median_kl, d.max_kl), (0.0, 0.0, 0.0, 0.0));
        assert_eq!((d.top1_agreement, d.top_k_overlap, d.positions.len()), (1.0, 1.0, 3));
    }
}

#[test]
fn a_constant_shift_is_harmless() {
    let x: Vec<f64> = (0..512).map(|i| f64::from(i % 37) * 0.25).collect();
    let shifted: Vec<f64> = x.iter().map(|x| x + 1024.0).collect();
    let d = compare(&x, &shifted, 512);
    assert!(d.mean_kl < 1e-24, "{}", d.mean_kl);
    assert_eq!(d.top1_agreement, 1.0);
}

#[test]
fn non_finite_logits_have_a_stated_answer() {
    for bad in [f64::NAN, f64::INFINITY] {
        let good = [0.0, 1.0, 2.0, 3.0];
        let d = compare(&good, &[0.0, 1.0, bad, 3.0], 2);
        assert_eq!(d.positions[0].kl, 0.0);
        assert!(d.positions[1].kl.is_nan() && d.positions[1].reverse_kl.is_nan());
        assert_eq!(d.nan_positions, 1);
        assert!(d.mean_kl.is_nan() && d.max_kl.is_nan() && d.median_kl.is_nan());
        assert_eq!(d.top1_agreement, 0.5, "{bad}");
    }
    // A token that is never chosen has a probability of 0, which the other side's is infinitely far
    // from.
    let d = compare(&[0.0, 1.0, 2.0, 3.0], &[0.0, 1.0, f64::NEG_INFINITY, 3.0], 2);
    assert_eq!((d.positions[1].kl, d.nan_positions, d.top1_agreement), (f64::INFINITY, 0, 1.0));
    assert!((d.positions[1].reverse_kl - (1.0 + (-1f64).exp()).ln()).abs() < 1e-15);
    let all_nan = [f64::NAN; 4];
    assert_eq!(compare(&all_nan, &all_nan, 4).positions[0].top1, [0, 0]);
}

#[test]
fn tops_margins_and_overlap_by_hand() {
    let d = compare(&[5.0, 4.0, 3.0, 2.0, 1.0], &[4.0, 5.5, 1.0, 2.0, 3.0], 5);
    let position = d.positions[0];
    assert_eq!((position.top1, position.margin), ([0, 1], [1.0, 1.5]));
    assert_eq!(position.overlap, 2.0 / 3.0);
    assert_eq!((d.top1_agreement, d.top_k), (0.0, 3));
}

#[test]
fn quantiles_interpolate() {
    let values: Vec<f64> = (0..=10).map(f64::from).collect();
    assert_eq!(quantile(&values, 0.5), 5.0);
    assert_eq!(quantile(&values, 0.99), 9.9);
    assert_eq!(quantile(&values[..2], 0.25), 0.25);
    assert_eq!(quantile(&values[4..5], 0.9), 4.0);
    assert_eq!(quantile(&[], 0.9), 0.0);
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let five = Floats::from(vec![0.0f32; 5]);
    let error = compare_logits(&five, &five, 2, 1).unwrap_err();
    assert_eq!(error.to_string(), "5 elements do not divide into 2 logits per row; check the tensor's shape");
    assert!(compare_logits(&five, &five, 0, 1).is_err());
    assert!(compare_logits(&five, &five.slice(0..4), 1, 1).is_err());
    let none = five.slice(0..0);
    let d = compare_logits(&none, &none, 7, 1).unwrap();
    assert_eq!((d.mean_kl, d.max_kl, d.top1_agreement, d.top_k_overlap), (0.0, 0.0, 1.0, 1.0));
    assert_eq!(compare_logits(&none, &none, 0, 0).unwrap().positions, []);
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let p: Vec<f64> = (0..7 * 997).map(|i| f64::from(i).sin() * 9.0).collect();
    let q: Vec<f64> = p.iter().map(|x| f64::from(*x as f32)).collect();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| compare(&p, &q, 997))
    };
    assert_eq!(run(1), run(3));
}

proptest! {
    #[test]
    fn kl_agrees_with_the_textbook_and_is_not_negative(
        rows in prop::collection::vec((-30f64..30.0, -30f64..30.0), 1..40), size in 0f64..2.0,
    ) {
        let p: Vec<f64> = rows.iter().map(|r| r.0).collect();
        let q: Vec<f64> = rows.iter().map(|r| r.0 + size * r.1).collect();
        let log_softmax = |x: &[f64]| -> Vec<f64> {
            let max = x.iter().copied().fold(f64::MIN, f64::max);
            let lse = max + x.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
            x.iter().map(|x| x - lse).collect()
        };
        let textbook = |p: &[f64], q: &[f64]| -> f64 {
            log_softmax(p).iter().zip(log_softmax(q)).map(|(p, q)| p.exp() * (p - q)).sum()
        };
        let d = compare(&p, &q, rows.len());
        for (got, want) in [(d.mean_kl, textbook(&p, &q)), (d.mean_reverse_kl, textbook(&q, &p))] {
            prop_assert!(got >= 0.0);
            prop_assert!((got - want).abs() <= 1e-12 * (1.0 + want), "{} {}", got, want);
        }
    }
}
