//! A picture as pixels and as SVG, through plotters' two backends.
//!
//! The backends are driven directly: the one for bitmaps sets letters without their side bearings,
//! does not smooth thick lines and hides that a file could not be written. So letters are set here,
//! the PNG is drawn into memory at twice its size and averaged, and files are written by
//! [`Picture::save`].

use crate::colour::Colour;
use crate::error::PlotError;
use crate::font;
use crate::picture::{Align, Picture, Point, SIZE, Shape, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontDesc, FontFamily, FontStyle, TextStyle};
use plotters_backend::{BackendColor, BackendStyle, DrawingBackend, DrawingErrorKind, FontTransform};
use std::io::Write;
use std::path::Path;

/// Pixels drawn for one pixel of the PNG, in each direction; [`averaged`] knows no other number.
const OVERSAMPLING: u32 = 2;
/// Of the compression: a fraction of the time that the default takes, for files two thirds larger.
const LEVEL: u32 = 1;
/// Each byte of white paper.
const WHITE: u8 = 255;
/// What precedes a row of a PNG that is stored as it is.
const NO_FILTER: u8 = 0;

impl Picture {
    /// The picture as a PNG file of [`SIZE`](crate::SIZE), the same bytes every time.
    ///
    /// # Errors
    /// [`PlotError::Drawing`], should plotters or the encoder fail.
    pub fn png(&self) -> Result<Vec<u8>, PlotError> {
        let (width, height) = (SIZE.0 * OVERSAMPLING, SIZE.1 * OVERSAMPLING);
        let mut large = vec![WHITE; (width * height * 3) as usize];
        let bitmap = plotters::backend::BitMapBackend::with_buffer(&mut large, (width, height));
        let mut backend = Backend { to: bitmap, scale: f64::from(OVERSAMPLING), lettering: Lettering::Drawn };
        backend.draw(self)?;
        drop(backend);

        let mut png = Vec::new();
        let mut encoder = png::Encoder::new(&mut png, SIZE.0, SIZE.1);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().map_err(PlotError::drawing)?;
        // The encoder's own settings are slow, or make files five times as large. Flat areas
        // compress best as they are.
        let mut data = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(LEVEL));
        for row in averaged(&large, width as usize).chunks_exact(SIZE.0 as usize * 3) {
            data.write_all(&[NO_FILTER]).and_then(|()| data.write_all(row)).map_err(PlotError::drawing)?;
        }
        let data = data.finish().map_err(PlotError::drawing)?;
        writer.write_chunk(png::chunk::IDAT, &data).map_err(PlotError::drawing)?;
        writer.finish().map_err(PlotError::drawing)?;
        Ok(png)
    }

    /// The picture as an SVG file. Text stays text, in Noto Sans where the viewer has it.
    ///
    /// # Errors
    /// [`PlotError::Drawing`], should plotters fail.
    pub fn svg(&self) -> Result<String, PlotError> {
        let mut svg = String::new();
        let to = plotters::backend::SVGBackend::with_string(&mut svg, SIZE);
        let mut backend = Backend { to, scale: 1.0, lettering: Lettering::Written };
        backend.shape(&Shape::Rect {
            from: (0.0, 0.0),
            to: (f64::from(SIZE.0), f64::from(SIZE.1)),
            colour: crate::colour::PAPER,
        })?;
        backend.draw(self)?;
        drop(backend);
        Ok(svg)
    }

    /// Saves the picture; the ending, `.png` or `.svg`, says as which.
    ///
    /// # Errors
    /// [`PlotError::Write`] with what the system says, [`PlotError::Drawing`]; either way no file
    /// is left, and one that stood there before is untouched.
    pub fn save(&self, path: &Path) -> Result<(), PlotError> {
        let bytes = match path.extension().and_then(|ending| ending.to_str()) {
            Some("png") => self.png()?,
            Some("svg") => self.svg()?.into_bytes(),
            _ => return Err(PlotError::Ending { path: path.display().to_string() }),
        };
        ulpscope_record::file::replace(path, &bytes)
            .map_err(|source| PlotError::Write { path: path.display().to_string(), source })
    }
}

