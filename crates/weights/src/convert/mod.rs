//! Casting a tensor along a chain of formats, and counting what that did to it.

mod number;

use bytemuck::Pod;
use rayon::prelude::*;
use ulpscope_floats::{DType, Floats, bf16, f16, f16_to_f32, f32_to_f16};
use ulpscope_kernels::{Rounded, round_to_bf16};

use number::{Counts, Number};

/// What happened to one parameter or buffer on its way from the checkpoint into the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversion {
    /// The parameter's or buffer's name in PyTorch.
    pub name: String,
    /// The format in the checkpoint: a dtype, or a GGUF block type such as `Q4_1`.
    pub from: String,
    /// The format in the model.
    pub to: DType,
    /// The kind of conversion.
    pub action: Action,
    /// Number of elements.
    pub elements: u64,
    /// Elements whose value is not the stored one. A NaN that stays a NaN is unchanged.
    pub changed: u64,
    /// Of those, finite ones that became infinite.
    pub overflowed: u64,
    /// Of those, nonzero ones that became zero.
    pub flushed: u64,
    /// Elements that were NaN or infinite in the checkpoint already.
    pub nonfinite: u64,
}

pub use ulpscope_record::Action;

/// Casts `values` to each format of `chain` in turn.
pub(crate) fn convert<'a>(
    name: &str,
    from: &str,
    values: Floats<'a>,
    chain: &[DType],
) -> (Floats<'a>, Conversion) {
    let stored = values.dtype();
    let roundings = roundings(stored, chain);
    let to = chain.last().copied().unwrap_or(stored);
    let elements = values.len() as u64;
    let action = match (roundings.is_empty(), to == stored) {
        (true, true) => Action::Kept,
        (true, false) => Action::Widened,
        (false, _) => Action::Rounded,
    };
    let (values, counts) = if action == Action::Kept {
        let counts = count_nonfinite(&values);
        (values, counts)
    } else {
        match to {
            DType::F64 => through::<f64>(&values, &roundings),
            DType::F32 => through::<f32>(&values, &roundings),
            DType::Bf16 => match (&values, roundings.as_slice()) {
                (Floats::F32(values), [DType::Bf16]) => rounded(values),
                _ => through::<bf16>(&values, &roundings),
            },
            DType::F16 => through::<f16>(&values, &roundings),
        }
    };
    let Counts { changed, overflowed, flushed, nonfinite } = counts;
    let (name, from) = (name.to_owned(), from.to_owned());
    (values, Conversion { name, from, to, action, elements, changed, overflowed, flushed, nonfinite })
}

/// Whether [`convert`] leaves numbers in this format as they are.
pub(crate) fn keeps(stored: DType, chain: &[DType]) -> bool {
    roundings(stored, chain).is_empty() && chain.last().is_none_or(|to| *to == stored)
}

/// The report of [`convert`], if it gives the bits of `known`, for the most frequent case alone:
/// f32 to bf16 in one rounding. Every bit is compared, and no value kept.
pub(crate) fn converts_to(
    name: &str,
    from: &str,
    values: &Floats,
    chain: &[DType],
    known: &Floats,
) -> Option<Conversion> {
    let (Floats::F32(values), Floats::Bf16(known)) = (values, known) else { return None };
    if roundings(DType::F32, chain) != [DType::Bf16] || chain.last() != Some(&DType::Bf16) {
        return None;
    }
    let Counts { changed, overflowed, flushed, nonfinite } = rounds_to(values, known)?;
    let (name, from, elements) = (name.to_owned(), from.to_owned(), values.len() as u64);
    let action = Action::Rounded;
    let to = DType::Bf16;
    Some(Conversion { name, from, to, action, elements, changed, overflowed, flushed, nonfinite })
}

/// The steps of a chain that can change a value.
///
/// A step into a format that holds every value there is at that point is exact, and so is undone by
/// the next narrowing whatever comes between; only such steps are left out. f64 goes to 16 bits
/// through f32, as in PyTorch.
fn roundings(stored: DType, chain: &[DType]) -> Vec<DType> {
    let holds = |format: DType, content: DType| match format {
        DType::F64 => true,
        DType::F32 => content != DType::F64,
        _ => format == content,
    };
    let (mut content, mut steps) = (stored, Vec::new());
    for &format in chain {
        if holds(format, content) {
            continue;
        }
        if content == DType::F64 && format != DType::F32 {
            steps.push(DType::F32);
        }
        steps.push(format);
        content = format;
    }
    steps
}

