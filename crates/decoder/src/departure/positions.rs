//! Position ids, other than 0, 1, 2….

use std::fmt;

use ulpscope_floats::{DType, Floats};

/// What position ids are, instead of whole numbers counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Positions {
    /// Rounded to bf16: from 257 on, several tokens share one.
    Bf16,
    /// Rounded to f16: from 2049 on.
    F16,
    /// Counted from another number, as after padding or a wrong cache length: at most
    /// [`Positions::FURTHEST`] from 0.
    From(i32),
}

impl Positions {
    /// One of each; of offsets, that by one.
    pub const ALL: &'static [Self] = &[Positions::Bf16, Positions::F16, Positions::From(1)];

    /// The largest offset; positions stay far below 2^24, beyond which f32 does not count.
    pub const FURTHEST: i32 = 1 << 20;

    /// The value of this name; an offset has its sign.
    pub(crate) fn read(name: &str) -> Option<Self> {
        match name {
            "bf16" => return Some(Positions::Bf16),
            "f16" => return Some(Positions::F16),
            _ => {}
        }
        let offset: i32 = name.parse().ok().filter(|_| name.starts_with(['+', '-']))?;
        (offset != 0 && offset.abs() <= Self::FURTHEST).then_some(Positions::From(offset))
    }

    /// The names that are read.
    pub(crate) fn known() -> String {
        "bf16, f16, +N, -N".to_owned()
    }

    /// The position of token `index`.
    pub(crate) fn of(this: Option<Self>, index: usize) -> f64 {
        let rounded = |dtype| Floats::from(vec![index as f32]).cast(dtype).get(0);
        match this {
            None => index as f64,
            Some(Positions::Bf16) => rounded(DType::Bf16),
            Some(Positions::F16) => rounded(DType::F16),
            Some(Positions::From(offset)) => index as f64 + f64::from(offset),
        }
    }
}

impl fmt::Display for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Positions::Bf16 => f.pad("bf16"),
            Positions::F16 => f.pad("f16"),
            Positions::From(offset) => f.pad(&format!("{offset:+}")),
        }
    }
}