/// The rectangle of pixels, upper left and behind the lower right, that plotters fills for a
/// horizontal or vertical line wider than a pixel: as a polygon, column by column, which takes many
/// times longer.
fn straight(from: (i32, i32), to: (i32, i32), width: u32) -> Option<((i32, i32), (i32, i32))> {
    let beside = |at: i32, sign: f64| (f64::from(at) + sign * f64::from(width) / 2.0) as i32;
    let (x, y) = match (from.0 == to.0, from.1 == to.1) {
        (true, false) => ((beside(from.0, -1.0), beside(from.0, 1.0)), (from.1.min(to.1), from.1.max(to.1))),
        (false, true) => ((from.0.min(to.0), from.0.max(to.0)), (beside(from.1, -1.0), beside(from.1, 1.0))),
        _ => return None,
    };
    let (across, down) = (x.1 - x.0, y.1 - y.0);
    if across == 0 || down == 0 {
        return None;
    }
    // It goes along the longer side, and leaves out the last step if the other side is longer than
    // a pixel.
    let last = match (across > down, across.min(down) > 1) {
        (_, false) => (0, 0),
        (true, true) => (1, 0),
        (false, true) => (0, 1),
    };
    Some(((x.0, y.0), (x.1 + 1 - last.0, y.1 + 1 - last.1)))
}

/// The mean of each square of two by two pixels, three bytes each.
fn averaged(large: &[u8], width: usize) -> Vec<u8> {
    /// Bytes of sixteen squares' upper or lower halves.
    const STEP: usize = 16 * 6;
    let mut small = vec![WHITE; large.len() / 4];
    for (rows, small) in large.chunks_exact(2 * 3 * width).zip(small.chunks_exact_mut(3 * width / 2)) {
        let (upper, lower) = rows.split_at(3 * width);
        for ((upper, lower), small) in
            upper.chunks(STEP).zip(lower.chunks(STEP)).zip(small.chunks_mut(STEP / 2))
        {
            // Most of a picture is paper.
            if upper.iter().zip(lower).fold(WHITE, |all, (upper, lower)| all & upper & lower) == WHITE {
                continue;
            }
            for ((upper, lower), small) in
                upper.chunks_exact(6).zip(lower.chunks_exact(6)).zip(small.chunks_exact_mut(3))
            {
                for channel in 0..3 {
                    let four = [upper[channel], upper[channel + 3], lower[channel], lower[channel + 3]];
                    small[channel] = (four.iter().map(|&byte| u16::from(byte)).sum::<u16>() / 4) as u8;
                }
            }
        }
    }
    small
}

/// One of plotters' backends, and how text gets onto it.
struct Backend<B> {
    to: B,
    scale: f64,
    lettering: Lettering,
}

#[derive(Clone, Copy, PartialEq)]
enum Lettering {
    /// Pixel by pixel.
    Drawn,
    /// As text, for the viewer to set.
    Written,
}

impl<B: DrawingBackend> Backend<B> {
    fn draw(&mut self, picture: &Picture) -> Result<(), PlotError> {
        self.to.ensure_prepared().map_err(PlotError::drawing)?;
        picture.shapes.iter().try_for_each(|shape| self.shape(shape))?;
        self.to.present().map_err(PlotError::drawing)
    }

