//! Axes: where a value stands, and what is written beside it.

use crate::colour::{FAINT, GREY, GRID, INK};
use crate::picture::{Align, Picture};

/// Sizes of text on axes, in ems: legible at half the picture's size.
pub(crate) const TICK: f64 = 25.0;
pub(crate) const TITLE: f64 = 28.0;

/// Room on a vertical logarithmic axis for zeros, and for NaN and infinities.
const STRIPS: [f64; 2] = [56.0, 76.0];
/// The same on a horizontal axis, where it must hold the words below it.
const WIDE_STRIPS: [f64; 2] = [120.0, 190.0];

/// One axis between two pixels.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    kind: Kind,
    /// Pixel of the lower end and of the upper end.
    from: f64,
    to: f64,
    /// Pixel at which zeros stand, if there are any.
    zero: Option<f64>,
    /// Pixel at which NaN and infinities stand, if there are any.
    wild: Option<f64>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Linear {
        low: f64,
        high: f64,
    },
    /// Exponents of ten.
    Log {
        low: i32,
        high: i32,
    },
}

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Place {
    /// At its value.
    Value(f64),
    /// In the strip of zeros.
    Zero(f64),
    /// In the strip of NaN and infinities.
    Wild(f64),
}

impl Place {
    pub(crate) fn pixel(self) -> f64 {
        match self {
            Self::Value(at) | Self::Zero(at) | Self::Wild(at) => at,
        }
    }
}

impl Axis {
    /// A linear axis from `low` to `high` without anything beyond.
    pub(crate) fn linear(low: f64, high: f64, from: f64, to: f64) -> Self {
        // Differences of larger numbers overflow, and no finding is out there.
        let (low, high) = (low.clamp(-1e300, 1e300), high.clamp(-1e300, 1e300));
        let margin = 1e-9 * low.abs().max(high.abs()).max(1e-300);
        let (low, high) = if high - low > margin { (low, high) } else { (low - 0.5, high + 0.5) };
        Self { kind: Kind::Linear { low, high }, from, to, zero: None, wild: None }
    }

