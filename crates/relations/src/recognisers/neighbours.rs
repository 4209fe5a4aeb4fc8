//! Roundings other than to nearest even: every result is one of the two neighbours of its source.
//!
//! ```
//! use ulpscope_floats::{DType, Floats};
//! use ulpscope_relations::relation;
//!
//! let a = Floats::from((0..64).map(|i| (i as f32).sin()).collect::<Vec<_>>());
//! let up = |x: f32| if x.to_bits() & 0x1fff == 0 { x } else { f32::from_bits((x.to_bits() & !0x1fff) + if x > 0.0 { 0x2000 } else { 0 }) };
//! let b = Floats::from(a.to_f32().iter().map(|x| up(*x)).collect::<Vec<_>>()).cast(DType::F16);
//! assert!(relation(&a, &b).unwrap().to_string().starts_with("b = a rounded up to f16"));
//! ```

use std::fmt;

use ulpscope_floats::{DType, Floats, f16, f16_from_f64_exact};

use crate::side::Side;
use crate::text;
use crate::view::{View, format, holds, same, tally};

/// One side's elements are each the number of a format just below or just above the other's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbours {
    /// Which of the two it is.
    pub rule: Rule,
    /// The format.
    pub to: DType,
    /// The side that was rounded.
    pub of: Side,
    /// Elements that the format does not hold, and that were therefore rounded.
    pub rounded: usize,
    /// Those of them that went to the farther neighbour.
    pub farther: usize,
}

/// How one of two neighbours is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The one nearer to zero.
    TowardZero,
    /// The one farther from zero.
    AwayFromZero,
    /// The larger.
    Up,
    /// The smaller.
    Down,
    /// The nearest; of two equally near ones that farther from zero, as C's `round` has it.
    TiesAway,
    /// The nearest; of two equally near ones that nearer to zero.
    TiesTowardZero,
    /// By chance, the nearer being the likelier: as many take the farther one as stochastic
    /// rounding lets expect, within five standard deviations.
    Stochastic,
    /// No rule was found.
    Unknown,
}

impl Rule {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Rule::TowardZero => "toward-zero",
            Rule::AwayFromZero => "away-from-zero",
            Rule::Up => "up",
            Rule::Down => "down",
            Rule::TiesAway => "ties-away",
            Rule::TiesTowardZero => "ties-toward-zero",
            Rule::Stochastic => "stochastic",
            Rule::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Neighbours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (to, of, result) = (self.to, self.of, self.of.other());
        let farther = text::percent(self.farther, self.rounded);
        match self.rule {
            Rule::TowardZero => write!(f, "{result} = truncate_{to}({of})"),
            Rule::AwayFromZero => write!(f, "{result} = {of} rounded to {to} away from zero"),
            Rule::Up => write!(f, "{result} = {of} rounded up to {to}"),
            Rule::Down => write!(f, "{result} = {of} rounded down to {to}"),
            Rule::TiesAway => write!(f, "{result} = {of} rounded to {to}, ties away from zero"),
            Rule::TiesTowardZero => write!(f, "{result} = {of} rounded to {to}, ties toward zero"),
            Rule::Stochastic => write!(
                f,
                "{result} = {of} rounded stochastically to {to}, {farther} of the roundings to the farther neighbour"
            ),
            Rule::Unknown => write!(
                f,
                "every {result} is a {to} next to its {of}, {farther} of the roundings to the farther neighbour"
            ),
        }
    }
}

/// Roundings that must agree before a direction is believed: eight do so by chance once in 256
/// times.
const EVIDENCE: usize = 8;

/// `a` or `b` rounded to one of the neighbours in the other's format.
pub(crate) fn neighbours(a: &Floats, b: &Floats) -> Option<Neighbours> {
    [(Side::A, a, b), (Side::B, b, a)].into_iter().find_map(|(of, source, result)| {
        let to = format(result).filter(|to| *to != DType::F64 && !holds(*to, source))?;
        let counts = count(source, result, to)?;
        let rule = counts.rule()?;
        Some(Neighbours { rule, to, of, rounded: counts.rounded, farther: counts.farther })
    })
}

/// What was seen of the roundings. Whole numbers only, so that any number of threads counts the
/// same.
#[derive(Clone, Copy, Default)]
struct Counts {
    rounded: usize,
    farther: usize,
    toward_zero: usize,
    up: usize,
    ties: usize,
    ties_toward_zero: usize,
    /// Expected share of farther neighbours under stochastic rounding, and its variance, in
    /// millionths.
    expected: u64,
    variance: u64,
}

impl Counts {
    fn plus(self, other: Counts) -> Counts {
        Counts {
            rounded: self.rounded + other.rounded,
            farther: self.farther + other.farther,
            toward_zero: self.toward_zero + other.toward_zero,
            up: self.up + other.up,
            ties: self.ties + other.ties,
            ties_toward_zero: self.ties_toward_zero + other.ties_toward_zero,
            expected: self.expected + other.expected,
            variance: self.variance + other.variance,
        }
    }

    fn rule(&self) -> Option<Rule> {
        let expected = self.expected as f64 / 1e6;
        let deviation = (self.variance as f64 / 1e6).sqrt();
        if self.rounded < EVIDENCE {
            return None;
        }
        Some(if self.toward_zero == self.rounded {
            Rule::TowardZero
        } else if self.toward_zero == 0 {
            Rule::AwayFromZero
        } else if self.up == self.rounded {
            Rule::Up
        } else if self.up == 0 {
            Rule::Down
        } else if self.farther == 0 && self.ties_toward_zero == 0 {
            Rule::TiesAway
        } else if self.farther == 0 && self.ties_toward_zero == self.ties {
            Rule::TiesTowardZero
        } else if self.farther > 0 && (self.farther as f64 - expected).abs() <= 5.0 * deviation {
            Rule::Stochastic
        } else {
            Rule::Unknown
        })
    }
}

