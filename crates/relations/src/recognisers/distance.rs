//! How far apart two tensors are, where no rule was found: noise, unrelated numbers, or something
//! between.
//!
//! ```
//! use ulpscope_floats::Floats;
//! use ulpscope_relations::{Hints, describe};
//!
//! let a = Floats::from(vec![1.0f32, 2.0, 3.5, 4.0]);
//! let b = Floats::from(vec![0.3f32, f32::NAN, 7.0, -5.0]);
//! let statement = describe(&a, &b, &[4], &Hints::default()).to_string();
//! assert_eq!(statement, "b has 1 NaNs and 0 infinities where a has none (25 %)");
//! ```

use crate::moments::Moments;
use crate::statement::Description;

/// What the sums alone say.
pub(crate) fn distance(moments: &Moments) -> Description {
    if moments.nan + moments.infinite > 0 {
        return Description::NotFinite { nan: moments.nan, infinite: moments.infinite, len: moments.len };
    }
    if let Some(value) = moments.constant() {
        return Description::Constant { value };
    }
    let (correlation, equal) = (moments.correlation(), moments.equal());
    if let Some((gain, sqnr_db)) = moments.near() {
        return Description::Noisy { gain, sqnr_db, equal };
    }
    // Five standard deviations of the coefficient of unrelated numbers.
    let chance = (5.0 / moments.finite.max(1.0).sqrt()).max(0.02);
    if correlation.abs() < chance && equal < 0.1 {
        let (rms, means) = (moments.rms(), moments.means());
        let alike = (0.8..1.25).contains(&(rms[1] / rms[0])) && (means[0] - means[1]).abs() < 0.2 * rms[0];
        return Description::Unrelated { correlation, rms, alike };
    }
    Description::Correlated { correlation, sqnr_db: moments.sqnr_db(1.0), equal }
}

#[cfg(test)]
mod tests {
    use ulpscope_floats::Floats;

    use super::*;
    use crate::samples::{build, gaussian};
    use crate::view::View;

    fn said(a: &Floats, b: &Floats) -> String {
        distance(&Moments::of(View::plain(a), View::plain(b))).to_string()
    }

    #[test]
    fn what_is_measured() {
        let (a, other) = (gaussian(100_000, 1), gaussian(100_000, 2));
        let noisy = build(&a, |i| a.get(i) + 0.01 * other.get(i));
        assert!(said(&a, &noisy).starts_with("b = a plus noise, SQNR 40.0 dB, 0"), "{}", said(&a, &noisy));
        let half = build(&a, |i| 0.5 * a.get(i) + 0.005 * other.get(i));
        assert!(said(&a, &half).starts_with("b = 0.5*a plus noise, SQNR 40.0 dB"), "{}", said(&a, &half));
        let fresh = said(&a, &other);
        assert!(fresh.starts_with("unrelated numbers of the same distribution: correlation "), "{fresh}");
        let larger = build(&other, |i| 3.0 * other.get(i));
        assert!(said(&a, &larger).starts_with("unrelated numbers: correlation "), "{}", said(&a, &larger));
        assert_eq!(said(&a, &build(&a, |_| 0.25)), "every element of b is 0.25");
        let mixed = build(&a, |i| a.get(i) + other.get(i));
        assert!(said(&a, &mixed).starts_with("no simple relation: correlation 0.7"), "{}", said(&a, &mixed));
        let broken = build(&a, |i| if i < 5 { f64::NAN } else { other.get(i) });
        assert_eq!(said(&a, &broken), "b has 5 NaNs and 0 infinities where a has none (0.005 %)");
    }
}
