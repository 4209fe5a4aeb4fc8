//! Every path against the scalar definition, bit for bit.

use proptest::prelude::*;
use ulpscope_floats::{bf16_from_f64_exact, f16_from_f64_exact};

use super::*;
use crate::weight::PackedWeight;
use crate::{ExactSum, dot};

const FORMATS: [DType; 3] = [DType::F32, DType::Bf16, DType::F16];

/// The bits of every number, with one pattern for all NaNs.
fn bits(values: &Floats) -> Vec<u64> {
    (0..values.len())
        .map(|i| {
            let x = values.get(i);
            if x.is_nan() { u64::MAX } else { x.to_bits() }
        })
        .collect()
}

/// `linear` by its definition.
fn reference(
    x: &Floats,
    w: &Floats,
    k: usize,
    bias: Option<&Floats>,
    order: Accumulation,
    out: DType,
) -> Floats<'static> {
    let (x, w) = (x.to_f32(), w.to_f32());
    let bias = bias.map(Floats::to_f32);
    let mut y: Vec<f32> = Vec::new();
    let mut wide: Vec<f64> = Vec::new();
    for x in x.chunks_exact(k) {
        for (n, w) in w.chunks_exact(k).enumerate() {
            let mut sum = ExactSum::default();
            x.iter().zip(w).for_each(|(x, w)| sum.add_product(*x, *w));
            let b = bias.as_ref().map(|b| b[n]);
            sum.add_product(b.unwrap_or(0.0), 1.0);
            wide.push(sum.to_f64_odd());
            let dot = dot(order, x, w);
            y.push(b.map_or(dot, |b| dot + b));
        }
    }
    if order != Accumulation::Exact {
        return Floats::from(y).cast(out);
    }
    match out {
        DType::Bf16 => Floats::from(wide.into_iter().map(bf16_from_f64_exact).collect::<Vec<bf16>>()),
        DType::F16 => Floats::from(wide.into_iter().map(f16_from_f64_exact).collect::<Vec<f16>>()),
        _ => Floats::from(wide.into_iter().map(|x| x as f32).collect::<Vec<f32>>()),
    }
}

/// A generator that needs no crate: the low bits of a multiplicative sequence, scrambled.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Roughly normal, spread by `2^±spread`.
    fn number(&mut self, spread: i32) -> f32 {
        let sum: i64 = (0..4).map(|_| (self.next() as u32 >> 8) as i64 - (1 << 23)).sum();
        let scale = (self.next() % (2 * spread as u64 + 1)) as i32 - spread;
        sum as f32 / 8e6 * (scale as f32).exp2()
    }
}

/// The kinds of numbers that kernels get wrong.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Ordinary,
    /// Terms of very different size that cancel.
    Cancelling,
    /// Small integers: exact sums, ties when rounded.
    Integers,
    /// Products around the smallest normal f32 number, and subnormal inputs.
    Tiny,
    /// Products around the largest.
    Huge,
    /// Infinities and NaNs among ordinary numbers.
    Special,
    /// Any bits at all.
    Bits,
}

const KINDS: [Kind; 7] =
    [Kind::Ordinary, Kind::Cancelling, Kind::Integers, Kind::Tiny, Kind::Huge, Kind::Special, Kind::Bits];

fn values(kind: Kind, dtype: DType, n: usize, noise: &mut Noise) -> Floats<'static> {
    let mut one = |i: usize| match kind {
        Kind::Ordinary => noise.number(3),
        Kind::Cancelling => match i % 5 {
            0 => 1e30,
            3 => -1e30,
            1 => noise.number(60),
            _ => noise.number(10),
        },
        Kind::Integers => (noise.next() % 17) as f32 - 8.0,
        Kind::Tiny => noise.number(8) * if noise.next().is_multiple_of(4) { 1e-39 } else { (-63f32).exp2() },
        Kind::Huge => noise.number(2) * (63f32).exp2(),
        Kind::Special => match noise.next() % 40 {
            0 => f32::INFINITY,
            1 => f32::NEG_INFINITY,
            2 => f32::NAN,
            3 => -0.0,
            _ => noise.number(3),
        },
        Kind::Bits => f32::from_bits(noise.next() as u32),
    };
    let raw = Floats::from((0..n).map(&mut one).collect::<Vec<f32>>());
    match (kind, dtype) {
        // Both lie outside f16's range; its own extremes instead.
        (Kind::Tiny, DType::F16) => {
            Floats::from((0..n).map(|_| f16::from_bits(noise.next() as u16 & 0x87ff)).collect::<Vec<_>>())
        }
        (Kind::Huge | Kind::Bits, DType::F16) => {
            Floats::from((0..n).map(|_| f16::from_bits(noise.next() as u16)).collect::<Vec<_>>())
        }
        _ => raw.cast(dtype),
    }
}

