//! Both attentions against loops over single numbers.

use ulpscope_floats::DType;

use super::*;
use crate::exp::expf;
use crate::{dot, exp, exp_fast, exp_u20};

/// Rounds to a format, as f32.
fn round(dtype: DType, x: f32) -> f32 {
    Floats::from(vec![x]).cast(dtype).get(0) as f32
}

/// `[T, heads, D]` with some structure and no symmetry.
fn wave(shape: &Attention, heads: usize, tokens: usize, f: f32, dtype: DType) -> Floats<'static> {
    let n = tokens * heads * shape.head_dim;
    Floats::from((0..n).map(|i| (i as f32 * f).sin() * 2.0 + (i as f32 * 0.013).cos()).collect::<Vec<_>>())
        .cast(dtype)
}

fn head(x: &Floats, heads: usize, width: usize, head: usize, token: usize) -> Vec<f32> {
    (0..width).map(|d| x.get((token * heads + head) * width + d) as f32).collect()
}

/// T, and which of the T tokens asks first.
fn tokens_of(shape: &Attention, q: &Floats, k: &Floats) -> (usize, usize) {
    let [asking, tokens] =
        [(q, shape.heads), (k, shape.groups)].map(|(x, heads)| x.len() / (heads * shape.head_dim));
    (tokens, tokens - asking)
}

fn sees(shape: &Attention, query: usize, key: usize) -> bool {
    key <= query && shape.window.is_none_or(|window| query - key < window.get())
}

/// One output row by the definition in the functions' documentation.
fn eager_row(shape: &Attention, q: &Floats, k: &Floats, v: &Floats, h: usize, t: usize) -> Vec<f32> {
    let (width, dtype) = (shape.head_dim, q.dtype());
    let (tokens, first) = tokens_of(shape, q, k);
    let group = h / (shape.heads / shape.groups);
    let query = head(q, shape.heads, width, h, t - first);
    let scores: Vec<f32> = (0..tokens)
        .map(|key| {
            let s = round(dtype, dot(shape.order, &query, &head(k, shape.groups, width, group, key)));
            let s = round(dtype, s * shape.scale as f32);
            round(dtype, s + if sees(shape, t, key) { 0.0 } else { dtype.min() as f32 })
        })
        .collect();
    let probs = softmax_by_definition(&scores);
    let probs: Vec<f32> = probs.into_iter().map(|p| round(dtype, p)).collect();
    let value =
        |d: usize| (0..tokens).map(|key| head(v, shape.groups, width, group, key)[d]).collect::<Vec<_>>();
    (0..width).map(|d| round(dtype, dot(shape.order, &probs, &value(d)))).collect()
}

fn softmax_by_definition(scores: &[f32]) -> Vec<f32> {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let e: Vec<f32> = scores.iter().map(|s| exp(s - max)).collect();
    let inverse = 1.0 / lanes(&e, e.len() >= 16);
    e.iter().map(|e| e * inverse).collect()
}

fn lanes(e: &[f32], wide: bool) -> f32 {
    if !wide {
        return e.iter().fold(0.0, |sum, e| sum + e);
    }
    halved(lanes_of(e))
}

fn lanes_of(e: &[f32]) -> [f32; 16] {
    let mut lanes = [0.0f32; 16];
    e.iter().enumerate().for_each(|(i, e)| lanes[i % 16] += e);
    lanes
}

fn halved(mut lanes: [f32; 16]) -> f32 {
    for distance in [8, 4, 2, 1] {
        (0..distance).for_each(|i| lanes[i] += lanes[i + distance]);
    }
    lanes[0]
}

