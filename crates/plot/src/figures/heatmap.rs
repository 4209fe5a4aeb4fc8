//! Every site at once: sites of a block down, layers across, the rest in a strip.

use super::{judged, within_block};
use crate::Options;
use crate::axis::{self, Axis, every};
use crate::colour::{Colour, GREY, GRID, INK, WILD, ZERO, scale};
use crate::error::PlotError;
use crate::font;
use crate::heading::{LEFT, RIGHT, Subject, nothing};
use crate::picture::{Align, Picture};
use ulpscope_record::{RunRecord, SiteDivergence, text::number};

/// Mean absolute difference at every site of one arm, as colour on a logarithmic scale.
///
/// # Errors
/// [`PlotError::OneArm`], [`PlotError::NoPrompt`], [`PlotError::NoArm`].
pub fn heatmap(record: &RunRecord, arm: &str, options: &Options) -> Result<Picture, PlotError> {
    let subject = Subject::new(record, options.prompt)?;
    let arm = subject.arm(arm)?;
    let mut picture = Picture::default();
    let end = subject.headline(&mut picture, "Divergence at every site", Some(arm), "");
    let sites: Vec<&SiteDivergence> = subject.sites(&arm.name).collect();
    if sites.is_empty() {
        nothing(&mut picture, "No site was compared on this prompt.", end, 1200.0);
        return Ok(picture);
    }

    // Rows in the order of the forward pass, which is the record's.
    let mut rows: Vec<&str> = Vec::new();
    let mut layers = 0;
    let (mut cells, mut outside) = (Vec::new(), Vec::new());
    for site in &sites {
        match within_block(&site.site) {
            Some((layer, name)) => {
                let row = rows.iter().position(|row| *row == name).unwrap_or_else(|| {
                    rows.push(name);
                    rows.len() - 1
                });
                layers = layers.max(layer + 1);
                cells.push((row, layer, judged(site, site.difference.mean_abs)));
            }
            None => outside.push((site.site.as_str(), judged(site, site.difference.mean_abs))),
        }
    }

    let values = || sites.iter().map(|site| judged(site, site.difference.mean_abs));
    let unseen = cells.len() < rows.len() * layers;
    let [left, top, right] = [430.0, end + 40.0, 1540.0];
    let strip = if outside.is_empty() { 0.0 } else { 150.0 };
    let bottom = if rows.is_empty() { top } else { 1200.0 - 110.0 - strip };
    let bar = Axis::log(values().filter(|value| *value > 0.0 && value.is_finite()), 1000.0, top + 20.0);
    let colour = |value: f64| match value {
        _ if !value.is_finite() => WILD,
        _ if value <= 0.0 => ZERO,
        _ => scale(bar.share(value)),
    };

    let (width, height) = ((right - left) / layers.max(1) as f64, (bottom - top) / rows.len().max(1) as f64);
    let gap = if width > 12.0 { 1.0 } else { 0.0 };
    for (row, layer, value) in cells {
        let (x, y) = (left + layer as f64 * width, top + row as f64 * height);
        picture.rect((x + gap, y + 1.0), (x + width - gap, y + height - 1.0), colour(value));
    }
    let em = (height * 0.8).min(24.0);
    for (index, row) in rows.iter().enumerate() {
        let name = if row.is_empty() { "block output" } else { row };
        let name = font::fitted(name, em, left - LEFT - 16.0);
        picture.label(&name, (left - 14.0, top + (index as f64 + 0.5) * height), em, Align::End);
    }
    if !rows.is_empty() {
        picture.frame((left, top), (right, bottom), 1.5, GRID);
        for layer in (0..layers).step_by(every(layers, 30)) {
            let x = left + (layer as f64 + 0.5) * width;
            picture.text(&layer.to_string(), (x, bottom + 34.0), axis::TICK, Align::Middle);
        }
        picture.text("layer", ((left + right) / 2.0, bottom + 74.0), axis::TITLE, Align::Middle);
    }
    let strip_top = if rows.is_empty() { top + 60.0 } else { 1200.0 - 130.0 };
    outside_strip(&mut picture, &outside, strip_top, right, &colour);
    let wild = values().any(|value| !value.is_finite());
    colour_bar(&mut picture, &bar, top, [values().any(|value| value <= 0.0), wild, unseen]);
    Ok(picture)
}

/// The few sites outside the blocks, with their values written out.
fn outside_strip(
    picture: &mut Picture,
    sites: &[(&str, f64)],
    top: f64,
    right: f64,
    colour: &dyn Fn(f64) -> Colour,
) {
    /// More than any model has. A damaged record may have more, which would make the cells
    /// unreadable.
    const MAX_SITES: usize = 8;
    let sites = &sites[..sites.len().min(MAX_SITES)];
    if sites.is_empty() {
        return;
    }
    let left = LEFT;
    picture.text("outside the blocks", (left, top - 18.0), 24.0, Align::Start).colour(GREY);
    let width = (right - left) / sites.len() as f64;
    for (index, (name, value)) in sites.iter().enumerate() {
        let (x, middle) = (left + index as f64 * width, left + (index as f64 + 0.5) * width);
        let fill = colour(*value);
        picture.rect((x + 3.0, top), (x + width - 3.0, top + 56.0), fill);
        picture.label(&number(*value), (middle, top + 28.0), 25.0, Align::Middle).colour(fill.text_on());
        let name = name.strip_prefix("model.").unwrap_or(name);
        picture.text(&font::fitted(name, 24.0, width - 8.0), (middle, top + 92.0), 24.0, Align::Middle);
    }
}

