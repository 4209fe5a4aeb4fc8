//! The name of an order that was found.

use std::num::NonZeroUsize;

use rayon::prelude::*;
use ulpscope_floats::DType;

use crate::recover::{Masks, ProbeError, Recovered, recover};
use crate::{Accumulation, dot};

/// The largest n of the `split-k(n)` that are tried.
const MOST_STRETCHES: usize = 64;

/// Finds the order in which [`dot`] adds: the tree of a declared order, by the same probes.
///
/// # Errors
/// As [`recover`].
pub fn declared(order: Accumulation, length: usize) -> Result<Recovered, ProbeError> {
    let ones = vec![1.0; length];
    recover(length, Masks::new(DType::F32, DType::F32), |rows| {
        rows.par_chunks(length.max(1)).map(|x| dot(order, x, &ones)).collect()
    })
}

/// The named orders that add K products as `found` does: none, one, or several if K is too short to
/// tell them apart.
///
/// # Errors
/// As [`recover`].
pub fn recognise(found: &Recovered, length: usize) -> Result<Vec<Accumulation>, ProbeError> {
    let splits = (1..=MOST_STRETCHES).filter_map(NonZeroUsize::new).map(Accumulation::SplitK);
    let named = Accumulation::ALL.into_iter().filter(|order| !matches!(order, Accumulation::SplitK(_)));
    let mut orders = Vec::new();
    for order in named.chain(splits) {
        if plausible(found, order, length) && declared(order, length)? == *found {
            orders.push(order);
        }
    }
    // The smallest split says what the larger ones repeat; none is news where a plainer name fits.
    let plain = orders.iter().any(|order| !matches!(order, Accumulation::SplitK(_)));
    let mut splits = 0;
    orders.retain(|order| {
        splits += usize::from(matches!(order, Accumulation::SplitK(_)));
        !matches!(order, Accumulation::SplitK(_)) || (!plain && splits == 1)
    });
    Ok(orders)
}

/// Whether some sums come out alike, which costs less than to probe.
fn plausible(found: &Recovered, order: Accumulation, length: usize) -> bool {
    let Recovered::Tree(tree) = found else { return order == Accumulation::Exact };
    let ones = vec![1.0; length];
    (0..8u32).all(|seed| {
        let x: Vec<f32> = (0..length as u32)
            .map(|k| (k.wrapping_add(seed << 20).wrapping_mul(2_654_435_761) >> 8) as f32 / 8_388_608.0 - 1.0)
            .collect();
        tree.sum(&x).is_some_and(|sum| sum == dot(order, &x, &ones))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_recognises_itself() {
        for order in Accumulation::ALL {
            for length in [32, 64, 100, 576, 1536] {
                let names = recognise(&declared(order, length).unwrap(), length).unwrap();
                let plain = matches!(order, Accumulation::SplitK(_)) && length < 576;
                assert!(names.contains(&order) || plain, "{order} over {length}: {names:?}");
                if length == 1536 {
                    assert_eq!(names, [order]);
                }
            }
        }
    }

    #[test]
    fn an_order_without_a_name_has_none() {
        let ones = [1.0; 64];
        let outside_in = |x: &[f32]| {
            let folded: Vec<f32> = (0..32).flat_map(|k| [x[k], x[63 - k]]).collect();
            dot(Accumulation::Sequential, &folded, &ones)
        };
        let masks = Masks::new(DType::F32, DType::F32);
        let found = recover(64, masks, |rows| rows.chunks(64).map(outside_in).collect()).unwrap();
        assert_eq!(recognise(&found, 64).unwrap(), []);
    }
}
