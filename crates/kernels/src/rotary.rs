//! The rotary embedding.

use ulpscope_floats::Floats;

use crate::element::{Element, expect, expect_rows, map_rows, with_element};
use crate::output::narrow;
use crate::storage::Storage;
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
        let y = map_rows(x.len(), width, |t, scratch, out: &mut [T]| {
            T::read(&x[t * width..(t + 1) * width], scratch);
            let (cos, sin) = (&cos[t * head_dim..][..head_dim], &sin[t * head_dim..][..head_dim]);
            let half = head_dim / 2;
            for head in scratch.chunks_exact_mut(head_dim) {
                let (first, second) = head.split_at_mut(half);
                for i in 0..half {
                    let (a, b) = (first[i], second[i]);
                    let turn = |x: f32, turned: f32, i: usize| {
                        T::rounded(x * cos[i].widen()) + T::rounded(turned * sin[i].widen())
                    };
                    first[i] = turn(a, -b, i);
                    second[i] = turn(b, a, half + i);
                }
            }
            narrow(path, scratch, out);
        });
        Ok(T::wrap(y))
    })
}

#[cfg(test)]
mod tests {
    use ulpscope_floats::{DType, bf16, f16};

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
