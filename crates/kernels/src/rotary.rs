//! The rotary embedding.

use ulpscope_floats::Floats;

use crate::by_path::by_path;
use crate::element::{Element, WORTH_A_THREAD, expect, expect_rows, with_element};
use crate::output::narrow;
use crate::spin_pool::for_each_item;
use crate::{KernelError, Path};

/// `R(R(x·cos) + R(rotate_half(x)·sin))` for every head of every token, where `rotate_half` is
/// `(-second, first)` of the two halves of a head.
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
        turn(path, [&mut y[..]], [cos, sin], head_dim);
        Ok(T::wrap(y))
    })
}

/// [`rotary`] in the place of several runs of heads, each of the same tokens.
pub(crate) fn turn<T: Element, const N: usize>(
    path: Path,
    runs: [&mut [T]; N],
    [cos, sin]: [&[T]; 2],
    head_dim: usize,
) {
    let tokens = cos.len() / head_dim;
    let widths = runs.each_ref().map(|x| x.len() / tokens);
    let portion = WORTH_A_THREAD.div_ceil(widths.iter().sum());
    let mut rows = widths.into_iter();
    let mut runs = runs.map(|x| x.chunks_mut(portion * rows.next().expect("one for each run")));
    let portions = (0..tokens)
        .step_by(portion)
        .map(|first| (first, runs.each_mut().map(|run| run.next().expect("all have as many tokens"))));
    for_each_item(portions, |(first, mut runs)| {
        let mut room = vec![0.0; 3 * head_dim];
        let (tables, wide) = room.split_at_mut(2 * head_dim);
        let (wide_cos, wide_sin) = tables.split_at_mut(head_dim);
        for (i, t) in (first..tokens.min(first + portion)).enumerate() {
            T::read(&cos[t * head_dim..][..head_dim], wide_cos);
            T::read(&sin[t * head_dim..][..head_dim], wide_sin);
            for (run, width) in runs.iter_mut().zip(widths) {
                heads(path, &mut run[i * width..][..width], [wide_cos, wide_sin], wide);
            }
        }
    });
}

/// The two products of every element of some heads rounded, and their sum.
#[inline(always)]
fn heads_body<T: Element, const FMA: bool>(
    path: Path,
    x: &mut [T],
    [cos, sin]: [&[f32]; 2],
    wide: &mut [f32],
) {
    let half = cos.len() / 2;
    let (cos, sin) = (cos.split_at(half), sin.split_at(half));
    for x in x.chunks_exact_mut(wide.len()) {
        T::read(x, wide);
        let (first, second) = wide.split_at_mut(half);
        let tables = cos.0.iter().zip(sin.0).zip(cos.1.iter().zip(sin.1));
        for ((first, second), ((cos, sin), (cos_2, sin_2))) in first.iter_mut().zip(second).zip(tables) {
            let (a, b) = (*first, *second);
            *first = T::rounded(a * cos) + T::rounded(-b * sin);
            *second = T::rounded(b * cos_2) + T::rounded(a * sin_2);
        }
        narrow(path, wide, x);
    }
}
by_path!(heads<T: Element>(x: &mut [T], tables: [&[f32]; 2], wide: &mut [f32]) = heads_body);

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
