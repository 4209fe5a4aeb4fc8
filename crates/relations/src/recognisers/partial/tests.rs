use ulpscope_floats::{DType, Floats, Rounding};

use super::*;
use crate::samples::{FORMATS, build, gaussian, uniform};
use crate::side::Side;
use crate::text;

const ROWS: usize = 40;
const COLUMNS: usize = 30;

fn partial(of: Side, source: View, result: View, rows: usize, columns: usize) -> Option<Relation> {
    super::partial(&Way { of, source, result, rows, columns, relation: crate::relation })
}

fn said(a: &Floats, b: &Floats) -> String {
    partial(Side::A, View::plain(a), View::plain(b), ROWS, COLUMNS)
        .map_or("none".to_owned(), |r| r.to_string())
}

/// `a` with elements changed by `f`, which gets the row, the column and the value.
fn changed(a: &Floats, f: impl Fn(usize, usize, f64) -> f64) -> Floats<'static> {
    build(a, |i| f(i / COLUMNS, i % COLUMNS, a.get(i)))
}

#[test]
fn places_and_what_lies_there() {
    for dtype in FORMATS {
        let a = gaussian(ROWS * COLUMNS, 1).cast(dtype);
        let other = gaussian(ROWS * COLUMNS, 2).cast(dtype);
        type Case<'a> = (&'a str, &'a dyn Fn(usize, usize, f64) -> f64);
        let new = |r: usize, c: usize| other.get(r * COLUMNS + c);
        let cases: [Case; 16] = [
            ("b = a, except rows 3 to 5, which are zero", &|r, _, x| {
                if (3..6).contains(&r) { 0.0 } else { x }
            }),
            (
                "b = a, except rows 3 to 5, which are zero, and rows 6 to 9, where b = 2*a",
                &|r, _, x| match r {
                    3..6 => 0.0,
                    6..10 => 2.0 * x,
                    _ => x,
                },
            ),
            (
                "b = a, except 3 of 30 columns (1, 5, 9), where b = 4*a, and 2 of 30 columns (3, 7), where b = -a",
                &|_, c, x| match c {
                    1 | 5 | 9 => 4.0 * x,
                    3 | 7 => -x,
                    _ => x,
                },
            ),
            (
                "b = a, except rows 3 to 5, which are zero, and rows 6 to 9, which differ",
                &|r, c, x| match r {
                    3..6 => 0.0,
                    6..10 => new(r, c),
                    _ => x,
                },
            ),
            ("b = a, except row 7, where b = -a", &|r, _, x| if r == 7 { -x } else { x }),
            ("b = a, except rows 30 to the end (40), which are all 1", &|r, _, x| {
                if r >= 30 { 1.0 } else { x }
            }),
            ("b = a, except rows 30 to the end (40), where b = 2*a", &|r, _, x| {
                if r >= 30 { 2.0 * x } else { x }
            }),
            ("b = a, except rows 30 to the end (40), which differ", &|r, c, x| {
                if r >= 30 { new(r, c) } else { x }
            }),
            ("b = a, except columns 2 to 4, which differ", &|r, c, x| {
                if (2..5).contains(&c) { new(r, c) } else { x }
            }),
            ("b = a, except elements 615 to the end (1200), which are zero", &|r, c, x| {
                if r * COLUMNS + c >= 615 { 0.0 } else { x }
            }),
            ("b = a, except elements 615 to the end (1200), which differ", &|r, c, x| {
                if r * COLUMNS + c >= 615 { new(r, c) } else { x }
            }),
            ("b = a, except columns 10 to 14 of rows 4 to 11, which differ", &|r, c, x| {
                if (4..12).contains(&r) && (10..15).contains(&c) { new(r, c) } else { x }
            }),
            ("b = a, except 4 of 40 rows (0, 10, 20, 30), where b = -a", &|r, _, x| {
                if r % 10 == 0 { -x } else { x }
            }),
            ("b = a, except 3 of 30 columns (0, 10, 20), which are zero", &|_, c, x| {
                if c % 10 == 0 { 0.0 } else { x }
            }),
            ("b = a, except 172 elements, which are not finite (14.3 %)", &|r, c, x| {
                if (r * COLUMNS + c) % 7 == 1 { f64::NAN } else { x }
            }),
            ("none", &|r, c, _| new(r, c)),
        ];
        for (want, f) in cases {
            assert_eq!(said(&a, &changed(&a, f)), want, "{dtype}");
        }
    }
}

