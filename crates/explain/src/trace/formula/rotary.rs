//! Rotation at other positions, by other frequencies, of a part of each head.

use ulpscope_llama::{BlockSite, RopeKind, RopeParameters, Site};

use super::numbers::text;
use super::{At, Case, Formula};
use crate::catalogue;
use crate::trace::hypothesis::THETAS;

/// Positions that are tried for a token.
const POSITIONS: usize = 8192;

/// At the table of cosines: the rows of other positions.
pub(super) fn positions(at: &At) -> Option<Formula> {
    let width = at.config.head_dim;
    let frequencies = at.config.rope.inv_freq(width);
    let unit = at.dtype.unit_roundoff();
    let mut said = None;
    for case in &at.cases {
        let row = |position: usize, row: &[f64]| {
            frequencies.iter().zip(row).all(|(frequency, y)| {
                let angle = f64::from(position as f32 * frequency);
                (angle.cos() - y).abs() <= 2.0 * unit + 4.0 * f64::from(f32::EPSILON) * angle
            })
        };
        let found: Option<Vec<usize>> =
            case.theirs.chunks(width).map(|theirs| (0..POSITIONS).find(|&p| row(p, theirs))).collect();
        let found =
            found.filter(|found| found.len() >= 2 && found.iter().enumerate().any(|(t, &p)| t != p))?;
        said.get_or_insert(found);
    }
    let positions = said?;
    let shown: Vec<String> = positions.iter().take(8).map(ToString::to_string).collect();
    let more = if positions.len() > 8 { ", …" } else { "" };
    Formula::new(catalogue::POSITIONS, format!("positions {}{more}", shown.join(", ")))
}

/// At rotated queries or keys: another base than the rest of the model has, or part of a head left as it is.
pub(super) fn rotated(at: &At) -> Option<Formula> {
    let (width, rope) = (at.config.head_dim, &at.config.rope);
    let from =
        if matches!(at.site, Site::Block(_, BlockSite::QRope)) { BlockSite::QProj } else { BlockSite::KProj };
    for theta in THETAS.into_iter().filter(|theta| *theta != rope.rope_theta) {
        let other =
            RopeParameters { rope_theta: theta, kind: RopeKind::Default, factors: None, ..rope.clone() };
        if at.explains(|case| rotate(at, case, from, &other.inv_freq(width), width)) {
            return Formula::new(catalogue::ROPE_THETA, format!("theta {} here", text(theta)));
        }
    }
    for part in [width / 4, width / 2, width * 3 / 4].into_iter().filter(|part| *part > 0 && part % 2 == 0) {
        let of_part = rope.inv_freq(part);
        let of_all: Vec<f32> = rope.inv_freq(width).into_iter().take(part / 2).collect();
        for frequencies in [of_part, of_all] {
            if at.explains(|case| rotate(at, case, from, &frequencies, part)) {
                let said = format!("only the first {part} of {width} elements of a head are rotated");
                return Formula::new(catalogue::PARTIAL_ROTARY, said);
            }
        }
    }
    None
}

/// Queries or keys with the first `part` elements of each head rotated in halves.
fn rotate(at: &At, case: &Case, from: BlockSite, frequencies: &[f32], part: usize) -> Option<Vec<f64>> {
    let x = at.read(case, from)?;
    let (width, tokens) = (at.config.head_dim, case.tokens);
    let heads = x.len() / (width * tokens).max(1);
    let mut y = vec![0.0; x.len()];
    for h in 0..heads {
        for t in 0..tokens {
            let x = &x[(t * heads + h) * width..][..width];
            let y = &mut y[(h * tokens + t) * width..][..width];
            y.copy_from_slice(x);
            for i in 0..part / 2 {
                let (sin, cos) = f64::from(t as f32 * frequencies[i]).sin_cos();
                y[i] = x[i] * cos - x[i + part / 2] * sin;
                y[i + part / 2] = x[i + part / 2] * cos + x[i] * sin;
            }
        }
    }
    Some(y)
}