fn sdpa_row(shape: &Attention, q: &Floats, k: &Floats, v: &Floats, h: usize, t: usize) -> Vec<f32> {
    let (width, dtype) = (shape.head_dim, q.dtype());
    let (tokens, first) = tokens_of(shape, q, k);
    let group = h / (shape.heads / shape.groups);
    let query = head(q, shape.heads, width, h, t - first);
    let (tokens, asking, row) = match shape.order {
        Accumulation::Dot2Lanes => (t + 1, 1, 0),
        _ => (tokens, tokens - first, t - first),
    };
    let (mut max, mut sum, mut out) = (f32::NEG_INFINITY, 0.0f32, vec![0.0f32; width]);
    let by_shape = shape.order.within_sdpa().is_none();
    let height = if asking < 192 { 32 } else { [64, 256][usize::from(asking >= 768)] };
    let block = row / height * height..asking.min(row / height * height + height);
    for start in (0..tokens).step_by(512) {
        let keys: Vec<usize> = (start..tokens.min(start + 512)).collect();
        let s: Vec<f32> = keys
            .iter()
            .map(|&key| {
                let w = head(k, shape.groups, width, group, key);
                let s = match by_shape {
                    true => score_by_mkl(block.len(), keys.len(), key - start, &query, &w),
                    false => dot(shape.order, &query, &w),
                };
                match sees(shape, t, key) {
                    true => s * shape.scale as f32,
                    // A window is a mask that is added.
                    false if shape.window.is_some() => s * shape.scale as f32 + f32::NEG_INFINITY,
                    false => f32::NEG_INFINITY,
                }
            })
            .collect();
        let before = max;
        max = s.iter().copied().fold(max, |max, s| if max.is_nan() || max > s { max } else { s });
        let whole = s.len() / 16 * 16;
        let none = max == f32::NEG_INFINITY;
        let e: Vec<f32> = (0..s.len())
            .map(|i| match (i < whole, dtype) {
                _ if none => 0.0,
                (true, DType::F32) => exp_u20(s[i] - max),
                (true, _) => exp_fast(s[i] - max),
                (false, _) => expf(s[i] - max),
            })
            .collect();
        let rescale = if none { 1.0 } else { expf(before - max) };
        let every_other = |first: usize| -> Vec<f32> {
            e[..whole].chunks(16).skip(first).step_by(2).flatten().copied().collect()
        };
        let vectors = match dtype {
            DType::F32 => lanes_of(&e[..whole]),
            _ => {
                let (even, odd) = (lanes_of(&every_other(0)), lanes_of(&every_other(1)));
                std::array::from_fn(|i| even[i] + odd[i])
            }
        };
        sum = sum.mul_add(rescale, e[whole..].iter().fold(halved(vectors), |sum, e| sum + e));
        let p: Vec<f32> = e.into_iter().map(|e| round(dtype, e)).collect();
        for (d, out) in out.iter_mut().enumerate() {
            let values: Vec<f32> =
                keys.iter().map(|&key| head(v, shape.groups, width, group, key)[d]).collect();
            // Of sums that begin on their own, nothing comes before the first.
            let before = if start == 0 && block.len() >= 4 { -0.0 } else { *out * rescale };
            *out = match (by_shape, start) {
                (true, _) => mix_by_mkl(block.len(), &p, &values, before),
                (false, 0) => dot(shape.order, &p, &values),
                (false, _) => before + dot(shape.order, &p, &values),
            };
        }
    }
    let inverse = 1.0 / if sum == 0.0 { 1.0 } else { sum };
    out.into_iter().map(|x| round(dtype, x * inverse)).collect()
}

/// The score of the `key`-th of some keys, for one of some queries.
fn score_by_mkl(queries: usize, keys: usize, key: usize, x: &[f32], w: &[f32]) -> f32 {
    match queries < 4 || keys < 12 {
        true if queries == 1 || keys == 1 || key < keys / 4 * 4 => in_lanes(x, w, 4),
        true => in_lanes(x, w, 8),
        false => in_stretches(x, w, -0.0),
    }
}

fn in_stretches(x: &[f32], w: &[f32], before: f32) -> f32 {
    let stretch = match x.len() {
        length @ ..=192 => length,
        length @ 193..=384 => length / 2,
        _ => 192,
    };
    let sums = x.chunks(stretch).zip(w.chunks(stretch)).map(|(x, w)| dot(Accumulation::Sequential, x, w));
    sums.fold(before, |sum, more| sum + more)
}

