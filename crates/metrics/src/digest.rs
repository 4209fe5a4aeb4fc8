//! A fingerprint of an array's values, to find the same tensor under another name.

use rayon::prelude::*;
use ulpscope_floats::Floats;

/// Elements of one task; part of the definition, since each task is hashed on its own.
const BLOCK: usize = 1 << 16;

/// Elements widened at a time.
const PIECE: usize = 512;

/// Independent chains, so that one multiplication need not wait for the last.
const LANES: usize = 4;

/// A 128-bit fingerprint of the values, in order: the same for the same values in any format.
///
/// All NaNs are one value, +0 and -0 are two. It is neither cryptographic nor meant to be stored:
/// two tensors of a model with one digest are the same for all practical purposes, unless somebody
/// made them to fool it. The shape takes no part, only the number of elements.
///
/// ```
/// use ulpscope_floats::{DType, Floats};
/// use ulpscope_metrics::digest;
///
/// let a = Floats::from(vec![1.0f32, 0.5, -2.0]);
/// assert_eq!(digest(&a), digest(&a.cast(DType::Bf16)));
/// assert_ne!(digest(&a), digest(&Floats::from(vec![0.5f32, 1.0, -2.0])));
/// ```
pub fn digest(x: &Floats) -> u128 {
    let blocks: Vec<[u64; 2]> = (0..x.len().div_ceil(BLOCK))
        .into_par_iter()
        .map(|i| block(x, i * BLOCK, x.len().min((i + 1) * BLOCK)))
        .collect();
    let seeds = [mix(1, x.len() as u64), mix(2, x.len() as u64)];
    let [low, high] = blocks.iter().fold(seeds, |[l, h], b| [mix(l, b[0]), mix(h, b[1])]);
    u128::from(high) << 64 | u128::from(low)
}

fn block(x: &Floats, from: usize, to: usize) -> [u64; 2] {
    let (mut low, mut high) = ([0u64; LANES], [0x6a09_e667_f3bc_c908u64; LANES]);
    let mut piece = [0.0; PIECE];
    for start in (from..to).step_by(PIECE) {
        let piece = &mut piece[..PIECE.min(to - start)];
        x.read_f64(start, piece);
        for chunk in piece.chunks(LANES) {
            for (lane, x) in chunk.iter().enumerate() {
                let bits = canonical(*x);
                low[lane] = mix(low[lane], bits);
                high[lane] = mix(high[lane], bits.rotate_left(32));
            }
        }
    }
    [low, high].map(|lanes| lanes.iter().fold(0, |key, lane| mix(key, *lane)))
}

/// The bits of a number, with one pattern for all NaNs.
pub fn canonical(x: f64) -> u64 {
    if x.is_nan() { f64::NAN.to_bits() } else { x.to_bits() }
}

/// Mixes `bits` into the hash `key`.
///
/// It multiplies by an odd number and folds the upper half, which depends on all bits, into the
/// lower.
pub fn mix(key: u64, bits: u64) -> u64 {
    let product =
        (key.rotate_left(5) ^ bits).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xd6e8_feb8_6659_fd93);
    product ^ (product >> 32)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use ulpscope_floats::DType;

    use super::*;

    #[test]
    fn any_change_of_values_order_or_length_shows() {
        let base: Vec<f32> = (0..140_000).map(|i| i as f32 * 0.25).collect();
        let mut seen = HashSet::from([digest(&Floats::from(base.clone()))]);
        for i in [0, 1, 511, 512, 65_535, 65_536, 139_999] {
            let mut other = base.clone();
            other[i] = other[i].next_up();
            assert!(seen.insert(digest(&Floats::from(other.clone()))), "{i}");
            other[i] = -base[i];
            assert!(seen.insert(digest(&Floats::from(other))), "sign of {i}");
        }
        for i in [0, 65_535, 100_000] {
            let mut other = base.clone();
            other.swap(i, i + 1);
            assert!(seen.insert(digest(&Floats::from(other))), "swapped at {i}");
        }
        assert!(seen.insert(digest(&Floats::from(base[..139_999].to_vec()))));
        for zeros in 0..10 {
            assert!(seen.insert(digest(&Floats::from(vec![0f32; zeros]))), "{zeros} zeros");
        }
    }

    #[test]
    fn formats_and_payloads_do_not_show() {
        let a = Floats::from(vec![1.0f32, f32::NAN, f32::INFINITY, -0.0, 0.5]);
        for dtype in DType::ALL {
            assert_eq!(digest(&a), digest(&a.cast(dtype)));
        }
        let payload = Floats::from(vec![1.0f32, f32::from_bits(0xff80_0001), f32::INFINITY, -0.0, 0.5]);
        assert_eq!(digest(&a), digest(&payload));
    }
}