fn colour_bar(picture: &mut Picture, bar: &Axis, top: f64, [zeros, wilds, unseen]: [bool; 3]) {
    let [left, right, low, high] = [1590.0, 1630.0, 1000.0, top + 20.0];
    let steps = 160;
    let pixel = |step: i32| low + (high - low) * f64::from(step) / f64::from(steps);
    for step in 0..steps {
        let colour = scale((f64::from(step) + 0.5) / f64::from(steps));
        picture.rect((left, pixel(step + 1).round()), (right, pixel(step).round()), colour);
    }
    for (y, text) in bar.ticks() {
        picture.line(&[(right, y), (right + 8.0, y)], 2.0, INK);
        axis::write(picture, &text, (right + 16.0, y), Align::Start);
    }
    let title = "mean absolute difference";
    picture.text(title, (RIGHT + 10.0, (low + high) / 2.0), axis::TITLE, Align::Middle).turned();
    let mut y = low + 36.0;
    for (shown, colour, text) in [(zeros, ZERO, "exactly 0"), (wilds, WILD, "NaN, inf")] {
        if shown {
            picture.rect((left, y - 16.0), (right, y + 16.0), colour);
            picture.label(text, (right + 16.0, y), axis::TICK, Align::Start).colour(GREY);
            y += 44.0;
        }
    }
    if unseen {
        picture.frame((left, y - 16.0), (right, y + 16.0), 1.5, GRID);
        picture.label("not compared", (right + 16.0, y), axis::TICK, Align::Start).colour(GREY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Shape;
    use crate::synthetic::record;

    fn filled(picture: &Picture, colour: Colour) -> usize {
        let of = |shape: &&Shape| matches!(shape, Shape::Rect { colour: found, .. } if *found == colour);
        picture.shapes.iter().filter(of).count()
    }

    #[test]
    fn zeros_and_wild_values_have_cells_of_their_own_colours() {
        let mut run = record(30, 2, 3);
        let zeros = run.sites.iter().filter(|site| site.difference.mean_abs == 0.0).count();
        let picture = heatmap(&run, "b", &Options::default()).unwrap();
        assert!(zeros > 3);
        assert_eq!((filled(&picture, ZERO), filled(&picture, WILD)), (zeros + 1, 0));
        run.sites[40].difference.mean_abs = f64::INFINITY;
        run.sites[41].difference.mean_abs = f64::NAN;
        assert_eq!(filled(&heatmap(&run, "b", &Options::default()).unwrap(), WILD), 3);
    }

    #[test]
    fn what_was_not_compared_is_told_from_zero() {
        let mut run = record(30, 2, 3);
        let said = |run: &RunRecord| {
            heatmap(run, "b", &Options::default()).unwrap().texts().contains(&"not compared")
        };
        assert!(!said(&run));
        run.sites.retain(|site| site.site != "model.layers.7.mlp.up_proj");
        assert!(said(&run));
    }

    #[test]
    fn nothing_is_zero_next_to_what_is_no_number() {
        let mut run = record(30, 2, 3);
        run.sites[40].difference.mean_abs = 0.0;
        run.sites[40].nonfinite = [1, 1];
        assert_eq!(filled(&heatmap(&run, "b", &Options::default()).unwrap(), WILD), 2);
    }

    #[test]
    fn a_cell_for_every_site_and_a_name_for_every_row() {
        let run = record(30, 2, 3);
        let picture = heatmap(&run, "b", &Options::default()).unwrap();
        let texts = picture.texts();
        for name in ["self_attn.q_proj", "mlp.down_proj", "block output", "rotary_emb.cos", "lm_head", "29"] {
            assert!(texts.contains(&name) || name == "29", "{name} in {texts:?}");
        }
        let rects = picture.shapes.iter().filter(|shape| matches!(shape, Shape::Rect { .. })).count();
        // The colour bar has 160 steps and one cell for zero.
        assert_eq!(rects, run.sites.len() + 161);
    }

    #[test]
    fn only_blocks_or_only_the_rest() {
        let mut blocks = record(3, 2, 3);
        blocks.sites.retain(|site| site.site.contains("layers"));
        assert!(!heatmap(&blocks, "b", &Options::default()).unwrap().texts().contains(&"lm_head"));
        let mut rest = record(3, 2, 3);
        rest.sites.retain(|site| !site.site.contains("layers"));
        assert!(heatmap(&rest, "b", &Options::default()).unwrap().texts().contains(&"lm_head"));
    }
}