fn in_lanes(x: &[f32], w: &[f32], lanes: usize) -> f32 {
    let mut sums: Vec<f32> = (0..lanes)
        .map(|lane| (lane..x.len()).step_by(lanes).fold(0.0, |sum, k| x[k].mul_add(w[k], sum)))
        .collect();
    while sums.len() > 1 {
        let upper = sums.split_off(sums.len() / 2);
        sums.iter_mut().zip(upper).for_each(|(sum, upper)| *sum += upper);
    }
    sums[0]
}

/// The sum of weighted values, and of what came before.
fn mix_by_mkl(queries: usize, p: &[f32], v: &[f32], before: f32) -> f32 {
    let product = |k: usize, more: f32| p[k].mul_add(v[k], more);
    let keys = p.len();
    match queries {
        1 => {
            let fours = (0..keys / 4).map(|i| 4 * i).fold(before, |sum, k| {
                sum + (product(k + 2, p[k] * v[k]) + product(k + 3, p[k + 1] * v[k + 1]))
            });
            (keys / 4 * 4..keys).rev().fold(fours, |sum, k| product(k, sum))
        }
        2 | 3 => (0..keys).fold(before, |sum, k| product(k, sum)),
        _ => in_stretches(p, v, before),
    }
}

/// Prompts around every length at which MKL takes another way on AMD CPUs.
#[test]
fn orders_by_shape_follow_their_definition() {
    let orders = [Accumulation::Dot2, Accumulation::Dot2Lanes];
    for (dtype, order) in [DType::Bf16, DType::F32].into_iter().flat_map(|d| orders.map(|order| (d, order))) {
        for (tokens, width) in [
            (1, 16),
            (2, 16),
            (3, 12),
            (4, 16),
            (7, 5),
            (11, 16),
            (12, 16),
            (33, 24),
            (34, 8),
            (35, 8),
            (36, 8),
            (13, 200),
            (12, 388),
            (65, 8),
            (191, 4),
            (194, 8),
            (255, 8),
            (385, 8),
            (513, 8),
            (514, 8),
            (523, 8),
            (705, 4),
            (771, 4),
        ] {
            let shape = Attention { heads: 2, groups: 1, head_dim: width, scale: 0.3, order, window: None };
            let q = wave(&shape, 2, tokens, 0.71, dtype);
            let (k, v) = (wave(&shape, 1, tokens, 0.37, dtype), wave(&shape, 1, tokens, 0.23, dtype));
            check(&shape, &q, &k, &v, |t| tokens < 40 || t % 61 == 0 || t + 4 > tokens);
        }
    }
}

fn window(width: usize) -> Option<NonZeroUsize> {
    NonZeroUsize::new(width)
}

/// Windows on every side of the widths that vectors, panels, chunks and blocks of keys have.
const WINDOWS: [usize; 10] = [1, 2, 15, 16, 17, 24, 100, 512, 513, 600];

/// Prompts within a block of keys and beyond one, all orders of summation and formats, several
/// shares of heads.
#[test]
fn windows_follow_their_definition() {
    for (i, order) in Accumulation::ALL.into_iter().enumerate() {
        for (j, dtype) in [DType::F32, DType::Bf16, DType::F16].into_iter().enumerate() {
            let (heads, groups) = [(1, 1), (2, 1), (4, 2), (3, 1)][(i + j) % 4];
            for (tokens, asking) in [(15, 15), (40, 40), (131, 131), (131, 3), (550, 550), (1100, 1)] {
                for (n, width) in WINDOWS.into_iter().enumerate() {
                    // Of long prompts, some windows each.
                    if width > tokens || tokens > 200 && (n + i + j) % 4 != 0 {
                        continue;
                    }
                    let (head_dim, scale) = (4, 0.6);
                    let shape = Attention { heads, groups, head_dim, scale, order, window: window(width) };
                    let q = wave(&shape, heads, asking, 0.71, dtype);
                    let [k, v] = [0.37, 0.23].map(|f| wave(&shape, groups, tokens, f, dtype));
                    let near = |t: usize| t % 512 < 2 || (t + 1).saturating_sub(width) % 512 < 2;
                    check(&shape, &q, &k, &v, |t| t % 37 == 5 || t + 2 > tokens || tokens > 200 && near(t));
                }
            }
        }
    }
}

