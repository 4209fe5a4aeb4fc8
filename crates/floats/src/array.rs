//! A run of floating-point numbers whose format is data.

use std::borrow::Cow;
use std::ops::Range;

use half::{bf16, f16};

use crate::{DType, convert};

/// A run of numbers in one format, owned or borrowed (from a memory map, say).
///
/// The bits are kept as they are; nothing here rounds unless asked to ([`Floats::cast`]).
#[derive(Clone, Debug, PartialEq)]
pub enum Floats<'a> {
    /// binary64 values.
    F64(Cow<'a, [f64]>),
    /// binary32 values.
    F32(Cow<'a, [f32]>),
    /// bfloat16 values.
    Bf16(Cow<'a, [bf16]>),
    /// binary16 values.
    F16(Cow<'a, [f16]>),
}

/// Elements that a conversion through f32 holds at a time.
const PIECE: usize = 512;

/// Runs `$body` with `$v` bound to the typed slice inside a [`Floats`].
macro_rules! with_slice {
    ($floats:expr, $v:ident => $body:expr) => {
        match $floats {
            $crate::Floats::F64($v) => $body,
            $crate::Floats::F32($v) => $body,
            $crate::Floats::Bf16($v) => $body,
            $crate::Floats::F16($v) => $body,
        }
    };
}

impl<'a> Floats<'a> {
    /// The format of every element.
    pub fn dtype(&self) -> DType {
        match self {
            Floats::F64(_) => DType::F64,
            Floats::F32(_) => DType::F32,
            Floats::Bf16(_) => DType::Bf16,
            Floats::F16(_) => DType::F16,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        with_slice!(self, v => v.len())
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Element `i`, widened to f64, which is exact for every format.
    ///
    /// # Panics
    /// If `i` is out of bounds.
    pub fn get(&self, i: usize) -> f64 {
        match self {
            Floats::F64(v) => v[i],
            Floats::F32(v) => f64::from(v[i]),
            Floats::Bf16(v) => v[i].to_f64(),
            Floats::F16(v) => v[i].to_f64(),
        }
    }

    /// The elements' bytes, little-endian, as they lie in memory.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Floats::F64(v) => bytemuck::cast_slice(v),
            Floats::F32(v) => bytemuck::cast_slice(v),
            Floats::Bf16(v) => bytemuck::cast_slice(v),
            Floats::F16(v) => bytemuck::cast_slice(v),
        }
    }

    /// Reads little-endian bytes as `dtype`, borrowing where the alignment allows.
    ///
    /// # Panics
    /// If the length is no multiple of the element size.
    pub fn from_bytes(dtype: DType, bytes: &'a [u8]) -> Self {
        fn view<T: bytemuck::Pod>(bytes: &[u8]) -> Cow<'_, [T]> {
            bytemuck::try_cast_slice(bytes)
                .map_or_else(|_| Cow::Owned(bytemuck::pod_collect_to_vec(bytes)), Cow::Borrowed)
        }
        assert_eq!(bytes.len() % dtype.size(), 0, "{} bytes are no whole number of {dtype}", bytes.len());
        match dtype {
            DType::F64 => Floats::F64(view(bytes)),
            DType::F32 => Floats::F32(view(bytes)),
            DType::Bf16 => Floats::Bf16(view(bytes)),
            DType::F16 => Floats::F16(view(bytes)),
        }
    }

    /// The same values in another format, as PyTorch's `.to(dtype)` gives them: widening is exact,
    /// narrowing rounds to nearest, ties to even, keeps subnormals and overflows to infinity;
    /// f64 reaches bf16 and f16 *through f32* (two roundings).
    pub fn cast(&self, dtype: DType) -> Floats<'static> {
        if dtype == self.dtype() {
            return self.view().into_owned();
        }
        match dtype {
            DType::F64 => Floats::from(self.to_f64()),
            DType::F32 => Floats::from(self.to_f32()),
            DType::Bf16 => self.narrow(bf16::ZERO, convert::f32_to_bf16).into(),
            DType::F16 => self.narrow(f16::ZERO, convert::f32_to_f16).into(),
        }
    }

    /// Converts to a 16-bit format, through pieces of f32 that stay in the cache.
    fn narrow<T: Copy>(&self, zero: T, from_f32: fn(&[f32], &mut [T])) -> Vec<T> {
        let mut out = vec![zero; self.len()];
        if let Floats::F32(v) = self {
            from_f32(v, &mut out);
            return out;
        }
        let mut piece = [0.0; PIECE];
        for (i, out) in out.chunks_mut(PIECE).enumerate() {
            let wide = &mut piece[..out.len()];
            self.read_f32(i * PIECE, wide);
            from_f32(wide, out);
        }
        out
    }

    /// The values widened to f64, exactly.
    pub fn to_f64(&self) -> Vec<f64> {
        let mut out = vec![0.0; self.len()];
        self.read_f64(0, &mut out);
        out
    }

    /// The values as f32: exact from bf16, f16 and f32, rounded to nearest from f64.
    pub fn to_f32(&self) -> Vec<f32> {
        self.as_f32().into_owned()
    }

    /// As [`Floats::to_f32`], borrowed if the format is f32 already.
    pub fn as_f32(&self) -> Cow<'_, [f32]> {
        match self {
            Floats::F32(v) => Cow::Borrowed(v),
            _ => {
                let mut out = vec![0.0; self.len()];
                self.read_f32(0, &mut out);
                Cow::Owned(out)
            }
        }
    }

    /// Fills `out` with the values from element `start` on, as f32: exact from bf16, f16 and f32,
    /// rounded to nearest from f64.
    ///
    /// # Panics
    /// If there are fewer than `start + out.len()` elements.
    #[inline(always)]
    pub fn read_f32(&self, start: usize, out: &mut [f32]) {
        let range = start..start + out.len();
        match self {
            Floats::F64(v) => out.iter_mut().zip(&v[range]).for_each(|(o, &x)| *o = x as f32),
            Floats::F32(v) => out.copy_from_slice(&v[range]),
            Floats::Bf16(v) => convert::bf16_to_f32(&v[range], out),
            Floats::F16(v) => convert::f16_to_f32(&v[range], out),
        }
    }

    /// Fills `out` with the values from element `start` on, widened to f64, exactly.
    ///
    /// # Panics
    /// If there are fewer than `start + out.len()` elements.
    #[inline]
    pub fn read_f64(&self, start: usize, out: &mut [f64]) {
        if let Floats::F64(v) = self {
            out.copy_from_slice(&v[start..start + out.len()]);
            return;
        }
        // Through a piece of f32 that stays in the cache.
        let mut piece = [0.0; PIECE];
        for (i, out) in out.chunks_mut(PIECE).enumerate() {
            let narrow = &mut piece[..out.len()];
            self.read_f32(start + i * PIECE, narrow);
            out.iter_mut().zip(narrow).for_each(|(o, x)| *o = f64::from(*x));
        }
    }

    /// The elements of `range`, borrowed.
    ///
    /// # Panics
    /// If the range reaches beyond the end.
    pub fn slice(&self, range: Range<usize>) -> Floats<'_> {
        with_slice!(self, v => Floats::from(&v[range]))
    }

    /// Whether the numbers lie elsewhere, in a memory map say, so that a clone costs nothing.
    pub fn is_borrowed(&self) -> bool {
        with_slice!(self, v => matches!(v, Cow::Borrowed(_)))
    }

    /// The same numbers, borrowed.
    pub fn view(&self) -> Floats<'_> {
        match self {
            Floats::F64(v) => Floats::F64(Cow::Borrowed(v)),
            Floats::F32(v) => Floats::F32(Cow::Borrowed(v)),
            Floats::Bf16(v) => Floats::Bf16(Cow::Borrowed(v)),
            Floats::F16(v) => Floats::F16(Cow::Borrowed(v)),
        }
    }

    /// The same numbers, owned.
    pub fn into_owned(self) -> Floats<'static> {
        match self {
            Floats::F64(v) => Floats::F64(Cow::Owned(v.into_owned())),
            Floats::F32(v) => Floats::F32(Cow::Owned(v.into_owned())),
            Floats::Bf16(v) => Floats::Bf16(Cow::Owned(v.into_owned())),
            Floats::F16(v) => Floats::F16(Cow::Owned(v.into_owned())),
        }
    }
}

