//! What the thresholds of the explainer stand between: measured on every case of the bench.

use std::fmt::Write;

use serde::Serialize;
use ulpscope_record::{Consequence, RunRecord};

use super::outcome::{Kind, Outcome};

/// What one case shows of the thresholds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Measures {
    /// The largest KL of any range of positions, as a multiple of the largest floor of any range.
    pub(crate) ratio: f64,
    /// Whether any range is called above the floor.
    pub(crate) exceeds: bool,
    /// Flips that are called clear.
    pub(crate) clear_flips: usize,
    /// Positions that were compared.
    pub(crate) positions: usize,
    /// KL and floor, means over positions.
    pub(crate) kl: f64,
    pub(crate) floor_kl: f64,
    /// How far the shares of several causes add up to another number than 1; NaN of one cause.
    pub(crate) shares_off: f64,
    /// Origins.
    pub(crate) origins: usize,
    pub(crate) changes_output: bool,
}

impl Measures {
    pub(crate) fn of(record: &RunRecord) -> Self {
        let Some(found) = &record.explanation else { return Measures::default() };
        let largest = found.growth.iter().map(|b| b.floor_mean).fold(0.0, f64::max);
        let most = found.growth.iter().map(|b| b.kl).fold(0.0, f64::max);
        let shares: Vec<f64> = found.causes.iter().map(|cause| cause.kl_share).collect();
        let size = found.judgement.as_ref().map(|judgement| &judgement.size);
        Measures {
            ratio: most / largest,
            exceeds: found.growth.iter().any(|b| b.exceeds),
            clear_flips: size.map_or(0, |size| size.clear_flips),
            positions: size.map_or(0, |size| size.positions),
            kl: size.map_or(f64::NAN, |size| size.kl),
            floor_kl: size.map_or(f64::NAN, |size| size.floor_kl),
            shares_off: if shares.len() > 1 { (shares.iter().sum::<f64>() - 1.0).abs() } else { f64::NAN },
            origins: found.origins.len(),
            changes_output: found
                .judgement
                .as_ref()
                .is_some_and(|judgement| judgement.consequence == Consequence::ChangesOutput),
        }
    }
}

/// For each threshold that a record can show, what cases without a fault reach and what faults
/// need.
pub(crate) fn text(outcomes: &[Outcome]) -> String {
    let of = |kind: Kind| outcomes.iter().filter(move |o| o.kind == kind && o.error.is_none());
    let nulls: Vec<&Measures> = of(Kind::Null).filter(|o| o.sound).map(|o| &o.measures).collect();
    let faults: Vec<&Measures> = of(Kind::Fault).filter(|o| o.effect).map(|o| &o.measures).collect();
    let mut text = String::new();
    let most = |all: &[&Measures], value: fn(&Measures) -> f64| {
        all.iter().map(|m| value(m)).filter(|x| x.is_finite()).fold(0.0, f64::max)
    };
    _ = writeln!(text, "{} cases without a fault, {} faults with an effect", nulls.len(), faults.len());
    _ = writeln!(
        text,
        "FALSE_ALARMS     cases without a fault that have an origin: {}",
        nulls.iter().filter(|m| m.origins > 0).count()
    );
    let within = |m: &&&Measures| !m.exceeds && m.floor_kl > 0.0;
    let called: Vec<&Measures> = faults.iter().copied().filter(|m| m.exceeds).collect();
    let least = called.iter().map(|m| m.ratio).filter(|x| x.is_finite()).fold(f64::INFINITY, f64::min);
    _ = writeln!(
        text,
        "CLEAR, FAR       largest multiple of the floor without a fault {:.2}; smallest of a fault that is called above it \
         {least:.2}",
        most(&nulls, |m| m.ratio)
    );
    _ = writeln!(
        text,
        "NEAR_TIE         clear flips without a fault: {}; faults with one: {} of {}",
        nulls.iter().map(|m| m.clear_flips).sum::<usize>(),
        faults.iter().filter(|m| m.clear_flips > 0).count(),
        faults.len()
    );
    for (low, high) in [(2, 8), (8, 16), (16, 32), (32, 64), (64, usize::MAX)] {
        let there = |m: &&&Measures| {
            (low..high).contains(&m.positions) && m.floor_kl > 0.0 && m.kl > 2.0 * m.floor_kl
        };
        let large: Vec<&&Measures> = faults.iter().filter(there).collect();
        let missed = large.iter().filter(|m| within(m)).count();
        if !large.is_empty() {
            _ = writeln!(
                text,
                "DECIDES          {low} positions or more: of {} faults of twice the floor {missed} are not told from it",
                large.len()
            );
        }
    }
    let several: Vec<f64> = faults.iter().map(|m| m.shares_off).filter(|x| x.is_finite()).collect();
    _ = writeln!(
        text,
        "ADDITIVE         of {} faults of several causes, shares of {} are within 0.1 of adding up",
        several.len(),
        several.iter().filter(|off| **off <= 0.1).count()
    );
    _ = writeln!(
        text,
        "consequence      cases without a fault that are said to change the output: {}",
        nulls.iter().filter(|m| m.changes_output).count()
    );
    text
}
