//! Every order of summation as plain scalar code: the definition that the fast paths are tested
//! against.

use crate::Accumulation;
use crate::exact::ExactSum;

/// The sum of the products `x[k]·w[k]` in the given order.
///
/// # Precision
/// f32 throughout, every multiply-add fused; see [`Accumulation`]. [`Accumulation::Exact`] is
/// rounded to f32 here.
///
/// # Panics
/// If the lengths differ.
pub fn dot(order: Accumulation, x: &[f32], w: &[f32]) -> f32 {
    assert_eq!(x.len(), w.len(), "a dot product of vectors of different length");
    let blocks = x.chunks(order.block(x.len()).max(1)).zip(w.chunks(order.block(w.len()).max(1)));
    match order {
        Accumulation::Tile32 => tile32(x, w),
        Accumulation::Tile32Blocked => in_order(blocks.map(|(x, w)| tile32(x, w))),
        Accumulation::Dot2 => in_order(blocks.map(|(x, w)| pairs(x, w))),
        Accumulation::Dot2Lanes => lanes(x, w),
        Accumulation::Sequential => sequential(x, w),
        Accumulation::Reversed => (0..x.len()).rev().fold(0.0, |acc, k| x[k].mul_add(w[k], acc)),
        Accumulation::Pairwise => pairwise(blocks.map(|(x, w)| sequential(x, w))),
        Accumulation::SequentialBlocked | Accumulation::SplitK(_) => {
            in_order(blocks.map(|(x, w)| sequential(x, w)))
        }
        Accumulation::Exact => {
            let mut sum = ExactSum::default();
            x.iter().zip(w).for_each(|(&x, &w)| sum.add_product(x, w));
            sum.to_f64_odd() as f32
        }
    }
}

fn in_order(sums: impl Iterator<Item = f32>) -> f32 {
    sums.reduce(|total, sum| total + sum).unwrap_or(0.0)
}

fn sequential(x: &[f32], w: &[f32]) -> f32 {
    x.iter().zip(w).fold(0.0, |acc, (x, w)| x.mul_add(*w, acc))
}

fn tile32(x: &[f32], w: &[f32]) -> f32 {
    let mut total = 0.0;
    for (x, w) in x.chunks(32).zip(w.chunks(32)) {
        let (mut even, mut odd) = (0.0, 0.0);
        for k in 0..x.len() {
            let sum = if k % 2 == 0 { &mut even } else { &mut odd };
            *sum = x[k].mul_add(w[k], *sum);
        }
        total += even + odd;
    }
    total
}

fn pairs(x: &[f32], w: &[f32]) -> f32 {
    let mut acc = 0.0;
    for (x, w) in x.chunks(2).zip(w.chunks(2)) {
        for k in (0..x.len()).rev() {
            acc = x[k].mul_add(w[k], acc);
        }
    }
    acc
}

fn lanes(x: &[f32], w: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    for (n, (x, w)) in x.chunks(2).zip(w.chunks(2)).enumerate() {
        for k in (0..x.len()).rev() {
            lanes[n % 16] = x[k].mul_add(w[k], lanes[n % 16]);
        }
    }
    for distance in [8, 4, 1, 2] {
        lanes = std::array::from_fn(|i| lanes[i] + lanes[i ^ distance]);
    }
    lanes[0]
}

fn pairwise(sums: impl Iterator<Item = f32>) -> f32 {
    let mut stack: Vec<f32> = Vec::new();
    let add = |stack: &mut Vec<f32>| {
        if let (Some(right), Some(left)) = (stack.pop(), stack.pop()) {
            stack.push(left + right);
        }
    };
    for (i, sum) in sums.enumerate() {
        stack.push(sum);
        (0..(i + 1).trailing_zeros()).for_each(|_| add(&mut stack));
    }
    while stack.len() > 1 {
        add(&mut stack);
    }
    stack.pop().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sum of these numbers depends on the order: 2^24 swallows a 1 that comes after it.
    #[test]
    fn orders_are_told_apart() {
        const BIG: f32 = 16_777_216.0;
        let ones = [1.0; 36];
        let mut x = [0.0; 36];
        x[0] = BIG;
        x[1] = 1.0;
        x[2] = 1.0;
        x[34] = 1.0;
        x[35] = -BIG;
        let sum = |order| dot(order, &x, &ones);
        assert_eq!(sum(Accumulation::Exact), 3.0);
        assert_eq!(sum(Accumulation::Sequential), 0.0);
        assert_eq!(sum(Accumulation::Reversed), 3.0); // below 2^24 every 1 counts
        assert_eq!(sum(Accumulation::Dot2), 1.0); // x[1] first, then BIG + 1 is a tie to BIG
    }
}
