//! Tensors that are near to another one of the reference: exchanged or copied, and then quantised, trained on or rounded.

use ulpscope_compare::{Differing, NamedArm};
use ulpscope_floats::Floats;
use ulpscope_metrics::{Description, Statement, correlation};

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
    let far: Vec<&Differing> = left.iter().filter(unrelated).copied().collect();
    let shapes = a.arm.config().parameters();
    let shape = |d: &Differing| shapes.iter().find(|(name, _)| *name == d.name).map(|(_, shape)| shape);
    // Each tensor that may be the one is read once, however many look for theirs.
    let wanted = |of: &Vec<usize>| far.iter().any(|d| shape(d) == Some(of));
    let candidates: Vec<(&str, &Vec<usize>, Vec<f64>)> = (shapes.iter())
        .filter(|(_, shape)| wanted(shape))
        .filter_map(|(name, shape)| Some((name.as_str(), shape, sample(&parameter(a, name)?)?)))
        .collect();
    let nearest = |d: &Differing| {
        let own = sample(&parameter(b, &d.name)?)?;
        let others = candidates.iter().filter(|(name, of, _)| *name != d.name && shape(d) == Some(of));
        let likeness = |theirs: &[f64]| correlation(theirs.iter().copied().zip(own.iter().copied()));
        let best = others.map(|(name, _, theirs)| (*name, likeness(theirs)));
        best.max_by(|x, y| x.1.abs().total_cmp(&y.1.abs())).filter(|(_, best)| best.abs() > NEAR)
    };
    let found: Vec<(&Differing, &str, f64)> =
        (far.iter()).filter_map(|&d| nearest(d).map(|(from, likeness)| (d, from, likeness))).collect();
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
        let found = correlation(a.into_iter().zip(noisy));
        assert!(found < -0.99, "{found}");
        assert!(sample(&Floats::from(vec![0.0f64; 100])).is_none());
        assert_eq!(correlation([(1.0, 2.0), (1.0, 3.0)]), 0.0);
    }
}
