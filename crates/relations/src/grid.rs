//! The grids of quantised formats: which numbers are scaled, and what shares a scale.

use std::fmt;

use crate::groups::Groups;
use crate::operation::Operation;

/// A grid that every group of a tensor lies on.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// What shares a scale.
    pub groups: Groups,
    /// The numbers that are scaled.
    pub code: Code,
    /// Most numbers between the smallest and the largest of a group, both counted, on a uniform
    /// grid; else how many the code has.
    pub levels: usize,
    /// Whether zero is on the grid.
    pub zero: bool,
    /// Whether all scales are powers of two.
    pub powers_of_two: bool,
    /// Steps between zero and the largest magnitude of a group, at most; 0 if zero is not on the
    /// grid.
    pub reach: usize,
}

/// Scales or zero points that are not those of what was quantised: a factor, or a summand, for each
/// group brings `b` much nearer to `a`. Errors that a quantiser makes on purpose, to make up for
/// others, can't be undone so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Misfit {
    /// Whether it takes factors or summands.
    pub by: Operation,
    /// Signal-to-noise ratio with them, in dB.
    pub sqnr_db: f64,
}

impl fmt::Display for Grid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what())?;
        self.like().map_or(Ok(()), |like| write!(f, " (like {like})"))
    }
}

impl Grid {
    pub(crate) fn what(&self) -> String {
        match self.code {
            Code::Uniform | Code::Int8 | Code::Int8Affine => {
                format!("{} to at most {} levels", self.groups, self.levels)
            }
            code => format!("{} to {code}", self.groups),
        }
    }

    /// A format of this kind.
    pub fn like(&self) -> Option<&'static str> {
        // As many steps on either side of zero as there are numbers of so many bits.
        let symmetric = |bits: u32| self.zero && self.reach <= 1 << (bits - 1);
        let integer = |symmetric: bool, [yes, no]: [&'static str; 2]| if symmetric { yes } else { no };
        Some(match (self.code, self.groups) {
            (Code::Int8, Groups::Blocks(32)) => "q8_0",
            (Code::Int8, _) => "int8 by absolute maximum",
            (Code::Int8Affine, _) => "asymmetric int8",
            (Code::Uniform, Groups::Blocks(32)) if self.zero && self.reach == 8 && self.levels > 8 => "q4_0",
            (Code::Uniform, Groups::Blocks(32)) if self.zero && self.reach == 16 => "q5_0",
            (Code::Uniform, Groups::Blocks(32)) if !self.zero && self.levels > 8 => match self.levels {
                ..=16 => "q4_1 or q4_K",
                17..=32 => "q5_1 or q5_K",
                _ => return None,
            },
            (Code::Uniform, Groups::Blocks(16)) if self.zero && self.levels > 16 => "q6_K",
            (Code::Uniform, Groups::Blocks(16)) if self.zero && self.reach == 4 => "q3_K",
            (Code::Uniform, Groups::Blocks(16)) if !self.zero && self.levels <= 4 => "q2_K",
            (Code::Uniform, _) if self.zero && self.levels <= 3 => "ternary",
            (Code::Uniform, _) => match self.levels {
                ..=4 => integer(symmetric(2), ["symmetric int2", "asymmetric int2"]),
                5..=8 => integer(symmetric(3), ["symmetric int3", "asymmetric int3"]),
                9..=16 => integer(symmetric(4), ["symmetric int4", "asymmetric int4"]),
                _ => return None,
            },
            (Code::E2m1, Groups::Blocks(32)) if self.powers_of_two => "mxfp4",
            (Code::E2m1, Groups::Blocks(16)) => "nvfp4",
            (Code::Nf4, _) => "bitsandbytes",
            (Code::Iq4nl, Groups::Blocks(32)) => "iq4_nl or iq4_xs",
            _ => return None,
        })
    }
}

/// A set of numbers, of which each value of a group is one, times the group's scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Neighbouring integers, up to 64 of them, from any first one on.
    Uniform,
    /// FP4, 0 to 6: mxfp4, nvfp4.
    E2m1,
    /// The sixteen quantiles of QLoRA's NormalFloat.
    Nf4,
    /// The sixteen integers of llama.cpp's non-linear formats.
    Iq4nl,
    /// FP8 with two bits after the leading one.
    E5m2,
    /// FP8 with three bits after the leading one.
    E4m3,
    /// The same with another bias and one number more, as on some AMD devices; told apart by its
    /// largest number alone.
    E4m3fnuz,
    /// Integers to 127 or 128 in magnitude, which the largest value reaches.
    Int8,
    /// About all of 256 integers from the smallest value to the largest.
    Int8Affine,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Code::Uniform => "a uniform grid",
            Code::E2m1 => "fp4 e2m1",
            Code::Nf4 => "nf4",
            Code::Iq4nl => "iq4nl",
            Code::E5m2 => "fp8 e5m2",
            Code::E4m3 => "fp8 e4m3",
            Code::E4m3fnuz => "fp8 e4m3fnuz",
            Code::Int8 => "int8",
            Code::Int8Affine => "int8 with a zero point",
        })
    }
}

impl Code {
    /// How many numbers there are; `None` if the values decide.
    pub(crate) fn levels(self) -> Option<usize> {
        match self {
            Code::Uniform | Code::Int8 | Code::Int8Affine => None,
            Code::E2m1 => Some(15),
            Code::Nf4 | Code::Iq4nl => Some(16),
            Code::E5m2 => Some(247),
            Code::E4m3 => Some(253),
            Code::E4m3fnuz => Some(255),
        }
    }
}