/// A window as wide as the prompt hides nothing.
#[test]
fn wide_windows_change_nothing() {
    for dtype in [DType::F32, DType::Bf16] {
        for order in [Accumulation::Tile32, Accumulation::Dot2] {
            let whole = Attention { heads: 4, groups: 2, head_dim: 8, scale: 0.3, order, window: None };
            let q = wave(&whole, 4, 530, 0.71, dtype);
            let [k, v] = [0.37, 0.23].map(|f| wave(&whole, 2, 530, f, dtype));
            for width in [530, usize::MAX] {
                let shape = Attention { window: window(width), ..whole };
                for kernel in [attention_eager, attention_sdpa] {
                    assert_eq!(kernel(&shape, &q, &k, &v), kernel(&whole, &q, &k, &v));
                }
            }
        }
    }
}

/// A row whose scores are all -∞ is one of zeros, and a block of such scores before others leaves
/// no trace.
#[test]
fn rows_without_a_finite_score_are_zeros() {
    let order = Accumulation::Sequential;
    for key in [0, 3] {
        let shape = Attention { heads: 1, groups: 1, head_dim: 1, scale: 1.0, order, window: None };
        let k: Vec<f32> = (0..520).map(|i| if i >= key && i < 515 { -1e30 } else { 0.0 }).collect();
        let v: Vec<f32> = (0..520).map(|i| i as f32).collect();
        let [q, k, v] = [vec![1e30; 520], k, v].map(|x| Floats::from(x).cast(DType::Bf16));
        check(&shape, &q, &k, &v, |t| t % 100 == 3 || t > 510);
        if key == 0 {
            assert_eq!(attention_sdpa(&shape, &q, &k, &v).unwrap().get(200).to_bits(), 0);
        }
    }
}

type Whole = fn(&Attention, &Floats, &Floats, &Floats) -> Result<Floats<'static>, KernelError>;
type Row = fn(&Attention, &Floats, &Floats, &Floats, usize, usize) -> Vec<f32>;

#[test]
fn both_follow_their_definitions() {
    let both: [(Whole, Row); 2] = [(attention_eager, eager_row), (attention_sdpa, sdpa_row)];
    for (heads, groups, tokens) in [(1, 1, 1), (3, 3, 5), (4, 2, 16), (6, 2, 40), (2, 1, 530)] {
        for dtype in [DType::F32, DType::Bf16, DType::F16] {
            let order = if groups == 2 { Accumulation::Tile32 } else { Accumulation::Dot2 };
            let shape = Attention { heads, groups, head_dim: 8, scale: 8f64.powf(-0.5), order, window: None };
            let q = wave(&shape, heads, tokens, 0.71, dtype);
            let (k, v) =
                (wave(&shape, groups, tokens, 0.37, dtype), wave(&shape, groups, tokens, 0.23, dtype));
            for (which, (whole, row)) in both.into_iter().enumerate() {
                let got = whole(&shape, &q, &k, &v).unwrap();
                // All tokens of short prompts, some of the long one.
                for t in (0..tokens).filter(|t| tokens < 100 || t % 97 == 0 || t % 128 > 126) {
                    for h in 0..heads {
                        let want = row(&shape, &q, &k, &v, h, t);
                        assert_eq!(
                            head(&got, heads, 8, h, t),
                            want,
                            "{which} {dtype}: head {h} of {heads}, token {t}"
                        );
                    }
                }
            }
        }
    }
}

