//! Sums and products of two runs of numbers, element by element.

use ulpscope_floats::Floats;

use crate::by_path::by_path;
use crate::element::{Element, expect, fill_pairs, with_element};
use crate::output::narrow;
use crate::{KernelError, Path};

/// `$f` of two runs of numbers, element by element.
macro_rules! pairs {
    ($x:ident, $y:ident, $f:ident) => {{
        let path = Path::detect()?;
        with_element!($x.dtype(), "x", T => {
            let x = expect::<T>($x, $x.len(), "x")?;
            let y = expect::<T>($y, $x.len(), "y")?;
            let mut out = x.to_vec();
            fill_pairs(&mut out, y, |x, y, room| $f(path, x, y, room));
            Ok(T::wrap(out))
        })
    }};
}

/// `R(x + y)` element by element.
///
/// # Precision
/// f32, one rounding to the format that both share.
///
/// # Errors
/// If formats or lengths do not fit together.
pub fn add(x: &Floats, y: &Floats) -> Result<Floats<'static>, KernelError> {
    pairs!(x, y, sums)
}

/// `R(x · y)` element by element.
///
/// # Precision
/// f32, one rounding to the format that both share.
///
/// # Errors
/// If formats or lengths do not fit together.
pub fn mul(x: &Floats, y: &Floats) -> Result<Floats<'static>, KernelError> {
    pairs!(x, y, products)
}

/// [`add`] in the place of `x`; `y` is as long.
pub(crate) fn add_to<T: Element>(path: Path, x: &mut [T], y: &[T]) {
    fill_pairs(x, y, |x, y, room| sums(path, x, y, room));
}

#[inline(always)]
fn zip_body<T: Element>(
    path: Path,
    x: &mut [T],
    y: &[T],
    [left, right]: [&mut [f32]; 2],
    f: impl Fn(f32, f32) -> f32,
) {
    T::read(x, left);
    T::read(y, right);
    left.iter_mut().zip(right).for_each(|(x, y)| *x = f(*x, *y));
    narrow(path, left, x);
}

#[inline(always)]
fn sums_body<T: Element, const FMA: bool>(path: Path, x: &mut [T], y: &[T], room: [&mut [f32]; 2]) {
    zip_body(path, x, y, room, |x, y| x + y);
}
by_path!(sums<T: Element>(x: &mut [T], y: &[T], room: [&mut [f32]; 2]) = sums_body);

#[inline(always)]
fn products_body<T: Element, const FMA: bool>(path: Path, x: &mut [T], y: &[T], room: [&mut [f32]; 2]) {
    zip_body(path, x, y, room, |x, y| x * y);
}
by_path!(
    /// [`mul`] in place, for a piece of `x`. `y` and both work buffers are as long as `x`.
    products<T: Element>(x: &mut [T], y: &[T], room: [&mut [f32]; 2]) = products_body
);

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