/// Looks at every element; `None` as soon as one is no neighbour.
fn count(source: &Floats, result: &Floats, to: DType) -> Option<Counts> {
    let add = |counts: &mut Counts, _: usize, source: &[f64], result: &[f64]| {
        source.iter().zip(result).all(|(&x, &y)| {
            let (near, far) = around(x, to);
            let truncated = same(near, y);
            if same(near, far) {
                return truncated;
            }
            let position = (x - near) / (far - near);
            let farther = if truncated { position > 0.5 } else { position < 0.5 };
            let chance = position.min(1.0 - position);
            counts.rounded += 1;
            counts.farther += usize::from(farther);
            counts.toward_zero += usize::from(truncated);
            counts.up += usize::from(y > x);
            counts.ties += usize::from(position == 0.5);
            counts.ties_toward_zero += usize::from(position == 0.5 && truncated);
            counts.expected += (chance * 1e6) as u64;
            counts.variance += (chance * (1.0 - chance) * 1e6) as u64;
            truncated || same(far, y)
        })
    };
    tally(View::plain(source), View::plain(result), Counts::default, add, Counts::plus)
}

/// The numbers of `format` next to `x`: the one nearer to zero and the one farther; twice `x` if it
/// is one.
fn around(x: f64, format: DType) -> (f64, f64) {
    if !x.is_finite() {
        return (x, x);
    }
    let single = x as f32;
    let single =
        if f64::from(single).abs() > x.abs() { f32::from_bits(single.to_bits() - 1) } else { single };
    let (near, far) = match format {
        DType::F64 => (x, x),
        DType::F32 => (f64::from(single), f64::from(f32::from_bits(single.to_bits() + 1))),
        DType::Bf16 => {
            let bits = single.to_bits() & 0xffff_0000;
            (f64::from(f32::from_bits(bits)), f64::from(f32::from_bits(bits + 0x1_0000)))
        }
        DType::F16 => {
            let half = f16_from_f64_exact(x);
            let beyond = half.to_f64().abs() > x.abs();
            let bits = half.to_bits() - u16::from(beyond);
            (f16::from_bits(bits).to_f64(), f16::from_bits(bits + 1).to_f64())
        }
    };
    if near == x { (x, x) } else { (near, far) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{build, gaussian, uniform};

    /// Every element rounded to `format`: `choose` gets its place between the neighbours, and says
    /// whether to take the one farther from zero.
    fn round(a: &Floats, format: DType, mut choose: impl FnMut(f64, f64) -> bool) -> Floats<'static> {
        let mut pick = |x: f64| {
            let (near, far) = around(x, format);
            let place = if near == far { 0.0 } else { (x - near) / (far - near) };
            if choose(x, place) { far } else { near }
        };
        Floats::from((0..a.len()).map(|i| pick(a.get(i))).collect::<Vec<_>>()).cast(format)
    }

    fn rule(a: &Floats, b: &Floats) -> Option<(Rule, Side)> {
        neighbours(a, b).map(|n| (n.rule, n.of))
    }

    #[test]
    fn every_rule_is_recognised() {
        let mut values = gaussian(3000, 1).to_f32();
        values.extend([1.0 + (-8f32).exp2(), 1.0 + 3.0 * (-8f32).exp2()]); // ties in bf16
        values.extend([1.0 + (-11f32).exp2(), 1.0 + 3.0 * (-11f32).exp2()]); // and in f16
        let a = Floats::from(values);
        for format in [DType::Bf16, DType::F16] {
            let mut chance = uniform(5);
            let mut coin = uniform(6);
            let cases = [
                (round(&a, format, |_, _| false), Rule::TowardZero),
                (round(&a, format, |_, _| true), Rule::AwayFromZero),
                (round(&a, format, |x, _| x > 0.0), Rule::Up),
                (round(&a, format, |x, _| x < 0.0), Rule::Down),
                (round(&a, format, |_, place| place >= 0.5), Rule::TiesAway),
                (round(&a, format, |_, place| place > 0.5), Rule::TiesTowardZero),
                (round(&a, format, |_, place| chance() < place), Rule::Stochastic),
                (round(&a, format, |_, _| coin() < 0.5), Rule::Unknown),
            ];
            for (b, want) in cases {
                for stored in [format, DType::F32] {
                    assert_eq!(rule(&a, &b.cast(stored)), Some((want, Side::A)), "{format}");
                }
                assert_eq!(rule(&b, &a), Some((want, Side::B)));
            }
        }
    }

    #[test]
    fn one_element_two_steps_off_is_no_rounding() {
        let a = gaussian(2000, 2);
        let good = round(&a, DType::Bf16, |_, _| false);
        for off in [0, 1000, 1999] {
            let b = build(&good, |i| good.get(i) * if i == off { 1.03 } else { 1.0 });
            assert_eq!(rule(&a, &b), None);
        }
        assert_eq!(rule(&a, &gaussian(2000, 3)), None);
        assert_eq!(rule(&a, &gaussian(2000, 3).cast(DType::Bf16)), None);
    }

    #[test]
    fn the_statement_gives_the_share() {
        let a = gaussian(10_000, 4);
        let mut chance = uniform(7);
        let said = neighbours(&a, &round(&a, DType::Bf16, |_, place| chance() < place)).unwrap().to_string();
        assert!(said.starts_with("b = a rounded stochastically to bf16, 2"), "{said}");
        assert!(said.ends_with(" % of the roundings to the farther neighbour"), "{said}");
    }
}
