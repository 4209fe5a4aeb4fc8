//! Numbers as statements write them.

/// `part` of `whole` in per cent: `12.5 %`, `0.00123 %`.
pub(crate) fn percent(part: usize, whole: usize) -> String {
    share(part as f64 / whole.max(1) as f64)
}

/// A share as a percentage.
pub(crate) fn share(x: f64) -> String {
    format!("{} %", short(100.0 * x))
}

/// A measured number with three significant digits, without an exponent where that is readable.
pub(crate) fn short(x: f64) -> String {
    let rounded: f64 = format!("{x:.2e}").parse().unwrap_or(x);
    let magnitude = rounded.abs();
    if rounded != 0.0 && !(1e-4..1e6).contains(&magnitude) {
        format!("{rounded:e}")
    } else {
        format!("{rounded}")
    }
}

/// A number with all its digits, with an exponent where there would be many zeros.
pub(crate) fn exact(x: f64) -> String {
    if is_plain(x) { format!("{x}") } else { format!("{x:e}") }
}

/// As [`exact`], with the digits that tell it from other f32.
pub(crate) fn exact_f32(x: f32) -> String {
    if is_plain(f64::from(x)) { format!("{x}") } else { format!("{x:e}") }
}

fn is_plain(x: f64) -> bool {
    x == 0.0 || !x.is_finite() || (1e-5..1e9).contains(&x.abs())
}

/// Decibels, to a tenth.
pub(crate) fn decibels(x: f64) -> String {
    format!("{x:.1} dB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits() {
        assert_eq!(short(0.123_456), "0.123");
        assert_eq!(short(-1234.5), "-1230");
        assert_eq!(short(1.234e-9), "1.23e-9");
        assert_eq!(short(0.0), "0");
        assert_eq!(short(f64::NAN), "NaN");
        assert_eq!([exact(-65504.0), exact(3e38), exact(0.0), exact(1e-7)], ["-65504", "3e38", "0", "1e-7"]);
        assert_eq!([exact_f32(0.1), exact_f32(1e-7)], ["0.1", "1e-7"]);
        assert_eq!(percent(1, 3), "33.3 %");
        assert_eq!(percent(1, 1), "100 %");
        assert_eq!(decibels(20.94), "20.9 dB");
    }
}
