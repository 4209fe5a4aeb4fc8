//! The sites of one layer: what each introduces, next to what has accumulated there.

use super::{judged, within_block};
use crate::Options;
use crate::axis::{Axis, Place, edges};
use crate::colour::{Colour, FAINT, GREY, series};
use crate::error::PlotError;
use crate::font;
use crate::heading::{Key, LEFT, RIGHT, Sign, Subject, legend, nothing};
use crate::picture::{Align, Mark, Picture};
use ulpscope_record::{RunRecord, SiteDivergence};

const INTRODUCED: Mark = Mark::Diamond;
const ACCUMULATED: Mark = Mark::Disc;

/// Layers of the model, where its configuration says it.
fn layers(record: &RunRecord) -> Option<usize> {
    record.model.config.get("num_hidden_layers")?.as_u64().map(|n| n as usize)
}

/// Introduced and accumulated mean absolute difference by site, for one layer and what feeds it
/// from outside.
///
/// # Errors
/// [`PlotError::OneArm`], [`PlotError::NoPrompt`], [`PlotError::NoArm`], [`PlotError::NoLayer`].
pub fn introduced(record: &RunRecord, arm: &str, options: &Options) -> Result<Picture, PlotError> {
    let subject = Subject::new(record, options.prompt)?;
    let arm = subject.arm(arm)?;
    // Layer 0 is what is drawn when nothing is asked for, even of a model without any.
    if let Some(layers) = layers(record).filter(|&layers| options.layer >= layers.max(1)) {
        return Err(PlotError::NoLayer { layer: options.layer, layers });
    }
    let mut picture = Picture::default();
    let title = format!("Introduced against inherited, layer {}", options.layer);
    let end = subject.headline(&mut picture, &title, Some(arm), "");

    let of_layer =
        |site: &&SiteDivergence| within_block(&site.site).is_some_and(|(layer, _)| layer == options.layer);
    if !subject.sites(&arm.name).any(|site| of_layer(&site)) {
        let why = format!("No site of layer {} was compared on this prompt.", options.layer);
        nothing(&mut picture, &why, end, 1200.0);
        return Ok(picture);
    }
    // The rotary tables enter every layer and belong to none.
    let rows: Vec<&SiteDivergence> = (subject.sites(&arm.name))
        .filter(|site| of_layer(site) || site.site.starts_with("model.rotary_emb."))
        .take(40)
        .collect();
    let values = || rows.iter().flat_map(|site| means(site));
    let (red, blue) = (series(1), series(0));
    let mut keys = vec![
        Key {
            text: "introduced, fed the reference's inputs".into(),
            colour: red,
            sign: Sign::Mark(INTRODUCED),
        },
        Key {
            text: "accumulated: inherited and introduced".into(),
            colour: blue,
            sign: Sign::Mark(ACCUMULATED),
        },
    ];
    if values().any(|value| value <= 0.0) {
        keys.push(Key { text: "exactly 0".into(), colour: GREY, sign: Sign::Hollow(ACCUMULATED) });
    }
    if values().any(|value| !value.is_finite()) {
        keys.push(Key { text: "NaN or inf".into(), colour: GREY, sign: Sign::Cross });
    }
    let top = legend(&mut picture, &keys, end) + 16.0;

    let [left, right, bottom] = [450.0, RIGHT, 1090.0];
    let height = (bottom - top) / rows.len() as f64;
    for index in (0..rows.len()).step_by(2) {
        let y = top + index as f64 * height;
        picture.rect((left, y), (right, y + height), FAINT);
    }
    let x = Axis::log(values(), left, right);
    x.draw_horizontal(&mut picture, top, bottom, "mean absolute difference");
    let em = (height * 0.72).min(25.0);
    for (index, site) in rows.iter().enumerate() {
        let y = top + (index as f64 + 0.5) * height;
        let name = match within_block(&site.site) {
            Some((_, "")) => "block output",
            Some((_, name)) => name,
            None => site.site.strip_prefix("model.").unwrap_or(&site.site),
        };
        let name = font::fitted(name, em, left - LEFT - 16.0);
        picture.label(&name, (left - 14.0, y), em, Align::End);
        let [introduced, all] = means(site).map(|mean| x.place(mean));
        picture.line(&[(introduced.pixel(), y), (all.pixel(), y)], 3.0, GREY.with_alpha(0.45));
        // In one row of pixels equal values would cover each other.
        let apart = (height * 0.2).min(6.0);
        let radius = (height * 0.3).min(11.0);
        point(&mut picture, ACCUMULATED, (all, y + apart), radius, blue);
        point(&mut picture, INTRODUCED, (introduced, y - apart), radius, red);
    }
    edges(&mut picture, [left, top, right, bottom]);
    Ok(picture)
}

/// What a site introduces, and what has accumulated there.
fn means(site: &SiteDivergence) -> [f64; 2] {
    [site.introduced.mean_abs, site.difference.mean_abs].map(|mean| judged(site, mean))
}

fn point(picture: &mut Picture, mark: Mark, (place, y): (Place, f64), radius: f64, colour: Colour) {
    match place {
        Place::Value(x) => picture.mark(mark, (x, y), radius, colour),
        Place::Zero(x) => picture.hollow(mark, (x, y), radius, colour),
        Place::Wild(x) => picture.cross((x, y), radius, 3.0, colour),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::record;

    #[test]
    fn shows_the_layer_asked_for_and_the_rotary_tables() {
        let options = Options { layer: 7, ..Options::default() };
        let picture = introduced(&record(30, 2, 3), "b", &options).unwrap();
        let texts = picture.texts();
        assert!(texts[0].contains("layer 7"));
        for name in ["rotary_emb.cos", "self_attn.q_rope", "mlp.product", "block output", "0"] {
            assert!(texts.contains(&name), "{name} in {texts:?}");
        }
        assert!(!texts.contains(&"embed_tokens"));
    }

    #[test]
    fn a_layer_that_is_not_there_is_said() {
        let options = Options { layer: 70, ..Options::default() };
        let picture = introduced(&record(30, 2, 3), "b", &options).unwrap();
        assert!(picture.texts().contains(&"No site of layer 70 was compared on this prompt."));
    }

    #[test]
    fn a_layer_that_the_model_has_not_is_refused() {
        let mut record = record(30, 2, 3);
        record.model.config["num_hidden_layers"] = 30.into();
        let drawn = |layer| introduced(&record, "b", &Options { layer, ..Options::default() });
        assert!(drawn(29).is_ok());
        let error = drawn(30).unwrap_err().to_string();
        assert_eq!(error, "layer 30 was asked for, but the model has 30, counted from 0");
    }
}
