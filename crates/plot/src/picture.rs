//! A picture as a list of shapes, before it is pixels or SVG.
//!
//! Figures only add shapes to it. That both formats show the same thing follows, and tests can ask
//! what a figure shows without looking at pixels. Lengths are pixels of the finished PNG, `y`
//! pointing down.

use crate::colour::{Colour, INK};
use crate::font;

/// Width and height of every picture, in pixels.
pub const SIZE: (u32, u32) = (1800, 1200);

/// A finished figure, to be saved as [PNG](Picture::png) or [SVG](Picture::svg).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Picture {
    pub(crate) shapes: Vec<Shape>,
}

pub(crate) type Point = (f64, f64);

/// Something drawn.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    Line { points: Vec<Point>, width: f64, colour: Colour },
    Polygon { points: Vec<Point>, colour: Colour },
    Rect { from: Point, to: Point, colour: Colour },
    Disc { centre: Point, radius: f64, colour: Colour },
    Text(Text),
}

/// One line of text. `at` is on its baseline, at the start, middle or end of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) at: Point,
    /// Size of an em.
    pub(crate) em: f64,
    pub(crate) align: Align,
    pub(crate) colour: Colour,
    pub(crate) bold: bool,
    /// Read from below to above.
    pub(crate) turned: bool,
}

/// Which part of a text stands where it is put.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Align {
    Start,
    Middle,
    End,
}

/// The shape of a point; it tells series apart where colour alone would not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mark {
    Disc,
    Square,
    Triangle,
    Diamond,
}

impl Mark {
    /// The mark of the series with this index.
    pub(crate) fn of(index: usize) -> Self {
        [Self::Disc, Self::Square, Self::Triangle, Self::Diamond][index % 4]
    }
}

impl Text {
    /// Where the text lies: left, top, right and bottom.
    #[cfg(test)]
    pub(crate) fn bounds(&self) -> [f64; 4] {
        let width = font::width(&self.text, self.em, self.bold);
        let before = match self.align {
            Align::Start => 0.0,
            Align::Middle => width / 2.0,
            Align::End => width,
        };
        let (x, y) = self.at;
        let (above, below) = (0.75 * self.em, 0.22 * self.em);
        match self.turned {
            false => [x - before, y - above, x - before + width, y + below],
            true => [x - above, y + before - width, x + below, y + before],
        }
    }
}

impl Picture {
    pub(crate) fn line(&mut self, points: &[Point], width: f64, colour: Colour) {
        self.shapes.push(Shape::Line { points: points.to_vec(), width, colour });
    }

    /// A line of dashes, each `dash` long with a gap of two thirds of it.
    pub(crate) fn dashed(&mut self, points: &[Point], width: f64, dash: f64, colour: Colour) {
        // The pattern runs on over the corners, or short segments would all be solid.
        let (period, mut walked) = (dash * 5.0 / 3.0, 0.0);
        for pair in points.windows(2) {
            let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
            let length = (x1 - x0).hypot(y1 - y0);
            let at = |along: f64| (x0 + (x1 - x0) * along / length, y0 + (y1 - y0) * along / length);
            let mut along = 0.0;
            while along < length {
                let phase = walked % period;
                let on = phase < dash;
                // Below a pixel's tenth, rounding could keep the walk from moving on.
                let step =
                    (if on { dash - phase } else { period - phase }).max(0.1).min(length - along).max(1e-3);
                if on {
                    self.line(&[at(along), at((along + step).min(length))], width, colour);
                }
                along += step;
                walked += step;
            }
        }
    }

    pub(crate) fn rect(&mut self, from: Point, to: Point, colour: Colour) {
        self.shapes.push(Shape::Rect { from, to, colour });
    }

    /// The outline of a rectangle.
    pub(crate) fn frame(&mut self, (x0, y0): Point, (x1, y1): Point, width: f64, colour: Colour) {
        self.line(&[(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)], width, colour);
    }

    pub(crate) fn disc(&mut self, centre: Point, radius: f64, colour: Colour) {
        self.shapes.push(Shape::Disc { centre, radius, colour });
    }

