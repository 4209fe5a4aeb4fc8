//! Tensors that are near to another one of the reference: exchanged or copied, and then quantised, trained on or rounded.

use ulpscope_compare::{Differing, NamedArm};
use ulpscope_floats::Floats;
use ulpscope_metrics::{Description, Statement};

use super::{Elsewhere, parameter};
use crate::catalogue;

/// Elements of each tensor that are looked at.
const SAMPLE: usize = 4096;
/// A correlation that two trained tensors do not have by chance.
const NEAR: f64 = 0.8;

/// Tensors of `b` that have nothing to do with their own in `a`, and much with another of the same shape.
pub(super) fn near<'d>(a: &NamedArm, b: &NamedArm, left: &[&'d Differing]) -> Vec<Elsewhere<'d>> {
    let unrelated = |d: &&&Differing| {
        let far = matches!(
            d.statement,
            Statement::Described(Description::Unrelated { .. } | Description::Correlated { .. })
        );
        far && !d.name.ends_with("norm.weight")
    };
    let shapes = a.arm.config().parameters();
    let nearest = |d: &Differing| {
        let own = sample(&parameter(b, &d.name)?)?;
        let shape = &shapes.iter().find(|(name, _)| *name == d.name)?.1;
        let others = shapes.iter().filter(|(name, other)| other == shape && *name != d.name);
        let likeness = |name: &String| Some(correlation(&sample(&parameter(a, name)?)?, &own));
        let best = others.filter_map(|(name, _)| Some((name.as_str(), likeness(name)?)));
        best.max_by(|x, y| x.1.abs().total_cmp(&y.1.abs())).filter(|(_, best)| best.abs() > NEAR)
    };
    let found: Vec<(&Differing, &str, f64)> = (left.iter().filter(unrelated))
        .filter_map(|&d| nearest(d).map(|(from, likeness)| (d, from, likeness)))
        .collect();
    let back =
        |d: &Differing, from: &str| found.iter().find(|(other, to, _)| other.name == from && *to == d.name);
    let entry = |(d, from, likeness): &(&'d Differing, &str, f64)| {
        let sign = if *likeness < 0.0 { "minus " } else { "" };
        match back(d, from) {
            // Told by the first of the two.
            Some((other, ..)) if other.name < d.name => None,
            Some((other, ..)) => Some(Elsewhere {
                said: format!(
                    "{} and {from} are swapped, and changed besides (correlation above {NEAR})",
                    d.name
                ),
                fault: catalogue::EXCHANGED,
                tensors: vec![*d, *other],
            }),
            None => Some(Elsewhere {
                said: format!(
                    "b's {} is near to {sign}a's {from} (correlation above {NEAR}), and not to its own",
                    d.name
                ),
                fault: catalogue::EXCHANGED,
                tensors: vec![*d],
            }),
        }
    };
    found.iter().filter_map(entry).collect()
}

/// Elements at even distances; none of a tensor with so few that chance would be near.
fn sample(values: &Floats) -> Option<Vec<f64>> {
    let count = values.len().min(SAMPLE);
    // An odd step, so that the sample is not of a few columns alone.
    let step = (values.len() / count.max(1)).max(1) | 1;
    let sample: Vec<f64> = (0..count).map(|i| values.get(i * step % values.len())).collect();
    (count >= 256 && sample.iter().all(|x| x.is_finite())).then_some(sample)
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len() as f64;
    let (mean_a, mean_b) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
    let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        a.iter().zip(b).map(|(x, y)| f(x - mean_a, y - mean_b)).sum()
    };
    let spread = (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt();
    if spread > 0.0 { sum(&|x, y| x * y) / spread } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_does_not_hide_whose_content_it_is() {
        let random = |seed: u32| {
            (0..5000u32).map(move |i| {
                f64::from((i ^ seed).wrapping_mul(2_654_435_761) >> 8) / f64::from(1 << 23) - 1.0
            })
        };
        let a: Vec<f64> = random(0).collect();
        let noisy: Vec<f64> =
            random(0).zip(random(77)).map(|(x, noise)| 1.0 - 2.0 * x + 0.1 * noise).collect();
        let [a, noisy] = [a, noisy].map(|values| sample(&Floats::from(values)).unwrap());
        assert!(correlation(&a, &noisy) < -0.99, "{}", correlation(&a, &noisy));
        assert!(sample(&Floats::from(vec![0.0f64; 100])).is_none());
        assert_eq!(correlation(&[1.0, 1.0], &[2.0, 3.0]), 0.0);
    }
}
