//! `.to(DTYPE)`, `.half()`, `.bfloat16()`, `.float()`, `.double()`: `torch.nn.Module._apply` with a
//! cast.
//!
//! All five cast every floating parameter and every floating buffer, persistent or not. A value
//! that is narrowed stays narrowed: a later `.float()` widens what is left.

use std::fmt;

use ulpscope_floats::DType;

use super::Step;

pub(super) const TO: &str = "to";

/// The calls that take no argument.
pub(super) const NAMED: [(&str, Step); 4] =
    [("half", Step::Half), ("bfloat16", Step::Bfloat16), ("float", Step::Float), ("double", Step::Double)];

/// The format that a casting step casts to.
pub(super) fn target(step: Step) -> Option<DType> {
    match step {
        Step::Load(_) => None,
        Step::To(dtype) => Some(dtype),
        Step::Half => Some(DType::F16),
        Step::Bfloat16 => Some(DType::Bf16),
        Step::Float => Some(DType::F32),
        Step::Double => Some(DType::F64),
    }
}

pub(super) fn write(step: Step, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match (step, NAMED.iter().find(|(_, named)| *named == step)) {
        (_, Some((name, _))) => write!(f, "{name}()"),
        (Step::To(dtype), None) => write!(f, "{TO}({dtype})"),
        (_, None) => Ok(()),
    }
}