#[test]
fn zeros_here_and_there() {
    let a = gaussian(ROWS * COLUMNS, 3);
    let mut chance = uniform(1);
    let drop: Vec<bool> = (0..a.len()).map(|_| chance() < 0.5).collect();
    let count = drop.iter().filter(|d| **d).count();
    let dropped = build(&a, |i| if drop[i] { 0.0 } else { a.get(i) });
    let share = text::percent(count, a.len());
    assert_eq!(said(&a, &dropped), format!("b = a, except {count} elements, which are zero ({share})"));
    let pruned = build(&a, |i| if a.get(i).abs() < 0.5 { 0.0 } else { a.get(i) });
    assert!(
        said(&a, &pruned).starts_with("b = a, except magnitudes below 0.5, which are zero (3"),
        "{}",
        said(&a, &pruned)
    );
    let sparse = build(&a, |i| if i % 4 < 2 { 0.0 } else { a.get(i) });
    assert_eq!(said(&a, &sparse), "b = a, except two of every four neighbours, which are zero (50 %)");
    let small =
        build(&a, |i| if i % 7 == 0 { 1e-6 * (1.0 + i as f64 / 100.0) } else { a.get(i) }).cast(DType::F16);
    let flushed = build(&small, |i| if small.get(i).abs() < (-14f64).exp2() { 0.0 } else { small.get(i) });
    assert_eq!(said(&small, &flushed), "b = a, except 172 subnormals of f16, which are zero");
}

#[test]
fn single_elements_down_to_the_bit() {
    let a = gaussian(ROWS * COLUMNS, 4).cast(DType::Bf16);
    let flip = |bit: u32| {
        let Floats::Bf16(bits) = &a else { panic!("a is bf16") };
        let mut bits = bits.to_vec();
        bits[12 * COLUMNS + 7] =
            ulpscope_floats::bf16::from_bits(bits[12 * COLUMNS + 7].to_bits() ^ 1 << bit);
        Floats::from(bits)
    };
    let at = a.get(12 * COLUMNS + 7);
    let want = format!("b = a, except element [12, 7]: {at} became {} (bit 15 flipped)", -at);
    assert_eq!(said(&a, &flip(15)), want);
    for bit in 0..16 {
        assert!(said(&a, &flip(bit)).ends_with(&format!("(bit {bit} flipped)")));
    }
    let five = build(&a, |i| if i % 240 == 3 { 7.0 + i as f64 / 8.0 } else { a.get(i) });
    assert!(said(&a, &five).starts_with("b = a, except 5 of 1200 elements: [0, 3]: "), "{}", said(&a, &five));
    assert!(said(&a, &five).ends_with(", …"));
}

#[test]
fn the_rest_may_have_been_rounded() {
    let a = gaussian(ROWS * COLUMNS, 5);
    let b = build(&a.cast(DType::Bf16), |i| if i / COLUMNS == 3 { 0.0 } else { a.get(i) });
    let view = View::rounded(&a, Some(Rounding::NearestBf16));
    let found = partial(Side::A, view, View::plain(&b), ROWS, COLUMNS).unwrap();
    assert_eq!(found.to_string(), "b = round_bf16(a), except row 3, which are zero");
}

#[test]
fn equal_zeros_are_no_evidence() {
    let a = build(&gaussian(1200, 6), |i| if i % 2 == 0 { 0.0 } else { 1.0 + i as f64 });
    let b = build(&a, |i| a.get(i) * (1.1 + i as f64 * 0.01));
    assert_eq!(said(&a, &b), "none");
}