    fn shape(&mut self, shape: &Shape) -> Result<(), PlotError> {
        let drawn = match shape {
            Shape::Line { points, width, colour } => {
                let style =
                    Stroke { colour: colour.into(), width: (width * self.scale).round().max(1.0) as u32 };
                // Blending a column at a time rounds otherwise than blending a rectangle.
                let opaque = style.colour.alpha >= 1.0;
                let points: Vec<_> = points.iter().map(|&point| self.pixel(point)).collect();
                match *points.as_slice() {
                    // A single segment as such: joining paths is slower and cannot do with equal
                    // ends.
                    [from, to] if from == to => Ok(()),
                    [from, to] if self.lettering == Lettering::Drawn && style.width > 1 && opaque => {
                        match straight(from, to, style.width) {
                            Some((from, to)) => self.to.draw_rect(from, to, &style.colour, true),
                            None => self.to.draw_line(from, to, &style),
                        }
                    }
                    [from, to] => self.to.draw_line(from, to, &style),
                    _ => self.to.draw_path(points, &style),
                }
            }
            Shape::Polygon { points, colour } => {
                let points: Vec<_> = points.iter().map(|&point| self.pixel(point)).collect();
                self.to.fill_polygon(points, &BackendColor::from(colour))
            }
            Shape::Rect { from, to, colour } => {
                let (from, to) = (self.pixel(*from), self.pixel(*to));
                self.to.draw_rect(from, to, &BackendColor::from(colour), true)
            }
            Shape::Disc { centre, radius, colour } => {
                let radius = (radius * self.scale).round().max(1.0) as u32;
                self.to.draw_circle(self.pixel(*centre), radius, &BackendColor::from(colour), true)
            }
            Shape::Text(text) => self.text(text),
        };
        drawn.map_err(PlotError::drawing)
    }

    fn text(&mut self, text: &Text) -> Result<(), DrawingErrorKind<B::ErrorType>> {
        match self.lettering {
            Lettering::Drawn => self.draw_letters(text),
            Lettering::Written => self.write_text(text),
        }
    }

    fn draw_letters(&mut self, text: &Text) -> Result<(), DrawingErrorKind<B::ErrorType>> {
        let em = text.em * self.scale;
        let before = match text.align {
            Align::Start => 0.0,
            Align::Middle => 0.5,
            Align::End => 1.0,
        } * font::width(&text.text, em, text.bold);
        let before = before.round() as i32;
        let (x, y) = self.pixel(text.at);
        let colour = BackendColor::from(&text.colour);
        let mut drawn = Ok(());
        font::letters(&text.text, em, text.bold, |along, down, covered| {
            let along = along - before;
            let at = if text.turned { (x + down, y - along) } else { (x + along, y + down) };
            if covered > 0.0 && drawn.is_ok() {
                drawn = self.to.draw_pixel(at, colour.mix(covered));
            }
        });
        drawn
    }

    fn write_text(&mut self, text: &Text) -> Result<(), DrawingErrorKind<B::ErrorType>> {
        // plotters writes the size divided by this, and puts the baseline so many ems below the
        // top.
        const SIZE_PER_EM: f64 = 1.24;
        const DROP: f64 = 0.76;
        let style = if text.bold { FontStyle::Bold } else { FontStyle::Normal };
        let font = FontDesc::new(FontFamily::Name(font::FAMILY), text.em * SIZE_PER_EM, style);
        let drop = DROP * text.em;
        let (font, at) = match text.turned {
            true => (font.transform(FontTransform::Rotate270), (text.at.0 - drop, text.at.1)),
            false => (font, (text.at.0, text.at.1 - drop)),
        };
        let align = match text.align {
            Align::Start => HPos::Left,
            Align::Middle => HPos::Center,
            Align::End => HPos::Right,
        };
        let style = TextStyle { font, color: (&text.colour).into(), pos: Pos::new(align, VPos::Top) };
        self.to.draw_text(&text.text, &style, self.pixel(at))
    }

    fn pixel(&self, (x, y): Point) -> (i32, i32) {
        ((x * self.scale).round() as i32, (y * self.scale).round() as i32)
    }
}

struct Stroke {
    colour: BackendColor,
    width: u32,
}

impl BackendStyle for Stroke {
    fn color(&self) -> BackendColor {
        self.colour
    }

    fn stroke_width(&self) -> u32 {
        self.width
    }
}

