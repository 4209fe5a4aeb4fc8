//! Arrays as the tests see them: widened to f64, rounded first if asked to.

use rayon::prelude::*;
use ulpscope_floats::{DType, Floats, Rounding, round_f16};

/// Elements that are widened and tested at a time.
pub(crate) const PIECE: usize = 512;

/// Elements that are tested before other threads are woken: whatever fails mostly fails here.
const TASTE: usize = 8 * PIECE;

/// Elements of one parallel task.
const TASK: usize = 64 * PIECE;

/// An array, or what it becomes by a rounding.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    floats: &'a Floats<'a>,
    rounding: Option<Rounding>,
}

impl<'a> View<'a> {
    pub(crate) fn plain(floats: &'a Floats<'a>) -> Self {
        View { floats, rounding: None }
    }

    pub(crate) fn rounded(floats: &'a Floats<'a>, rounding: Option<Rounding>) -> Self {
        View { floats, rounding }
    }

    pub(crate) fn len(&self) -> usize {
        self.floats.len()
    }

    pub(crate) fn rounding(&self) -> Option<Rounding> {
        self.rounding
    }

    /// The array, as it is before any rounding.
    pub(crate) fn floats(&self) -> &'a Floats<'a> {
        self.floats
    }

    /// Element `i`.
    pub(crate) fn get(&self, i: usize) -> f64 {
        let wide = self.floats.get(i);
        self.rounding.map_or(wide, |by| f64::from(by.round(wide as f32)))
    }

    /// Fills `out` with the elements from `start` on.
    pub(crate) fn read(&self, start: usize, out: &mut [f64]) {
        let Some(by) = self.rounding else {
            return self.floats.read_f64(start, out);
        };
        let mut piece = [0.0; PIECE];
        for (i, out) in out.chunks_mut(PIECE).enumerate() {
            let narrow = &mut piece[..out.len()];
            self.floats.read_f32(start + i * PIECE, narrow);
            by.round_slice(narrow);
            out.iter_mut().zip(narrow).for_each(|(o, x)| *o = f64::from(*x));
        }
    }
}

/// Bit-equal, or both NaN.
pub(crate) fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// Whether `test` holds on every piece of two arrays of one length.
pub(crate) fn everywhere(a: View, b: View, test: impl Fn(&[f64], &[f64]) -> bool + Sync) -> bool {
    let len = a.len();
    let holds = |from: usize, to: usize| {
        let (mut wide_a, mut wide_b) = ([0.0; PIECE], [0.0; PIECE]);
        (from..to).step_by(PIECE).all(|start| {
            let n = PIECE.min(to - start);
            a.read(start, &mut wide_a[..n]);
            b.read(start, &mut wide_b[..n]);
            test(&wide_a[..n], &wide_b[..n])
        })
    };
    let taste = len.min(TASTE);
    holds(0, taste)
        && (taste..len).into_par_iter().step_by(TASK).all(|start| holds(start, len.min(start + TASK)))
}

/// Whether `test` holds on every pair of elements of two arrays of one length.
pub(crate) fn each(a: View, b: View, test: impl Fn(f64, f64) -> bool + Sync) -> bool {
    everywhere(a, b, |a, b| a.iter().zip(b).all(|(a, b)| test(*a, *b)))
}

/// Gathers something over two arrays of one length: `add` takes in the elements from an index on,
/// and says whether to go on. `None` as soon as it says no. Whatever `merge` does must not depend
/// on where the arrays were cut, or on the number of threads.
pub(crate) fn tally<T: Send>(
    a: View,
    b: View,
    new: impl Fn() -> T + Sync,
    add: impl Fn(&mut T, usize, &[f64], &[f64]) -> bool + Sync,
    merge: impl Fn(T, T) -> T + Sync,
) -> Option<T> {
    let len = a.len();
    let part = |from: usize, to: usize| {
        let (mut wide_a, mut wide_b) = ([0.0; PIECE], [0.0; PIECE]);
        let mut gathered = new();
        for start in (from..to).step_by(PIECE) {
            let n = PIECE.min(to - start);
            a.read(start, &mut wide_a[..n]);
            b.read(start, &mut wide_b[..n]);
            if !add(&mut gathered, start, &wide_a[..n], &wide_b[..n]) {
                return None;
            }
        }
        Some(gathered)
    };
    let taste = len.min(TASTE);
    let first = part(0, taste)?;
    let rest = (taste..len)
        .into_par_iter()
        .step_by(TASK)
        .map(|start| part(start, len.min(start + TASK)))
        .try_reduce_with(|x, y| Some(merge(x, y)));
    match rest {
        None => Some(first),
        Some(rest) => Some(merge(first, rest?)),
    }
}

