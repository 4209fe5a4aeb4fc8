use ulpscope_floats::f16;

use super::*;
use crate::moments::Moments;
use crate::samples::{FORMATS, build, gaussian};
use crate::view::View;

const ROWS: usize = 24;
const COLUMNS: usize = 512;

/// `a` with every group replaced by what `f` makes of it, stored in f32.
fn by_group(a: &Floats, groups: Groups, f: impl Fn(&mut [f64])) -> Floats<'static> {
    let mut values: Vec<f64> = (0..a.len()).map(|i| a.get(i)).collect();
    for group in 0..groups.count(ROWS, COLUMNS) {
        let at: Vec<usize> =
            groups.runs(group, ROWS, COLUMNS).flat_map(|(start, len)| start..start + len).collect();
        let mut part: Vec<f64> = at.iter().map(|i| values[*i]).collect();
        f(&mut part);
        at.iter().zip(part).for_each(|(i, x)| values[*i] = x);
    }
    Floats::from(values).cast(DType::F32)
}

fn largest(x: &[f64]) -> f64 {
    x.iter().fold(0.0f64, |m, x| if x.abs() > m.abs() { *x } else { m })
}

fn half(x: f64) -> f64 {
    f16::from_f64(x).to_f64()
}

fn q4_0(x: &mut [f64]) {
    let d = largest(x) / -8.0;
    let stored = half(d);
    x.iter_mut().for_each(|x| *x = ((*x / d + 8.5).floor().min(15.0) - 8.0) * stored);
}

fn q4_1(x: &mut [f64]) {
    let min = x.iter().copied().fold(f64::INFINITY, f64::min);
    let d = (x.iter().copied().fold(f64::NEG_INFINITY, f64::max) - min) / 15.0;
    let (stored, offset) = (half(d), half(min));
    // As decoded in f32: a product and a sum.
    x.iter_mut().for_each(|x| {
        *x = f64::from((((*x - min) / d + 0.5).floor().min(15.0) * stored) as f32 + offset as f32)
    });
}

fn absmax(levels: f64) -> impl Fn(&mut [f64]) {
    move |x| {
        let d = half(largest(x).abs() / levels);
        x.iter_mut().for_each(|x| *x = (*x / d).round().clamp(-levels, levels) * d);
    }
}

fn int4_affine(x: &mut [f64]) {
    let min = x.iter().copied().fold(0.0, f64::min);
    let d = half((x.iter().copied().fold(0.0, f64::max) - min) / 15.0);
    let zero = (-min / d).round();
    x.iter_mut().for_each(|x| *x = ((*x / d + zero).round().clamp(0.0, 15.0) - zero) * d);
}

fn fp8(bits: i32, lowest: i32, top: f64) -> impl Fn(&mut [f64]) {
    move |x| {
        let scale = f64::from((largest(x).abs() / top) as f32);
        x.iter_mut().for_each(|x| {
            let v = *x / scale;
            let exponent = (v.abs().log2().floor() as i32).max(lowest);
            let spacing = f64::from(exponent - bits).exp2();
            *x = f64::from((((v / spacing).round_ties_even() * spacing).clamp(-top, top) * scale) as f32);
        });
    }
}

fn table(table: &'static [f64], top: f64, power: bool) -> impl Fn(&mut [f64]) {
    move |x| {
        let scale = largest(x).abs() / top;
        let scale = if power { scale.log2().ceil().exp2() } else { f64::from(scale as f32) };
        let nearest =
            |v: f64| table.iter().copied().min_by(|s, t| (s - v).abs().total_cmp(&(t - v).abs())).unwrap();
        x.iter_mut().for_each(|x| *x = f64::from((nearest(*x / scale) * scale) as f32));
    }
}

