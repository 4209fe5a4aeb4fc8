use proptest::prelude::*;
use ulpscope_floats::DType;

use super::*;
use crate::samples::{FORMATS, build, gather, gaussian};

const ROWS: usize = 96;
const COLUMNS: usize = 64;
const SHAPE: [usize; 2] = [ROWS, COLUMNS];

fn weights(seed: u64) -> Floats<'static> {
    let x = gaussian(ROWS * COLUMNS, seed);
    build(&x, |i| x.get(i) * 0.03)
}

fn said(a: &Floats, b: &Floats) -> String {
    describe(a, b, &SHAPE, &Hints { heads: &[6, 3] }).to_string()
}

/// What is done to a tensor, how it is stored afterwards, and what must be said of it.
fn operations(a: &Floats) -> Vec<(Floats<'static>, &'static str)> {
    let at = |i: usize| a.get(i);
    let layout = |i: usize| (i / COLUMNS, i % COLUMNS);
    let flat = |(row, column): (usize, usize)| row * COLUMNS + column;
    let row = |pick: &dyn Fn(usize) -> usize| gather(a, |i| flat((pick(layout(i).0), layout(i).1)));
    let heads = |n: usize, r: usize| {
        let (d, head) = (ROWS / n, r / (ROWS / n));
        head * d + r % d % 2 * (d / 2) + r % d / 2
    };
    let undo = |n: usize, r: usize| {
        let (d, head) = (ROWS / n, r / (ROWS / n));
        head * d + r % d % (d / 2) * 2 + r % d / (d / 2)
    };
    vec![
        (a.view().into_owned(), "b = a"),
        (build(a, |i| -at(i)), "b = -a"),
        (build(a, |i| 2.0 * at(i)), "b = 2*a"),
        (row(&|r| heads(6, r)), "b = a with rows permuted: interleaved layout of 6 heads"),
        (row(&|r| undo(3, r)), "b = a with rows permuted: half-split layout of 3 heads"),
        (
            row(&|r| heads(6, undo(3, r))),
            "b = a with rows permuted: interleaved layout of 6 heads, undone for 3",
        ),
        (
            row(&|r| heads(6, heads(6, r))),
            "b = a with rows permuted: interleaved layout of 6 heads, applied twice",
        ),
        (row(&|r| ROWS - 1 - r), "b = a with rows in reverse order"),
        (row(&|r| (r + 1) % ROWS), "b = a with rows rolled by -1 of 96"),
        (row(&|r| r ^ usize::from(r / 2 == 5)), "b = a with rows 10 and 11 swapped"),
        (row(&|r| ((r / 16) ^ 1) * 16 + r % 16), "b = a with rows permuted: 6 of 6 blocks of 16 moved"),
        (gather(a, |i| i % ROWS * COLUMNS + i / ROWS), "b = a taken as [96, 64] and transposed"),
        (build(a, |i| if i == 0 { 0.0 } else { at(i - 1) }), "b = a shifted by 1 element, zeros behind"),
        (build(a, |i| if i / COLUMNS == 9 { 0.0 } else { at(i) }), "b = a, except row 9, which are zero"),
        (
            build(a, |i| if i >= 5000 { 0.0 } else { at(i) }),
            "b = a, except elements 5000 to the end (6144), which are zero",
        ),
        (
            build(a, |i| if i % COLUMNS < 8 { -at(i) } else { at(i) }),
            "b = a, except columns 0 to 7, where b = -a",
        ),
    ]
}

#[test]
fn every_operation_gets_its_statement_in_any_storage() {
    for dtype in FORMATS {
        let a = weights(1).cast(dtype);
        for (b, want) in operations(&a) {
            assert_eq!(said(&a, &b), want, "{dtype}");
        }
    }
}

#[test]
fn after_a_rounding_too() {
    let a = weights(2);
    for dtype in [DType::Bf16, DType::F16] {
        for (b, want) in operations(&a).into_iter().skip(3) {
            let want = want.replacen("= a", &format!("= round_{dtype}(a)"), 1);
            // What was related within a place was so before the rounding.
            if !want.contains("where") {
                assert_eq!(said(&a, &b.cast(dtype)), want);
            }
        }
    }
    let (b, _) = operations(&a).swap_remove(3);
    assert_eq!(
        said(&b.cast(DType::Bf16), &a),
        "a = round_bf16(b) with rows permuted: interleaved layout of 6 heads"
    );
}

#[test]
fn one_element_off_is_said_or_spoils_it() {
    for dtype in FORMATS {
        let a = weights(3).cast(dtype);
        for (b, want) in operations(&a).into_iter().skip(1) {
            for off in [0, 3000, ROWS * COLUMNS - 1] {
                let spoilt = build(&b, |i| if i == off { b.get(i) * 1.5 + 0.01 } else { b.get(i) });
                assert_ne!(said(&a, &spoilt), want, "{dtype}, {off}");
            }
        }
        let one = build(&a, |i| if i == 700 { -a.get(i) } else { a.get(i) });
        assert!(said(&a, &one).starts_with("b = a, except element [10, 60]: "), "{}", said(&a, &one));
    }
}

