//! The floating-point formats a model can be held in.

use std::fmt;
use std::str::FromStr;

/// A floating-point storage format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// IEEE binary64: 53 significant bits.
    F64,
    /// IEEE binary32: 24 significant bits.
    F32,
    /// The upper half of binary32: 8 significant bits, the exponent range of f32.
    Bf16,
    /// IEEE binary16: 11 significant bits, largest finite value 65504.
    F16,
}

impl DType {
    /// Every format, widest first.
    pub const ALL: [DType; 4] = [DType::F64, DType::F32, DType::Bf16, DType::F16];

    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            DType::F64 => 8,
            DType::F32 => 4,
            DType::Bf16 | DType::F16 => 2,
        }
    }

    /// Significant bits, the hidden one included.
    pub fn precision(self) -> u32 {
        match self {
            DType::F64 => 53,
            DType::F32 => 24,
            DType::Bf16 => 8,
            DType::F16 => 11,
        }
    }

    /// Largest relative error of rounding to nearest: `2^-precision`.
    pub fn unit_roundoff(self) -> f64 {
        (-f64::from(self.precision())).exp2()
    }

    /// Exponent of the smallest normal number: it is `2^min_exponent`.
    pub fn min_exponent(self) -> i32 {
        1 - self.max_exponent()
    }

    /// Exponent of the largest finite numbers: they lie in
    /// `[2^max_exponent, 2^(max_exponent + 1))`.
    pub fn max_exponent(self) -> i32 {
        match self {
            DType::F64 => 1023,
            DType::F32 | DType::Bf16 => 127,
            DType::F16 => 15,
        }
    }

    /// Whether every value of `other` is a value of this format.
    pub fn contains(self, other: DType) -> bool {
        self == other || self.size() > other.size()
    }

    /// Most negative finite value, PyTorch's `torch.finfo(dtype).min`.
    pub fn min(self) -> f64 {
        match self {
            DType::F64 => f64::MIN,
            DType::F32 => f64::from(f32::MIN),
            DType::Bf16 => half::bf16::MIN.to_f64(),
            DType::F16 => half::f16::MIN.to_f64(),
        }
    }

    /// The short name that recipes and records use: `f64`, `f32`, `bf16` or `f16`.
    pub fn name(self) -> &'static str {
        match self {
            DType::F64 => "f64",
            DType::F32 => "f32",
            DType::Bf16 => "bf16",
            DType::F16 => "f16",
        }
    }

    /// PyTorch's name: `torch.float64`, `torch.float32`, `torch.bfloat16` or `torch.float16`.
    pub fn torch_name(self) -> &'static str {
        match self {
            DType::F64 => "torch.float64",
            DType::F32 => "torch.float32",
            DType::Bf16 => "torch.bfloat16",
            DType::F16 => "torch.float16",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that stands for no known format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown dtype `{0}`; known are f64, f32, bf16, f16 (PyTorch's names are accepted too)")]
pub struct UnknownDType(pub String);

impl FromStr for DType {
    type Err = UnknownDType;

    /// Accepts the short names and PyTorch's, with or without `torch.`.
    fn from_str(s: &str) -> Result<Self, UnknownDType> {
        match s.strip_prefix("torch.").unwrap_or(s) {
            "f64" | "float64" | "double" => Ok(DType::F64),
            "f32" | "float32" | "float" => Ok(DType::F32),
            "bf16" | "bfloat16" => Ok(DType::Bf16),
            "f16" | "float16" | "half" => Ok(DType::F16),
            _ => Err(UnknownDType(s.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for dtype in DType::ALL {
            assert_eq!(dtype.name().parse(), Ok(dtype));
            assert_eq!(dtype.torch_name().parse(), Ok(dtype));
        }
        let error = "float8".parse::<DType>().unwrap_err();
        assert!(error.to_string().contains("`float8`"), "{error}");
    }

    #[test]
    fn the_numbers_that_describe_a_format_agree() {
        for dtype in DType::ALL {
            let largest = (2.0 - 2.0 * dtype.unit_roundoff()) * f64::from(dtype.max_exponent()).exp2();
            assert_eq!(dtype.min(), -largest, "{dtype}");
        }
        assert_eq!(DType::F16.min_exponent(), -14);
        assert_eq!(f64::from(DType::F64.min_exponent()).exp2(), f64::MIN_POSITIVE);
    }

    #[test]
    fn the_16_bit_formats_contain_neither_each_other() {
        assert!(!DType::F16.contains(DType::Bf16) && !DType::Bf16.contains(DType::F16));
        assert!(DType::F32.contains(DType::Bf16) && !DType::Bf16.contains(DType::F32));
        assert!(DType::F16.contains(DType::F16));
    }
}
