//! Root-mean-square normalisation.

use ulpscope_floats::Floats;

use crate::by_path::by_path;
use crate::element::{Element, expect, expect_rows, fill_rows, with_element};
use crate::output::{Output, narrow};
use crate::sum::cascade;
use crate::{KernelError, Path};

/// `y = R(w · R(x · (1 / √(mean(x²) + ε))))`, row by row, as Hugging Face's Llama computes it on
/// PyTorch's CPU.
///
/// # Shapes
/// - `x`: `[T, C]`, any T; `weight`: `[C]`, which says what C is; returns `[T, C]`
///
/// # Precision
/// f32 between the two roundings R to the format that all share: squares rounded, added up in the
/// order of `torch.mean`, divided by C, ε (rounded to f32) added, then the root and its reciprocal
/// as two operations.
///
/// # Errors
/// If formats or lengths do not fit together.
///
/// ```
/// use ulpscope_floats::{DType, Floats};
///
/// let x = Floats::from(vec![3.0f32, -4.0]).cast(DType::Bf16);
/// let weight = Floats::from(vec![1.0f32, 2.0]).cast(DType::Bf16);
/// let y = ulpscope_kernels::rms_norm(&x, &weight, 1e-5)?;
/// assert_eq!((y.get(0), y.get(1)), (0.84765625, -2.265625)); // ±4 / √12.5 rounded before it is doubled
/// # Ok::<(), ulpscope_kernels::KernelError>(())
/// ```
pub fn rms_norm(x: &Floats, weight: &Floats, eps: f64) -> Result<Floats<'static>, KernelError> {
    rms_norm_on(Path::detect()?, x, weight, eps)
}

/// [`rms_norm`] by a path of the caller's choice, with the same bits.
///
/// # Errors
/// As [`rms_norm`], and if this CPU cannot run the path.
pub fn rms_norm_on(
    path: Path,
    x: &Floats,
    weight: &Floats,
    eps: f64,
) -> Result<Floats<'static>, KernelError> {
    let path = path.checked()?;
    let width = weight.len();
    expect_rows(x, width, "x")?;
    with_element!(x.dtype(), "x", T => {
        let (x, w) = (expect::<T>(x, x.len(), "x")?, expect::<T>(weight, width, "the weight")?);
        let mut y = vec![T::ZERO; x.len()];
        normalise(path, x, w, eps, &mut y);
        Ok(T::wrap(y))
    })
}

/// [`rms_norm`] into `out`, which is as long as `x`.
pub(crate) fn normalise<T: Element>(path: Path, x: &[T], weight: &[T], eps: f64, out: &mut [T]) {
    let (width, weight) = (weight.len(), T::wide(weight));
    fill_rows(out, width, |i, wide, out| {
        row(path, &x[i * width..(i + 1) * width], &weight, eps as f32, wide, out);
    });
}

/// [`rms_norm`] of rows as long as `weight` where they lie.
pub(crate) fn normalise_in_place<T: Element>(path: Path, x: &mut [T], weight: &[T], eps: f64) {
    let (width, weight) = (weight.len(), T::wide(weight));
    fill_rows(x, width, |_, wide, x| row_in_place(path, x, &weight, eps as f32, wide));
}

#[inline(always)]
fn row_body<T: Element, const FMA: bool>(
    path: Path,
    x: &[T],
    weight: &[f32],
    eps: f32,
    wide: &mut [f32],
    out: &mut [T],
) {
    T::read(x, wide);
    let root = root(wide, eps);
    T::read(x, wide);
    weighted(path, root, weight, wide, out);
}
by_path!(row<T: Element>(x: &[T], weight: &[f32], eps: f32, wide: &mut [f32], out: &mut [T]) = row_body);

#[inline(always)]
fn row_in_place_body<T: Element, const FMA: bool>(
    path: Path,
    x: &mut [T],
    weight: &[f32],
    eps: f32,
    wide: &mut [f32],
) {
    T::read(x, wide);
    let root = root(wide, eps);
    T::read(x, wide);
    weighted(path, root, weight, wide, x);
}
by_path!(
    row_in_place<T: Element>(x: &mut [T], weight: &[f32], eps: f32, wide: &mut [f32]) = row_in_place_body
);

/// What a row is multiplied by. Its squares are left in its place.
#[inline(always)]
fn root(wide: &mut [f32], eps: f32) -> f32 {
    wide.iter_mut().for_each(|x| *x *= *x);
    let mean = cascade(wide) / wide.len() as f32;
    1.0 / (mean + eps).sqrt()
}

#[inline(always)]
fn weighted<T: Element>(path: Path, root: f32, weight: &[f32], wide: &mut [f32], out: &mut [T]) {
    wide.iter_mut().for_each(|x| *x *= root);
    T::round(path, wide, out);
    wide.iter_mut().zip(weight).for_each(|(x, w)| *x *= w);
    narrow(path, wide, out);
}

#[cfg(test)]
mod tests {
    use ulpscope_floats::DType;

    use super::*;

    #[test]
    fn it_follows_the_formula_in_every_format() {
        for dtype in [DType::F32, DType::Bf16, DType::F16] {
            let (rows, width) = (5, 576);
            let x: Vec<f32> = (0..rows * width).map(|i| (i as f32 * 0.7).sin() * 3.0).collect();
            let w: Vec<f32> = (0..width).map(|i| 1.0 + (i as f32).cos()).collect();
            let (x, w) = (Floats::from(x).cast(dtype), Floats::from(w).cast(dtype));
            let y = rms_norm_on(Path::Portable, &x, &w, 1e-5).unwrap();
            for path in Path::available() {
                assert_eq!(rms_norm_on(path, &x, &w, 1e-5).unwrap(), y, "{path}");
            }
            let in_place = || -> Result<Floats<'static>, KernelError> {
                with_element!(dtype, "x", T => {
                    let mut x = expect::<T>(&x, x.len(), "x")?.to_vec();
                    normalise_in_place(Path::detect()?, &mut x, expect::<T>(&w, width, "w")?, 1e-5);
                    Ok(T::wrap(x))
                })
            };
            assert_eq!(in_place().unwrap(), y);
            for (t, x) in x.to_f32().chunks_exact(width).enumerate() {
                let mean = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / width as f64;
                for (i, x) in x.iter().enumerate() {
                    let want = f64::from(*x) / (mean + 1e-5).sqrt() * w.get(i);
                    let got = y.get(t * width + i);
                    // Two roundings of the format, its subnormal spacing, and a few roundings of
                    // f32.
                    let allowed = want.abs() * (2.1 * dtype.unit_roundoff() + 1e-6)
                        + if dtype == DType::F16 { (-24f64).exp2() } else { 0.0 };
                    assert!((got - want).abs() <= allowed, "{dtype}: {got} is not {want}");
                }
            }
        }
    }

    #[test]
    fn mistakes_are_named() {
        let x = Floats::from(vec![1.0f32; 6]);
        let w = |n| Floats::from(vec![1.0f32; n]);
        assert!(rms_norm(&x, &w(4), 0.0).unwrap_err().to_string().contains("rows of 4"));
        assert!(rms_norm(&x, &w(0), 0.0).is_err());
        assert!(
            rms_norm(&x, &w(3).cast(DType::Bf16), 0.0)
                .unwrap_err()
                .to_string()
                .contains("the weight is bf16")
        );
        assert!(rms_norm(&x.cast(DType::F64), &w(3), 0.0).unwrap_err().to_string().contains("f64"));
    }
}
