//! The logits of an arm against the reference's: is it noise around the diagonal, or a shift?

use crate::Options;
use crate::axis::{Axis, edges};
use crate::colour::{GREY, series};
use crate::error::PlotError;
use crate::heading::{Key, RIGHT, Sign, Subject, legend, nothing};
use crate::picture::{Mark, Picture};
use ulpscope_record::text::{number, percent};
use ulpscope_record::{LogitDivergence, RunRecord};

/// A sample of the logits, the arm's against the reference's, and their difference on its own
/// scale.
///
/// # Errors
/// [`PlotError::OneArm`], [`PlotError::NoPrompt`], [`PlotError::NoArm`].
pub fn logits(record: &RunRecord, arm: &str, options: &Options) -> Result<Picture, PlotError> {
    let subject = Subject::new(record, options.prompt)?;
    let arm = subject.arm(arm)?;
    let reference = &record.arms[0].name;
    let mut picture = Picture::default();
    let title = format!("Logits of {} against {reference}", arm.name);
    let Some(logits) = subject.logits(&arm.name) else {
        let end = subject.headline(&mut picture, &title, Some(arm), "");
        nothing(&mut picture, "No logits were compared on this prompt.", end, 1200.0);
        return Ok(picture);
    };
    let end = subject.headline(&mut picture, &title, Some(arm), &found(logits));
    let sample = &logits.sample;
    let pairs: Vec<(f64, f64)> = (sample.a.iter().zip(&sample.b))
        .map(|(&a, &b)| (a, b))
        .filter(|(a, b)| a.is_finite() && b.is_finite())
        .collect();
    if pairs.is_empty() {
        let why = match sample.a.len().min(sample.b.len()) {
            0 => "No logits were sampled.",
            _ => "Every sampled pair of logits is NaN or infinite in an arm.",
        };
        nothing(&mut picture, why, end, 1200.0);
        return Ok(picture);
    }

    let (same, other) = (series(5), series(1));
    let equal = pairs.iter().filter(|(a, b)| a == b).count();
    let mut keys = vec![
        Key {
            text: format!("equal ({equal} of {} sampled)", pairs.len()),
            colour: same,
            sign: Sign::Mark(Mark::Disc),
        },
        Key {
            text: format!("different ({})", pairs.len() - equal),
            colour: other,
            sign: Sign::Mark(Mark::Disc),
        },
        Key { text: "equal values".into(), colour: GREY, sign: Sign::Dashes },
    ];
    let left_out = sample.a.len().min(sample.b.len()) - pairs.len();
    if left_out > 0 {
        keys.push(Key {
            text: format!("{left_out} NaN or infinite, not shown"),
            colour: GREY,
            sign: Sign::Cross,
        });
    }
    let top = legend(&mut picture, &keys, end) + 20.0;
    let bottom = 1080.0;

    let range = |values: &mut dyn Iterator<Item = f64>| {
        values
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
    };
    let (low, high) = range(&mut pairs.iter().flat_map(|&(a, b)| [a, b]));
    let margin = 0.03 * (high - low);
    let (low, high) = (low - margin, high + margin);
    let largest = pairs.iter().map(|(a, b)| (b - a).abs()).fold(0.0, f64::max);
    let largest = if largest > 0.0 { 1.08 * largest } else { 1.0 };
    let panels =
        [([210.0, top, 910.0, bottom], (low, high)), ([1150.0, top, RIGHT, bottom], (-largest, largest))];
    for (panel, ([left, top, right, bottom], (least, most))) in panels.into_iter().enumerate() {
        let difference = panel == 1;
        let x = Axis::linear(low, high, left + 4.0, right - 4.0);
        let y = Axis::linear(least, most, bottom - 4.0, top + 4.0);
        let title = match difference {
            false => format!("logit in {}", arm.name),
            true => format!("difference, {} − {reference}", arm.name),
        };
        y.draw_vertical(&mut picture, left, right, &title);
        x.draw_horizontal(&mut picture, top, bottom, &format!("logit in {reference}"));
        let diagonal =
            |value: f64| (x.place(value).pixel(), y.place(if difference { 0.0 } else { value }).pixel());
        // Those that agree last and on top: where they lie is known, and none of the others is
        // there.
        for kind in [false, true] {
            for &(a, b) in pairs.iter().filter(|(a, b)| (a == b) == kind) {
                let at = (x.place(a).pixel(), y.place(if difference { b - a } else { b }).pixel());
                picture.disc(at, 4.5, if kind { same } else { other }.with_alpha(0.55));
            }
        }
        picture.dashed(&[diagonal(low), diagonal(high)], 2.5, 12.0, GREY);
        edges(&mut picture, [left, top, right, bottom]);
    }
    Ok(picture)
}

fn found(logits: &LogitDivergence) -> String {
    let mut text = format!(
        "{} bit-equal, mean |Δ| {}, largest {}, KL {} nats, same top token at {} of positions",
        percent(logits.equal),
        number(logits.mean_abs),
        number(logits.max_abs),
        number(logits.kl),
        percent(logits.top1_agreement),
    );
    let [a, b] = logits.nonfinite;
    if a + b > 0 {
        text.push_str(&format!("; not finite: {a} and {b}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Shape;
    use crate::synthetic::record;

    #[test]
    fn every_sampled_pair_is_in_both_panels() {
        let run = record(4, 2, 3);
        let picture = logits(&run, "b", &Options::default()).unwrap();
        let discs = picture.shapes.iter().filter(|shape| matches!(shape, Shape::Disc { .. })).count();
        assert_eq!(discs, 2 * run.logits[0].sample.a.len() + 2);
        assert!(picture.texts().iter().any(|text| text.starts_with("34.00 % bit-equal")));
    }

    #[test]
    fn missing_empty_and_wild_samples_are_said() {
        let mut run = record(4, 2, 3);
        run.logits[0].sample.a.fill(f64::NAN);
        let says = |run: &RunRecord, part: &str| {
            let picture = logits(run, "b", &Options::default()).unwrap();
            assert!(picture.texts().iter().any(|text| text.contains(part)), "{:?}", picture.texts());
        };
        says(&run, "NaN or infinite in an arm");
        run.logits[0].sample.a.clear();
        says(&run, "No logits were sampled");
        run.logits.clear();
        says(&run, "No logits were compared");
    }
}