/// The format in which the array's arithmetic seems to have been done: its own if that has 16 bits,
/// else the narrowest that holds every value. `None` if only f64 does.
pub(crate) fn format(x: &Floats) -> Option<DType> {
    if matches!(x.dtype(), DType::Bf16 | DType::F16) {
        return Some(x.dtype());
    }
    [DType::Bf16, DType::F16, DType::F32].into_iter().find(|format| holds(*format, x))
}

/// Whether every value of `x` is a value of `format`.
pub(crate) fn holds(format: DType, x: &Floats) -> bool {
    let kept = |x: f64| match format {
        DType::F64 => true,
        DType::F32 => f64::from(x as f32) == x || x.is_nan(),
        // A bf16 is an f32 whose lower half is empty.
        DType::Bf16 => x.is_nan() || (f64::from(x as f32) == x && (x as f32).to_bits() & 0xffff == 0),
        DType::F16 => x.is_nan() || f64::from(round_f16(x as f32)) == x,
    };
    format.contains(x.dtype()) || each(View::plain(x), View::plain(x), |x, _| kept(x))
}

/// How `a` may have been rounded before something else was done to it to give `b`: not at all, or
/// by a rounding whose format holds `b` but not `a`.
pub(crate) fn roundings<'a>(a: &'a Floats<'a>, b: &Floats) -> Vec<View<'a>> {
    let narrowed = |format: DType| holds(format, b) && !holds(format, a);
    let (bf16, f16, f32) = (narrowed(DType::Bf16), narrowed(DType::F16), narrowed(DType::F32));
    let possible = Rounding::ALL.into_iter().filter(|by| match by.target() {
        DType::Bf16 => bf16,
        DType::F16 => f16 && b.dtype() != DType::Bf16,
        DType::F32 => f32 && !bf16 && !f16,
        DType::F64 => false,
    });
    std::iter::once(None).chain(possible.map(Some)).map(|by| View::rounded(a, by)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_format_that_holds_every_value() {
        let a = Floats::from(vec![1.0f32, 0.1, f32::NAN]);
        assert_eq!(format(&a), Some(DType::F32));
        for narrow in [DType::Bf16, DType::F16] {
            assert_eq!(format(&a.cast(narrow)), Some(narrow));
            assert_eq!(format(&a.cast(narrow).cast(DType::F64)), Some(narrow));
        }
        assert_eq!(format(&Floats::from(vec![0.1f64])), None);
        let later: Vec<f64> = (0..5000).map(|i| if i == 4999 { 0.1 } else { 1.0 }).collect();
        assert_eq!(format(&Floats::from(later)), None);
    }

    #[test]
    fn a_view_rounds_what_it_reads() {
        let a = Floats::from((0..1300).map(|i| f64::from(i) * 0.1).collect::<Vec<_>>());
        for by in Rounding::ALL {
            let (view, want) = (View::rounded(&a, Some(by)), by.apply(&a));
            let mut read = vec![0.0; 1290];
            view.read(7, &mut read);
            assert!((0..1290).all(|i| read[i] == want.get(i + 7) && view.get(i + 7) == want.get(i + 7)));
        }
    }

    #[test]
    fn only_roundings_that_can_have_happened_are_tried() {
        let a = Floats::from(vec![0.1f32; 10]);
        let tried = |b: &Floats| roundings(&a, b).iter().map(View::rounding).collect::<Vec<_>>();
        assert_eq!(tried(&a), [None]);
        assert_eq!(tried(&a.cast(DType::F16)), [None, Some(Rounding::NearestF16)]);
        assert_eq!(tried(&a.cast(DType::Bf16)).len(), 4);
    }
}