/// Prompts around every length at which keys are left out, for every order of summation.
#[test]
fn what_is_left_out_changes_nothing() {
    for order in Accumulation::ALL {
        for dtype in [DType::F32, DType::Bf16, DType::F16] {
            for tokens in [15, 17, 33, 71] {
                let shape = Attention { heads: 2, groups: 1, head_dim: 5, scale: 0.4, order, window: None };
                let q = wave(&shape, 2, tokens, 0.71, dtype);
                let (k, v) = (wave(&shape, 1, tokens, 0.37, dtype), wave(&shape, 1, tokens, 0.23, dtype));
                check(&shape, &q, &k, &v, |t| t % 3 == 0 || t + 2 > tokens);
            }
        }
    }
    let shape = Attention {
        heads: 1,
        groups: 1,
        head_dim: 4,
        scale: 0.4,
        order: Accumulation::Tile32Blocked,
        window: None,
    };
    for order in [Accumulation::Tile32Blocked, Accumulation::Dot2, Accumulation::Pairwise] {
        // Blocks of keys, and blocks of the order within them. The length of a block depends on the
        // prompt's.
        for tokens in [513, 1100] {
            let shape = Attention { order, ..shape };
            let [q, k, v] = [0.71, 0.37, 0.23].map(|f| wave(&shape, 1, tokens, f, DType::Bf16));
            check(&shape, &q, &k, &v, |t| t % 251 == 7 || t % 512 > 509 || t + 1 == tokens);
        }
    }
}

/// The numbers for which a masked key could leave a trace: infinities, NaN, scores as large as the
/// mask, sums that underflow to -0, and zeros of either sign to be added to those.
#[test]
fn masked_keys_leave_the_traces_they_should() {
    for (dtype, order) in [DType::F32, DType::Bf16, DType::F16]
        .into_iter()
        .flat_map(|dtype| Accumulation::ALL.map(|order| (dtype, order)))
    {
        let shape = Attention { heads: 2, groups: 1, head_dim: 3, scale: 0.5, order, window: None };
        let tokens = 37;
        let plain = |heads: usize, f: f32| wave(&shape, heads, tokens, f, dtype).to_f32();
        let (huge, tiny) = match dtype {
            DType::F16 => (200.0, 6e-8),
            _ => (1.5e19, 1e-40),
        };
        let specials: [(&str, [f32; 2]); 4] = [
            ("infinite", [f32::INFINITY, 1.0]),
            ("NaN", [f32::NAN, 1.0]),
            ("huge", [huge, -huge]),
            ("tiny", [-tiny, tiny]),
        ];
        for (what, [special, other]) in specials {
            for place in 0..3 {
                let mut all = [plain(2, 0.71), plain(1, 0.37), plain(1, 0.23)];
                let last = all[place].len() - 4;
                match what {
                    // Of a key that only the last two tokens see.
                    "infinite" | "NaN" => all[place][last] = special,
                    "huge" => {
                        for values in &mut all[..2] {
                            values.iter_mut().enumerate().for_each(|(i, x)| {
                                *x = if i % (5 + place) == 0 { special } else { other };
                            });
                        }
                    }
                    // Small probabilities of small values, then zeros.
                    _ => {
                        for (i, x) in all[2].iter_mut().enumerate() {
                            *x = if i / 3 < 20 {
                                special * (place + 1) as f32
                            } else {
                                [0.0, -0.0][i / 3 % 2]
                            };
                        }
                    }
                }
                let [q, k, v] = all.map(|x| Floats::from(x).cast(dtype));
                check(&shape, &q, &k, &v, |t| t % 4 == 0 || t > 17 && t < 23 || t > 34);
            }
        }
    }
}

