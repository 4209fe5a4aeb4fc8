//! An adapter beside the base, where ours has the two merged: what the rounding of the merged
//! weights makes.

use ulpscope_floats::ulp;
use ulpscope_record::Finding;

use super::{At, Formula, found};
use crate::causes;

/// Outputs that are looked at, at even distances.
const OUTPUTS: usize = 256;
/// How far the size of the differences may be from what rounding makes, on average and at any
/// element.
const NEAR: [f64; 2] = [0.4, 1.6];
const FURTHEST: f64 = 8.0;

/// At a linear layer with this weight: whether differences are of the size that the rounding of its
/// weights makes.
///
/// Each weight is off by a share of a step that is as good as random, so that an output is off by a
/// sum of these times the inputs. Two products that are rounded before they are added make a few
/// steps of the output's format besides.
pub(super) fn merged(at: &At) -> Option<Formula> {
    let weight = at.weight.as_ref()?;
    let [from] = at.model.reads(at.site, at.attention)[..] else { return None };
    let rows = at.cases[0].theirs.len() / at.cases[0].tokens.max(1);
    let width = weight.len() / rows.max(1);
    let steps = |row: usize| -> Vec<f64> {
        (0..width).map(|i| ulp(weight.get(row * width + i).abs(), at.own).powi(2) / 12.0).collect()
    };
    let chosen: Vec<(usize, Vec<f64>)> =
        (0..rows).step_by(rows.div_ceil(OUTPUTS).max(1)).map(|row| (row, steps(row))).collect();
    let (mut sum, mut count, mut rounding) = (0.0, 0usize, 0.0);
    let mut moved = 0usize;
    for case in &at.cases {
        let x = case.read(from)?;
        for (t, x) in x.chunks(width).take(case.tokens).enumerate() {
            let squares: Vec<f64> = x.iter().map(|x| x * x).collect();
            for (row, steps) in &chosen {
                let (y, z) = (case.theirs[t * rows + row], case.ours[t * rows + row]);
                // Ours, the base's product and the sum are rounded.
                let own = 3.0 * ulp(y.abs().max(z.abs()), at.dtype).powi(2) / 12.0;
                let of_weights: f64 = steps.iter().zip(&squares).map(|(step, x)| step * x).sum();
                let expected = own + of_weights;
                let square = (y - z).powi(2) / expected;
                if square.is_nan() || square > FURTHEST * FURTHEST {
                    return None;
                }
                (sum, count, rounding) = (sum + square, count + 1, rounding + own / expected);
                moved += usize::from(y != z);
            }
        }
    }
    let size = (sum / count.max(1) as f64).sqrt();
    // Where roundings of the output are nearly all, nothing is said of weights.
    let told = count >= 64 && rounding / (count as f64) < 0.9 && 4 * moved >= count;
    (told && (NEAR[0]..=NEAR[1]).contains(&size)).then_some(())?;
    found(causes::MERGE_ROUNDING, Finding::new("weights-not-rounded").with("format", at.own.to_string()))
}