    /// A logarithmic axis of whole decades around the positive values, with strips for the others.
    ///
    /// Magnitudes are meant: what is below zero stands with the zeros (a divergence that is zero
    /// but for rounding can come out slightly negative).
    pub(crate) fn log(values: impl IntoIterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut least, mut most) = (f64::INFINITY, 0.0f64);
        let (mut zeros, mut wilds) = (false, false);
        for value in values {
            match value {
                _ if !value.is_finite() => wilds = true,
                _ if value <= 0.0 => zeros = true,
                _ => (least, most) = (least.min(value), most.max(value)),
            }
        }
        let (low, high) = match least <= most {
            true => (least.log10().floor() as i32, most.log10().ceil() as i32),
            false => (-6, 0),
        };
        let high = high.max(low + 1);
        let room = |strip: f64| strip.min(0.3 * (to - from).abs()) * (to - from).signum();
        let [low_strip, high_strip] = if to > from { WIDE_STRIPS } else { STRIPS }.map(room);
        let zero = zeros.then_some(from + low_strip / 2.0);
        // Further out than the middle: its words are longer than what is written at the nearest
        // decade.
        let wild = wilds.then_some(to - 0.37 * high_strip);
        let from = if zeros { from + low_strip } else { from };
        let to = if wilds { to - high_strip } else { to };
        Self { kind: Kind::Log { low, high }, from, to, zero, wild }
    }

    /// Where `value` stands.
    pub(crate) fn place(&self, value: f64) -> Place {
        let share = match self.kind {
            _ if !value.is_finite() => return Place::Wild(self.wild.unwrap_or(self.to)),
            Kind::Linear { low, high } => (value - low) / (high - low),
            Kind::Log { .. } if value <= 0.0 => return Place::Zero(self.zero.unwrap_or(self.from)),
            Kind::Log { low, high } => (value.log10() - f64::from(low)) / f64::from(high - low),
        };
        Place::Value(self.from + share.clamp(0.0, 1.0) * (self.to - self.from))
    }

    /// Where a value stands on the axis, as a share from 0 to 1 of the axis' length without strips.
    pub(crate) fn share(&self, value: f64) -> f64 {
        (self.place(value).pixel() - self.from) / (self.to - self.from)
    }

    /// Pixels with what is written there: values first, then the strips.
    pub(crate) fn ticks(&self) -> Vec<(f64, String)> {
        let mut ticks: Vec<(f64, String)> = match self.kind {
            Kind::Linear { low, high } => {
                linear_ticks(low, high).into_iter().map(|(at, text)| (self.place(at).pixel(), text)).collect()
            }
            Kind::Log { low, high } => {
                let room = ((self.to - self.from).abs() / 45.0).clamp(2.0, 10.0) as i32;
                let step = (high - low).div_euclid(room) + 1;
                (low..=high)
                    .filter(|exponent| exponent.rem_euclid(step) == 0)
                    .map(|exponent| (self.decade(exponent), power_of_ten(exponent)))
                    .collect()
            }
        };
        ticks.extend(self.zero.map(|at| (at, "0".to_owned())));
        ticks.extend(self.wild.map(|at| (at, "NaN, inf".to_owned())));
        ticks
    }

    /// Pixels of lines between the ticks.
    fn between(&self) -> Vec<f64> {
        match self.kind {
            Kind::Log { low, high } if high - low <= 4 => (low..high)
                .flat_map(|exponent| (2..10).map(move |digit| f64::from(exponent) + f64::from(digit).log10()))
                .map(|at| self.at_exponent(at))
                .collect(),
            _ => Vec::new(),
        }
    }

    fn decade(&self, exponent: i32) -> f64 {
        self.at_exponent(f64::from(exponent))
    }

    fn at_exponent(&self, exponent: f64) -> f64 {
        match self.kind {
            Kind::Log { low, high } => {
                self.from + (exponent - f64::from(low)) / f64::from(high - low) * (self.to - self.from)
            }
            Kind::Linear { .. } => self.from,
        }
    }

    /// Draws a vertical axis at `left`, its grid reaching to `right`, and its title beside it.
    pub(crate) fn draw_vertical(&self, picture: &mut Picture, left: f64, right: f64, title: &str) {
        for y in self.between() {
            picture.line(&[(left, y), (right, y)], 1.0, FAINT);
        }
        let mut widest = 0.0f64;
        for (y, text) in self.ticks() {
            picture.line(&[(left, y), (right, y)], 1.5, GRID);
            write(picture, &text, (left - 14.0, y), Align::End);
            widest = widest.max(crate::font::width(&text, TICK, false));
        }
        for y in self.borders() {
            picture.dashed(&[(left, y), (right, y)], 1.5, 9.0, GREY);
        }
        let (top, bottom) = (self.from.min(self.to), self.from.max(self.to));
        // Titles stand at one distance, whatever the ticks, so that panels above one another align.
        let x = left - 14.0 - widest.max(75.0) - 26.0;
        let title = crate::font::fitted(title, TITLE, (bottom - top) + 160.0);
        picture.text(&title, (x, (top + bottom) / 2.0), TITLE, Align::Middle).turned();
    }

    /// Draws a horizontal axis at `bottom`, its grid reaching to `top`, and its title below.
    pub(crate) fn draw_horizontal(&self, picture: &mut Picture, top: f64, bottom: f64, title: &str) {
        for x in self.between() {
            picture.line(&[(x, top), (x, bottom)], 1.0, FAINT);
        }
        for (x, text) in self.ticks() {
            picture.line(&[(x, top), (x, bottom)], 1.5, GRID);
            write(picture, &text, (x, bottom + 25.0), Align::Middle);
        }
        for x in self.borders() {
            picture.dashed(&[(x, top), (x, bottom)], 1.5, 9.0, GREY);
        }
        picture.text(title, ((self.from + self.to) / 2.0, bottom + 78.0), TITLE, Align::Middle);
    }

    /// Pixels that part the strips from the values.
    fn borders(&self) -> Vec<f64> {
        let mut borders = Vec::new();
        borders.extend(self.zero.map(|_| self.from));
        borders.extend(self.wild.map(|_| self.to));
        borders
    }
}

/// Draws the left and bottom edge of a panel.
pub(crate) fn edges(picture: &mut Picture, [left, top, right, bottom]: [f64; 4]) {
    picture.line(&[(left, top), (left, bottom)], 2.0, INK);
    picture.line(&[(left, bottom), (right, bottom)], 2.0, INK);
}

/// Which of `count` things in a row get a label, when `room` labels fit: every n-th.
pub(crate) fn every(count: usize, room: usize) -> usize {
    let steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000];
    steps.into_iter().find(|step| count.div_ceil(*step) <= room.max(1)).unwrap_or(count.max(1))
}

