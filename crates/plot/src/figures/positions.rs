//! Divergence by token position: faults of position, masks and caches show here.

use super::curve;
use crate::Options;
use crate::axis::{self, Axis, edges, every};
use crate::colour::{Colour, series};
use crate::error::PlotError;
use crate::font;
use crate::heading::{Key, RIGHT, Sign, Subject, legend, nothing};
use crate::picture::{Align, Mark, Picture};
use ulpscope_record::summary::block;
use ulpscope_record::{RunRecord, SiteDivergence};

/// Layers whose outputs are drawn.
const LAYERS: usize = 5;
/// Positions that are labelled with their token's text.
const TOKENS: usize = 16;

/// Mean difference and KL of the logits, and mean difference of some blocks' outputs, by token
/// position.
///
/// # Errors
/// [`PlotError::OneArm`], [`PlotError::NoPrompt`], [`PlotError::NoArm`].
pub fn positions(record: &RunRecord, arm: &str, options: &Options) -> Result<Picture, PlotError> {
    let subject = Subject::new(record, options.prompt)?;
    let arm = subject.arm(arm)?;
    let mut picture = Picture::default();
    let end = subject.headline(&mut picture, "Divergence by token position", Some(arm), "");

    let by_position = subject.logits(&arm.name).map_or(&[][..], |logits| &logits.by_position);
    let blocks = spread(
        subject
            .sites(&arm.name)
            .filter(|site| block(&site.site).is_some() && !site.mean_abs_by_position.is_empty()),
    );
    let mut panels: Vec<Panel> = Vec::new();
    if !by_position.is_empty() {
        let colours = [series(0), series(1)];
        let values: [(&str, Vec<f64>); 2] = [
            ("logits, mean |Δ|", by_position.iter().map(|at| at.mean_abs).collect()),
            ("KL (nats)", by_position.iter().map(|at| at.kl).collect()),
        ];
        for (index, (title, values)) in values.into_iter().enumerate() {
            panels
                .push(Panel { title: title.into(), curves: vec![(values, Mark::of(index), colours[index])] });
        }
    }
    let mut keys = Vec::new();
    if !blocks.is_empty() {
        let curves = (blocks.iter().enumerate())
            .map(|(index, site)| {
                let (mark, colour) = (Mark::of(index), shade(index, blocks.len()));
                let text = format!("layer {}", block(&site.site).unwrap_or_default());
                keys.push(Key { text, colour, sign: Sign::Line(mark) });
                (site.mean_abs_by_position.clone(), mark, colour)
            })
            .collect();
        panels.push(Panel { title: "blocks, mean |Δ|".into(), curves });
    }
    let longest = panels.iter().flat_map(|panel| &panel.curves).map(|(values, ..)| values.len()).max();
    let Some(count) = longest else {
        nothing(&mut picture, "Nothing was compared by position on this prompt.", end, 1200.0);
        return Ok(picture);
    };

    let [left, right, bottom] = [230.0, RIGHT, 1080.0];
    let top = if keys.is_empty() { end } else { legend(&mut picture, &keys, end) } + 24.0;
    let gap = 34.0;
    let height = (bottom - top + gap) / panels.len() as f64;
    let x = |position: usize| left + (position as f64 + 0.5) / count as f64 * (right - left);
    for (index, panel) in panels.iter().enumerate() {
        let (top, bottom) = (top + index as f64 * height, top + (index as f64 + 1.0) * height - gap);
        let y = Axis::log(panel.curves.iter().flat_map(|(values, ..)| values.iter().copied()), bottom, top);
        y.draw_vertical(&mut picture, left, right, &panel.title);
        for (values, mark, colour) in &panel.curves {
            let points: Vec<(f64, f64)> =
                values.iter().enumerate().map(|(at, &value)| (x(at), value)).collect();
            curve(&mut picture, &points, &y, (*mark, *colour, false), count <= 80);
        }
        edges(&mut picture, [left, top, right, bottom]);
    }
    label_positions(&mut picture, &record.prompts[options.prompt].tokens, count, &x, bottom);
    picture.text("token position", ((left + right) / 2.0, bottom + 92.0), axis::TITLE, Align::Middle);
    Ok(picture)
}

struct Panel {
    title: String,
    curves: Vec<(Vec<f64>, Mark, Colour)>,
}

/// At most [`LAYERS`] of the sites, the first and the last among them.
fn spread<'a>(sites: impl Iterator<Item = &'a SiteDivergence>) -> Vec<&'a SiteDivergence> {
    let sites: Vec<_> = sites.collect();
    if sites.len() <= LAYERS {
        return sites;
    }
    (0..LAYERS).map(|index| sites[index * (sites.len() - 1) / (LAYERS - 1)]).collect()
}

/// Depth is an order, so layers get a scale's colours and not unrelated ones; its pale end is left
/// out.
fn shade(index: usize, count: usize) -> Colour {
    crate::colour::scale(0.82 * index as f64 / (count.max(2) - 1) as f64)
}

fn label_positions(
    picture: &mut Picture,
    tokens: &[String],
    count: usize,
    x: &dyn Fn(usize) -> f64,
    bottom: f64,
) {
    let room = x(1) - x(0) - 14.0;
    for position in (0..count).step_by(every(count, 24)) {
        let number = position.to_string();
        let text = match tokens.get(position) {
            Some(token) if tokens.len() == count && count <= TOKENS => {
                font::fitted(&format!("{number} “{token}”"), axis::TICK, room)
            }
            _ => number,
        };
        picture.text(&text, (x(position), bottom + 38.0), axis::TICK, Align::Middle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::record;

    #[test]
    fn tokens_are_named_where_they_fit() {
        let few = positions(&record(30, 2, 3), "b", &Options::default()).unwrap();
        assert!(few.texts().contains(&"1 “vity”"), "{:?}", few.texts());
        let many = positions(&record(30, 2, 400), "b", &Options::default()).unwrap();
        assert!(many.texts().contains(&"380"), "{:?}", many.texts());
    }

    #[test]
    fn five_layers_the_first_and_the_last_among_them() {
        let picture = positions(&record(30, 2, 3), "b", &Options::default()).unwrap();
        let layers: Vec<&str> =
            picture.texts().into_iter().filter(|text| text.starts_with("layer ")).collect();
        assert_eq!(layers, ["layer 0", "layer 7", "layer 14", "layer 21", "layer 29"]);
    }

    #[test]
    fn one_token_and_none() {
        let one = positions(&record(4, 2, 1), "b", &Options::default()).unwrap();
        assert!(one.texts().contains(&"token position"));
        let mut none = record(4, 2, 1);
        none.logits.clear();
        none.sites.iter_mut().for_each(|site| site.mean_abs_by_position.clear());
        let none = positions(&none, "b", &Options::default()).unwrap();
        assert!(none.texts().contains(&"Nothing was compared by position on this prompt."));
    }
}
