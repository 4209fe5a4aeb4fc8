//! Divergence against position, beside the floor: where does it leave it?

use crate::Options;
use crate::axis::{self, Axis, Place, edges};
use crate::colour::{Colour, GREY, INK, series};
use crate::error::PlotError;
use crate::font;
use crate::heading::{Key, RIGHT, Sign, Subject, legend};
use crate::picture::{Align, Mark, Picture, Point};
use ulpscope_record::{Bucket, RunRecord};

/// KL by position on logarithmic axes: measured, of the causes alone without rounding in between,
/// and of the floor with two standard deviations to each side.
///
/// None where the record has no explanation with such buckets of positions on this prompt, or of
/// too few for a curve.
///
/// # Errors
/// [`PlotError::OneArm`], [`PlotError::NoPrompt`], [`PlotError::NoArm`].
pub fn growth(record: &RunRecord, options: &Options) -> Result<Option<Picture>, PlotError> {
    let subject = Subject::new(record, options.prompt)?;
    let Some(explanation) = &record.explanation else { return Ok(None) };
    let arm = subject.arm(&explanation.arm)?;
    let buckets: Vec<&Bucket> = (explanation.growth.iter())
        .filter(|bucket| bucket.prompt == options.prompt && bucket.from < bucket.to)
        .collect();
    if buckets.iter().all(|bucket| bucket.to < LEAST) {
        return Ok(None);
    }
    let mut picture = Picture::default();
    // Onsets are those of the longest prompt.
    let end_of = |bucket: &Bucket| bucket.to;
    let longest = explanation.growth.iter().map(end_of).max() <= buckets.iter().copied().map(end_of).max();
    let onset = explanation.onset.filter(|_| longest);
    let finding = match onset {
        Some(onset) => format!("It stays above the floor from position {onset} on."),
        None => "It does not stay above the floor within what was measured.".to_owned(),
    };
    let end = subject.headline(&mut picture, "Divergence against position", Some(arm), &finding);
    let measured = |bucket: &Bucket| bucket.kl;
    let intrinsic = |bucket: &Bucket| bucket.intrinsic_kl;
    // NaN says that it was not measured, so it is no finding.
    let sized: Vec<&Bucket> =
        buckets.iter().copied().filter(|bucket| !bucket.intrinsic_kl.is_nan()).collect();

    let key = |text: &str, colour, sign| Key { text: text.into(), colour, sign };
    let mut keys = vec![
        key("measured", series(0), Sign::Line(Mark::Disc)),
        key("measured, above the floor", series(1), Sign::Mark(Mark::Diamond)),
    ];
    if !sized.is_empty() {
        keys.push(key("of the causes alone, unrounded", series(2), Sign::Dashes));
    }
    keys.push(key("floor, mean ± 2 sd over orders of summation", FLOOR, Sign::Mark(Mark::Square)));
    let top = legend(&mut picture, &keys, end) + 60.0;

    let [left, right, bottom] = [230.0, RIGHT, 1080.0];
    // Position 0 has no logarithm; the number of tokens that it has seen, itself included, has.
    let seen = |position: usize| position as f64 + 1.0;
    let ends = buckets.iter().flat_map(|bucket| [seen(bucket.from), seen(bucket.to)]);
    let x = Axis::log(ends, left, right);
    let at = |position: usize| x.place(seen(position)).pixel();
    let middle = |bucket: &Bucket| (at(bucket.from) + at(bucket.to)) / 2.0;
    let noise = |bucket: &Bucket| {
        let spread = if bucket.floor_sd.is_finite() { 2.0 * bucket.floor_sd } else { 0.0 };
        [bucket.floor_mean - spread, bucket.floor_mean, bucket.floor_mean + spread]
    };
    let positive = |value: &f64| *value > 0.0;
    let values = (buckets.iter().map(|bucket| measured(bucket)))
        .chain(sized.iter().map(|bucket| intrinsic(bucket)))
        .chain(buckets.iter().flat_map(|bucket| noise(bucket)).filter(positive));
    let y = Axis::log(values, bottom, top);
    let lowest = y.place(f64::MIN_POSITIVE).pixel();

    for bucket in &buckets {
        let [low, mean, high] =
            noise(bucket).map(|value| if value > 0.0 { y.place(value).pixel() } else { lowest });
        let (from, to) = (at(bucket.from), at(bucket.to));
        if bucket.floor_mean > 0.0 && bucket.floor_mean.is_finite() {
            picture.rect((from, high), (to, low), FLOOR);
            picture.line(&[(from, mean), (to, mean)], 2.0, GREY.with_alpha(0.7));
        }
    }
    y.draw_vertical(&mut picture, left, right, "KL (nats)");
    x.draw_horizontal(&mut picture, top, bottom, "tokens seen (position + 1)");
    let pixels = |of: &[&Bucket], value: &dyn Fn(&Bucket) -> f64| -> Vec<(f64, Place)> {
        of.iter().map(|bucket| (middle(bucket), y.place(value(bucket)))).collect()
    };
    let line = |places: &[(f64, Place)]| -> Vec<Vec<Point>> {
        (places.chunk_by(|a, b| matches!((a.1, b.1), (Place::Value(_), Place::Value(_)))))
            .map(|run| run.iter().map(|&(x, place)| (x, place.pixel())).collect())
            .collect()
    };
    let places = pixels(&sized, &intrinsic);
    line(&places).iter().for_each(|run| picture.dashed(run, 3.5, 14.0, series(2)));
    for (x, place) in places {
        mark(&mut picture, Mark::Square, (x, place), 6.0, series(2));
    }
    let places = pixels(&buckets, &measured);
    line(&places).iter().for_each(|run| picture.line(run, 4.0, series(0)));
    for (bucket, (x, place)) in buckets.iter().zip(places) {
        match bucket.exceeds {
            true => mark(&mut picture, Mark::Diamond, (x, place), 11.0, series(1)),
            false => mark(&mut picture, Mark::Disc, (x, place), 8.0, series(0)),
        }
    }
    let drawn = buckets.iter().map(|bucket| bucket.to).max().unwrap_or_default();
    let mut onsets: Vec<(usize, &str, Colour)> = [
        (onset, "leaves the floor", INK),
        (explanation.expected_onset.filter(|_| longest), "fitted size reaches 3 sd of it", series(2)),
    ]
    .into_iter()
    .filter_map(|(onset, what, colour)| Some((onset.filter(|position| *position <= drawn)?, what, colour)))
    .collect();
    onsets.sort_by_key(|(position, ..)| *position);
    // The labels stand above the panel, the earlier one to the left of its line and below the later
    // one, so that neither line runs through the other's words.
    for (index, &(position, what, colour)) in onsets.iter().enumerate() {
        let (x, row) = (at(position), top - 10.0 - 32.0 * index as f64);
        picture.dashed(&[(x, row), (x, bottom)], 2.5, 8.0, colour);
        let text = format!("{what} at position {position}");
        let width = font::width(&text, axis::TICK, false) + 12.0;
        let before = if index == 0 { x - width > left } else { x + width > RIGHT };
        match before {
            true => picture.label(&text, (x - 12.0, row), axis::TICK, Align::End).colour(colour),
            false => picture.label(&text, (x + 12.0, row), axis::TICK, Align::Start).colour(colour),
        };
    }
    edges(&mut picture, [left, top, right, bottom]);
    Ok(Some(picture))
}