/// Elements per task, and per stage of a task: a stage's buffers stay in the first-level cache.
const TASK: usize = 1 << 16;
const STAGE: usize = 1 << 11;

/// What [`rounded`] counts, if it gives the bits of `known`.
fn rounds_to(source: &[f32], known: &[bf16]) -> Option<Counts> {
    if source.len() != known.len() {
        return None;
    }
    let parts = source.par_chunks(TASK).zip(known.par_chunks(TASK));
    let counts = parts.map(|(source, known)| {
        let mut room = [bf16::ZERO; STAGE];
        let mut counts = Counts::default();
        for (source, known) in source.chunks(STAGE).zip(known.chunks(STAGE)) {
            let room = &mut room[..source.len()];
            let Rounded { changed, overflowed, flushed, nonfinite } = round_to_bf16(source, room);
            if bytemuck::cast_slice::<bf16, u8>(room) != bytemuck::cast_slice::<bf16, u8>(known) {
                return None;
            }
            counts = counts + Counts { changed, overflowed, flushed, nonfinite };
        }
        Some(counts)
    });
    counts.sum()
}

/// The most frequent case, by a kernel: f32 to bf16 in one step.
fn rounded(source: &[f32]) -> (Floats<'static>, Counts) {
    let mut out: Vec<bf16> = bytemuck::allocation::zeroed_vec(source.len());
    let parts = source.par_chunks(TASK).zip(out.par_chunks_mut(TASK));
    let counts = parts.map(|(source, out)| {
        let Rounded { changed, overflowed, flushed, nonfinite } = round_to_bf16(source, out);
        Counts { changed, overflowed, flushed, nonfinite }
    });
    let counts = counts.sum();
    (Floats::from(out), counts)
}

fn through<D: Number>(values: &Floats<'_>, roundings: &[DType]) -> (Floats<'static>, Counts)
where
    Floats<'static>: From<Vec<D>>,
{
    let (out, counts) = match values {
        Floats::F64(v) => run::<f64, D>(v, roundings),
        Floats::F32(v) => run::<f32, D>(v, roundings),
        Floats::Bf16(v) => run::<bf16, D>(v, roundings),
        Floats::F16(v) => run::<f16, D>(v, roundings),
    };
    (Floats::from(out), counts)
}

fn run<S: Number, D: Number>(source: &[S], roundings: &[DType]) -> (Vec<D>, Counts) {
    // Fresh pages from the system are zero; filling the vector here would touch them all on one
    // core.
    let mut out: Vec<D> = bytemuck::allocation::zeroed_vec(source.len());
    let task = |(source, out): (&[S], &mut [D])| {
        let (mut widened, mut rounded, mut half) = ([0.0f32; STAGE], [0.0f32; STAGE], [f16::ZERO; STAGE]);
        let stages = source.chunks(STAGE).zip(out.chunks_mut(STAGE));
        stages
            .map(|(source, out)| {
                let n = source.len();
                let (rounded, half) = (&mut rounded[..n], &mut half[..n]);
                let original = S::as_f32(source, &mut widened[..n]);
                let mut first = true;
                for step in roundings {
                    match (step, first) {
                        // `as_f32` has rounded to f32 already, where that is a rounding.
                        (DType::F64 | DType::F32, _) => continue,
                        (DType::Bf16, true) => {
                            rounded.iter_mut().zip(original).for_each(|(r, x)| *r = nearest_bf16(*x))
                        }
                        (DType::Bf16, false) => rounded.iter_mut().for_each(|x| *x = nearest_bf16(*x)),
                        (DType::F16, _) => {
                            f32_to_f16(if first { original } else { rounded }, half);
                            f16_to_f32(half, rounded);
                        }
                    }
                    first = false;
                }
                let end = if first { original } else { rounded };
                D::from_f32(end, out);
                S::count(source, original, end)
            })
            .sum::<Counts>()
    };
    let counts = source.par_chunks(TASK).zip(out.par_chunks_mut(TASK)).map(task).sum();
    (out, counts)
}

