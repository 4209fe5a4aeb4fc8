//! Values on the grid of a quantised format.
//!
//! A quantised tensor, once it is decoded, holds few values in each group that has a scale:
//! `q * d`, or `q * d + m`, or a number of a small format times a scale. The groups and the grid
//! are found from the decoded values alone, up to the rounding of their storage.

mod code;
mod fit;
mod values;

use std::fmt;

use rayon::prelude::*;
use ulpscope_floats::{DType, Floats};

use crate::grid::{Code, Grid, Misfit};
use crate::groups::Groups;
use crate::operation::Operation;
use crate::text;
use crate::view::format;
use code::Match;
use fit::Fit;
use values::Values;

/// `b` is near `a` and lies on a grid that `a` does not lie on.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantised {
    /// The grid.
    pub grid: Grid,
    /// Signal-to-noise ratio of `b` to `a`, in dB.
    pub sqnr_db: f64,
    /// What is wrong with it, if it is farther from `a` than the grid needs.
    pub misfit: Option<Misfit>,
}

impl fmt::Display for Quantised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b = a quantised {}, SQNR {}", self.grid.what(), text::decibels(self.sqnr_db))?;
        self.grid.like().map_or(Ok(()), |like| write!(f, " (like {like})"))?;
        let Some(misfit) = self.misfit else {
            return Ok(());
        };
        let wrong = match misfit.by {
            Operation::Times => "scales",
            Operation::Plus => "zero points",
        };
        write!(f, ", by wrong {wrong}: with others SQNR {}", text::decibels(misfit.sqnr_db))
    }
}

/// Groups that formats share scales over, the coarsest first.
const GROUPS: [Groups; 9] = [
    Groups::Tensor,
    Groups::Rows,
    Groups::Tiles(128),
    Groups::Columns,
    Groups::Blocks(256),
    Groups::Blocks(128),
    Groups::Blocks(64),
    Groups::Blocks(32),
    Groups::Blocks(16),
];

/// Codes of four bits first, in any groups: with scales that are powers of two, a finer code may
/// hold them for the whole tensor. Then coarse groups before fine ones, and in each the codes with
/// the fewest numbers first. Last what has the most to be chosen.
const PASSES: [&[Code]; 3] = [
    &[Code::E2m1, Code::Nf4, Code::Iq4nl],
    &[Code::Uniform, Code::E5m2, Code::E4m3, Code::E4m3fnuz, Code::Int8],
    &[Code::Int8Affine],
];

/// Groups that are tried before all are.
const TASTE: usize = 12;

/// A grid is believed if values on it by chance would be as rare as so many tosses of a coin all
/// heads.
const BITS: f64 = 64.0;

/// From here on a tensor on a grid is taken for a quantisation of the other: two bits leave 9 dB,
/// three values 5.
const COARSE_DB: f64 = 3.0;

/// From here on, of two tensors on one kind of grid the second is taken for the first one quantised
/// again: other weights are not so near, and what is done to one on purpose does not end on the
/// grid.
const ANEW_DB: f64 = 15.0;

/// `b` as a quantisation of `a`, from which it is `sqnr_db` away.
pub(crate) fn quantised(
    a: &Floats,
    b: &Floats,
    rows: usize,
    columns: usize,
    sqnr_db: f64,
) -> Option<Quantised> {
    let (grid, misfit) =
        (sqnr_db > COARSE_DB).then(|| found(a, b, rows, columns, sqnr_db > ANEW_DB)).flatten()?;
    Some(Quantised { grid, sqnr_db, misfit })
}

/// The grid that `b` lies on, and `a` does not: `b` is a quantisation, of `a` if it is near.
pub(crate) fn grid(a: &Floats, b: &Floats, rows: usize, columns: usize) -> Option<Grid> {
    found(a, b, rows, columns, false).map(|(grid, _)| grid)
}

/// `anew` says that `b` is so near to `a` that it may have been put on a grid again.
fn found(a: &Floats, b: &Floats, rows: usize, columns: usize, anew: bool) -> Option<(Grid, Option<Misfit>)> {
    // A vector is a single row.
    let (rows, columns) = if columns == 1 { (1, rows) } else { (rows, columns) };
    // bitsandbytes' blocks go on from one row into the next, which shows where rows are no whole
    // number of blocks.
    let ragged = |groups: &Groups| matches!(groups, Groups::Blocks(n) if !columns.is_multiple_of(*n));
    let across: Vec<Groups> = GROUPS.into_iter().filter(ragged).collect();
    grid_in(&GROUPS, a, b, (rows, columns), anew)
        .or_else(|| (rows > 1).then(|| grid_in(&across, a, b, (1, rows * columns), anew)).flatten())
}

