use proptest::prelude::*;
use ulpscope_floats::{DType, Floats};

use crate::order::{HeadLayout, Order};
use crate::rearrangement::Rearrangement;
use crate::registry;
use crate::samples::{FORMATS, build, gather, gaussian};
use crate::side::Side;
use crate::view::View;
use crate::way::Way;

const ROWS: usize = 48;
const COLUMNS: usize = 80;

fn rearrangement<'a>(
    source: View<'a>,
    result: View<'a>,
    rows: usize,
    columns: usize,
    heads: &[usize],
) -> Option<Rearrangement> {
    let way = Way { of: Side::A, source, result, rows, columns, relation: crate::relation };
    registry::rearrangement(&way, heads)
}

fn found(a: &Floats, b: &Floats) -> String {
    rearrangement(View::plain(a), View::plain(b), ROWS, COLUMNS, &[])
        .map_or("none".to_owned(), |r| r.to_string())
}

/// The matrix with the element for each row and column taken from another row and column.
fn moved(a: &Floats, pick: impl Fn(usize, usize) -> (usize, usize)) -> Floats<'static> {
    gather(a, |i| {
        let (row, column) = pick(i / COLUMNS, i % COLUMNS);
        row * COLUMNS + column
    })
}

#[test]
fn rows_and_columns() {
    for dtype in FORMATS {
        let a = gaussian(ROWS * COLUMNS, 1).cast(dtype);
        let interleaved = |n: usize, i: usize| i - i % n + i % n % 2 * (n / 2) + i % n / 2;
        let swap = |i: usize| [(3, 7), (7, 3)].iter().find(|(x, _)| *x == i).map_or(i, |(_, y)| *y);
        type Case<'a> = (&'a str, &'a dyn Fn(usize, usize) -> (usize, usize));
        let cases: [Case; 9] = [
            ("with rows 3 and 7 swapped", &|r, c| (swap(r), c)),
            ("with columns 3 and 7 swapped", &|r, c| (r, swap(c))),
            ("with rows in reverse order", &|r, c| (ROWS - 1 - r, c)),
            (
                "with columns permuted: each two neighbours swapped, as nibbles in the wrong order are",
                &|r, c| (r, c ^ 1),
            ),
            ("with rows rolled by 1 of 48", &|r, c| ((r + ROWS - 1) % ROWS, c)),
            ("with rows rolled by -2 of 48", &|r, c| ((r + 2) % ROWS, c)),
            ("with columns rolled by -1 of 80", &|r, c| (r, (c + 1) % COLUMNS)),
            ("with rows permuted: interleaved layout of 3 heads", &|r, c| (interleaved(16, r), c)),
            ("with columns permuted: of each 16, the halves interleaved", &|r, c| (r, interleaved(16, c))),
        ];
        for (want, pick) in cases {
            assert_eq!(found(&a, &moved(&a, pick)), want, "{dtype}");
        }
        let blocks = [2, 0, 1, 3];
        let b = moved(&a, |r, c| (blocks[r / 12] * 12 + r % 12, c));
        assert_eq!(found(&a, &b), "with rows permuted: 3 of 4 blocks of 12 moved");
        let any = moved(&a, |r, c| (r * 5 % ROWS, c));
        assert_eq!(found(&a, &any), "with rows permuted: 44 of 48 moved");
        let any = moved(&a, |r, c| (r, c * 7 % COLUMNS));
        assert!(found(&a, &any).starts_with("with columns permuted: 7"), "{}", found(&a, &any));
    }
}

#[test]
fn transposed_as_stored() {
    for dtype in FORMATS {
        let a = gaussian(ROWS * COLUMNS, 2).cast(dtype);
        let b = gather(&a, |i| i % ROWS * COLUMNS + i / ROWS);
        assert_eq!(found(&a, &b), "taken as [48, 80] and transposed");
        assert_eq!(found(&b, &a), "taken as [80, 48] and transposed");
        let square = gaussian(64 * 64, 3).cast(dtype);
        let b = gather(&square, |i| i % 64 * 64 + i / 64);
        let by = rearrangement(View::plain(&square), View::plain(&b), 64, 64, &[]).unwrap();
        assert_eq!(by.to_string(), "transposed");
    }
}