/// Positions below which there is no curve to speak of.
const LEAST: usize = 128;
const FLOOR: Colour = Colour { rgb: (216, 216, 216), alpha: 1.0 };

fn mark(picture: &mut Picture, mark: Mark, (x, place): (f64, Place), radius: f64, colour: Colour) {
    match place {
        Place::Value(y) => picture.mark(mark, (x, y), radius, colour),
        Place::Zero(y) => picture.hollow(mark, (x, y), radius, colour),
        Place::Wild(y) => picture.cross((x, y), radius, 3.0, colour),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::{explained, record};

    #[test]
    fn both_onsets_are_named_where_they_lie_in_the_picture() {
        let run = explained(2, 4096);
        let picture = growth(&run, &Options::default()).unwrap().unwrap();
        let texts = picture.texts();
        for text in [
            "leaves the floor at position 2048",
            "fitted size reaches 3 sd of it at position 1500",
            "KL (nats)",
        ] {
            assert!(texts.contains(&text), "{text} in {texts:?}");
        }
        let mut short = explained(2, 200);
        short.explanation.as_mut().unwrap().onset = None;
        let picture = growth(&short, &Options::default()).unwrap().unwrap();
        assert!(!picture.texts().iter().any(|text| text.contains("at position")));
    }

    #[test]
    fn a_size_that_was_not_measured_is_not_drawn() {
        let mut run = explained(2, 256);
        let buckets = &mut run.explanation.as_mut().unwrap().growth;
        buckets.iter_mut().for_each(|bucket| bucket.intrinsic_kl = f64::NAN);
        let picture = growth(&run, &Options::default()).unwrap().unwrap();
        assert!(!picture.texts().contains(&"of the causes alone, unrounded"));
        assert!(!picture.texts().contains(&"NaN, inf"));
    }

    #[test]
    fn without_buckets_there_is_no_picture() {
        for run in [record(2, 2, 3), explained(2, 64)] {
            assert_eq!(growth(&run, &Options::default()).unwrap(), None);
        }
    }
}
