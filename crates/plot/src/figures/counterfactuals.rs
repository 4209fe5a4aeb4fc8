//! What is left of a divergence when one thing that differs is exchanged.

use crate::Options;
use crate::axis::{self, Axis, Place, edges};
use crate::colour::{Colour, FAINT, GREY, PAPER, series};
use crate::error::PlotError;
use crate::font;
use crate::heading::{Key, LEFT, RIGHT, Sign, Subject, legend};
use crate::picture::{Align, Mark, Picture};
use ulpscope_record::text::{number, percent};
use ulpscope_record::{Counterfactual, Direction, RunRecord};

const MAX_BARS: usize = 22;

/// A bar for every run with a factor exchanged: KL between the two that it brings together.
///
/// None where the record has no explanation with such runs on this prompt.
///
/// # Errors
/// [`PlotError::OneArm`], [`PlotError::NoPrompt`], [`PlotError::NoArm`].
pub fn counterfactuals(record: &RunRecord, options: &Options) -> Result<Option<Picture>, PlotError> {
    let subject = Subject::new(record, options.prompt)?;
    let Some(explanation) = &record.explanation else { return Ok(None) };
    let arm = subject.arm(&explanation.arm)?;
    let runs: Vec<&Counterfactual> =
        explanation.counterfactuals.iter().filter(|run| run.prompt == options.prompt).collect();
    if runs.is_empty() {
        return Ok(None);
    }
    let mut picture = Picture::default();
    let title = "One factor exchanged";
    let (reference, name) = (&record.arms[0].name, &arm.name);
    let how = format!(
        "restored: {name} with {reference}'s factor, beside {reference}. injected: {reference} with {name}'s, beside \
         {name} (in a wider format, beside {reference})."
    );
    let end = subject.headline(&mut picture, title, Some(arm), &how);

    let mut keys: Vec<Key> = (DIRECTIONS.iter())
        .filter(|(direction, _)| runs.iter().any(|run| run.direction == *direction))
        .map(|&(direction, colour)| Key {
            text: direction.name().into(),
            colour: series(colour),
            sign: Sign::Mark(Mark::Square),
        })
        .collect();
    let floor = explanation.floor.logits.iter().filter(|floor| floor.prompt == options.prompt);
    let floor: Vec<f64> = floor.map(|floor| floor.kl).filter(|kl| kl.is_finite()).collect();
    let orders = floor.len();
    // An order that changes no logit has no place on a logarithmic axis.
    let floor: Vec<f64> = floor.into_iter().filter(|kl| *kl > 0.0).collect();
    let (least, most) = floor.iter().fold((f64::INFINITY, 0.0f64), |(l, m), &kl| (l.min(kl), m.max(kl)));
    if !floor.is_empty() {
        let text = match orders - floor.len() {
            0 => format!("noise floor, {orders} orders of summation"),
            none => format!("noise floor, {orders} orders of summation, {none} of them exactly 0"),
        };
        keys.push(Key { text, colour: FLOOR, sign: Sign::Mark(Mark::Square) });
    }
    let top = legend(&mut picture, &keys, end) + 16.0;

    let shown = &runs[..runs.len().min(MAX_BARS)];
    let [left, right, bottom] = [620.0, RIGHT - 190.0, 1090.0];
    let height = ((bottom - top) / shown.len() as f64).min(110.0);
    let bottom = top + height * shown.len() as f64;
    // A lane for zeros even where there are none: where bars could end is part of the answer.
    let values = runs.iter().map(|run| run.kl).chain(floor.iter().copied()).chain([0.0]);
    let x = Axis::log(values, left, right);
    let blocks = shown.chunk_by(|a, b| a.factor == b.factor && a.compute == b.compute);
    let (mut y, mut shaded) = (top, Vec::new());
    for (index, block) in blocks.enumerate() {
        let end = y + height * block.len() as f64;
        if index % 2 == 0 {
            picture.rect((LEFT, y), (RIGHT, end), FAINT);
        }
        y = end;
        shaded.resize(shaded.len() + block.len(), index % 2 == 0);
    }
    if !floor.is_empty() {
        picture.rect((x.place(least).pixel() - 1.5, top), (x.place(most).pixel() + 1.5, bottom), FLOOR);
    }
    x.draw_horizontal(&mut picture, top, bottom, "KL between the two (nats)");
    let em = (height * 0.42).clamp(15.0, 25.0);
    for (index, run) in shown.iter().enumerate() {
        let middle = top + (index as f64 + 0.5) * height;
        let colour = colour(run.direction);
        let place = x.place(run.kl);
        let zero = x.place(0.0).pixel();
        let end = match place {
            Place::Value(at) => {
                let thick = (height * 0.28).min(24.0);
                picture.rect((zero, middle - thick), (at, middle + thick), colour);
                at
            }
            Place::Zero(at) => {
                picture.hollow(Mark::Disc, (at, middle), (height * 0.26).min(12.0), colour);
                at
            }
            Place::Wild(at) => {
                picture.cross((at, middle), (height * 0.26).min(12.0), 4.0, colour);
                at
            }
        };
        let text = found(run);
        if !matches!(place, Place::Value(_)) {
            // Here the border of the strip would run through the words.
            let (from, to) = (end + 14.0, end + 22.0 + font::width(&text, em, false));
            let behind = if shaded[index] { FAINT } else { PAPER };
            picture.rect((from, middle - 0.6 * em), (to, middle + 0.6 * em), behind);
        }
        picture.label(&text, (end + 18.0, middle), em, Align::Start);
        let tail = match run.direction {
            Direction::Neither => format!("as it is, {}", run.compute),
            direction => format!(" {}, {}", direction.name(), run.compute),
        };
        let factor = match run.direction {
            Direction::Neither => "",
            _ => run.factor.strip_prefix("model.").unwrap_or(&run.factor),
        };
        // The direction survives a long name.
        let tail = font::fitted(&tail, em, 300.0);
        let room = left - LEFT - 30.0 - font::width(&tail, em, false);
        let text = font::fitted(factor, em, room) + &tail;
        picture.label(&text, (left - 14.0, middle), em, Align::End);
    }
    if runs.len() > shown.len() {
        let more = format!("and {} more in the record", runs.len() - shown.len());
        picture.label(&more, (LEFT, bottom + 25.0), axis::TICK, Align::Start).colour(GREY);
    }
    edges(&mut picture, [left, top, right, bottom]);
    Ok(Some(picture))
}

