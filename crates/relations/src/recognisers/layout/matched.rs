//! Rows or columns in another order that are not quite the same numbers: the nearest ones are
//! found.

use rayon::prelude::*;

use crate::order::Order;
use crate::rearrangement::{Axis, Rearrangement};
use crate::view::View;

/// Elements of each row or column that are looked at.
const TASTE: usize = 96;

/// Fewer elements than this leave too much to chance.
const LEAST: usize = 16;

/// The most products that are made.
const WORK: usize = 1 << 31;

/// The cosine, of either sign, at which two rows are one: unrelated ones of [`LEAST`] elements do
/// not reach it.
const LIKE: f32 = 0.9;

/// Rows that are looked up before all are.
const SAMPLE: usize = 16;

/// The order in which most rows, or columns, of `b` are each most like another one of `a`.
pub(crate) fn matched(
    a: View,
    b: View,
    (rows, columns): (usize, usize),
    axis: Axis,
    heads: &[usize],
) -> Option<Rearrangement> {
    let (lines, len, step) = match axis {
        Axis::Rows => (rows, columns, (columns, 1)),
        Axis::Columns => (columns, rows, (1, columns)),
        Axis::Elements => return None,
    };
    let taste = len.min(TASTE);
    if len < LEAST || lines < 4 || lines.saturating_mul(lines).saturating_mul(taste) > WORK {
        return None;
    }
    // Each line of length 1; those of zeros stay so, and are like none.
    let unit = |x: View, line: usize| -> Vec<f32> {
        let values: Vec<f64> = (0..taste).map(|i| x.get(line * step.0 + i * len / taste * step.1)).collect();
        let length = values.iter().map(|x| x * x).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
        values.iter().map(|x| (x / length) as f32).collect()
    };
    let known: Vec<Vec<f32>> = (0..lines).into_par_iter().map(|line| unit(a, line)).collect();
    let nearest = |line: usize| {
        let wanted = unit(b, line);
        let cosine = |x: &[f32]| x.iter().zip(&wanted).map(|(x, y)| x * y).sum::<f32>().abs();
        let likeness = known.iter().map(|x| cosine(x)).enumerate();
        let (source, best) = likeness.max_by(|x, y| x.1.total_cmp(&y.1))?;
        (best > LIKE).then_some(source)
    };
    let sample = SAMPLE.min(lines);
    let found = (0..sample).filter(|i| nearest(i * lines / sample).is_some()).count();
    if found * 2 < sample {
        return None;
    }
    let sources: Vec<Option<usize>> = (0..lines).into_par_iter().map(nearest).collect();
    let mut free = vec![true; lines];
    let mut once = |source: &usize| std::mem::replace(&mut free[*source], false);
    let sources: Vec<Option<usize>> = sources.into_iter().map(|source| source.filter(&mut once)).collect();
    let told = sources.iter().flatten().count();
    let moved = sources.iter().enumerate().any(|(line, source)| source.is_some_and(|source| source != line));
    if told * 4 < lines * 3 || !moved {
        return None;
    }
    // What is like nothing, as it may be zero now, gets what is left.
    let mut left = (0..lines).filter(|line| free[*line]);
    let keys: Vec<u64> =
        sources.iter().map(|s| s.or_else(|| left.next()).map(|s| s as u64)).collect::<Option<_>>()?;
    let places: Vec<u64> = (0..lines as u64).collect();
    let order = Order::of(&places, &keys, heads)?;
    Some(Rearrangement::Permuted { axis, order, of: lines })
}