/// The grid in one of these groups, and how it misses `a`.
fn grid_in(
    groups: &[Groups],
    a: &Floats,
    b: &Floats,
    (rows, columns): (usize, usize),
    anew: bool,
) -> Option<(Grid, Option<Misfit>)> {
    let storage = format(b).unwrap_or(DType::F64);
    let found = |codes: &[Code], groups: Groups| {
        let count = groups.count(rows, columns);
        let taste = (0..TASTE.min(count)).map(|i| i * (count - 1) / (TASTE - 1));
        let values = |group: usize| Values::of(b, storage, groups.runs(group, rows, columns));
        let tasted: Vec<Values> = taste.map(values).collect::<Option<_>>()?;
        let fit = |code: Code| tasted.iter().map(|values| code.fits(values)).collect::<Option<Vec<Match>>>();
        // Three or seven levels are more simply uniform than a part of another code.
        let few = fit(Code::Uniform).is_some_and(|all| all.iter().all(|m| m.levels <= 8));
        let possible = |code: &&Code| {
            !(few && matches!(code, Code::E2m1 | Code::Nf4 | Code::Iq4nl)) && fit(**code).is_some()
        };
        codes
            .iter()
            .filter(possible)
            .find_map(|code| Some((on(b, storage, groups, *code, rows, columns)?, *code)))
    };
    let applicable = || groups.iter().copied().filter(|groups| applies(*groups, rows, columns));
    let ((grid, steps), code) =
        PASSES.iter().find_map(|codes| applicable().find_map(|groups| found(codes, groups)))?;
    let fit = Fit::of(a, b, grid.groups, &steps, rows, columns);
    // What both lie on was not done to one of them; a finer grid, or finer groups, would be no
    // news. A grid through zero is, where the other's was anywhere (Q4_0 made of Q4_1), and so is
    // one of half the numbers, and one of eight bits whose numbers are the nearest to those of `a`:
    // of fewer bits, `a` might as well be made of `b`.
    let shared = on(a, format(a).unwrap_or(DType::F64), grid.groups, code, rows, columns);
    let news = |of: &Grid| {
        (grid.zero && !of.zero) || grid.levels * 2 <= of.levels || (grid.levels > 64 && fit.nearest())
    };
    let told = shared.as_ref().is_none_or(|(of, _)| news(of));
    // Quantised again, `a` does not say what the scales should be.
    (told || anew).then(|| (grid, if told { fit.misfit() } else { None }))
}

fn applies(groups: Groups, rows: usize, columns: usize) -> bool {
    match groups {
        Groups::Rows => rows > 1,
        Groups::Columns => rows > 1 && columns > 1,
        Groups::Blocks(n) => columns.is_multiple_of(n) && (columns > n || rows == 1),
        Groups::Tiles(n) => rows > n || columns > n,
        _ => true,
    }
}

/// The grid, if all groups of `x` lie on it, and each group's step.
fn on(
    x: &Floats,
    storage: DType,
    groups: Groups,
    code: Code,
    rows: usize,
    columns: usize,
) -> Option<(Grid, Vec<f64>)> {
    let count = groups.count(rows, columns);
    let matches: Vec<Match> = (0..count)
        .into_par_iter()
        .with_min_len(64)
        .map(|group| code.fits(&Values::of(x, storage, groups.runs(group, rows, columns))?))
        .collect::<Option<_>>()?;
    // Groups of one value are on any grid.
    let telling: Vec<&Match> = matches.iter().filter(|m| m.bits > 0.0).collect();
    if telling.iter().map(|m| m.bits).sum::<f64>() < BITS {
        return None;
    }
    // A coarser grid that misses zero may fit a few values by chance.
    let zero = telling.iter().filter(|m| m.reach.is_some()).count() * 10 >= telling.len() * 9;
    let reach = telling.iter().filter_map(|m| m.reach).max().filter(|_| zero).unwrap_or(0);
    let levels = code.levels().unwrap_or_else(|| telling.iter().map(|m| m.levels).max().unwrap_or(0));
    let powers_of_two = telling.iter().all(|m| m.power_of_two);
    let steps = matches.iter().map(|m| m.step).collect();
    Some((Grid { groups, code, levels, zero, powers_of_two, reach }, steps))
}

#[cfg(test)]
mod tests;
