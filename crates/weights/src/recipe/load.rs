//! `load(DTYPE)`: `from_pretrained(dtype=…)`.
//!
//! Every parameter is cast on its way in, to nearest, ties to even. Buffers that are not in the
//! checkpoint are computed in f32 whatever the dtype, because transformers asks for f32 explicitly
//! where it makes them.

use std::fmt;
use std::str::FromStr;

use ulpscope_floats::{DType, UnknownDType};

pub(super) const CALL: &str = "load";

/// The argument of `load`: a format, or `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LoadDType {
    /// binary64.
    F64,
    /// binary32.
    F32,
    /// bfloat16.
    Bf16,
    /// binary16.
    F16,
    /// What the checkpoint says, as `dtype="auto"`.
    Auto,
}

impl LoadDType {
    /// The format itself, with `auto` for [`LoadDType::Auto`].
    pub fn resolve(self, auto: DType) -> DType {
        match self {
            LoadDType::F64 => DType::F64,
            LoadDType::F32 => DType::F32,
            LoadDType::Bf16 => DType::Bf16,
            LoadDType::F16 => DType::F16,
            LoadDType::Auto => auto,
        }
    }
}

impl From<DType> for LoadDType {
    fn from(dtype: DType) -> Self {
        match dtype {
            DType::F64 => LoadDType::F64,
            DType::F32 => LoadDType::F32,
            DType::Bf16 => LoadDType::Bf16,
            DType::F16 => LoadDType::F16,
        }
    }
}

impl fmt::Display for LoadDType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            LoadDType::F64 => "f64",
            LoadDType::F32 => "f32",
            LoadDType::Bf16 => "bf16",
            LoadDType::F16 => "f16",
            LoadDType::Auto => "auto",
        })
    }
}

impl FromStr for LoadDType {
    type Err = UnknownDType;

    fn from_str(s: &str) -> Result<Self, UnknownDType> {
        if s == "auto" { Ok(LoadDType::Auto) } else { s.parse().map(DType::into) }
    }
}