    /// A filled mark, `radius` being the disc's.
    pub(crate) fn mark(&mut self, mark: Mark, (x, y): Point, radius: f64, colour: Colour) {
        let polygon = |points: &[Point]| Shape::Polygon {
            points: points.iter().map(|&(dx, dy)| (x + dx * radius, y + dy * radius)).collect(),
            colour,
        };
        self.shapes.push(match mark {
            Mark::Disc => Shape::Disc { centre: (x, y), radius, colour },
            // Scaled so that the areas look alike.
            Mark::Square => polygon(&[(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)]),
            Mark::Triangle => polygon(&[(0.0, -1.25), (1.15, 0.75), (-1.15, 0.75)]),
            Mark::Diamond => polygon(&[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)]),
        });
    }

    /// A mark with a white heart, for what lies on a floor and not at its value.
    pub(crate) fn hollow(&mut self, mark: Mark, at: Point, radius: f64, colour: Colour) {
        self.mark(mark, at, radius, colour);
        self.mark(mark, at, radius * 0.55, crate::colour::PAPER);
    }

    /// A cross, for what is NaN or infinite.
    pub(crate) fn cross(&mut self, (x, y): Point, radius: f64, width: f64, colour: Colour) {
        self.line(&[(x - radius, y - radius), (x + radius, y + radius)], width, colour);
        self.line(&[(x - radius, y + radius), (x + radius, y - radius)], width, colour);
    }

    /// Text on the baseline at `at`, in ink; further properties can be set on what is returned.
    pub(crate) fn text(&mut self, text: &str, at: Point, em: f64, align: Align) -> &mut Text {
        let text = font::printable(text);
        let text = Text { text, at, em, align, colour: INK, bold: false, turned: false };
        self.shapes.push(Shape::Text(text));
        match self.shapes.last_mut() {
            Some(Shape::Text(text)) => text,
            _ => unreachable!("a text was pushed just now"),
        }
    }

    /// Text whose capitals are centred on `y`.
    pub(crate) fn label(&mut self, text: &str, (x, y): Point, em: f64, align: Align) -> &mut Text {
        self.text(text, (x, y + font::HALF_CAPITAL * em), em, align)
    }

    /// The texts of the picture, in the order of drawing.
    #[cfg(test)]
    pub(crate) fn texts(&self) -> Vec<&str> {
        self.all_text().map(|text| text.text.as_str()).collect()
    }

    #[cfg(test)]
    pub(crate) fn all_text(&self) -> impl Iterator<Item = &Text> {
        self.shapes.iter().filter_map(|shape| match shape {
            Shape::Text(text) => Some(text),
            _ => None,
        })
    }
}

impl Text {
    pub(crate) fn colour(&mut self, colour: Colour) -> &mut Self {
        self.colour = colour;
        self
    }

    pub(crate) fn bold(&mut self) -> &mut Self {
        self.bold = true;
        self
    }

    /// Turns the text about `at` so that it is read from below.
    pub(crate) fn turned(&mut self) -> &mut Self {
        self.turned = true;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_cover_three_fifths_whatever_the_corners() {
        for count in [2, 7, 400] {
            let mut picture = Picture::default();
            let points: Vec<Point> =
                (0..count).map(|i| (1000.0 * f64::from(i) / f64::from(count - 1), 0.0)).collect();
            picture.dashed(&points, 2.0, 12.0, INK);
            let drawn: f64 = (picture.shapes.iter())
                .map(|shape| match shape {
                    Shape::Line { points, .. } => points[1].0 - points[0].0,
                    _ => panic!("not a line"),
                })
                .sum();
            assert!((drawn - 600.0).abs() < 12.0, "{count} points: {drawn}");
        }
    }

    #[test]
    fn dashes_of_nothing_end() {
        let mut picture = Picture::default();
        picture.dashed(&[(5.0, 5.0), (5.0, 5.0)], 2.0, 12.0, INK);
        assert!(picture.shapes.is_empty());
    }
}
