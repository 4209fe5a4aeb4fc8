//! Positions that enter by another way: a bias on scores, or sines added to embeddings.
//!
//! BLOOM and MPT lower scores by a multiple of the distance (ALiBi); GPT-2 adds positions to
//! embeddings.

use ulpscope_decoder::Op;
use ulpscope_record::{Finding, Value};

use crate::causes::{CauseKind, Scope, Severity, Test};
use crate::trace::formula::at::{At, Case};
use crate::trace::formula::numbers::simple;
use crate::trace::formula::scores::place;

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "position-bias",
    title: "positions that enter by another way: a bias on scores, or sines added to embeddings",
    remedy: "This model has none beside its rotation; ALiBi and relative position biases belong to other architectures.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};

pub(crate) static TEST: Test = Test { cause: &CAUSE, ops: |op| matches!(op, Op::Scores | Op::Embed), find };

fn find(at: &At) -> Option<Finding> {
    if at.site.op() == Op::Embed { with_sines(at) } else { of_distance(at) }
}

/// Something added that the distance of query and key determines, for each head.
fn of_distance(at: &At) -> Option<Finding> {
    let (heads, tokens) = (at.spec.heads, at.cases.iter().map(|case| case.tokens).max()?);
    let group = |case: &Case, i: usize| {
        let [h, query, key] = place(case, i);
        h * tokens + query.saturating_sub(key)
    };
    let mut sums = vec![[0.0; 2]; heads * tokens];
    for case in &at.cases {
        for (i, (y, z)) in case.theirs.iter().zip(&case.ours).enumerate() {
            if !at.hides(*y, *z) {
                let [sum, count] = &mut sums[group(case, i)];
                (*sum, *count) = (*sum + y - z, *count + 1.0);
            }
        }
    }
    let bias: Vec<f64> =
        sums.iter().map(|[sum, count]| if *count > 0.0 { sum / count } else { 0.0 }).collect();
    // The same everywhere is no matter of distance.
    let [sum, count] = sums.iter().fold([0.0; 2], |[x, y], [sum, count]| [x + sum, y + count]);
    let everywhere = at.gives(|case| Some(case.ours.iter().map(|z| z + sum / count).collect()));
    if tokens < 6
        || everywhere
        || !at.gives(|case| Some((0..case.ours.len()).map(|i| case.ours[i] + bias[group(case, i)]).collect()))
    {
        return None;
    }
    let slope = |head: &[f64]| {
        let [by, dd] = head.iter().enumerate().fold([0.0; 2], |[by, dd], (d, bias)| {
            let d = d as f64;
            [by - bias * d, dd + d * d]
        });
        by / dd
    };
    let slopes: Vec<f64> = bias.chunks(tokens).map(slope).collect();
    let size = (at.visible().map(|y| y * y).sum::<f64>() / at.visible().count() as f64).sqrt();
    let linear = bias.chunks(tokens).zip(&slopes).all(|(head, slope)| {
        let allowed = 0.05 * slope.abs() * tokens as f64 + at.dtype.unit_roundoff() * size;
        head.iter().enumerate().all(|(d, bias)| (bias + slope * d as f64).abs() <= allowed)
    });
    let slopes = Value::List(slopes.into_iter().map(|slope| simple(slope).into()).collect());
    Some(match linear {
        true => Finding::new("less-distance").with("slopes", slopes),
        false => Finding::new("plus-distance"),
    })
}

/// At the embeddings: with sines and cosines of the position added, in turns or in halves.
fn with_sines(at: &At) -> Option<Finding> {
    let width = at.model.width;
    let added = |case: &Case, halves: bool| {
        let element = |i: usize| {
            let (t, c) = ((i / width) as f64, i % width);
            let (pair, second) = if halves { (c % (width / 2), c >= width / 2) } else { (c / 2, c % 2 == 1) };
            let angle = t / 1e4f64.powf(2.0 * pair as f64 / width as f64);
            case.ours[i] + if second { angle.cos() } else { angle.sin() }
        };
        Some((0..case.ours.len()).map(element).collect())
    };
    let fits = [false, true].into_iter().any(|halves| at.explains(|case| added(case, halves)));
    fits.then(|| Finding::new("sines-added"))
}
