//! Sums and products of two runs of numbers, element by element.

use ulpscope_floats::Floats;

use crate::by_path::by_path;
use crate::element::{Element, expect, fill_pairs, with_element};
use crate::output::narrow;
use crate::{KernelError, Path};

/// `R(x + y)` element by element.
///
/// # Precision
/// f32, one rounding to the format that both share.
///
/// # Errors
/// If formats or lengths do not fit together.
pub fn add(x: &Floats, y: &Floats) -> Result<Floats<'static>, KernelError> {
    pairs(x, y, add_in_place)
}

/// `R(x · y)` element by element.
///
/// # Precision
/// f32, one rounding to the format that both share.
///
/// # Errors
/// If formats or lengths do not fit together.
pub fn mul(x: &Floats, y: &Floats) -> Result<Floats<'static>, KernelError> {
    pairs(x, y, mul_in_place)
}

fn pairs(x: &Floats, y: &Floats, f: fn(Path, &mut [f32], &[f32])) -> Result<Floats<'static>, KernelError> {
    let path = Path::detect()?;
    with_element!(x.dtype(), "x", T => {
        let x = expect::<T>(x, x.len(), "x")?;
        let y = expect::<T>(y, x.len(), "y")?;
        let mut out = x.to_vec();
        in_place(path, &mut out, y, f);
        Ok(T::wrap(out))
    })
}

fn in_place<T: Element>(path: Path, x: &mut [T], y: &[T], f: fn(Path, &mut [f32], &[f32])) {
    fill_pairs(x, y, |out, left, right| {
        T::read(out, left);
        f(path, left, right);
        narrow(path, left, out);
    });
}

/// [`add`] in the place of `x`; `y` is as long.
pub(crate) fn add_to<T: Element>(path: Path, x: &mut [T], y: &[T]) {
    in_place(path, x, y, add_in_place);
}

#[inline(always)]
fn add_body<const FMA: bool>(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}
by_path!(add_in_place(x: &mut [f32], y: &[f32]) = add_body);

#[inline(always)]
fn mul_body<const FMA: bool>(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x *= y);
}
by_path!(mul_in_place(x: &mut [f32], y: &[f32]) = mul_body);

#[cfg(test)]
mod tests {
    use ulpscope_floats::DType;

    use super::*;

    #[test]
    fn both_round_once() {
        for n in [0, 1, 511, 513, 70_001] {
            let wave = |f: f32| Floats::from((0..n).map(|i| (i as f32 * f).sin() * 4.0).collect::<Vec<_>>());
            for dtype in [DType::F32, DType::Bf16, DType::F16] {
                let (x, y) = (wave(0.37).cast(dtype), wave(0.11).cast(dtype));
                let (a, b) = (x.to_f32(), y.to_f32());
                let by_hand = |f: fn(f32, f32) -> f32| {
                    Floats::from(a.iter().zip(&b).map(|(a, b)| f(*a, *b)).collect::<Vec<_>>()).cast(dtype)
                };
                assert_eq!(add(&x, &y).unwrap(), by_hand(|a, b| a + b), "{dtype} {n}");
                assert_eq!(mul(&x, &y).unwrap(), by_hand(|a, b| a * b), "{dtype} {n}");
            }
        }
        let x = Floats::from(vec![1.0f32; 2]);
        assert!(add(&x, &Floats::from(vec![1.0f32; 3])).is_err());
        assert!(mul(&x, &x.cast(DType::Bf16)).is_err());
    }
}
