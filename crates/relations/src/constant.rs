//! A constant known to lie in an interval, and the simplest way to write it.

use std::fmt;

use crate::cell::Interval;
use crate::text;

/// A factor or a summand that was found from the elements.
///
/// Every number of `low..=high` fits each element's rounding; `value`, the simplest of them, was
/// verified on every element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constant {
    /// The number used: what `form` says, as f64, or as f32 if only that fits.
    pub value: f64,
    /// The smallest number that fits.
    pub low: f64,
    /// The largest number that fits.
    pub high: f64,
    /// What the number may stand for.
    pub form: Form,
}

/// A way to write a constant. Anything but a decimal is chosen only where a chance hit is unlikely.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    /// A plain number.
    Decimal,
    /// `n / m`.
    Ratio(i64, i64),
    /// `sqrt(n)`, negative if the flag is set.
    Sqrt(u64, bool),
    /// `1 / sqrt(n)`, negative if the flag is set.
    InverseSqrt(u64, bool),
    /// `c / max|x|` of the array that is multiplied, as scales of quantised formats are: 448 for
    /// e4m3.
    OverMax(f64),
    /// `max|x| / c` of the array that is multiplied.
    MaxOver(f64),
}

impl fmt::Display for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minus = |negative: bool| if negative { "-" } else { "" };
        match self.form {
            // The f32 nearest to 0.1 is 0.1 to whoever wrote it.
            Form::Decimal if f64::from(self.value as f32) == self.value => {
                f.write_str(&text::exact_f32(self.value as f32))
            }
            Form::Decimal => f.write_str(&text::exact(self.value)),
            Form::Ratio(n, m) => write!(f, "{n}/{m}"),
            Form::Sqrt(n, negative) => write!(f, "{}sqrt({n})", minus(negative)),
            Form::InverseSqrt(n, negative) => write!(f, "{}1/sqrt({n})", minus(negative)),
            Form::OverMax(c) => write!(f, "({c}/max|.|)"),
            Form::MaxOver(c) => write!(f, "(max|.|/{c})"),
        }
    }
}

/// The largest magnitudes of the formats that scales aim at: e4m3, e4m3fnuz, e5m2, int8, int4.
const LARGEST: [f64; 7] = [448.0, 240.0, 57344.0, 127.0, 128.0, 7.0, 8.0];

/// How likely a form may hit the interval by chance and still be believed.
const LUCK: f64 = 0.05;

impl Constant {
    /// Ways to write a constant of the interval, the most telling first; the last is its middle.
    ///
    /// `largest` is the largest magnitude of the array that the constant multiplies, if it
    /// multiplies one. The interval must be finite and hold neither zero nor its ends' signs mixed.
    pub(crate) fn candidates(interval: Interval, largest: Option<f64>) -> Vec<Constant> {
        let Interval { low, high } = interval;
        let negative = high < 0.0;
        // Of the magnitude; the sign comes back at the end.
        let (small, large) = if negative { (-high, -low) } else { (low, high) };
        let inside = |x: f64| small <= x && x <= large;
        let sign = if negative { -1.0 } else { 1.0 };
        let relative = (large - small) / large;
        let mut found = Vec::new();
        let mut push = |value: f64, form: Form| {
            // Most programs hold a constant as f32.
            for value in [value, f64::from(value as f32)] {
                if inside(value) {
                    found.push(Constant { value: value * sign, low, high, form });
                }
            }
        };

        let (decimal, digits) = shortest(Interval { low: small, high: large });
        let lucky_decimal = relative * 10f64.powi(digits as i32) > LUCK;
        // Every f32 is a decimal of eight or nine digits.
        if digits <= 4 && !lucky_decimal {
            push(decimal, Form::Decimal);
        }
        for (square, form) in [
            (Interval { low: small * small, high: large * large }, Form::Sqrt as fn(u64, bool) -> Form),
            (Interval { low: 1.0 / (large * large), high: 1.0 / (small * small) }, Form::InverseSqrt),
        ] {
            // Widths of models are multiples of 64, of which few lie in any interval.
            for unit in [64.0, 1.0] {
                let n = (square.middle() / unit).round() * unit;
                let square_number = n.sqrt().fract() == 0.0;
                if !square_number
                    && (2.0..1e6).contains(&n)
                    && (square.width() + n * (-23f64).exp2()) / unit < LUCK
                {
                    let root = n.sqrt();
                    let value = if matches!(form(0, false), Form::Sqrt(..)) { root } else { 1.0 / root };
                    push(value, form(n as u64, negative));
                }
            }
        }
        for m in 2..=16 {
            let n = (decimal * f64::from(m)).round();
            // Some eighty fractions of such denominators lie between two integers.
            if (1.0..1e4).contains(&n) && (large - small) * 80.0 < LUCK {
                push(n / f64::from(m), Form::Ratio((n * sign) as i64, i64::from(m)));
            }
        }
        if let Some(largest) = largest.filter(|x| *x > 0.0 && relative * 100.0 < LUCK) {
            for c in LARGEST {
                push(c / largest, Form::OverMax(c));
                push(largest / c, Form::MaxOver(c));
            }
        }
        push(decimal, Form::Decimal);
        let middle = interval.middle() * sign;
        push(middle, Form::Decimal);
        found
    }
}

/// The number of the interval, whose ends have one sign, that has the fewest decimal digits, itself
/// or as an f32; and how many those are.
pub(crate) fn shortest(interval: Interval) -> (f64, usize) {
    let middle = interval.middle();
    (0..17)
        .filter_map(|digits| Some((format!("{middle:.digits$e}").parse::<f64>().ok()?, digits + 1)))
        .flat_map(|(x, digits)| [(x, digits), (f64::from(x as f32), digits)])
        .find(|(x, _)| interval.contains(*x))
        .unwrap_or((middle, 17))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(x: f64, relative: f64, largest: Option<f64>) -> String {
        let around = x.abs() * relative;
        Constant::candidates(Interval { low: x - around, high: x + around }, largest)[0].to_string()
    }

    #[test]
    fn constants_are_written_as_simply_as_the_interval_allows() {
        assert_eq!(said(0.5001, 1e-3, None), "0.5");
        assert_eq!(said(-2.0, 1e-6, None), "-2");
        assert_eq!(said(2048f64.sqrt(), 1e-5, None), "sqrt(2048)");
        assert_eq!(said(-(2048f64.sqrt()), 1e-5, None), "-sqrt(2048)");
        assert_eq!(said(1.0 / 128f64.sqrt(), 1e-5, None), "1/sqrt(128)");
        assert_eq!(said(1.0 / 3.0, 1e-7, None), "1/3");
        assert_eq!(said(f64::from(640f32.sqrt()), 1e-11, None), "sqrt(640)");
        assert_eq!(said(f64::from(0.123_456_7f32), 1e-11, None), "0.1234567");
        assert_eq!(said(448.0 / 0.731, 1e-6, Some(0.731)), "(448/max|.|)");
        assert_eq!(said(0.731 / 127.0, 1e-6, Some(0.731)), "(max|.|/127)");
        // As loose as this nothing but a decimal is believed.
        assert_eq!(said(45.2548, 2e-2, None), "45");
    }

    #[test]
    fn every_candidate_lies_in_the_interval() {
        for x in [1e-30, 0.1, 1.0, 55.43, -1e20] {
            let interval = Interval { low: x - 1e-4 * f64::abs(x), high: x + 1e-4 * f64::abs(x) };
            let all = Constant::candidates(interval, Some(1.0));
            assert!(!all.is_empty() && all.iter().all(|c| interval.contains(c.value)), "{x}");
        }
    }
}