macro_rules! from_vec {
    ($($t:ty => $variant:ident),*) => {$(
        impl From<Vec<$t>> for Floats<'static> {
            fn from(v: Vec<$t>) -> Self { Floats::$variant(Cow::Owned(v)) }
        }
        impl<'a> From<&'a [$t]> for Floats<'a> {
            fn from(v: &'a [$t]) -> Self { Floats::$variant(Cow::Borrowed(v)) }
        }
    )*};
}
from_vec!(f64 => F64, f32 => F32, bf16 => Bf16, f16 => F16);

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<f64> {
        (0..1300).map(|i| (f64::from(i) - 650.0) * 1.000_000_123 + f64::from(i).sin() * 1e-3).collect()
    }

    #[test]
    fn casts_agree_with_one_number_at_a_time() {
        let wide = Floats::from(samples());
        for from in DType::ALL {
            let x = wide.cast(from);
            assert_eq!(x.dtype(), from);
            for to in DType::ALL {
                let y = x.cast(to);
                assert_eq!((y.dtype(), y.len()), (to, x.len()));
                for i in 0..x.len() {
                    let value = x.get(i);
                    let want = match to {
                        DType::F64 => value,
                        DType::F32 => f64::from(value as f32),
                        DType::Bf16 => bf16::from_f32(value as f32).to_f64(),
                        DType::F16 => f16::from_f32(value as f32).to_f64(),
                    };
                    assert_eq!(y.get(i), want, "{from} to {to}, element {i}");
                }
            }
        }
    }

    #[test]
    fn f64_reaches_bf16_through_f32_as_in_pytorch() {
        let x = Floats::from(vec![1.0 + (-8f64).exp2() + (-40f64).exp2()]);
        assert_eq!(x.cast(DType::Bf16).get(0), 1.0);
    }

    #[test]
    fn a_cast_to_the_same_format_keeps_every_bit() {
        // A signalling NaN with a payload: any detour through a conversion would quiet it.
        let bits = [0x7c01u16, 0xfc01, 0x7e55, 1, 0x8000];
        let half = Floats::from(bits.map(f16::from_bits).to_vec());
        assert_eq!(half.cast(DType::F16).bytes(), half.bytes());
        let bits = [0x7f81u16, 0xff81, 0x7fd5, 1, 0x8000];
        let bf = Floats::from(bits.map(bf16::from_bits).to_vec());
        assert_eq!(bf.cast(DType::Bf16).bytes(), bf.bytes());
        let single = Floats::from(vec![f32::from_bits(0x7f80_0001), -0.0]);
        assert_eq!(single.cast(DType::F32).bytes(), single.bytes());
    }

    #[test]
    fn reading_starts_anywhere_and_crosses_pieces() {
        for dtype in DType::ALL {
            let x = Floats::from(samples()).cast(dtype);
            for (start, len) in [(0, 1300), (7, 1025), (1299, 1), (1300, 0), (3, 512), (3, 513)] {
                let (mut f64s, mut f32s) = (vec![0.0; len], vec![0.0; len]);
                x.read_f64(start, &mut f64s);
                x.read_f32(start, &mut f32s);
                let part = x.slice(start..start + len);
                assert_eq!((part.len(), part.dtype()), (len, dtype));
                for i in 0..len {
                    assert_eq!(f64s[i], x.get(start + i));
                    assert_eq!(f32s[i], x.get(start + i) as f32);
                    assert_eq!(part.get(i), x.get(start + i));
                }
            }
        }
    }

    #[test]
    fn bytes_are_read_back_at_any_alignment() {
        let x = Floats::from(samples()).cast(DType::F32);
        let mut shifted = vec![0u8];
        shifted.extend_from_slice(x.bytes());
        assert_eq!(Floats::from_bytes(DType::F32, &shifted[1..]), x);
        assert_eq!(Floats::from_bytes(DType::F32, x.bytes()), x);
        assert!(Floats::from_bytes(DType::Bf16, &[]).is_empty());
    }
}