impl From<&Colour> for BackendColor {
    fn from(colour: &Colour) -> Self {
        Self { alpha: colour.alpha, rgb: colour.rgb }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::colour::INK;

    fn square() -> Picture {
        let mut picture = Picture::default();
        picture.rect((10.0, 10.0), (20.0, 20.0), INK);
        picture.text("x < \"y\" & 重 🙂", (100.0, 100.0), 30.0, Align::Middle);
        picture
    }

    #[test]
    fn png_has_the_size_and_the_ink_where_it_was_put() {
        let bytes = square().png().unwrap();
        let mut reader = png::Decoder::new(bytes.as_slice()).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), SIZE);
        let at = |x: usize, y: usize| pixels[(y * SIZE.0 as usize + x) * 3];
        assert_eq!((at(15, 15), at(5, 15), at(25, 15)), (34, 255, 255));
    }

    #[test]
    fn text_stands_on_its_baseline_in_both_directions() {
        for turned in [false, true] {
            let mut picture = Picture::default();
            let text = picture.text("HHH", (300.0, 300.0), 40.0, Align::Start);
            text.turned = turned;
            let bytes = picture.png().unwrap();
            let mut reader = png::Decoder::new(bytes.as_slice()).read_info().unwrap();
            let mut pixels = vec![0; reader.output_buffer_size()];
            reader.next_frame(&mut pixels).unwrap();
            let dark: Vec<(usize, usize)> = (0..SIZE.1 as usize)
                .flat_map(|y| (0..SIZE.0 as usize).map(move |x| (x, y)))
                .filter(|&(x, y)| pixels[(y * SIZE.0 as usize + x) * 3] < 128)
                .collect();
            let across = |(x, y): &(usize, usize)| if turned { *x } else { *y };
            let (top, bottom) =
                (dark.iter().map(across).min().unwrap(), dark.iter().map(across).max().unwrap());
            // Capitals of Noto Sans are 0.714 em tall.
            assert!(bottom.abs_diff(300) <= 2 && top.abs_diff(300 - 28) <= 2, "{turned}: {top} to {bottom}");
        }
    }

    #[test]
    fn straight_lines_are_the_pixels_that_plotters_fills() {
        let size = 40u32;
        let drawn = |draw: &dyn Fn(&mut plotters::backend::BitMapBackend)| {
            let mut pixels = vec![WHITE; (size * size * 3) as usize];
            draw(&mut plotters::backend::BitMapBackend::with_buffer(&mut pixels, (size, size)));
            pixels
        };
        for width in 2..7 {
            let style = Stroke { colour: BackendColor { alpha: 1.0, rgb: (10, 80, 200) }, width };
            for length in [-30, -7, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6, 7, 35] {
                for from in [(20, 11), (2, 3), (39, 39), (0, 0)] {
                    for to in [(from.0 + length, from.1), (from.0, from.1 + length)] {
                        let theirs = drawn(&|bitmap| bitmap.draw_line(from, to, &style).unwrap());
                        let (upper, lower) = straight(from, to, width).unwrap();
                        let ours = drawn(&|bitmap| {
                            bitmap.draw_rect(upper, lower, &style.colour, true).unwrap();
                        });
                        assert!(ours == theirs, "{from:?} to {to:?}, {width} wide");
                    }
                }
            }
        }
        assert_eq!(straight((1, 1), (5, 6), 3), None);
    }

    #[test]
    fn svg_escapes_and_closes() {
        let svg = square().svg().unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
        assert!(svg.contains("x &lt; ") && svg.contains("&amp; 重 🙂"), "{svg}");
        assert!(svg.contains("font-family=\"Noto Sans, sans-serif\""));
    }

    #[test]
    fn a_failed_save_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let blocked = folder.path().join("figure.png");
        std::fs::create_dir(&blocked).unwrap();
        assert!(matches!(square().save(&blocked), Err(PlotError::Write { .. })));
        assert!(matches!(square().save(&folder.path().join("no/figure.png")), Err(PlotError::Write { .. })));
        assert!(matches!(square().save(&folder.path().join("figure.gif")), Err(PlotError::Ending { .. })));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