/// Infinities and NaN in front of a window and behind it, sums that underflow to -0 and hidden
/// zeros of either sign.
#[test]
fn windows_leave_the_traces_they_should() {
    for (i, order) in Accumulation::ALL.into_iter().enumerate() {
        for (j, dtype) in [DType::F32, DType::Bf16, DType::F16].into_iter().enumerate() {
            let tokens = if (i + j) % 3 == 0 { 600 } else { 70 };
            let (scale, window) = (0.5, window([1, 5, 24][(i + j) % 3]));
            let shape = Attention { heads: 2, groups: 1, head_dim: 3, scale, order, window };
            let tiny = if dtype == DType::F16 { 6e-8 } else { 1e-40 };
            for special in [f32::INFINITY, f32::NAN, -tiny, tiny] {
                let mut v = wave(&shape, 1, tokens, 0.23, dtype).to_f32();
                if special.abs() < 1.0 {
                    for (key, v) in v.chunks_exact_mut(3).enumerate() {
                        v.fill(if key % 40 < 20 { special } else { [0.0, -0.0][key % 2] });
                    }
                } else {
                    v[3 * 4 + 1] = special;
                }
                let [q, mut k] =
                    [(2, 0.71), (1, 0.37)].map(|(heads, f)| wave(&shape, heads, tokens, f * 3.0, dtype));
                let v = Floats::from(v).cast(dtype);
                check(&shape, &q, &k, &v, |t| t % 13 == 4 || t + 2 > tokens);
                if !special.is_finite() {
                    for special in [special, -special] {
                        let mut some = k.to_f32();
                        some[3 * 40 + 1] = special;
                        k = Floats::from(some).cast(dtype);
                        let v = wave(&shape, 1, tokens, 0.23, dtype);
                        check(&shape, &q, &k, &v, |t| t % 29 == 4 || t + 2 > tokens);
                    }
                }
            }
        }
    }
}

/// Threads take blocks of queries as they come.
#[test]
fn threads_do_not_matter_to_windows() {
    for (order, width) in
        [(Accumulation::Tile32, 100), (Accumulation::Dot2, 513), (Accumulation::Pairwise, 24)]
    {
        let (scale, window) = (0.3, window(width));
        let shape = Attention { heads: 4, groups: 2, head_dim: 16, scale, order, window };
        let q = wave(&shape, 4, 700, 0.71, DType::Bf16);
        let [k, v] = [0.37, 0.23].map(|f| wave(&shape, 2, 700, f, DType::Bf16));
        for kernel in [attention_eager, attention_sdpa] {
            let [one, three, sixteen] = [1, 3, 16].map(|threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| kernel(&shape, &q, &k, &v).unwrap())
            });
            assert!(one == three && one == sixteen, "{order}, window {width}");
        }
    }
}

/// A sum of -0 becomes +0 by a masked zero of the other sign, and stays what it is by one of its
/// own.
#[test]
fn negative_zeros_are_as_they_should_be() {
    for (dtype, order) in
        [DType::F32, DType::Bf16].into_iter().flat_map(|dtype| Accumulation::ALL.map(|order| (dtype, order)))
    {
        for later in [0.0, -0.0] {
            let shape = Attention { heads: 1, groups: 1, head_dim: 1, scale: 1.0, order, window: None };
            let tokens = 40;
            // The first key has a probability of e^-60 or so and a value that is lost with it.
            let k: Vec<f32> = (0..tokens).map(|i| if i == 0 { -60.0 } else { 0.0 }).collect();
            let v = (0..tokens).map(|i| {
                if i == 0 {
                    -1e-40
                } else if i < 20 {
                    -0.0
                } else {
                    later
                }
            });
            let v: Vec<f32> = v.collect();
            let [q, k, v] = [vec![1.0; tokens], k, v].map(|x| Floats::from(x).cast(dtype));
            check(&shape, &q, &k, &v, |t| t > 0);
        }
    }
}

/// A block of keys that is masked throughout turns an infinite maximum into NaN.
#[test]
fn an_infinite_score_is_not_forgotten() {
    let shape = Attention {
        heads: 1,
        groups: 1,
        head_dim: 1,
        scale: 1.0,
        order: Accumulation::Sequential,
        window: None,
    };
    let k: Vec<f32> = (0..520).map(|i| if i == 0 { 1e30 } else { 0.0 }).collect();
    let v: Vec<f32> = (0..520).map(|i| i as f32).collect();
    let [q, k, v] = [vec![1e30; 520], k, v].map(|x| Floats::from(x).cast(DType::Bf16));
    check(&shape, &q, &k, &v, |t| t % 100 == 3);
}

