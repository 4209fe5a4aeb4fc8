//! Rotation at other positions, by other frequencies, of a part of each head.

use ulpscope_llama::{BlockSite, RopeKind, RopeParameters, Site};

use super::numbers::text;
use super::scores::before;
use super::{At, Case, Formula};
use crate::catalogue;
use crate::trace::hypothesis::THETAS;

/// Positions that are tried for a token.
const POSITIONS: usize = 8192;

/// At a table of cosines or sines: the rows of other positions.
pub(super) fn positions(at: &At) -> Option<Formula> {
    let width = at.config.head_dim;
    let frequencies = at.config.rope.inv_freq(width);
    let unit = at.dtype.unit_roundoff();
    let mut said = None;
    for case in &at.cases {
        let row = |position: usize, row: &[f64]| {
            frequencies.iter().zip(row).all(|(frequency, y)| {
                let angle = f64::from(position as f32 * frequency);
                let of = if at.site == Site::RotaryCos { angle.cos() } else { angle.sin() };
                (of - y).abs() <= 2.0 * unit + 4.0 * f64::from(f32::EPSILON) * angle
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
    let whole = rope.inv_freq(width);
    let own = |case: &Case| at.read(case, from);
    for theta in THETAS.into_iter().filter(|theta| *theta != rope.rope_theta) {
        let other = RopeParameters { rope_theta: theta, kind: RopeKind::Default, factors: None };
        let frequencies = other.inv_freq(width);
        if at.explains(|case| Some(rotate(at, case, &own(case)?, [&frequencies, &frequencies], width))) {
            return Formula::new(catalogue::ROPE_THETA, format!("theta {} here", text(theta)));
        }
    }
    for part in [width / 4, width / 2, width * 3 / 4].into_iter().filter(|part| *part > 0 && part % 2 == 0) {
        let of_part = rope.inv_freq(part);
        let (lower, upper) = (&whole[..part / 2], &whole[part / 2..part.min(whole.len())]);
        // With a table of its own, or with the beginning of the whole table, in which the halves are alike or are not.
        let upper = if upper.len() == lower.len() { upper } else { lower };
        for frequencies in [[&of_part[..], &of_part], [lower, lower], [lower, upper]] {
            if at.explains(|case| Some(rotate(at, case, &own(case)?, frequencies, part))) {
                let said = format!("only the first {part} of {width} elements of a head are rotated");
                return Formula::new(catalogue::PARTIAL_ROTARY, said);
            }
        }
    }
    let shifted = |case: &Case, by: usize| -> Option<Vec<f64>> {
        let mut x = own(case)?;
        let back = by * x.len() / case.tokens.max(1) % x.len().max(1);
        x.rotate_right(back);
        Some(x)
    };
    for by in [1, 2] {
        if at.explains(|case| Some(rotate(at, case, &shifted(case, by)?, [&whole, &whole], width))) {
            return Formula::new(catalogue::CACHE_SHIFTED, before("queries or keys", by));
        }
    }
    let other = if from == BlockSite::QProj { BlockSite::KProj } else { BlockSite::QProj };
    let exchanged = |case: &Case| {
        let x = at.read(case, other).filter(|x| x.len() == case.ours.len())?;
        Some(rotate(at, case, &x, [&whole, &whole], width))
    };
    at.explains(exchanged)
        .then(|| Formula { fault: catalogue::CACHE_SHIFTED, said: "queries and keys exchanged".to_owned() })
}

/// `[tokens, heads · width]` as `[heads, tokens, width]`, the first `part` elements of each head rotated in halves, by frequencies
/// of the lower half and the upper one.
fn rotate(at: &At, case: &Case, x: &[f64], [lower, upper]: [&[f32]; 2], part: usize) -> Vec<f64> {
    let (width, tokens) = (at.config.head_dim, case.tokens);
    let heads = x.len() / (width * tokens).max(1);
    let mut y = vec![0.0; x.len()];
    for h in 0..heads {
        for t in 0..tokens {
            let x = &x[(t * heads + h) * width..][..width];
            let y = &mut y[(h * tokens + t) * width..][..width];
            y.copy_from_slice(x);
            for i in 0..part / 2 {
                let angle = |frequency: f32| f64::from(t as f32 * frequency);
                let ([a, b], j) = ([angle(lower[i]), angle(upper[i])], i + part / 2);
                y[i] = x[i] * a.cos() - x[j] * a.sin();
                y[j] = x[j] * b.cos() + x[i] * b.sin();
            }
        }
    }
    y
}
