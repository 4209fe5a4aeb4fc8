//! Colours: ink and paper, the colour-blind-safe set for series, the scale for magnitudes.

/// Red, green, blue and opacity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Colour {
    pub(crate) rgb: (u8, u8, u8),
    pub(crate) alpha: f64,
}

pub(crate) const PAPER: Colour = solid(255, 255, 255);
pub(crate) const INK: Colour = solid(34, 34, 34);
/// Secondary text.
pub(crate) const GREY: Colour = solid(96, 96, 96);
pub(crate) const GRID: Colour = solid(228, 228, 228);
/// Faint grid between labelled ticks, and bands behind rows.
pub(crate) const FAINT: Colour = solid(244, 244, 244);
/// Cells that are exactly zero: not a colour of the scale, and quieter than all of them.
pub(crate) const ZERO: Colour = solid(221, 221, 221);
/// Cells that are NaN or infinite.
pub(crate) const WILD: Colour = solid(213, 94, 0);

/// Okabe and Ito's colours without yellow, which white paper swallows, and black, which is ink.
const SERIES: [Colour; 6] = [
    solid(0, 114, 178),
    solid(213, 94, 0),
    solid(0, 158, 115),
    solid(204, 121, 167),
    solid(230, 159, 0),
    solid(86, 180, 233),
];

/// The colour of the series with this index.
pub(crate) fn series(index: usize) -> Colour {
    SERIES[index % SERIES.len()]
}

/// Viridis from 0 to 1, which also reads in grey.
pub(crate) fn scale(at: f64) -> Colour {
    let colour = colorous::VIRIDIS.eval_continuous(if at.is_nan() { 0.0 } else { at.clamp(0.0, 1.0) });
    solid(colour.r, colour.g, colour.b)
}

impl Colour {
    pub(crate) fn with_alpha(self, alpha: f64) -> Self {
        Self { alpha, ..self }
    }

    /// Ink or paper, whichever is easier to read on this colour.
    pub(crate) fn text_on(self) -> Self {
        let (r, g, b) = self.rgb;
        let light = 0.299 * f64::from(r) + 0.587 * f64::from(g) + 0.114 * f64::from(b);
        if light > 140.0 { INK } else { PAPER }
    }
}

const fn solid(r: u8, g: u8, b: u8) -> Colour {
    Colour { rgb: (r, g, b), alpha: 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_differ_and_the_scale_has_ends() {
        for index in 0..12 {
            assert_ne!(series(index), series(index + 1));
        }
        assert_eq!(scale(-3.0), scale(f64::NAN));
        assert_ne!(scale(0.0), scale(1.0));
        assert_eq!((scale(0.0).text_on(), scale(1.0).text_on()), (PAPER, INK));
    }
}