/// Compares some tokens of both attentions, by every path, with the definitions, which compute
/// every masked score.
fn check(shape: &Attention, q: &Floats, k: &Floats, v: &Floats, which: impl Fn(usize) -> bool) {
    let bits = |x: &[f32]| -> Vec<u32> {
        x.iter().map(|x| if x.is_nan() { u32::MAX } else { x.to_bits() }).collect()
    };
    let (tokens, first) = tokens_of(shape, q, k);
    for (name, row) in [("eager", eager_row as Row), ("sdpa", sdpa_row)] {
        let by_path = |path: &Path| -> Result<Floats<'static>, KernelError> {
            with_element!(q.dtype(), "q", T => {
                let kernel = if name == "eager" { Attention::eager::<T> } else { Attention::sdpa::<T> };
                shape.checked::<T>(*path, [q, k, v], kernel)
            })
        };
        let paths = Path::available();
        let all: Vec<Floats> = paths.iter().map(|path| by_path(path).unwrap()).collect();
        for t in (first..tokens).filter(|t| which(*t)) {
            for h in 0..shape.heads {
                let want = row(shape, q, k, v, h, t);
                for (path, got) in paths.iter().zip(&all) {
                    let got = head(got, shape.heads, shape.head_dim, h, t - first);
                    let what = format!(
                        "{name} {} {} by {path}: head {h}, token {t} of {tokens}, window {:?}",
                        shape.order,
                        q.dtype(),
                        shape.window
                    );
                    assert_eq!(bits(&got), bits(&want), "{what}: {got:?} is not {want:?}");
                }
            }
        }
    }
}

#[test]
fn mistakes_are_named() {
    let shape =
        Attention { heads: 4, groups: 2, head_dim: 8, scale: 1.0, order: Accumulation::Tile32, window: None };
    let x = |n| Floats::from(vec![1.0f32; n]);
    let call = |shape: &Attention, q, k, v| attention_eager(shape, &q, &k, &v).unwrap_err().to_string();
    assert!(call(&shape, x(33), x(16), x(16)).contains("q has 33"));
    assert!(call(&shape, x(32), x(15), x(16)).contains("k has 15 elements where 16"));
    assert!(call(&shape, x(32), x(16), x(16).cast(DType::F16)).contains("v is f16 where f32"));
    assert!(call(&Attention { groups: 3, ..shape }, x(32), x(16), x(16)).contains("heads"));
    assert!(call(&Attention { groups: 0, ..shape }, x(32), x(16), x(16)).contains("groups"));
    assert!(attention_sdpa(&shape, &x(0), &x(0), &x(0)).unwrap().is_empty());
    assert!(exp_scores(&mut [0.0; 5], 2, DType::Bf16).unwrap_err().to_string().contains("the scores"));
}

#[test]
fn the_last_tokens_alone_get_their_rows_of_the_whole() {
    let kernels = [attention_eager, attention_sdpa];
    for dtype in [DType::Bf16, DType::F16, DType::F32] {
        for order in [
            Accumulation::Tile32,
            Accumulation::Dot2,
            Accumulation::Pairwise,
            Accumulation::SplitK(const { std::num::NonZeroUsize::new(4).unwrap() }),
        ] {
            let shape = Attention { heads: 4, groups: 2, head_dim: 8, scale: 0.3, order, window: None };
            for (i, (tokens, last)) in
                [(3, 1), (17, 1), (40, 5), (513, 1), (530, 40), (1030, 3)].into_iter().enumerate()
            {
                let shape = Attention { window: window([usize::MAX, 12, 520][i % 3]), ..shape };
                let q = wave(&shape, 4, tokens, 0.37, dtype);
                let (k, v) = (wave(&shape, 2, tokens, 0.11, dtype), wave(&shape, 2, tokens, 0.23, dtype));
                let cut = |x: &Floats| x.slice((tokens - last) * 32..tokens * 32).into_owned();
                // Orders by shape are not those of a row alone.
                let kernels = if order.within_sdpa().is_some() { &kernels[..] } else { &kernels[..1] };
                for (i, kernel) in kernels.iter().enumerate() {
                    let whole = kernel(&shape, &q, &k, &v).unwrap();
                    let alone = kernel(&shape, &cut(&q), &k, &v).unwrap();
                    assert_eq!(alone, cut(&whole), "kernel {i}, {dtype}, {order}, {last} of {tokens}");
                }
            }
        }
    }
}