/// `ulpscope_floats::round_bf16`, kept in 32 bits from end to end so that it becomes vector code
/// here.
#[inline(always)]
fn nearest_bf16(x: f32) -> f32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    let is_nan = (bits & 0x7fff_ffff) as i32 > 0x7f80_0000;
    f32::from_bits(if is_nan { bits | 0x0040_0000 } else { rounded } & 0xffff_0000)
}

fn count_nonfinite(values: &Floats<'_>) -> Counts {
    // In every format the infinities are the patterns with all exponent bits and no other, the NaNs
    // lie above.
    fn count<T: Pod + Sync>(values: &[T], nonfinite: impl Fn(&T) -> bool + Sync) -> Counts {
        // Sums in 16 bits, which few enough numbers fit, so that as many are counted at once as
        // there can be.
        let stage = |stage: &[T]| stage.iter().fold(0u16, |n, x| n.wrapping_add(u16::from(nonfinite(x))));
        let task = |part: &[T]| part.chunks(STAGE).map(|part| u32::from(stage(part))).sum::<u32>();
        let nonfinite = values.par_chunks(TASK).map(|part| u64::from(task(part))).sum();
        Counts { nonfinite, ..Counts::default() }
    }
    match values {
        Floats::F64(v) => count(v, |x| !x.is_finite()),
        Floats::F32(v) => count(v, |x| !x.is_finite()),
        Floats::Bf16(v) => count(v, |x| x.to_bits() & 0x7f80 == 0x7f80),
        Floats::F16(v) => count(v, |x| x.to_bits() & 0x7c00 == 0x7c00),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(values: Floats<'_>, chain: &[DType]) -> (Floats<'static>, Conversion) {
        let (values, conversion) = convert("w", "f32", values, chain);
        (values.into_owned(), conversion)
    }

    #[test]
    fn every_count_counts() {
        let values = vec![1.0f32, 1.1, 70000.0, -1e-9, f32::NAN, f32::INFINITY, 0.0, -0.0, 65504.0];
        let (out, c) = run(Floats::from(values.clone()), &[DType::F16]);
        assert_eq!((c.changed, c.overflowed, c.flushed, c.nonfinite), (3, 1, 1, 2));
        assert_eq!((c.elements, c.action, c.to), (9, Action::Rounded, DType::F16));
        assert_eq!(out.get(2), f64::INFINITY);
        assert_eq!(out.get(3).to_bits(), (-0.0f64).to_bits());
        let (_, c) = run(Floats::from(values), &[DType::F32]);
        assert_eq!((c.changed, c.nonfinite, c.action), (0, 2, Action::Kept));
    }

    #[test]
    fn infinities_and_nans_are_counted_in_every_format() {
        let values = Floats::from(vec![1.0f32, f32::NAN, f32::NEG_INFINITY, 0.0]);
        for dtype in DType::ALL {
            let (_, c) = run(values.cast(dtype), &[dtype]);
            assert_eq!((c.nonfinite, c.action), (2, Action::Kept), "{dtype}");
            let (out, c) = run(values.cast(dtype), &[DType::F64, DType::Bf16]);
            assert_eq!((c.changed, c.nonfinite, out.dtype()), (0, 2, DType::Bf16), "{dtype}");
        }
    }

    #[test]
    fn known_bits_are_recognised_and_others_are_not() {
        let values: Vec<f32> = (0..3 * STAGE + 5).map(|i| (i as f32).sqrt()).collect();
        let values = Floats::from(values);
        let (known, report) = run(values.view(), &[DType::F32, DType::Bf16]);
        let seen = |known: &Floats, chain: &[DType]| converts_to("w", "f32", &values, chain, known);
        assert_eq!(seen(&known, &[DType::Bf16]), Some(report));
        let Floats::Bf16(bits) = &known else { panic!("it was cast to bf16") };
        for place in [0, STAGE, values.len() - 1] {
            let mut other = bits.to_vec();
            other[place] = bf16::from_bits(other[place].to_bits() ^ 1);
            assert_eq!(seen(&Floats::from(other), &[DType::Bf16]), None);
        }
        assert_eq!(seen(&known.slice(0..5), &[DType::Bf16]), None);
        assert_eq!(seen(&known, &[DType::F16, DType::Bf16]), None);
        assert_eq!(seen(&known, &[DType::Bf16, DType::F32]), None);
    }

    #[test]
    fn rounding_here_is_rounding_there() {
        // Every upper half, with lower halves around the ties.
        for upper in 0..=u16::MAX {
            for lower in [0u32, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let x = f32::from_bits(u32::from(upper) << 16 | lower);
                let (here, there) = (nearest_bf16(x), ulpscope_floats::round_bf16(x));
                assert!(
                    here.to_bits() == there.to_bits() || (here.is_nan() && there.is_nan()),
                    "{:#x}",
                    x.to_bits()
                );
            }
        }
    }

    #[test]
    fn exact_steps_are_left_out_and_others_are_not() {
        use DType::{Bf16, F16, F32, F64};
        assert_eq!(roundings(F32, &[F32, Bf16]), [Bf16]);
        assert_eq!(roundings(Bf16, &[F32, Bf16, F64]), []);
        assert_eq!(roundings(F32, &[F16, F32, Bf16]), [F16, Bf16]);
        assert_eq!(roundings(F32, &[F64, Bf16]), [Bf16]);
        assert_eq!(roundings(F64, &[Bf16]), [F32, Bf16]);
        assert_eq!(roundings(Bf16, &[F16, Bf16, F16]), [F16, Bf16, F16]);
        assert_eq!(roundings(F32, &[]), []);
    }

    #[test]
    fn a_detour_through_fewer_bits_counts_as_rounded() {
        let (out, c) = run(Floats::from(vec![1.1f32, 1.0]), &[DType::Bf16, DType::F32]);
        assert_eq!((c.action, c.changed, out.dtype()), (Action::Rounded, 1, DType::F32));
        let (out, c) = run(Floats::from(vec![1.0f32, 2.0]), &[DType::F64]);
        assert_eq!((c.action, c.changed, out), (Action::Widened, 0, Floats::from(vec![1.0f64, 2.0])));
    }

    #[test]
    fn f64_loses_bits_on_the_way_to_f32_too() {
        let (out, c) = run(Floats::from(vec![1.0 + 1e-12, 1e300, 1e-300, f64::NAN]), &[DType::F32]);
        assert_eq!((c.changed, c.overflowed, c.flushed, c.nonfinite), (3, 1, 1, 1));
        assert_eq!(out.get(0), 1.0);
    }

    #[test]
    fn every_length_around_the_chunks_is_covered() {
        for n in [0, 1, STAGE - 1, STAGE, STAGE + 1, TASK - 1, TASK, TASK + 1, 2 * TASK + 3] {
            let values: Vec<f32> = (0..n).map(|i| 1.0 + i as f32 * 1e-4).collect();
            let (out, c) = run(Floats::from(values.clone()), &[DType::Bf16]);
            assert_eq!(out, Floats::from(values.clone()).cast(DType::Bf16), "{n}");
            let changed = values.iter().filter(|x| bf16::from_f32(**x).to_f32() != **x).count();
            assert_eq!(c.changed, changed as u64, "{n}");
        }
    }

    fn same(a: &Floats<'_>, b: &Floats<'_>) -> bool {
        let equal =
            |i: usize| (a.get(i).is_nan() && b.get(i).is_nan()) || a.get(i).to_bits() == b.get(i).to_bits();
        a.dtype() == b.dtype() && a.len() == b.len() && (0..a.len()).all(equal)
    }

    proptest! {
        #[test]
        fn a_chain_is_its_casts_one_after_another(
            bits in prop::collection::vec(any::<u64>(), 1..40),
            stored in prop::sample::select(DType::ALL.to_vec()),
            chain in prop::collection::vec(prop::sample::select(DType::ALL.to_vec()), 1..6),
        ) {
            let bytes: Vec<u8> = bits.iter().flat_map(|b| b.to_le_bytes()).collect();
            let values = Floats::from_bytes(stored, &bytes);
            let expected = chain.iter().fold(values.clone().into_owned(), |v, d| v.cast(*d));
            let (got, c) = convert("w", "x", values.view(), &chain);
            prop_assert!(same(&got, &expected));
            let changed = (0..values.len())
                .filter(|&i| !values.get(i).is_nan() && values.get(i) != expected.get(i))
                .count();
            prop_assert_eq!(c.changed, changed as u64);
        }
    }
}
