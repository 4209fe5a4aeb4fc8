//! Rounding a weight, and counting what that did to it, in one pass.

use ulpscope_floats::bf16;

use crate::Path;
use crate::by_path::by_path;

/// How many numbers a rounding changed, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rounded {
    /// Numbers whose value is another. A NaN stays one.
    pub changed: u64,
    /// Of those, finite ones that became infinite.
    pub overflowed: u64,
    /// Of those, nonzero ones that became zero.
    pub flushed: u64,
    /// Numbers that were NaN or infinite before.
    pub nonfinite: u64,
}

/// Rounds to bf16, to nearest, ties to even, subnormals kept, by the path that [`Path::detect`]
/// finds.
///
/// # Panics
/// If the lengths differ.
///
/// ```
/// use ulpscope_floats::bf16;
///
/// let mut out = [bf16::ZERO; 4];
/// let counts = ulpscope_kernels::round_to_bf16(&[1.0, 1.001, f32::MAX, f32::NAN], &mut out);
/// assert_eq!((counts.changed, counts.overflowed, counts.nonfinite), (2, 1, 1));
/// assert_eq!(out[..2], [bf16::ONE; 2]);
/// ```
pub fn round_to_bf16(x: &[f32], out: &mut [bf16]) -> Rounded {
    assert_eq!(x.len(), out.len(), "as many results as numbers");
    // What the variable asks for, if it can be had; the bits are the same by every path.
    let path = Path::detect().unwrap_or(Path::Portable);
    let parts = x.chunks(PART).zip(out.chunks_mut(PART));
    parts.fold(Rounded::default(), |total, (x, out)| {
        let [changed, overflowed, flushed, nonfinite] = part(path, x, out).map(u64::from);
        Rounded {
            changed: total.changed + changed,
            overflowed: total.overflowed + overflowed,
            flushed: total.flushed + flushed,
            nonfinite: total.nonfinite + nonfinite,
        }
    })
}

/// Numbers whose counts fit 32 bits with ease.
const PART: usize = 1 << 16;

#[inline(always)]
fn part_body<const FMA: bool>(_: Path, x: &[f32], out: &mut [bf16]) -> [u32; 4] {
    const INFINITE: u32 = 0x7f80_0000;
    let mut counts = [0u32; 4];
    for (x, out) in x.iter().zip(out) {
        let bits = x.to_bits();
        let size = bits & 0x7fff_ffff;
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
        let nan = size > INFINITE;
        // The payload of a NaN may lie in the lower half alone; the quiet bit keeps it from
        // becoming infinite.
        let end = if nan { bits | 0x0040_0000 } else { rounded } >> 16;
        *out = bf16::from_bits(end as u16);
        let finite = size < INFINITE;
        counts[0] += u32::from(!nan & (bits & 0xffff != 0));
        counts[1] += u32::from(finite & (end & 0x7fff == 0x7f80));
        counts[2] += u32::from((size != 0) & (end & 0x7fff == 0));
        counts[3] += u32::from(!finite);
    }
    counts
}
by_path!(
    /// Rounds a part; changed, overflowed, flushed and nonfinite ones.
    part(x: &[f32], out: &mut [bf16]) -> [u32; 4] = part_body
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_rounds_and_counts_by_the_definition() {
        let all: Vec<f32> = (0..=u16::MAX)
            .flat_map(|upper| {
                [0, 1, 0x7fff, 0x8000, 0x8001].map(|low| f32::from_bits(u32::from(upper) << 16 | low))
            })
            .collect();
        let want: Vec<bf16> = all.iter().map(|x| ulpscope_floats::bf16_from_f32(*x)).collect();
        let mut counts = [0; 4];
        for (x, y) in all.iter().zip(&want) {
            let y = y.to_f32();
            counts[0] += u32::from(!x.is_nan() && *x != y);
            counts[1] += u32::from(x.is_finite() && y.is_infinite());
            counts[2] += u32::from(*x != 0.0 && y == 0.0);
            counts[3] += u32::from(!x.is_finite());
        }
        for path in Path::available() {
            let mut got = vec![bf16::ZERO; all.len()];
            assert_eq!(part(path, &all, &mut got), counts, "{path}");
            assert!(got.iter().zip(&want).all(|(a, b)| a.to_bits() == b.to_bits()), "{path}");
        }
        let mut got = vec![bf16::ZERO; all.len()];
        let total = round_to_bf16(&all, &mut got);
        let [changed, overflowed, flushed, nonfinite] = counts.map(u64::from);
        assert_eq!(total, Rounded { changed, overflowed, flushed, nonfinite });
    }
}
