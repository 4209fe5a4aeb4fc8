//! The orders in which PyTorch's CPU kernels add up one row of f32 numbers.

/// Sum over a contiguous row as `torch.sum` and `torch.mean` have it (`SumKernel.cpp`).
///
/// Eight lanes, whatever the CPU. Vectors go to four accumulators in turn; each of these is a
/// cascade of four levels that passes its sum up after every `2^power` vectors, so that the error
/// grows with the logarithm of the length.
#[inline(always)]
pub(crate) fn cascade(x: &[f32]) -> f32 {
    const LANES: usize = 8;
    const WAYS: usize = 4;
    const LEVELS: usize = 4;
    type Sums = [[f32; LANES]; WAYS];
    #[inline(always)]
    fn add(sum: &mut [f32; LANES], x: &[f32]) {
        for (sum, x) in sum.iter_mut().zip(x) {
            *sum += x;
        }
    }
    #[inline(always)]
    fn take(sums: &mut Sums, row: &[f32]) {
        for (sum, vector) in sums.iter_mut().zip(row.chunks_exact(LANES)) {
            add(sum, vector);
        }
    }

    let vectors = x.len() / LANES;
    let rows = vectors / WAYS;
    let power = (rows.max(1).next_power_of_two().trailing_zeros() / LEVELS as u32).max(4);
    let step = 1 << power;
    let mut levels: [Sums; LEVELS] = [[[0.0; LANES]; WAYS]; LEVELS];
    let mut all = x.chunks_exact(WAYS * LANES);
    let mut done = 0;
    while done + step <= rows {
        all.by_ref().take(step).for_each(|row| take(&mut levels[0], row));
        done += step;
        for j in 1..LEVELS {
            let below = std::mem::replace(&mut levels[j - 1], [[0.0; LANES]; WAYS]);
            levels[j].iter_mut().zip(&below).for_each(|(sum, below)| add(sum, below));
            if done & ((step - 1) << (j as u32 * power)) != 0 {
                break;
            }
        }
    }
    all.by_ref().for_each(|row| take(&mut levels[0], row));
    let [mut sums, upper @ ..] = levels;
    for level in &upper {
        sums.iter_mut().zip(level).for_each(|(sum, upper)| add(sum, upper));
    }

    let mut left = all.remainder().chunks_exact(LANES);
    let [mut total, others @ ..] = sums;
    left.by_ref().for_each(|vector| add(&mut total, vector));
    others.iter().for_each(|other| add(&mut total, other));
    let tail = left.remainder().iter().fold(0.0, |sum, x| sum + x);
    total.iter().fold(tail, |sum, x| sum + x)
}

/// Sixteen lanes, halved at distances 8, 4, 2, 1: `vec::reduce_all` on AVX-512. A row shorter than
/// that is added up from the left; what is left of a longer one joins the first lanes.
#[inline(always)]
pub(crate) fn sixteen_lanes(x: &[f32]) -> f32 {
    let Some((first, rest)) = x.split_first_chunk::<16>() else {
        return x.iter().copied().reduce(|sum, x| sum + x).unwrap_or(0.0);
    };
    let mut sums = *first;
    for x in rest.chunks(16) {
        sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += x);
    }
    halve(sums)
}

/// The sum of a power of two of lanes: the second half is added to the first, and so on.
#[inline(always)]
pub(crate) fn halve<const N: usize>(mut sums: [f32; N]) -> f32 {
    let mut distance = N;
    while distance > 1 {
        distance /= 2;
        for i in 0..distance {
            sums[i] += sums[i + distance];
        }
    }
    sums[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden values of `torch.sum` and of the row sums inside `torch.softmax` are compared
    /// elsewhere. Here integers show that no number is lost or counted twice.
    #[test]
    fn sums_of_integers_are_exact_at_every_length() {
        for n in 0..3000usize {
            let x: Vec<f32> = (0..n).map(|i| (i % 7) as f32 - 2.0).collect();
            let exact: i64 = (0..n).map(|i| (i % 7) as i64 - 2).sum();
            assert_eq!(cascade(&x), exact as f32, "{n}");
            assert_eq!(sixteen_lanes(&x), exact as f32, "{n}");
        }
    }

    #[test]
    fn lanes_are_eight_and_sixteen() {
        let mut x = [0.0f32; 64];
        (x[0], x[8], x[16], x[40]) = (16_777_216.0, 1.0, 1.0, -16_777_216.0);
        // Vectors 0 and 4 share an accumulator in the cascade, and so do 1 and 5: -2^24 + 1 is
        // exact.
        assert_eq!(cascade(&x), 2.0);
        // Lane 0 takes 0, 16 and lane 8 takes 8, 40: a tie, then -2^24 + 1.
        assert_eq!(sixteen_lanes(&x), 1.0);
    }
}