#[test]
fn the_rest_is_described() {
    let (a, other) = (weights(4), weights(5));
    assert!(said(&a, &other).starts_with("unrelated numbers of the same distribution"));
    let noisy = build(&a, |i| a.get(i) + 0.1 * other.get(i));
    assert!(said(&a, &noisy).starts_with("b = a plus noise, SQNR 19."), "{}", said(&a, &noisy));
    assert_eq!(said(&a, &build(&a, |_| 1.0)), "every element of b is 1");
    // That some were it before does not make the others the ones that changed.
    let some = build(&a, |i| if i % 8 == 0 { 1.0 } else { a.get(i) });
    assert_eq!(said(&some, &build(&a, |_| 1.0)), "every element of b is 1");
    assert_eq!(said(&a, &a.slice(0..10).cast(DType::F32)), "a has 6144 elements, b has 10");
    let (permuted, _) = operations(&a).swap_remove(3);
    let noisy = build(&permuted, |i| permuted.get(i) + 0.1 * other.get(i));
    let aligned = said(&a, &noisy);
    assert!(
        aligned.starts_with("b = a with rows permuted: interleaved layout of 6 heads, plus noise, SQNR 19."),
        "{aligned}"
    );
}

#[test]
fn what_was_moved_and_multiplied_is_aligned() {
    let a = weights(6).cast(DType::Bf16);
    for (by, want) in [(16, "rolled by 16 of 96"), (-32, "rolled by -32 of 96")] {
        let rolled = |i: usize| ((i / COLUMNS) as isize - by).rem_euclid(ROWS as isize) as usize * COLUMNS;
        let b = build(&a, |i| 0.7 * a.get(rolled(i) + i % COLUMNS)).cast(DType::Bf16);
        let found = said(&a, &b);
        assert!(found.starts_with(&format!("b = 0.7*a with rows {want}, plus noise, SQNR 5")), "{found}");
    }
    // Orders without a name, of which some lines are lost besides.
    let noise = gaussian(ROWS * COLUMNS, 9);
    let b = build(&a, |i| -2.0 * a.get(i - i % COLUMNS + i % COLUMNS * 5 % COLUMNS));
    assert_eq!(
        said(&a, &b),
        format!("b = -2*a with columns permuted: {} of {COLUMNS} moved", moved(COLUMNS))
    );
    let row = |i: usize| i / COLUMNS * 5 % ROWS;
    let lost = |i: usize| if (10..13).contains(&(i / COLUMNS)) { 0.0 } else { 1.0 };
    let b = build(&a, |i| lost(i) * (a.get(row(i) * COLUMNS + i % COLUMNS) + 1e-3 * noise.get(i)));
    let found = said(&a, &b);
    let want = format!("b = a with rows permuted: {} of {ROWS} moved, plus noise, SQNR 1", moved(ROWS));
    assert!(found.starts_with(&want), "{found}");
}

/// How many of `n` lines are not where they were when every fifth is taken.
fn moved(n: usize) -> usize {
    (0..n).filter(|i| i * 5 % n != *i).count()
}

#[test]
fn odd_input_is_answered() {
    let empty = Floats::from(Vec::<f32>::new());
    assert_eq!(describe(&empty, &empty, &[0, 4], &Hints::default()).to_string(), "b = a");
    for values in [vec![f32::NAN; 7], vec![f32::INFINITY; 7], vec![0.0; 7], vec![-0.0; 7], vec![1e-45; 7]] {
        let x = Floats::from(values);
        for y in [vec![1.0f32; 7], vec![f32::NAN; 7], vec![0.0; 7], (0..7).map(|i| i as f32).collect()] {
            let y = Floats::from(y);
            for shape in [&[7][..], &[1, 7], &[7, 1], &[2, 3], &[]] {
                for (a, b) in [(&x, &y), (&y, &x)] {
                    assert!(!describe(a, b, shape, &Hints { heads: &[0, 1, 7] }).to_string().is_empty());
                }
            }
        }
    }
}

proptest! {
    /// No rule leads from one random tensor to another.
    #[test]
    fn random_pairs_are_unrelated(seed: u64, a in 0usize..3, b in 0usize..3, rows in 1usize..40, columns in 1usize..40) {
        prop_assume!(rows * columns >= 8);
        let x = gaussian(rows * columns, seed).cast(FORMATS[a]);
        let y = gaussian(rows * columns, !seed).cast(FORMATS[b]);
        let found = describe(&x, &y, &[rows, columns], &Hints::default());
        prop_assert!(matches!(found, Statement::Described(_)), "{found}");
    }

    /// Nothing panics, whatever the bits are.
    #[test]
    fn any_bits_are_answered(bits in prop::collection::vec((any::<u16>(), any::<u16>()), 1..40), rows in 1usize..8) {
        let side = |pick: fn(&(u16, u16)) -> u16| -> Vec<_> {
            bits.iter().map(|pair| ulpscope_floats::f16::from_bits(pick(pair))).collect()
        };
        let (a, b) = (Floats::from(side(|p| p.0)), Floats::from(side(|p| p.1)));
        let shape = [rows, bits.len() / rows];
        for b in [b.cast(DType::F32), b] {
            let said = describe(&a, &b, &shape, &Hints { heads: &[rows] }).to_string();
            prop_assert!(!said.is_empty());
        }
    }
}