fn linear_ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    let rough = (high - low) / 6.0;
    let unit = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].map(|n| n * unit).into_iter().find(|step| *step >= rough).unwrap_or(rough);
    if !(step.is_normal() && (low / step).abs() < 1e12) {
        return vec![(low, format!("{low:.3e}")), (high, format!("{high:.3e}"))];
    }
    let digits = (-step.log10().floor()).max(0.0) as usize;
    let first = (low / step).ceil() as i64;
    let written = |value: f64| match step {
        _ if value == 0.0 => "0".to_owned(),
        _ if !(1e-3..1e5).contains(&step) => format!("{value:.1e}"),
        _ => format!("{value:.digits$}").replace('-', "−"),
    };
    (first..)
        .map(|n| n as f64 * step)
        .take_while(|at| *at <= high + 1e-9 * step)
        .map(|at| (at, written(at)))
        .collect()
}

/// `10^−3`, which [`write`] raises, with 1 and 10 as such.
pub(crate) fn power_of_ten(exponent: i32) -> String {
    match exponent {
        0 => "1".to_owned(),
        1 => "10".to_owned(),
        _ => format!("10^{exponent}").replace('-', "−"),
    }
}

/// Writes a tick's text, centred on `y`, with what follows `^` raised: Noto Sans has no raised
/// minus.
pub(crate) fn write(picture: &mut Picture, text: &str, (x, y): (f64, f64), align: Align) {
    let Some((base, exponent)) = text.split_once('^') else {
        picture.label(text, (x, y), TICK, align);
        return;
    };
    let (small, base_width) = (0.72 * TICK, crate::font::width(base, TICK, false));
    let all = base_width + 1.0 + crate::font::width(exponent, small, false);
    let left = match align {
        Align::Start => x,
        Align::Middle => x - all / 2.0,
        Align::End => x - all,
    };
    picture.label(base, (left, y), TICK, Align::Start);
    picture.label(exponent, (left + base_width + 1.0, y - 0.42 * TICK), small, Align::Start);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_axis_covers_its_values_and_keeps_strips_for_the_rest() {
        let axis = Axis::log([0.0, 3e-4, 0.02, f64::NAN], 1000.0, 0.0);
        let [zero, low, high, wild] = [0.0, 3e-4, 0.02, f64::INFINITY].map(|value| axis.place(value));
        assert!(matches!(zero, Place::Zero(_)) && matches!(wild, Place::Wild(_)));
        let (zero, low, high, wild) = (zero.pixel(), low.pixel(), high.pixel(), wild.pixel());
        assert!(1000.0 > zero && zero > low && low > high && high > wild && wild > 0.0);
        let texts: Vec<String> = axis.ticks().into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["10^−4", "10^−3", "10^−2", "10^−1", "0", "NaN, inf"]);
    }

    #[test]
    fn log_axes_of_nothing_of_zeros_and_of_everything() {
        assert!(!Axis::log([], 0.0, 100.0).ticks().is_empty());
        assert!(Axis::log([0.0, 0.0], 0.0, 100.0).ticks().iter().any(|(_, text)| text == "0"));
        let wide = Axis::log([f64::from_bits(1), f64::MAX], 0.0, 500.0);
        assert!((3..=12).contains(&wide.ticks().len()), "{:?}", wide.ticks());
        assert!(wide.ticks().iter().all(|(at, _)| (0.0..=500.0).contains(at)));
        let one = Axis::log([1.0], 0.0, 500.0);
        assert_eq!(one.place(1.0), Place::Value(0.0));
    }

    #[test]
    fn linear_ticks_are_round_and_inside() {
        let texts = |low, high| linear_ticks(low, high).into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        assert_eq!(texts(-10.0, 20.0), ["−10", "−5", "0", "5", "10", "15", "20"]);
        assert_eq!(texts(0.0, 0.5), ["0", "0.1", "0.2", "0.3", "0.4", "0.5"]);
        for (low, high) in
            [(1e16, 1e16 + 4.0), (f64::MIN, f64::MAX), (0.0, 0.0), (3.0, 3.0), (-1e-310, 1e-310)]
        {
            let axis = Axis::linear(low, high, 0.0, 900.0);
            let ticks = axis.ticks();
            assert!((1..=14).contains(&ticks.len()), "{low} to {high}: {ticks:?}");
            assert!(ticks.iter().all(|(at, _)| (0.0..=900.0).contains(at)), "{low} to {high}: {ticks:?}");
        }
    }

    #[test]
    fn labels_are_thinned_to_what_fits() {
        assert_eq!([every(30, 16), every(16, 16), every(0, 5), every(2048, 10)], [2, 1, 1, 500]);
    }
}
