//! What every site introduces, above what the order of summation alone would change there.

use super::within_block;
use crate::Options;
use crate::axis::{self, Axis, Place, edges, every};
use crate::colour::{Colour, GREY, INK, series};
use crate::error::PlotError;
use crate::font;
use crate::heading::{Key, RIGHT, Sign, Subject, legend};
use crate::picture::{Align, Mark, Picture};
use std::collections::{HashMap, HashSet};
use ulpscope_record::{RunRecord, SiteDivergence, SiteFloor};

/// Origins that are named in the picture.
const NAMED: usize = 4;

/// Introduced divergence of every site in forward order, over the noise floor of the site: the
/// share of elements that differ, and their mean absolute difference.
///
/// None where the record has no explanation with a floor for this prompt.
///
/// # Errors
/// [`PlotError::OneArm`], [`PlotError::NoPrompt`], [`PlotError::NoArm`].
pub fn floor(record: &RunRecord, options: &Options) -> Result<Option<Picture>, PlotError> {
    let subject = Subject::new(record, options.prompt)?;
    let Some(explanation) = &record.explanation else { return Ok(None) };
    let arm = subject.arm(&explanation.arm)?;
    let floors: HashMap<&str, &SiteFloor> = (explanation.floor.sites.iter())
        .filter(|floor| floor.prompt == options.prompt)
        .map(|floor| (floor.site.as_str(), floor))
        .collect();
    let sites: Vec<Point> = subject
        .sites(&arm.name)
        .map(|site| Point { site, floor: floors.get(&*site.site).copied() })
        .collect();
    if floors.is_empty() || sites.is_empty() {
        return Ok(None);
    }
    let origins: HashSet<&str> = (explanation.origins.iter())
        .filter(|origin| origin.prompt == options.prompt)
        .map(|origin| origin.site.as_str())
        .collect();

    let mut picture = Picture::default();
    let finding = match origins.len() {
        0 => "No site introduces more than the order of summation would.".to_owned(),
        1 => "1 site introduces more than the order of summation would.".to_owned(),
        count => format!("{count} sites introduce more than the order of summation would."),
    };
    let title = "Introduced divergence over the noise floor";
    let end = subject.headline(&mut picture, title, Some(arm), &finding);
    let shares = || sites.iter().map(Point::differing);
    let means = || sites.iter().map(|point| point.site.introduced.mean_abs);
    let orders = explanation.floor.orders.len();
    let key = |text: &str, colour, sign| Key { text: text.into(), colour, sign };
    let mut keys = vec![
        key(&format!("floor: mean and largest, {orders} orders"), FLOOR, Sign::Mark(Mark::Square)),
        key("introduced, fed the reference's inputs", series(0), Sign::Mark(Mark::Disc)),
        key("origin: above the floor", series(1), Sign::Mark(Mark::Diamond)),
    ];
    if shares().chain(means()).any(|value| value <= 0.0) {
        keys.push(key("exactly 0", GREY, Sign::Hollow(Mark::Disc)));
    }
    if shares().chain(means()).any(|value| !value.is_finite()) {
        keys.push(key("NaN or inf", GREY, Sign::Cross));
    }
    let top = legend(&mut picture, &keys, end) + 44.0;

    let [left, right, bottom, gap] = [230.0, RIGHT, 1080.0, 56.0];
    let height = (bottom - top - gap) / 2.0;
    let x = |index: f64| left + (index + 0.5) / sites.len() as f64 * (right - left);
    let marked = |point: &Point| origins.contains(&*point.site.site);
    let of_floor = |value: fn(&SiteFloor) -> [f64; 2]| {
        sites.iter().map(|point| point.floor.map_or([0.0; 2], value)).collect::<Vec<_>>()
    };
    let panels = [
        ("share of elements", shares().collect::<Vec<_>>(), of_floor(|floor| [floor.differing, 0.0])),
        ("mean |Δ|", means().collect(), of_floor(|floor| floor.mean_abs)),
    ];
    for (index, (title, values, floors)) in panels.iter().enumerate() {
        let top = top + index as f64 * (height + gap);
        let bottom = top + height;
        // A floor of 0 is not drawn and asks for no strip; an introduced 0 is.
        let noise = floors.iter().flatten().copied().filter(|value| *value > 0.0);
        let y = Axis::log(values.iter().copied().chain(noise), bottom, top);
        y.draw_vertical(&mut picture, left, right, title);
        let lowest = y.place(f64::MIN_POSITIVE).pixel();
        let half = ((right - left) / sites.len() as f64 / 2.0).min(20.0);
        for (at, [mean, most]) in floors.iter().enumerate() {
            for (value, colour) in [(*most, BAND), (*mean, FLOOR)] {
                if value > 0.0 {
                    let (from, to) = (x(at as f64) - half, x(at as f64) + half);
                    picture.rect((from, y.place(value).pixel()), (to, lowest), colour);
                }
            }
        }
        let radius = (half * 0.9).clamp(3.5, 9.0);
        let mut named = Vec::new();
        // Origins last, so that nothing covers them.
        for origin in [false, true] {
            for (at, (point, &value)) in sites.iter().zip(values).enumerate() {
                if marked(point) == origin {
                    let place = y.place(value);
                    draw(&mut picture, (x(at as f64), place), radius, origin);
                    if origin && named.len() < NAMED {
                        named.push((x(at as f64), place.pixel(), short(&point.site.site)));
                    }
                }
            }
        }
        if index == 0 {
            name(&mut picture, &named, top);
        }
        edges(&mut picture, [left, top, right, bottom]);
    }
    label_layers(&mut picture, &sites, &x, bottom);
    let title = "sites in forward order, by layer";
    picture.text(title, ((left + right) / 2.0, bottom + 92.0), axis::TITLE, Align::Middle);
    Ok(Some(picture))
}