fn check(
    x: &Floats,
    w: &Floats,
    k: usize,
    bias: Option<&Floats>,
    order: Accumulation,
    out: DType,
    what: &str,
) {
    let n = w.len() / k;
    let want = bits(&reference(x, w, k, bias, order, out));
    let packed = PackedWeight::new(w, n, k).unwrap();
    for path in Path::available() {
        for weight in [Weight::Packed(&packed), Weight::Rows { values: w, outputs: n, inputs: k }] {
            let got = bits(&linear_on(path, x, Projection { weight, bias }, order, out).unwrap());
            assert_eq!(got.len(), want.len());
            if let Some(i) = (0..got.len()).find(|&i| got[i] != want[i]) {
                panic!(
                    "{what}: {order} by {path}, [{}, {k}] · [{n}, {k}]: element {i} is {:e} ({:#x}), not {:e} ({:#x})",
                    x.len() / k,
                    f64::from_bits(got[i]),
                    got[i],
                    f64::from_bits(want[i]),
                    want[i]
                );
            }
        }
    }
}

#[test]
fn paths_agree_with_the_definition_on_every_kind_of_number() {
    let mut noise = Noise(1);
    for kind in KINDS {
        for dtype in FORMATS {
            for order in Accumulation::ALL {
                for (m, n, k) in [(3, 33, 63), (9, 17, 96), (2, 40, 1)] {
                    let x = values(kind, dtype, m * k, &mut noise);
                    let w = values(kind, dtype, n * k, &mut noise);
                    check(&x, &w, k, None, order, dtype, &format!("{kind:?} {dtype}"));
                    check(&x, &w, k, None, order, DType::F32, &format!("{kind:?} {dtype} to f32"));
                }
            }
        }
    }
}

#[test]
fn paths_agree_at_every_odd_shape() {
    let mut noise = Noise(2);
    for dtype in FORMATS {
        for order in Accumulation::ALL {
            for k in [1, 2, 31, 32, 33, 63] {
                for n in [1, 15, 17, 33] {
                    for m in 1..=9 {
                        let x = values(Kind::Ordinary, dtype, m * k, &mut noise);
                        let w = values(Kind::Ordinary, dtype, n * k, &mut noise);
                        let bias = (m % 2 == 0).then(|| values(Kind::Ordinary, dtype, n, &mut noise));
                        check(&x, &w, k, bias.as_ref(), order, dtype, "shapes");
                    }
                }
            }
        }
    }
}

#[test]
fn paths_agree_across_blocks() {
    let mut noise = Noise(3);
    for order in Accumulation::ALL {
        for k in [385, 512, 513, 576, 1024, 1025, 1536, 2561] {
            let x = values(Kind::Cancelling, DType::Bf16, 7 * k, &mut noise);
            let w = values(Kind::Ordinary, DType::Bf16, 18 * k, &mut noise);
            check(&x, &w, k, None, order, DType::F32, "long");
            let x = values(Kind::Ordinary, DType::F16, 2 * k, &mut noise);
            check(&x, &w, k, None, order, DType::F16, "f16 times bf16");
        }
    }
}

/// Blocks of every shape that tiles take: upper and lower, one panel and two, cells of several
/// blocks.
#[test]
fn tiles_agree_with_the_definition() {
    let mut noise = Noise(5);
    let orders = [Accumulation::Tile32, Accumulation::Tile32Blocked];
    for (m, n, k) in [(1, 16, 32), (15, 48, 96), (16, 31, 65), (17, 32, 64), (33, 50, 416), (70, 40, 800)] {
        let x = values(Kind::Ordinary, DType::Bf16, m * k, &mut noise);
        let w = values(Kind::Ordinary, DType::Bf16, n * k, &mut noise);
        let bias = values(Kind::Ordinary, DType::F32, n, &mut noise);
        for order in orders {
            check(&x, &w, k, Some(&bias), order, DType::Bf16, "tiles");
            check(&x, &w, k, None, order, DType::F32, "tiles");
        }
    }
    // Rows that tiles must not have beside others that they may.
    let (m, n, k) = (40, 40, 96);
    let mut x = values(Kind::Ordinary, DType::Bf16, m * k, &mut noise).to_f32();
    x[35 * k + 5] = 1e-39;
    let x = Floats::from(x).cast(DType::Bf16);
    let w = values(Kind::Tiny, DType::Bf16, n * k, &mut noise);
    check(&x, &w, k, None, Accumulation::Tile32, DType::F32, "subnormal");
}

