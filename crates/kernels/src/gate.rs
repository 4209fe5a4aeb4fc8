//! SiLU and the gated product.

use std::sync::OnceLock;

use ulpscope_floats::{DType, Floats};

use crate::by_path::by_path;
use crate::element::{Element, expect, fill_pairs, fill_pieces, with_element};
use crate::exp::sleef;
use crate::pairs::products;
use crate::{KernelError, Path};

/// `R(R(x / (1 + exp(-x))) · up)` element by element: the middle of Llama's feed-forward layer.
///
/// # Shapes
/// - `gate`, `up`: the same number of elements, which is returned
///
/// # Precision
/// f32 with [`exp`](crate::exp()), two roundings to the format that both share.
///
/// # Errors
/// If formats or lengths do not fit together.
pub fn silu_up(gate: &Floats, up: &Floats) -> Result<Floats<'static>, KernelError> {
    let path = Path::detect()?;
    with_element!(gate.dtype(), "the gate", T => {
        let gate = expect::<T>(gate, gate.len(), "the gate")?;
        let up = expect::<T>(up, gate.len(), "up")?;
        let mut product = gate.to_vec();
        gated(path, &mut product, up);
        Ok(T::wrap(product))
    })
}

/// [`silu_up`] in the place of the gate; `up` is as long.
pub(crate) fn gated<T: Element>(path: Path, gate: &mut [T], up: &[T]) {
    fill_pairs(gate, up, |gate, up, room| {
        silus(path, gate);
        products(path, gate, up, room);
    });
}

/// `R(x / (1 + exp(-x)))` element by element.
///
/// # Precision
/// f32 with [`exp`](crate::exp()), one rounding.
///
/// # Errors
/// If the format is f64.
pub fn silu(x: &Floats) -> Result<Floats<'static>, KernelError> {
    let path = Path::detect()?;
    with_element!(x.dtype(), "x", T => {
        let mut y = expect::<T>(x, x.len(), "x")?.to_vec();
        fill_pieces(&mut y, |_, _, y| silus(path, y));
        Ok(T::wrap(y))
    })
}

/// The SiLU of every element, in its place.
fn silus<T: Element>(path: Path, x: &mut [T]) {
    if T::DTYPE == DType::F32 {
        return in_place(path, bytemuck::cast_slice_mut(x));
    }
    // There are only 65,536 numbers of 16 bits.
    static TABLES: [OnceLock<Vec<u16>>; 2] = [OnceLock::new(), OnceLock::new()];
    let table = TABLES[usize::from(T::DTYPE == DType::F16)].get_or_init(|| {
        let mut numbers: Vec<u16> = (0..=u16::MAX).collect();
        let mut wide = T::wide(bytemuck::cast_slice(&numbers));
        in_place(path, &mut wide);
        T::narrow(&wide, bytemuck::cast_slice_mut(&mut numbers));
        numbers
    });
    let table: &[u16; 1 << 16] = table.as_slice().try_into().expect("one for each");
    for bits in bytemuck::cast_slice_mut::<T, u16>(x) {
        *bits = table[usize::from(*bits)];
    }
}

#[inline(always)]
fn in_place_body<const FMA: bool>(_: Path, x: &mut [f32]) {
    x.iter_mut().for_each(|x| *x /= 1.0 + sleef::<FMA>(-*x));
}
by_path!(in_place(x: &mut [f32]) = in_place_body);

#[cfg(test)]
mod tests {
    use ulpscope_floats::{bf16, f16};

    use super::*;

    fn by_definition<T: Element>(x: T) -> f32 {
        let x = x.widen();
        T::rounded(x / (1.0 + crate::exp(-x)))
    }

    #[test]
    fn every_number_of_16_bits_follows_the_formula() {
        fn check<T: Element>(make: fn(u16) -> T, wrap: fn(Vec<T>) -> Floats<'static>) {
            let all: Vec<T> = (0..=u16::MAX).map(make).collect();
            let got = silu(&wrap(all.clone())).unwrap();
            for (i, x) in all.iter().enumerate() {
                let want = f64::from(by_definition(*x));
                assert!(got.get(i) == want || want.is_nan() && got.get(i).is_nan(), "{}: {i:#x}", T::DTYPE);
            }
        }
        check(bf16::from_bits, Floats::from);
        check(f16::from_bits, Floats::from);
        let x: Vec<f32> = (-2000..2000).map(|i| i as f32 / 19.0).collect();
        let got = silu(&Floats::from(x.clone())).unwrap().to_f32();
        x.iter().zip(&got).for_each(|(x, got)| assert_eq!(got.to_bits(), by_definition(*x).to_bits(), "{x}"));
    }

    #[test]
    fn the_product_is_rounded_apart() {
        for n in [0, 1, 511, 512, 70_000] {
            let wave = |f: f32| Floats::from((0..n).map(|i| (i as f32 * f).sin() * 4.0).collect::<Vec<_>>());
            let (gate, up) = (wave(0.37).cast(DType::Bf16), wave(0.11).cast(DType::Bf16));
            let (y, act) = (silu_up(&gate, &up).unwrap(), silu(&gate).unwrap());
            assert_eq!(y.len(), n);
            for i in 0..n {
                let want = ulpscope_floats::round_bf16(act.get(i) as f32 * up.get(i) as f32);
                assert_eq!(y.get(i), f64::from(want), "{i}");
            }
        }
    }
}