/// Mean over orders.
const FLOOR: Colour = Colour { rgb: (188, 188, 188), alpha: 1.0 };
/// The largest over orders.
const BAND: Colour = Colour { rgb: (224, 224, 224), alpha: 1.0 };

struct Point<'a> {
    site: &'a SiteDivergence,
    floor: Option<&'a SiteFloor>,
}

impl Point<'_> {
    /// Share of elements that differ on equal inputs.
    fn differing(&self) -> f64 {
        1.0 - self.site.introduced.equal
    }
}

fn draw(picture: &mut Picture, (x, place): (f64, Place), radius: f64, origin: bool) {
    let (mark, colour, radius) = match origin {
        true => (Mark::Diamond, series(1), radius.max(9.0)),
        false => (Mark::Disc, series(0), radius),
    };
    match place {
        Place::Value(y) => picture.mark(mark, (x, y), radius, colour),
        Place::Zero(y) if origin => picture.hollow(mark, (x, y), radius, colour),
        // Hundreds of rings in a row would be the loudest thing in the picture.
        Place::Zero(y) if radius < 5.0 => picture.disc((x, y), 1.5, GREY),
        Place::Zero(y) => picture.hollow(mark, (x, y), radius, GREY),
        Place::Wild(y) => picture.cross((x, y), radius, 3.0, colour),
    }
}

/// Names of the first origins in a column beside the leftmost, each with a line to its mark.
fn name(picture: &mut Picture, origins: &[(f64, f64, String)], top: f64) {
    let Some(&(first, ..)) = origins.first() else { return };
    let left = (first + 70.0).min(RIGHT - 420.0);
    for (index, (x, y, name)) in origins.iter().enumerate() {
        let row = top + 22.0 + 34.0 * index as f64;
        picture.line(&[(left - 10.0, row), (*x, *y)], 1.5, series(1).with_alpha(0.6));
        let text = font::fitted(name, axis::TICK, RIGHT - left);
        let width = font::width(&text, axis::TICK, false);
        let paper = crate::colour::PAPER.with_alpha(0.8);
        picture.rect((left - 6.0, row - 16.0), (left + width + 6.0, row + 16.0), paper);
        picture.label(&text, (left, row), axis::TICK, Align::Start).colour(INK);
    }
}

fn short(site: &str) -> String {
    match within_block(site) {
        Some((layer, "")) => format!("block {layer}"),
        Some((layer, name)) => format!("{layer}: {name}"),
        None => site.strip_prefix("model.").unwrap_or(site).to_owned(),
    }
}

/// The number of each layer under the middle of its sites.
fn label_layers(picture: &mut Picture, sites: &[Point], x: &dyn Fn(f64) -> f64, bottom: f64) {
    let layer = |point: &Point| within_block(&point.site.site).map(|(layer, _)| layer);
    let mut runs: Vec<(usize, f64)> = Vec::new();
    let mut start = 0;
    for run in sites.chunk_by(|a, b| layer(a) == layer(b)) {
        if let Some(number) = run.first().and_then(layer) {
            runs.push((number, start as f64 + (run.len() - 1) as f64 / 2.0));
        }
        start += run.len();
    }
    for (number, middle) in runs.iter().step_by(every(runs.len(), 24)) {
        picture.text(&number.to_string(), (x(*middle), bottom + 38.0), axis::TICK, Align::Middle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Shape;
    use crate::synthetic::{explained, record};

    #[test]
    fn origins_are_marked_and_named_above_the_floor() {
        let picture = floor(&explained(30, 3), &Options::default()).unwrap().unwrap();
        let texts = picture.texts();
        assert!(texts.contains(&"2 sites introduce more than the order of summation would."), "{texts:?}");
        for name in ["rotary_emb.cos", "rotary_emb.sin", "share of elements", "mean |Δ|", "28"] {
            assert!(texts.contains(&name), "{name} in {texts:?}");
        }
        let marks = |shape: &&Shape| matches!(shape, Shape::Polygon { colour, .. } if *colour == series(1));
        // Two origins in two panels, and the legend's.
        assert_eq!(picture.shapes.iter().filter(marks).count(), 5);
    }

    #[test]
    fn without_an_explanation_or_its_floor_there_is_no_picture() {
        assert_eq!(floor(&record(2, 2, 3), &Options::default()).unwrap(), None);
        let mut run = explained(2, 3);
        run.explanation.as_mut().unwrap().floor.sites.clear();
        assert_eq!(floor(&run, &Options::default()).unwrap(), None);
    }
}