const FP4: [f64; 15] = [-6.0, -4.0, -3.0, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
const IQ4NL: [f64; 16] = [
    -127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0,
];
const NF4: [f64; 16] = [
    -1.0,
    -0.6961928,
    -0.52507305,
    -0.3949175,
    -0.28444138,
    -0.18477343,
    -0.091050036,
    0.0,
    0.0795803,
    0.1609302,
    0.2461123,
    0.33791524,
    0.44070983,
    0.562617,
    0.72295684,
    1.0,
];

fn said(a: &Floats, b: &Floats) -> String {
    grid(a, b, ROWS, COLUMNS).map_or("none".to_owned(), |g| g.to_string())
}

#[test]
fn formats_are_recognised_in_any_storage() {
    let a = gaussian(ROWS * COLUMNS, 1);
    type Case<'a> = (&'a str, Groups, &'a dyn Fn(&mut [f64]));
    let cases: [Case; 17] = [
        ("in blocks of 32 to at most 16 levels (like q4_0)", Groups::Blocks(32), &q4_0),
        ("in blocks of 32 to at most 16 levels (like q4_1 or q4_K)", Groups::Blocks(32), &q4_1),
        ("in blocks of 32 to at most 255 levels (like q8_0)", Groups::Blocks(32), &absmax(127.0)),
        ("per row to at most 255 levels (like int8 by absolute maximum)", Groups::Rows, &absmax(127.0)),
        ("per tensor to at most 252 levels (like int8 by absolute maximum)", Groups::Tensor, &absmax(127.0)),
        ("in blocks of 128 to at most 15 levels (like symmetric int4)", Groups::Blocks(128), &absmax(7.0)),
        ("in blocks of 64 to at most 16 levels (like asymmetric int4)", Groups::Blocks(64), &int4_affine),
        ("in blocks of 16 to at most 63 levels (like q6_K)", Groups::Blocks(16), &absmax(31.0)),
        ("in blocks of 64 to nf4 (like bitsandbytes)", Groups::Blocks(64), &table(&NF4, 1.0, false)),
        ("in blocks of 32 to fp4 e2m1 (like mxfp4)", Groups::Blocks(32), &table(&FP4, 6.0, true)),
        ("in blocks of 16 to fp4 e2m1 (like nvfp4)", Groups::Blocks(16), &table(&FP4, 6.0, false)),
        (
            "in blocks of 32 to iq4nl (like iq4_nl or iq4_xs)",
            Groups::Blocks(32),
            &table(&IQ4NL, 113.0, false),
        ),
        ("per tensor to fp8 e4m3", Groups::Tensor, &fp8(3, -6, 448.0)),
        ("per row to fp8 e4m3", Groups::Rows, &fp8(3, -6, 448.0)),
        ("in tiles of 128x128 to fp8 e4m3", Groups::Tiles(128), &fp8(3, -6, 448.0)),
        ("per tensor to fp8 e5m2", Groups::Tensor, &fp8(2, -14, 57344.0)),
        ("per row to fp8 e5m2", Groups::Rows, &fp8(2, -14, 57344.0)),
    ];
    for (want, groups, f) in cases {
        let b = by_group(&a, groups, f);
        for dtype in FORMATS {
            let found = said(&a, &b.cast(dtype));
            assert!(found == want, "{want}, {dtype}: {found}");
        }
        // One value off the grid, and it is none.
        let mut off = b.to_f32();
        off[7000] *= 1.017;
        assert_eq!(said(&a, &Floats::from(off)), "none", "{want}");
    }
}

#[test]
fn the_other_e4m3_shows_at_its_ends() {
    // Beside one large number, most of the others are subnormal.
    let mut values = gaussian(ROWS * COLUMNS, 5).to_f32();
    values[17] = 3000.0;
    let a = Floats::from(values);
    assert_eq!(said(&a, &by_group(&a, Groups::Tensor, fp8(3, -7, 240.0))), "per tensor to fp8 e4m3fnuz");
    assert_eq!(said(&a, &by_group(&a, Groups::Tensor, fp8(3, -6, 448.0))), "per tensor to fp8 e4m3");
}

#[test]
fn numbers_on_no_grid() {
    let a = gaussian(ROWS * COLUMNS, 2);
    for dtype in FORMATS {
        for seed in 10..20 {
            assert_eq!(said(&a, &gaussian(ROWS * COLUMNS, seed).cast(dtype)), "none", "{dtype}");
        }
        for len in [1, 2, 16, 32, 64, 300] {
            let (a, b) = (gaussian(len, 3).cast(dtype), gaussian(len, 4).cast(dtype));
            assert_eq!(grid(&a, &b, len, 1), None, "{dtype}, {len}");
            assert_eq!(grid(&a, &b, 1, len), None, "{dtype}, {len}");
        }
    }
    // From one grid of four bits to another, which goes through zero.
    let affine = by_group(&a, Groups::Blocks(32), q4_1).cast(DType::Bf16);
    let again = by_group(&affine, Groups::Blocks(32), q4_0).cast(DType::Bf16);
    assert_eq!(said(&affine, &again), "in blocks of 32 to at most 16 levels (like q4_0)");
    assert_eq!(said(&again, &affine), "none");
    // Eight bits of what lies on a grid of four.
    let finer = by_group(&affine, Groups::Blocks(32), absmax(127.0)).cast(DType::Bf16);
    assert_eq!(said(&affine, &finer), "in blocks of 32 to at most 255 levels (like q8_0)");
    // Both on one grid: the one is no quantisation of the other.
    let b = by_group(&a, Groups::Blocks(32), q4_0);
    assert_eq!(grid(&b, &b, ROWS, COLUMNS), None);
}

#[test]
fn wrong_scales_and_zero_points_are_told_from_errors_that_are_made_on_purpose() {
    let a = gaussian(ROWS * COLUMNS, 8);
    let noise = gaussian(ROWS * COLUMNS, 9);
    let misfit = |b: &Floats, dtype| {
        let (a, b) = (a.cast(dtype), b.cast(dtype));
        let sqnr_db = Moments::of(View::plain(&a), View::plain(&b)).sqnr_db(1.0);
        quantised(&a, &b, ROWS, COLUMNS, sqnr_db).expect("it lies on a grid").misfit.map(|m| m.by)
    };
    let by = |f: &dyn Fn(usize, &mut [f64])| {
        let group = std::cell::Cell::new(0);
        by_group(&a, Groups::Rows, |x| f(group.replace(group.get() + 1), x))
    };
    for dtype in FORMATS {
        for levels in [127.0, 7.0] {
            let right = by(&|_, x| absmax(levels)(x));
            assert_eq!(misfit(&right, dtype), None, "{levels} {dtype}");
            // Scales of the neighbouring row.
            let factor = |row: usize| 0.9 + 0.02 * (row % 10) as f64 + if levels < 8.0 { 0.2 } else { 0.0 };
            let scaled = by(&|row, x| {
                absmax(levels)(x);
                x.iter_mut().for_each(|x| *x *= factor(row));
            });
            assert_eq!(misfit(&scaled, dtype), Some(Operation::Times), "{levels} {dtype}");
        }
        // A zero point that is one off.
        let shifted = by(&|_, x| {
            int4_affine(x);
            let step = x.iter().filter(|x| **x != 0.0).fold(f64::INFINITY, |m, x| m.min(x.abs()));
            x.iter_mut().for_each(|x| *x += step);
        });
        assert_eq!(misfit(&shifted, dtype), Some(Operation::Plus), "{dtype}");
        // Errors that make up for others are larger than half a step, and follow no rule.
        let moved = build(&a, |i| a.get(i) + 0.1 * noise.get(i));
        let made_up = by_group(&moved, Groups::Rows, absmax(7.0));
        assert_eq!(misfit(&made_up, dtype), None, "{dtype}");
    }
}

#[test]
fn blocks_may_go_on_from_row_to_row() {
    let a = gaussian(ROWS * COLUMNS, 6);
    let b = by_group(&a, Groups::Blocks(64), table(&NF4, 1.0, false));
    for (rows, columns) in [(128, 96), (384, 32), (ROWS, COLUMNS)] {
        let found = grid(&a, &b, rows, columns).unwrap();
        assert_eq!((found.groups, found.code), (Groups::Blocks(64), Code::Nf4), "{rows} {columns}");
        assert_eq!(grid(&a, &gaussian(ROWS * COLUMNS, 7), rows, columns), None);
    }
}
