//! Recordings made under autocast: products in 16 bits, everything between them in f32.

use ulpscope_capture::Activations;
use ulpscope_decoder::{Architecture, Op, Site};
use ulpscope_floats::DType;
use ulpscope_record::Finding;

use super::at::{Case, cast};
use super::numbers::{dot, rms};
use super::{At, Formula, found};
use crate::causes;

/// The format of the products of a recording that was made under autocast, from the formats of its
/// sites.
pub(in crate::trace) fn format(
    model: &Architecture,
    sites: impl Iterator<Item = (Site, DType)> + Clone,
) -> Option<DType> {
    let logits = model.logits();
    let formats = |op: fn(Op) -> bool| {
        let sites = sites.clone().filter(move |(site, _)| op(site.op()) && *site != logits);
        sites.map(|(_, dtype)| dtype)
    };
    let mut products = formats(|op| op == Op::Linear);
    let first = products.next().filter(|dtype| dtype.size() == 2)?;
    let wide =
        |op: fn(Op) -> bool| formats(op).next().is_some() && formats(op).all(|dtype| dtype == DType::F32);
    let between = wide(|op| op == Op::Norm) && wide(|op| matches!(op, Op::Add(_)));
    (between && products.all(|dtype| dtype == first)).then_some(first)
}

/// Whether the site's recording was made so, and holds f32 here.
pub(in crate::trace) fn applies(at: &At) -> bool {
    at.dtype == DType::F32
        && at.own.size() == 2
        && at.cases.iter().all(|case| format(at.model, formats(case)) == Some(at.own))
}

fn formats<'s>(case: &Case<'s>) -> impl Iterator<Item = (Site, DType)> + Clone + use<'s> {
    let recorded: &'s Activations = case.recorded;
    recorded.iter().map(|(site, x)| (*site, x.values.dtype()))
}

/// What ours computes in 16 bits, in f32.
pub(in crate::trace) fn wide(at: &At) -> Option<Formula> {
    let holds = match at.site.op() {
        // Ours is the same, rounded.
        Op::Embed | Op::Table(_) => {
            at.cases.iter().all(|case| cast(case.theirs.clone(), at.own) == case.ours)
        }
        Op::Norm => norm(at, &at.weight.as_ref()?.to_f64()),
        Op::Add(_) => {
            let [x, b] = at.model.reads(at.site, at.attention)[..] else { return None };
            at.near_all(|case| Some(case.read(x)?.iter().zip(&case.read(b)?).map(|(x, b)| x + b).collect()))
        }
        Op::Rope(_) => at.near_all(|case| rotated(at, case)),
        Op::Linear => false,
        _ => at.cases.iter().all(|case| cast(case.theirs.clone(), at.own) == case.ours),
    };
    holds.then_some(())?;
    found(causes::AUTOCAST, Finding::new("autocast").with("format", at.own.to_string()))
}

/// A norm in f32. Where the weight that was multiplied is rounded in ours, it is read off the
/// values.
fn norm(at: &At, weight: &[f64]) -> bool {
    let [from] = at.model.reads(at.site, at.attention)[..] else { return false };
    let (width, eps) = (weight.len(), at.model.norm.eps);
    let weightless = |case: &Case| {
        let x = case.read(from)?;
        let row = |x: &[f64]| -> Vec<f64> {
            let factor = 1.0 / (rms(x).powi(2) + eps).sqrt();
            x.iter().map(|x| x * factor).collect()
        };
        Some(x.chunks(width).flat_map(row).collect::<Vec<f64>>())
    };
    let mut sums = vec![[0.0; 2]; width];
    for case in &at.cases {
        let Some(n) = weightless(case) else { return false };
        for (i, (n, y)) in n.iter().zip(&case.theirs).enumerate() {
            let [ny, nn] = &mut sums[i % width];
            (*ny, *nn) = (*ny + n * y, *nn + n * n);
        }
    }
    let read: Vec<f64> = sums.iter().map(|[ny, nn]| ny / nn).collect();
    let unit = 1.01 * at.own.unit_roundoff();
    let rounded =
        read.iter().zip(weight).all(|(read, w)| !read.is_finite() || (read - w).abs() <= unit * read.abs());
    let times = |case: &Case, weight: &[f64]| {
        Some(weightless(case)?.iter().enumerate().map(|(i, n)| n * weight[i % width]).collect())
    };
    at.near_all(|case| times(case, weight)) || rounded && at.near_all(|case| times(case, &read))
}

/// Queries or keys in 16 bits, rotated by the recording's own tables without a rounding.
fn rotated(at: &At, case: &Case) -> Option<Vec<f64>> {
    let from = *at.model.reads(at.site, at.attention).first()?;
    let x = case.read(from)?;
    let [cos, sin] = at.model.tables(at.rope_index()).map(|table| case.read(table));
    let (cos, sin) = (cos?, sin?);
    let width = at.spec.head_dim;
    let heads = x.len() / (case.tokens * width).max(1);
    let mut y = vec![0.0; x.len()];
    for h in 0..heads {
        for t in 0..case.tokens {
            let x = &x[(t * heads + h) * width..][..width];
            for i in 0..width {
                let half = if i < width / 2 { -x[i + width / 2] } else { x[i - width / 2] };
                y[(h * case.tokens + t) * width + i] =
                    dot(&[x[i], half], &[cos[t * width + i], sin[t * width + i]]);
            }
        }
    }
    Some(y)
}
