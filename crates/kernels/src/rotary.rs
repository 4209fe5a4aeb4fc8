//! The rotary embedding.

use ulpscope_floats::{DType, Floats, bf16, f16};

use crate::by_path::by_path;
use crate::element::{Element, expect, expect_rows, fill_rows, with_element};
use crate::output::narrow;
use crate::{KernelError, Path};

/// `R(R(x·cos) + R(rotate_half(x)·sin))` for every head of every token, where `rotate_half` is `(-second, first)` of
/// the two halves of a head.
///
/// # Shapes
/// - `x`: `[T, heads, D]`; `cos`, `sin`: `[T, D]`; returns `[T, heads, D]`
///
/// # Precision
/// Each product and the sum in f32, rounded to the format that all share: three roundings.
///
/// # Errors
/// If formats or lengths do not fit together, or `head_dim` is 0 or odd.
pub fn rotary(
    x: &Floats,
    cos: &Floats,
    sin: &Floats,
    head_dim: usize,
) -> Result<Floats<'static>, KernelError> {
    let path = Path::detect()?;
    expect_rows(cos, head_dim, "cos")?;
    if head_dim % 2 == 1 {
        return Err(KernelError::Rows { what: "a head", row: 2, got: head_dim });
    }
    let tokens = cos.len() / head_dim;
    if tokens == 0 {
        return Err(KernelError::Empty { what: "the number of tokens" });
    }
    expect_rows(x, tokens * head_dim, "x")?;
    let width = x.len() / tokens;
    with_element!(x.dtype(), "x", T => {
        let x = expect::<T>(x, x.len(), "x")?;
        let (cos, sin) = (expect::<T>(cos, cos.len(), "cos")?, expect::<T>(sin, cos.len(), "sin")?);
        if width == 0 {
            return Ok(T::wrap(Vec::new()));
        }
        let mut y = x.to_vec();
        turn(path, &mut y, width, cos, sin, head_dim);
        Ok(T::wrap(y))
    })
}

/// [`rotary`] in the place of `x`, rows of `width`.
pub(crate) fn turn<T: Element>(path: Path, x: &mut [T], width: usize, cos: &[T], sin: &[T], head_dim: usize) {
    let (cos, sin) = (T::wide(cos), T::wide(sin));
    fill_rows(x, width, |t, scratch, out| {
        let (cos, sin) = (&cos[t * head_dim..][..head_dim], &sin[t * head_dim..][..head_dim]);
        T::read(out, scratch);
        by_dtype::<T>(path, scratch, cos, sin);
        narrow(path, scratch, out);
    });
}

/// The two products of every element rounded, and their sum.
fn by_dtype<T: Element>(path: Path, x: &mut [f32], cos: &[f32], sin: &[f32]) {
    match T::DTYPE {
        DType::Bf16 => bf16_heads(path, x, cos, sin),
        DType::F16 => f16_heads(path, x, cos, sin),
        DType::F32 | DType::F64 => f32_heads(path, x, cos, sin),
    }
}

#[inline(always)]
fn heads<T: Element>(x: &mut [f32], cos: &[f32], sin: &[f32]) {
    let half = cos.len() / 2;
    for head in x.chunks_exact_mut(cos.len()) {
        let (first, second) = head.split_at_mut(half);
        let (cos, sin) = (cos.split_at(half), sin.split_at(half));
        for (i, (first, second)) in first.iter_mut().zip(second).enumerate() {
            let (a, b) = (*first, *second);
            *first = T::rounded(a * cos.0[i]) + T::rounded(-b * sin.0[i]);
            *second = T::rounded(b * cos.1[i]) + T::rounded(a * sin.1[i]);
        }
    }
}

macro_rules! heads_of {
    ($name:ident, $body:ident, $t:ty) => {
        #[inline(always)]
        fn $body<const FMA: bool>(x: &mut [f32], cos: &[f32], sin: &[f32]) {
            heads::<$t>(x, cos, sin);
        }
        by_path!($name(x: &mut [f32], cos: &[f32], sin: &[f32]) = $body);
    };
}
heads_of!(bf16_heads, bf16_body, bf16);
heads_of!(f16_heads, f16_body, f16);
heads_of!(f32_heads, f32_body, f32);

#[cfg(test)]
mod tests {
    use super::*;

    /// The formula as four separate operations on whole arrays.
    #[test]
    fn it_rounds_three_times() {
        let (tokens, heads, width) = (3, 2, 8);
        let wave = |n: usize, f: f32| Floats::from((0..n).map(|i| (i as f32 * f).sin()).collect::<Vec<_>>());
        for dtype in [DType::F32, DType::Bf16, DType::F16] {
            let round = |x: f32| match dtype {
                DType::Bf16 => bf16::from_f32(x).to_f32(),
                DType::F16 => f16::from_f32(x).to_f32(),
                _ => x,
            };
            let x = wave(tokens * heads * width, 0.9).cast(dtype);
            let (cos, sin) = (wave(tokens * width, 0.3).cast(dtype), wave(tokens * width, 0.5).cast(dtype));
            let y = rotary(&x, &cos, &sin, width).unwrap();
            for i in 0..x.len() {
                let (t, d) = (i / (heads * width), i % width);
                let other = if d < width / 2 { -x.get(i + width / 2) } else { x.get(i - width / 2) } as f32;
                let (cos, sin) = (cos.get(t * width + d) as f32, sin.get(t * width + d) as f32);
                let want = round(round(x.get(i) as f32 * cos) + round(other * sin));
                assert_eq!(y.get(i), f64::from(want), "{dtype}, element {i}");
            }
        }
    }
}