const FLOOR: Colour = Colour { rgb: (198, 198, 198), alpha: 1.0 };
const DIRECTIONS: [(Direction, usize); 3] =
    [(Direction::Neither, 1), (Direction::Restored, 0), (Direction::Injected, 2)];

fn colour(direction: Direction) -> Colour {
    let known = DIRECTIONS.iter().find(|(known, _)| *known == direction);
    known.map_or(GREY, |&(_, index)| series(index))
}

/// What is written at a bar's end. KL is 0 as well where logits differ without moving a
/// probability.
fn found(run: &Counterfactual) -> String {
    match run.kl {
        _ if run.bit_equal => "0, bit-equal".to_owned(),
        0.0 => format!("0, {} bit-equal", percent(run.equal)),
        kl => number(kl),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::{explained, record};

    #[test]
    fn bit_equal_runs_are_told_from_small_ones() {
        let mut run = explained(30, 3);
        let runs = &mut run.explanation.as_mut().unwrap().counterfactuals;
        let last = runs.len() - 1;
        (runs[last].kl, runs[last].bit_equal, runs[last].equal) = (0.0, false, 0.75);
        let picture = counterfactuals(&run, &Options::default()).unwrap().unwrap();
        let texts = picture.texts();
        assert!(texts.contains(&"0, bit-equal") && texts.contains(&"0, 75.00 % bit-equal"), "{texts:?}");
        assert!(texts.contains(&"rotary_emb.inv_freq restored, bf16"), "{texts:?}");
        assert!(texts.contains(&"as it is, bf16"), "{texts:?}");
    }

    #[test]
    fn of_many_runs_the_rest_is_counted() {
        let mut run = explained(2, 3);
        let runs = &mut run.explanation.as_mut().unwrap().counterfactuals;
        let long = Counterfactual { factor: "model.layers.".repeat(9), ..runs[1].clone() };
        runs.resize(100, long);
        let picture = counterfactuals(&run, &Options::default()).unwrap().unwrap();
        assert!(picture.texts().contains(&"and 78 more in the record"));
        assert!(picture.texts().iter().any(|text| text.ends_with("… restored, bf16")));
    }

    #[test]
    fn without_runs_there_is_no_picture() {
        assert_eq!(counterfactuals(&record(2, 2, 3), &Options::default()).unwrap(), None);
    }
}
