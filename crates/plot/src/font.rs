//! Noto Sans, carried along, so that a picture does not depend on the fonts of a machine.

use ab_glyph::{Font, FontRef, GlyphId, PxScale, ScaleFont, point};
use std::sync::LazyLock;
use ulpscope_record::text::unprintable;

/// The family as CSS reads it in an SVG.
pub(crate) const FAMILY: &str = "Noto Sans, sans-serif";

/// Half of a capital's height in ems: from the middle of a line of text down to its baseline.
pub(crate) const HALF_CAPITAL: f64 = 0.357;

/// Ascent and descent together in ems, which is what ab_glyph calls the size of a font.
const LINE_PER_EM: f64 = 1.362;

type Face = Option<FontRef<'static>>;

static REGULAR: LazyLock<Face> = LazyLock::new(|| FontRef::try_from_slice(notosans::REGULAR_TTF).ok());
static BOLD: LazyLock<Face> = LazyLock::new(|| FontRef::try_from_slice(notosans::BOLD_TTF).ok());

fn face(bold: bool) -> Option<&'static FontRef<'static>> {
    // The bytes are part of this crate and a test reads them; there is nothing to tell a caller.
    if bold { BOLD.as_ref() } else { REGULAR.as_ref() }
}

/// Width of a text in pixels.
pub(crate) fn width(text: &str, em: f64, bold: bool) -> f64 {
    let Some(face) = face(bold) else { return 0.0 };
    set(text, face, em).last().map_or(0.0, |(_, start, advance)| start + advance)
}

/// Every pixel that a text covers, relative to the start of its baseline, with how much of it is
/// covered.
pub(crate) fn letters(text: &str, em: f64, bold: bool, mut pixel: impl FnMut(i32, i32, f64)) {
    let Some(face) = face(bold) else { return };
    let scale = PxScale::from((em * LINE_PER_EM) as f32);
    for (id, start, _) in set(text, face, em) {
        let glyph = id.with_scale_and_position(scale, point(start as f32, 0.0));
        if let Some(outline) = face.outline_glyph(glyph) {
            let corner = outline.px_bounds().min;
            outline.draw(|x, y, covered| {
                let at = |corner: f32, offset: u32| corner as i32 + offset as i32;
                pixel(at(corner.x, x), at(corner.y, y), f64::from(covered.min(1.0)));
            });
        }
    }
}

/// Each character's glyph, where it starts and how far it takes the pen.
fn set<'a>(
    text: &'a str,
    face: &'a FontRef<'static>,
    em: f64,
) -> impl Iterator<Item = (GlyphId, f64, f64)> + 'a {
    let scaled = face.as_scaled(PxScale::from((em * LINE_PER_EM) as f32));
    let (mut pen, mut before) = (0.0, None);
    text.chars().map(move |c| {
        let id = scaled.glyph_id(c);
        pen += before.map_or(0.0, |before| f64::from(scaled.kern(before, id)));
        before = Some(id);
        let (start, advance) = (pen, f64::from(scaled.h_advance(id)));
        pen += advance;
        (id, start, advance)
    })
}

/// `text`, with an ellipsis at its end if it would be wider than `room`.
pub(crate) fn fitted(text: &str, em: f64, room: f64) -> String {
    // No text that fits has more characters than this; hostile ones may have millions.
    let text = ulpscope_record::text::shortened(&printable(text), 400);
    if width(&text, em, false) <= room {
        return text;
    }
    let fits = |count: usize| width(&ulpscope_record::text::shortened(&text, count), em, false) <= room;
    let most = (1..=text.chars().count()).rev().find(|&count| fits(count)).unwrap_or(1);
    ulpscope_record::text::shortened(&text, most)
}

/// Text that can be put on one line of a picture, and into XML.
pub(crate) fn printable(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' => '↵',
        '\t' | '\r' => ' ',
        // Controls and non-characters are not allowed in XML; marks that turn the direction of
        // writing would reorder the text around them.
        c if unprintable(c) => '\u{fffd}',
        c => c,
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_font_is_there_in_both_weights() {
        assert!(REGULAR.is_some() && BOLD.is_some());
        assert!(width("mmmm", 20.0, false) > 2.0 * width("iiii", 20.0, false));
        assert!(width("layer", 20.0, true) > width("layer", 20.0, false));
    }

    #[test]
    fn an_em_is_an_em() {
        // U+2014 is one em wide by definition; Noto Sans keeps to that.
        assert!((width("—", 100.0, false) - 100.0).abs() < 2.0, "{}", width("—", 100.0, false));
    }

    #[test]
    fn long_text_is_cut_to_fit() {
        let long = "word ".repeat(100_000);
        let cut = fitted(&long, 28.0, 500.0);
        assert!(cut.ends_with('…') && width(&cut, 28.0, false) <= 500.0);
        assert!(width(&cut, 28.0, false) > 400.0);
        assert_eq!(fitted("short", 28.0, 500.0), "short");
        assert_eq!(fitted("anything", 28.0, 1.0), "…");
    }

    #[test]
    fn what_has_no_glyph_has_a_width_and_controls_go() {
        assert!(width("重力は🙂", 28.0, false) > 0.0);
        assert_eq!(printable("a\nb\u{1b}\u{0}\u{202e}"), "a↵b\u{fffd}\u{fffd}\u{fffd}");
    }
}
