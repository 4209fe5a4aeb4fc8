//! Divergence by layer: where it jumps, where it grows.

use super::{curve, judged};
use crate::axis::{Axis, edges, every};
use crate::colour::{GREY, series};
use crate::error::PlotError;
use crate::heading::{Key, RIGHT, Sign, Subject, described, legend, nothing};
use crate::picture::{Align, Mark, Picture};
use crate::{Options, axis};
use ulpscope_record::RunRecord;
use ulpscope_record::summary::block;

/// Mean and largest absolute difference of every block's output from the reference's, one colour
/// per arm.
///
/// # Errors
/// [`PlotError::OneArm`], [`PlotError::NoPrompt`].
pub fn layers(record: &RunRecord, options: &Options) -> Result<Picture, PlotError> {
    let subject = Subject::new(record, options.prompt)?;
    let mut picture = Picture::default();
    let end = subject.headline(&mut picture, "Divergence by layer", None, "");

    // Per arm: (layer, mean, largest).
    let data: Vec<Vec<(usize, f64, f64)>> = (subject.arms().iter())
        .map(|arm| {
            (subject.sites(&arm.name))
                .filter_map(|site| {
                    let found = &site.difference;
                    Some((block(&site.site)?, judged(site, found.mean_abs), judged(site, found.max_abs)))
                })
                .collect()
        })
        .collect();
    let all = || data.iter().flatten();
    let Some(last) = all().map(|(layer, ..)| *layer).max() else {
        nothing(&mut picture, "No block's output was compared on this prompt.", end, 1200.0);
        return Ok(picture);
    };

    let mut keys: Vec<Key> = (subject.arms().iter().enumerate())
        .map(|(index, arm)| Key {
            text: described(arm, &subject.record.arms[0]),
            colour: series(index),
            sign: Sign::Line(Mark::of(index)),
        })
        .collect();
    keys.push(Key { text: "mean".into(), colour: GREY, sign: Sign::Line(Mark::Disc) });
    keys.push(Key { text: "largest".into(), colour: GREY, sign: Sign::Dashes });
    if all().any(|&(_, mean, max)| mean == 0.0 || max == 0.0) {
        keys.push(Key { text: "exactly 0".into(), colour: GREY, sign: Sign::Hollow(Mark::Disc) });
    }
    let top = legend(&mut picture, &keys, end) + 20.0;

    let [left, right, bottom] = [210.0, RIGHT, 1080.0];
    let y = Axis::log(all().flat_map(|&(_, mean, max)| [mean, max]), bottom, top);
    y.draw_vertical(&mut picture, left, right, "absolute difference of block output");
    let x = |layer: usize| left + (layer as f64 + 0.5) / (last as f64 + 1.0) * (right - left);
    for layer in (0..=last).step_by(every(last + 1, 31)) {
        picture.text(&layer.to_string(), (x(layer), bottom + 34.0), axis::TICK, Align::Middle);
    }
    picture.text("layer", ((left + right) / 2.0, bottom + 82.0), axis::TITLE, Align::Middle);
    for (index, points) in data.iter().enumerate() {
        let style = |dashed| (Mark::of(index), series(index), dashed);
        let of = |value: fn(&(usize, f64, f64)) -> f64| -> Vec<(f64, f64)> {
            points.iter().map(|point| (x(point.0), value(point))).collect()
        };
        curve(&mut picture, &of(|point| point.2), &y, style(true), false);
        curve(&mut picture, &of(|point| point.1), &y, style(false), last < 80);
    }
    edges(&mut picture, [left, top, right, bottom]);
    Ok(picture)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Shape;
    use crate::synthetic::record;

    fn discs(picture: &Picture) -> usize {
        picture.shapes.iter().filter(|shape| matches!(shape, Shape::Disc { .. })).count()
    }

    #[test]
    fn every_layer_has_its_mark_and_zeros_are_not_dropped() {
        let mut run = record(30, 2, 3);
        let count = |run: &RunRecord| discs(&layers(run, &Options::default()).unwrap());
        let before = count(&run);
        assert!(before >= 30, "{before}");
        let site = run.sites.iter_mut().find(|site| site.site == "model.layers.17").unwrap();
        site.difference.mean_abs = 0.0;
        // A hollow mark is two discs, here and in the legend if no zero was there before.
        assert!(count(&run) > before);
    }

    #[test]
    fn names_model_arms_prompt_and_axes() {
        let picture = layers(&record(30, 3, 3), &Options::default()).unwrap();
        let texts = picture.texts().join("\n");
        for part in
            ["SmolLM2", "Gravity is", "load(bf16)", "load(f32).to(bf16)", "load(f16)", "layer", "absolute"]
        {
            assert!(texts.contains(part), "{part} in\n{texts}");
        }
    }
}
