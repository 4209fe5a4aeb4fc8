//! KL as bars on one logarithmic axis, the same for every bar of a page.

use maud::{Markup, html};

/// Width of a bar's drawing, in its own units.
const WIDTH: f64 = 200.0;
/// Where bars begin: to the left of it lies zero, which a logarithm has no place for.
const ZERO: f64 = 12.0;

/// A logarithmic axis over whole decades.
pub(crate) struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    /// Around these values, as far as they have a logarithm.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let logs = values.into_iter().filter(|value| *value > 0.0 && value.is_finite()).map(f64::log10);
        let (low, high) =
            logs.fold((f64::INFINITY, -12.0), |(low, high): (f64, f64), log| (low.min(log), high.max(log)));
        let high = high.ceil();
        Axis { low: low.min(high - 1.0).floor(), high }
    }

    /// What it reaches over, in words.
    pub(crate) fn told(&self) -> Markup {
        html! { "KL in nats, logarithmic, from 10" sup { (self.low) } " to 10" sup { (self.high) } }
    }

    /// A bar, above the range of the noise. The number beside it says the same.
    pub(crate) fn bar(&self, class: &str, value: f64, noise: Option<[f64; 2]>) -> Markup {
        let x = |value: f64| ZERO + (value.log10() - self.low) / (self.high - self.low) * (WIDTH - ZERO);
        let real = |value: &f64| *value > 0.0 && value.is_finite();
        let noise =
            noise.filter(|ends| ends.iter().all(real)).map(|[low, high]| (x(low) - 1.0, x(high) + 1.0));
        html! {
            svg class="bar" viewBox={ "0 0 " (WIDTH) " 20" } aria-hidden="true" {
                @if let Some((low, high)) = noise {
                    rect class="floor" x=(format!("{low:.1}")) y="0" width=(format!("{:.1}", high - low)) height="20" {}
                }
                @if real(&value) {
                    rect class=(class) x=(ZERO) y="4" width=(format!("{:.1}", (x(value) - ZERO).max(1.0))) height="12" {}
                } @else if value.is_finite() {
                    circle class={ (class) " ring" } cx="6" cy="10" r="4" {}
                } @else {
                    path class={ (class) " cross" } d="M188 4 L198 16 M188 16 L198 4" {}
                }
            }
        }
    }
}

/// The smallest and the largest of several values.
pub(crate) fn ends(values: impl Iterator<Item = f64>) -> Option<[f64; 2]> {
    values
        .filter(|value| !value.is_nan())
        .map(|value| [value; 2])
        .reduce(|[a, b], [c, d]| [a.min(c), b.max(d)])
}
