//! Tensors that are near to another one of the reference: exchanged or copied, and then quantised,
//! trained on or rounded.

use ulpscope_compare::{Differing, NamedArm};
use ulpscope_decoder::{Op, layer_of};
use ulpscope_floats::Floats;
use ulpscope_metrics::{Origin, correlation};
use ulpscope_relations::{Description, Statement};

use super::{Elsewhere, parameter};
use crate::causes;
use crate::evidence::Moved;

/// Elements of each tensor that are looked at.
const SAMPLE: usize = 4096;
/// A correlation that two trained tensors do not have by chance.
const NEAR: f64 = 0.8;

/// A tensor that has nothing to do with its own in the reference, and much with another of the same
/// shape.
pub(super) struct Near<'d> {
    pub(super) tensor: &'d Differing,
    /// The other one's name.
    from: String,
    correlation: f64,
}

impl Near<'_> {
    /// As if nothing but its place had changed; `None` if its sign did.
    pub(super) fn origin(&self) -> Option<Origin> {
        let moved = Origin::Moved { name: self.tensor.name.clone(), from: self.from.clone() };
        (self.correlation > 0.0).then_some(moved)
    }
}

/// Every tensor of `b` of this kind.
pub(super) fn near<'d>(a: &NamedArm, b: &NamedArm, left: &[&'d Differing]) -> Vec<Near<'d>> {
    let unrelated = |d: &&&Differing| {
        let far = matches!(
            d.statement,
            Statement::Described(Description::Unrelated { .. } | Description::Correlated { .. })
        );
        far && d.kind.op != Op::Norm
    };
    let far: Vec<&Differing> = left.iter().filter(unrelated).copied().collect();
    let parameters = a.arm.architecture().parameters();
    let shapes: Vec<(&String, &Vec<usize>)> = parameters.iter().map(|p| (&p.name, &p.param.shape)).collect();
    let shape = |d: &Differing| shapes.iter().find(|(name, _)| **name == d.name).map(|(_, shape)| *shape);
    // Each tensor that may be the one is read once, however many look for theirs.
    let wanted = |of: &Vec<usize>| far.iter().any(|d| shape(d) == Some(of));
    let candidates: Vec<(&str, &Vec<usize>, Vec<f64>)> = (shapes.iter())
        .filter(|(_, shape)| wanted(shape))
        .filter_map(|&(name, shape)| Some((name.as_str(), shape, sample(&parameter(a, name)?)?)))
        .collect();
    let nearest = |d: &Differing| {
        let own = sample(&parameter(b, &d.name)?)?;
        let others = candidates.iter().filter(|(name, of, _)| *name != d.name && shape(d) == Some(of));
        let likeness = |theirs: &[f64]| correlation(theirs.iter().copied().zip(own.iter().copied()));
        let best = others.map(|(name, _, theirs)| (*name, likeness(theirs)));
        best.max_by(|x, y| x.1.abs().total_cmp(&y.1.abs())).filter(|(_, best)| best.abs() > NEAR)
    };
    let found = |&tensor: &&'d Differing| {
        let (from, correlation) = nearest(tensor)?;
        Some(Near { tensor, from: from.to_owned(), correlation })
    };
    far.iter().filter_map(found).collect()
}

/// Such tensors one by one; two that are near to each other are one entry.
pub(super) fn one_by_one(found: Vec<Near>) -> Vec<Elsewhere> {
    let back = |near: &Near| found.iter().find(|n| n.tensor.name == near.from && n.from == near.tensor.name);
    let entry = |near: &Near<'_>| {
        let other = back(near);
        // The first of two stands for both.
        if other.is_some_and(|other| other.tensor.name < near.tensor.name) {
            return None;
        }
        let what = Moved::Near {
            name: near.tensor.name.clone(),
            from: near.from.clone(),
            negative: near.correlation < 0.0,
            swapped: other.is_some(),
        };
        Some((what, other.map(|other| other.tensor)))
    };
    let entries: Vec<_> = found.iter().map(entry).collect();
    (found.iter().zip(entries))
        .filter_map(|(near, entry)| {
            let (what, other) = entry?;
            let tensors = std::iter::once(near.tensor).chain(other).collect();
            Some(Elsewhere::new(what, causes::EXCHANGED, tensors))
        })
        .collect()
}

/// Norms of layers that moved and were changed besides, among what is `left`: a norm is a few
/// hundred numbers about 1, near to every other, and went along if it is nearer to that of the
/// layer where the others are from.
pub(super) fn norms<'d>(
    a: &NamedArm,
    b: &NamedArm,
    left: &[&'d Differing],
    moved: &[&Near],
) -> Vec<&'d Differing> {
    let layer = |name: &str| layer_of(name).map(|(layer, _)| layer);
    let source = |name: &str| {
        let (own, place) = layer_of(name)?;
        let near = moved.iter().find(|near| layer(&near.tensor.name) == Some(own))?;
        Some(format!("model.layers.{}.{place}", layer(&near.from)?))
    };
    let went_along = |d: &Differing| -> Option<bool> {
        let other = parameter(a, &source(&d.name)?)?;
        let (theirs, own) = (parameter(b, &d.name)?, parameter(a, &d.name)?);
        let apart = |x: &Floats| -> f64 { (0..x.len()).map(|i| (x.get(i) - theirs.get(i)).powi(2)).sum() };
        let alike = [own.len(), other.len()].iter().all(|len| *len == theirs.len());
        Some(alike && apart(&other) < apart(&own))
    };
    let norm = |d: &&Differing| d.kind.op == Op::Norm && went_along(d) == Some(true);
    left.iter().copied().filter(norm).collect()
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
