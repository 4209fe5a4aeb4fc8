//! Heads of a projection that were put together.
//!
//! ```
//! use ulpscope_floats::Floats;
//! use ulpscope_relations::{Hints, describe};
//!
//! let a = Floats::from((0..256).map(|i| (i as f32).sin()).collect::<Vec<_>>());
//! let mean = |i: usize| 0.5 * (a.get(i / 128 * 128 + i % 64) + a.get(i / 128 * 128 + 64 + i % 64));
//! let b = Floats::from((0..256).map(|i| mean(i) as f32).collect::<Vec<_>>());
//! let statement = describe(&a, &b, &[32, 8], &Hints { heads: &[4] }).to_string();
//! assert_eq!(statement, "b = a with its 4 heads in groups of 2, of which each is the mean");
//! ```

use ulpscope_floats::Floats;

use crate::statement::Description;
use crate::view::View;

/// Roundings that a mean may be off by.
const ROUNDINGS: f64 = 3.0;

/// The heads of each group of `b` are the mean of those of `a`.
pub(crate) fn averaged(
    a: &Floats,
    b: &Floats,
    rows: usize,
    columns: usize,
    heads: &[usize],
) -> Option<Description> {
    let (x, y) = (View::plain(a), View::plain(b));
    let unit = a.dtype().unit_roundoff().max(b.dtype().unit_roundoff());
    for &heads in heads.iter().filter(|&&heads| heads > 1 && rows.is_multiple_of(heads)) {
        let size = rows / heads * columns;
        for group in (2..=heads).filter(|group| heads.is_multiple_of(*group)) {
            let of = |head: usize, i: usize| head / group * group * size + i;
            let mean = |head: usize, i: usize| {
                let all = (0..group).map(|n| x.get(of(head, i) + n * size));
                all.fold((0.0, 0.0), |(sum, most): (f64, f64), x| (sum + x, most.max(x.abs())))
            };
            let is_mean = |at: usize| {
                let (head, i) = (at / size, at % size);
                let (sum, most) = mean(head, i);
                (y.get(at) - sum / group as f64).abs() <= ROUNDINGS * unit * most
            };
            if (0..y.len()).all(is_mean) {
                return Some(Description::Averaged { heads, group });
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{FORMATS, build, gaussian};

    #[test]
    fn means_of_heads_are_recognised() {
        for dtype in FORMATS {
            let a = gaussian(64 * 32, 1).cast(dtype);
            let size = 16 * 32;
            let b = build(&a, |i| {
                let (pair, i) = (i / size / 2, i % size);
                0.5 * (a.get(2 * pair * size + i) + a.get((2 * pair + 1) * size + i))
            });
            assert_eq!(averaged(&a, &b, 64, 32, &[4]), Some(Description::Averaged { heads: 4, group: 2 }));
            assert_eq!(averaged(&a, &gaussian(64 * 32, 2).cast(dtype), 64, 32, &[4]), None);
        }
    }
}