#[test]
fn shards_joined_along_the_wrong_dimension() {
    for dtype in FORMATS {
        let a = gaussian(ROWS * COLUMNS, 7).cast(dtype);
        for count in [2, 4, 8] {
            let width = COLUMNS / count;
            let stacked = build(&a, |i| {
                let (shard, within) = (i / (ROWS * width), i % (ROWS * width));
                a.get(within / width * COLUMNS + shard * width + within % width)
            });
            let said =
                format!("with its {count} shards of columns one after the other, as if they were of rows");
            assert_eq!(found(&a, &stacked), said);
            let said = format!(
                "taken as {count} shards of columns, one after the other, that were put side by side"
            );
            assert_eq!(found(&stacked, &a), said);
            let off = build(&stacked, |i| stacked.get(i) * if i == 3000 { 2.0 } else { 1.0 });
            assert_eq!(found(&a, &off), "none");
        }
    }
}

#[test]
fn shifts_that_do_not_come_round() {
    for dtype in FORMATS {
        let a = gaussian(ROWS * COLUMNS, 4).cast(dtype);
        let len = a.len();
        let by_one = build(&a, |i| if i == 0 { 0.0 } else { a.get(i - 1) });
        assert_eq!(found(&a, &by_one), "shifted by 1 element, zeros behind");
        let kept = build(&a, |i| if i == len - 1 { a.get(i) } else { a.get(i + 1) });
        assert_eq!(found(&a, &kept), "shifted by -1 element, the edge as it was");
        let round = build(&a, |i| a.get((i + 2) % len));
        assert_eq!(found(&a, &round), "shifted by -2 elements, around the end");
        let rows = build(&a, |i| if i < 5 * COLUMNS { 9.0 + i as f64 } else { a.get(i - 5 * COLUMNS) });
        assert_eq!(found(&a, &rows), "shifted by 5 rows, other numbers behind");
        let twice = build(&a, |i| if i < 24 * COLUMNS { a.get(i) } else { a.get(i - 24 * COLUMNS) });
        assert_eq!(found(&a, &twice), "with each row that of 24 before, the first 24 as they were");
        let columns = build(&a, |i| if i % COLUMNS < 2 { 0.0 } else { a.get(i - 2) });
        assert_eq!(found(&a, &columns), "shifted by 2 columns, zeros behind");
    }
}

#[test]
fn one_element_off_and_other_matrices_are_no_rearrangement() {
    let a = gaussian(ROWS * COLUMNS, 5);
    let good = moved(&a, |r, c| (ROWS - 1 - r, c));
    for off in [0, 70, 1000, ROWS * COLUMNS - 1] {
        let b = build(&good, |i| good.get(i) * if i == off { 2.0 } else { 1.0 });
        assert_eq!(found(&a, &b), "none");
        let b = gather(&a, |i| i % ROWS * COLUMNS + i / ROWS);
        let b = build(&b, |i| b.get(i) * if i == off { 2.0 } else { 1.0 });
        assert_eq!(found(&a, &b), "none");
    }
    for seed in 10..15 {
        assert_eq!(found(&a, &gaussian(ROWS * COLUMNS, seed)), "none");
    }
}

#[test]
fn vectors_are_permuted_by_element() {
    let a = gaussian(64, 6).cast(DType::Bf16);
    let b = gather(&a, |i| i - i % 16 + i % 16 % 2 * 8 + i % 16 / 2);
    let by = rearrangement(View::plain(&a), View::plain(&b), 64, 1, &[4]).unwrap();
    assert_eq!(by.to_string(), "with elements permuted: interleaved layout of 4 heads");
}

proptest! {
    /// Whatever is claimed leads from `a` to `b`.
    #[test]
    fn a_permutation_found_is_one(seed: u64, heads in 1usize..7, undone in 1usize..7) {
        let (rows, columns) = (240, 3);
        let a = gaussian(rows * columns, seed).cast(DType::F16);
        let orders = [
            Order::Heads { to: HeadLayout::Interleaved, heads },
            Order::Heads { to: HeadLayout::HalfSplit, heads },
            Order::HeadsTwice { to: HeadLayout::Interleaved, heads },
            Order::HeadsMismatched { to: HeadLayout::HalfSplit, heads, undone_for: undone },
        ];
        for order in orders.into_iter().take(if heads == undone { 3 } else { 4 }) {
            let b = gather(&a, |i| order.source(i / columns, rows) * columns + i % columns);
            let by = rearrangement(View::plain(&a), View::plain(&b), rows, columns, &[heads]).unwrap();
            let is_it = matches!(&by, Rearrangement::Permuted { order: found, .. }
                if (0..rows).all(|i| found.source(i, rows) == order.source(i, rows)));
            prop_assert!(is_it, "{by} is not {order}");
        }
    }
}
