//! Both attentions against loops over single numbers.

use super::*;
use crate::{dot, exp, exp_fast};

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

/// One output row by the definition in the functions' documentation.
fn eager_row(shape: &Attention, q: &Floats, k: &Floats, v: &Floats, h: usize, t: usize) -> Vec<f32> {
    let (width, dtype) = (shape.head_dim, q.dtype());
    let tokens = q.len() / (shape.heads * width);
    let group = h / (shape.heads / shape.groups);
    let query = head(q, shape.heads, width, h, t);
    let scores: Vec<f32> = (0..tokens)
        .map(|key| {
            let s = round(dtype, dot(shape.order, &query, &head(k, shape.groups, width, group, key)));
            let s = round(dtype, s * shape.scale as f32);
            round(dtype, s + if key > t { dtype.min() as f32 } else { 0.0 })
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
    let mut lanes = [0.0f32; 16];
    e.iter().enumerate().for_each(|(i, e)| lanes[i % 16] += e);
    for distance in [8, 4, 2, 1] {
        (0..distance).for_each(|i| lanes[i] += lanes[i + distance]);
    }
    lanes[0]
}

fn sdpa_row(shape: &Attention, q: &Floats, k: &Floats, v: &Floats, h: usize, t: usize) -> Vec<f32> {
    let (width, dtype) = (shape.head_dim, q.dtype());
    let tokens = q.len() / (shape.heads * width);
    let group = h / (shape.heads / shape.groups);
    let query = head(q, shape.heads, width, h, t);
    let (mut max, mut sum, mut out) = (f32::NEG_INFINITY, 0.0f32, vec![0.0f32; width]);
    for start in (0..tokens).step_by(512) {
        let keys: Vec<usize> = (start..tokens.min(start + 512)).collect();
        let s: Vec<f32> = keys
            .iter()
            .map(|&key| {
                let s =
                    dot(shape.order, &query, &head(k, shape.groups, width, group, key)) * shape.scale as f32;
                if key > t { f32::NEG_INFINITY } else { s }
            })
            .collect();
        let before = max;
        max = s.iter().copied().fold(max, f32::max);
        let whole = s.len() / 16 * 16;
        let e: Vec<f32> = (0..s.len())
            .map(|i| match (i < whole, dtype) {
                (true, DType::F32) => exp(s[i] - max),
                (true, _) => exp_fast(s[i] - max),
                (false, _) => f64::from(s[i] - max).exp() as f32,
            })
            .collect();
        let rescale = f64::from(before - max).exp() as f32;
        sum = sum * rescale + e[whole..].iter().fold(lanes(&e[..whole], true), |sum, e| sum + e);
        let p: Vec<f32> = e.into_iter().map(|e| round(dtype, e)).collect();
        for (d, out) in out.iter_mut().enumerate() {
            let values: Vec<f32> =
                keys.iter().map(|&key| head(v, shape.groups, width, group, key)[d]).collect();
            let mixed = dot(shape.order, &p, &values);
            *out = if start == 0 { mixed } else { *out * rescale + mixed };
        }
    }
    let inverse = 1.0 / sum;
    out.into_iter().map(|x| round(dtype, x * inverse)).collect()
}

type Whole = fn(&Attention, &Floats, &Floats, &Floats) -> Result<Floats<'static>, KernelError>;
type Row = fn(&Attention, &Floats, &Floats, &Floats, usize, usize) -> Vec<f32>;

#[test]
fn both_follow_their_definitions() {
    let both: [(Whole, Row); 2] = [(attention_eager, eager_row), (attention_sdpa, sdpa_row)];
    for (heads, groups, tokens) in [(1, 1, 1), (3, 3, 5), (4, 2, 16), (6, 2, 40), (2, 1, 530)] {
        for dtype in [DType::F32, DType::Bf16, DType::F16] {
            let order = if groups == 2 { Accumulation::Tile32 } else { Accumulation::Dot2 };
            let shape = Attention { heads, groups, head_dim: 8, scale: 8f64.powf(-0.5), order };
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

#[test]
fn mistakes_are_named() {
    let shape = Attention { heads: 4, groups: 2, head_dim: 8, scale: 1.0, order: Accumulation::Tile32 };
    let x = |n| Floats::from(vec![1.0f32; n]);
    let call = |shape: &Attention, q, k, v| attention_eager(shape, &q, &k, &v).unwrap_err().to_string();
    assert!(call(&shape, x(33), x(16), x(16)).contains("q has 33"));
    assert!(call(&shape, x(32), x(15), x(16)).contains("k has 15 elements where 16"));
    assert!(call(&shape, x(32), x(16), x(16).cast(DType::F16)).contains("v is f16 where f32"));
    assert!(call(&Attention { groups: 3, ..shape }, x(32), x(16), x(16)).contains("heads"));
    assert!(call(&Attention { groups: 0, ..shape }, x(32), x(16), x(16)).contains("groups"));
    assert!(attention_sdpa(&shape, &x(0), &x(0), &x(0)).unwrap().is_empty());
}
