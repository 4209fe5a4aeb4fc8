//! Element types as one stage of a conversion sees them, and the counts that a stage makes.

use std::iter::Sum;
use std::ops::Add;

use bytemuck::Pod;
use ulpscope_floats::{bf16, bf16_to_f32, f16, f16_to_f32, f32_to_f16};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) changed: u64,
    pub(super) overflowed: u64,
    pub(super) flushed: u64,
    pub(super) nonfinite: u64,
}

impl Add for Counts {
    type Output = Counts;

    fn add(self, other: Counts) -> Counts {
        Counts {
            changed: self.changed + other.changed,
            overflowed: self.overflowed + other.overflowed,
            flushed: self.flushed + other.flushed,
            nonfinite: self.nonfinite + other.nonfinite,
        }
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Counts>>(all: I) -> Counts {
        all.fold(Counts::default(), Add::add)
    }
}

/// An element type, seen through f32: every stage works there, because it is exact for the 16-bit
/// formats.
pub(super) trait Number: Pod + Send + Sync {
    /// As f32, written to `buffer` if need be: exact, but from f64, where it rounds.
    fn as_f32<'a>(source: &'a [Self], buffer: &'a mut [f32]) -> &'a [f32];
    /// From f32 values that this format holds.
    fn from_f32(source: &[f32], out: &mut [Self]);
    /// Compares what was stored with what became of it. `original` is `source` as f32.
    fn count(source: &[Self], original: &[f32], end: &[f32]) -> Counts {
        let _ = source;
        count_f32(original, end)
    }
}

/// Sign bits of differences instead of comparisons: with those, the compiler makes vector code of
/// this on any x86-64. So it does with additions that wrap; checked for overflow, as in a debug
/// build, they would keep it from that.
fn count_f32(original: &[f32], end: &[f32]) -> Counts {
    const INFINITE: u32 = 0x7f80_0000;
    let less = |a: u32, b: u32| a.wrapping_sub(b) >> 31; // For a, b < 2^31.
    let size = |x: u32| x & 0x7fff_ffff;
    let (mut changed, mut nonfinite, mut nonfinite_end, mut zero, mut zero_end) =
        (0u32, 0u32, 0u32, 0u32, 0u32);
    for (a, b) in original.iter().zip(end) {
        let (a, b) = (a.to_bits(), b.to_bits());
        let difference = a ^ b;
        let differs = (difference | difference.wrapping_neg()) >> 31;
        changed = changed.wrapping_add(differs & !less(INFINITE, size(a)));
        nonfinite = nonfinite.wrapping_add(less(INFINITE - 1, size(a)));
        nonfinite_end = nonfinite_end.wrapping_add(less(INFINITE - 1, size(b)));
        zero = zero.wrapping_add(less(size(a), 1));
        zero_end = zero_end.wrapping_add(less(size(b), 1));
    }
    // No rounding makes an infinity or NaN finite, or a zero anything else; so the difference is
    // what was added.
    Counts {
        changed: changed.into(),
        overflowed: (nonfinite_end - nonfinite).into(),
        flushed: (zero_end - zero).into(),
        nonfinite: nonfinite.into(),
    }
}

impl Number for f64 {
    fn as_f32<'a>(source: &'a [Self], buffer: &'a mut [f32]) -> &'a [f32] {
        buffer.iter_mut().zip(source).for_each(|(b, s)| *b = *s as f32);
        buffer
    }

    fn from_f32(source: &[f32], out: &mut [Self]) {
        out.iter_mut().zip(source).for_each(|(o, s)| *o = f64::from(*s));
    }

    // The step to f32 is part of what is counted.
    fn count(source: &[Self], _: &[f32], end: &[f32]) -> Counts {
        let one = |(a, b): (&f64, &f32)| {
            let b = f64::from(*b);
            Counts {
                changed: (!a.is_nan() && *a != b).into(),
                overflowed: (a.is_finite() && !b.is_finite()).into(),
                flushed: (*a != 0.0 && b == 0.0).into(),
                nonfinite: (!a.is_finite()).into(),
            }
        };
        source.iter().zip(end).map(one).sum()
    }
}

impl Number for f32 {
    fn as_f32<'a>(source: &'a [Self], _: &'a mut [f32]) -> &'a [f32] {
        source
    }

    fn from_f32(source: &[f32], out: &mut [Self]) {
        out.copy_from_slice(source);
    }
}

impl Number for bf16 {
    fn as_f32<'a>(source: &'a [Self], buffer: &'a mut [f32]) -> &'a [f32] {
        bf16_to_f32(source, buffer);
        buffer
    }

    // The lower half is zero by now, so nothing is left to round.
    fn from_f32(source: &[f32], out: &mut [Self]) {
        out.iter_mut().zip(source).for_each(|(o, s)| *o = bf16::from_bits((s.to_bits() as i32 >> 16) as u16));
    }
}

impl Number for f16 {
    fn as_f32<'a>(source: &'a [Self], buffer: &'a mut [f32]) -> &'a [f32] {
        f16_to_f32(source, buffer);
        buffer
    }

    fn from_f32(source: &[f32], out: &mut [Self]) {
        f32_to_f16(source, out);
    }
}