#[test]
fn a_group_is_its_products_one_by_one() {
    let mut noise = Noise(4);
    let k = 77;
    let x = values(Kind::Ordinary, DType::Bf16, 5 * k, &mut noise);
    let weights = [(DType::Bf16, 48), (DType::F32, 3), (DType::F16, 130)];
    let weights = weights.map(|(dtype, n)| (values(Kind::Ordinary, dtype, n * k, &mut noise), n));
    let packed = weights.each_ref().map(|(w, n)| PackedWeight::new(w, *n, k).unwrap());
    let bias = values(Kind::Ordinary, DType::F32, 3, &mut noise);
    let mut group = packed.each_ref().map(Projection::from);
    group[1].bias = Some(&bias);
    for path in Path::available() {
        let all = linear_group_on(path, &x, &group, Accumulation::Dot2, DType::Bf16).unwrap();
        assert_eq!(all.len(), 3);
        for (one, p) in all.iter().zip(&group) {
            let alone = linear_on(path, &x, *p, Accumulation::Dot2, DType::Bf16).unwrap();
            assert_eq!(*one, alone);
        }
    }
    let other = PackedWeight::new(&Floats::from(vec![0.0f32; 78]), 1, 78).unwrap();
    let mixed = [group[0], Projection::from(&other)];
    let error = linear_group_on(Path::Portable, &x, &mixed, Accumulation::Dot2, DType::F32).unwrap_err();
    assert!(error.to_string().contains("78"), "{error}");
}

#[test]
fn mistakes_are_named() {
    let w = Floats::from(vec![1.0f32; 6]);
    let weight = PackedWeight::new(&w, 2, 3).unwrap();
    let call = |x: &Floats, bias: Option<&Floats>, out| {
        linear(x, (&weight).into(), bias, Accumulation::Tile32, out).unwrap_err().to_string()
    };
    let x = Floats::from(vec![1.0f32; 3]);
    assert!(call(&Floats::from(vec![1.0f32; 4]), None, DType::F32).contains("4 elements"));
    assert!(call(&Floats::from(vec![1.0f64; 3]), None, DType::F32).contains("x is f64"));
    assert!(call(&x, Some(&x), DType::F32).contains("bias has 3 elements where 2"));
    assert!(call(&x, None, DType::F64).contains("output is f64"));
    assert!(PackedWeight::new(&w, 2, 4).is_err());
    assert!(PackedWeight::new(&w, 0, 3).is_err());
    assert!(PackedWeight::new(&Floats::from(vec![0.0f64]), 1, 1).is_err());
    let empty = Floats::from(Vec::<f32>::new());
    assert!(linear(&empty, (&weight).into(), None, Accumulation::Exact, DType::F32).unwrap().is_empty());
}

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A row's bits depend on that row alone, whatever stands beside it and however many threads
    /// there are.
    #[test]
    fn a_row_is_alone(seed: u64, order in 0..Accumulation::ALL.len(), dtype in 0..3usize, m in 1..40usize, n in 1..200usize, k in 1..300usize) {
        let (order, dtype, mut noise) = (Accumulation::ALL[order], FORMATS[dtype], Noise(seed));
        // Rows of different range, so that some may take the fast way and others may not.
        let kinds = [Kind::Ordinary, Kind::Tiny, Kind::Cancelling];
        let rows: Vec<_> = (0..m).map(|i| values(kinds[i % 3], dtype, k, &mut noise)).collect();
        let mut bytes = Vec::new();
        rows.iter().for_each(|row| bytes.extend_from_slice(row.bytes()));
        let x = Floats::from_bytes(dtype, &bytes);
        let w = values(Kind::Ordinary, dtype, n * k, &mut noise);
        let packed = PackedWeight::new(&w, n, k).unwrap();
        for path in Path::available() {
            let product = |x: &Floats| linear_on(path, x, Projection { weight: (&packed).into(), bias: None }, order, DType::F32).unwrap();
            let one = pool(1).install(|| product(&x));
            let three = pool(3).install(|| product(&x));
            prop_assert_eq!(bits(&one), bits(&three));
            for (i, row) in rows.iter().enumerate() {
                prop_assert_eq!(bits(&product(row)), bits(&one.slice(i * n..(i + 1) * n)), "row {} by {}", i, path);
            }
        }
    }
}
