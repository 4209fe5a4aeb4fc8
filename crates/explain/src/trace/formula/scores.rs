//! Attention scores before the softmax: capped, biased, of other keys, masked otherwise.

use ulpscope_floats::DType;

use super::numbers::{constant, dot, q8_0, quantised, quantised_between, simple, text};
use super::{At, BlockSite, Case, Formula, cast};
use crate::across::ranges;
use crate::catalogue::{self, Fault};

/// At the scores of eager attention.
pub(super) fn scores(at: &At) -> Option<Formula> {
    if let Some(cap) = cap(at) {
        return Formula::new(catalogue::SOFT_CAP, format!("{0}·tanh(x/{0})", text(cap)));
    }
    mask(at)
        .or_else(|| scaled(at))
        .or_else(|| biased(at))
        .or_else(|| narrow(at))
        .or_else(|| moved(at))
        .or_else(|| of_keys(at))
}

/// Head, query and key of an element.
fn place(case: &Case, i: usize) -> [usize; 3] {
    let t = case.tokens;
    [i / (t * t), i / t % t, i % t]
}

/// The largest magnitude towards which ours is bent by a hyperbolic tangent in the trace.
pub(super) fn cap(at: &At) -> Option<f64> {
    /// Those that somebody's config has.
    const KNOWN: [f64; 6] = [50.0, 30.0, 20.0, 15.0, 10.0, 5.0];
    let bent =
        |cap: f64, case: &Case| Some(case.ours.iter().map(|z| cap * (z / cap).tanh()).collect::<Vec<f64>>());
    // As three operations of the trace's format.
    let in_steps = |cap: f64, case: &Case| {
        let inner = at.rounded(case.ours.iter().map(|z| z / cap).collect());
        let tanh = at.rounded(inner.into_iter().map(f64::tanh).collect());
        Some(tanh.into_iter().map(|x| x * cap).collect::<Vec<f64>>())
    };
    let largest =
        at.cases.iter().flat_map(|case| &case.ours).map(|z| z.abs()).filter(|z| *z < 6e4).fold(0.0, f64::max);
    let best = at.best([largest / 1000.0, largest * 20.0], bent);
    let fits = |cap: f64| at.gives(|case| bent(cap, case)) || at.reproduces(|case| in_steps(cap, case));
    [best].into_iter().chain(KNOWN).find(|&cap| largest > 0.0 && cap.is_normal() && fits(cap))
}

/// Keys that the trace's queries see, where they are not those up to their own position.
fn mask(at: &At) -> Option<Formula> {
    // Ours are those of Hugging Face; what is hidden here is far below any score.
    let sees = |case: &Case, i: usize, j: usize| {
        let t = case.tokens;
        (0..case.theirs.len() / (t * t)).any(|h| case.theirs[(h * t + i) * t + j] > -6e4)
    };
    let said = masked(at.cases.iter().map(|case| case.tokens).max()?, |rule| {
        at.cases
            .iter()
            .all(|case| (0..case.tokens).all(|i| (0..case.tokens).all(|j| sees(case, i, j) == rule(i, j))))
    });
    let said = said.or_else(|| lowered(at)).or_else(|| other_keys(at, &sees));
    said.filter(|_| at.agrees()).map(|said| Formula { fault: catalogue::MASK, said })
}

/// By how much what lies ahead is lowered, where it is not hidden.
fn lowered(at: &At) -> Option<String> {
    let (heads, groups, width) =
        (at.config.num_attention_heads, at.config.num_key_value_heads, at.config.head_dim);
    let scale = 1.0 / (width as f64).sqrt();
    let (mut sum, mut squares, mut count, mut size) = (0.0, 0.0, 0.0, 0.0);
    for case in &at.cases {
        let (q, k) = (at.read(case, BlockSite::QRope)?, at.read(case, BlockSite::KRope)?);
        let t = case.tokens;
        for (i, y) in case.theirs.iter().enumerate() {
            let [h, query, key] = place(case, i);
            if key > query {
                let (q, k) = (
                    &q[(h * t + query) * width..][..width],
                    &k[(h * groups / heads * t + key) * width..][..width],
                );
                let less = dot(q, k) * scale - y;
                (sum, squares, count, size) = (sum + less, squares + less * less, count + 1.0, size + y * y);
            }
        }
    }
    let by = sum / count;
    let spread = (squares / count - by * by).max(0.0).sqrt();
    // Not a number either.
    (count >= 3.0 && by.abs() < 1e3 && spread <= 4.0 * at.roundings() * (size / count).sqrt())
        .then(|| format!("what lies ahead is lowered by {}, not hidden", text(simple(by))))
}

/// The first query that sees other keys than those up to its own, and which, where no rule is known.
fn other_keys(at: &At, sees: &dyn Fn(&Case, usize, usize) -> bool) -> Option<String> {
    for case in &at.cases {
        for query in 0..case.tokens {
            let wrong = |hidden: bool| -> Vec<usize> {
                (0..case.tokens)
                    .filter(|&key| (key <= query) == hidden && sees(case, query, key) != hidden)
                    .collect()
            };
            let (hidden, shown) = (wrong(true), wrong(false));
            if !hidden.is_empty() {
                return Some(format!("query {query} does not see keys {}", ranges(hidden)));
            }
            if !shown.is_empty() {
                return Some(format!("query {query} sees keys {}", ranges(shown)));
            }
        }
    }
    None
}

/// The rule of a mask that holds, in words: of windows, chunks, prefixes and padding.
pub(super) fn masked(tokens: usize, holds: impl Fn(&dyn Fn(usize, usize) -> bool) -> bool) -> Option<String> {
    for n in 1..tokens {
        let first = if n == 1 { "the first key is".to_owned() } else { format!("the first {n} keys are") };
        if holds(&|i, j| j <= i && i - j < n) {
            return Some(format!("a query sees the last {n} keys"));
        }
        for first in [1, 2, 4, 8].into_iter().filter(|first| first + n < tokens) {
            if holds(&|i, j| j <= i && (i - j < n || j < first)) {
                return Some(format!("a query sees the last {n} keys and the first {first}"));
            }
        }
        if holds(&|i, j| j <= i && i / n == j / n) {
            return Some(format!("a query sees the keys up to its own in its chunk of {n}"));
        }
        if holds(&|i, j| j <= i || (i < n && j < n)) && n > 1 {
            return Some(format!("the first {n} tokens see each other, the rest those before"));
        }
        if holds(&|i, j| j <= i && j >= n) {
            return Some(format!("{first} hidden"));
        }
        if holds(&|i, j| j <= i && (j >= n || i < n)) {
            return Some(format!("{first} hidden from all queries behind"));
        }
        if holds(&|i, j| j <= i && (j >= n || i == j)) {
            return Some(format!("{first} hidden from all queries but their own"));
        }
    }
    None
}

/// A factor, for each head or for each query.
fn scaled(at: &At) -> Option<Formula> {
    let one = simple(at.factors(1, |_, _| 0)[0]);
    if one != 1.0 && at.explains(|case| Some(times(case, |_| one))) {
        return Formula::new(catalogue::SCALE, format!("scores times {}", text(one)));
    }
    let heads = at.config.num_attention_heads;
    let by_head = at.factors(heads, |case, i| place(case, i)[0]);
    if !constant(&by_head) && at.explains(|case| Some(times(case, |i| by_head[place(case, i)[0]]))) {
        let said: Vec<String> = by_head.iter().take(8).map(|factor| text(simple(*factor))).collect();
        return Formula::new(catalogue::SCALE, format!("scores times {} by head", said.join(", ")));
    }
    let tokens = at.cases.iter().map(|case| case.tokens).max()?;
    let by_query = at.factors(tokens, |case, i| place(case, i)[1]);
    if tokens >= 4
        && !constant(&by_query)
        && at.explains(|case| Some(times(case, |i| by_query[place(case, i)[1]])))
    {
        let [first, last] = [by_query[0], by_query[tokens - 1]].map(text);
        let said = format!(
            "scores times a factor of the query's position, {first} at the first and {last} at the last"
        );
        return Formula::new(catalogue::SCALE, said);
    }
    None
}

fn times(case: &Case, factor: impl Fn(usize) -> f64) -> Vec<f64> {
    case.ours.iter().enumerate().map(|(i, z)| z * factor(i)).collect()
}

/// Something added that the distance of query and key determines, for each head.
fn biased(at: &At) -> Option<Formula> {
    let (heads, tokens) = (at.config.num_attention_heads, at.cases.iter().map(|case| case.tokens).max()?);
    let group = |case: &Case, i: usize| {
        let [h, query, key] = place(case, i);
        h * tokens + query.saturating_sub(key)
    };
    let mut sums = vec![[0.0; 2]; heads * tokens];
    for case in &at.cases {
        for (i, (y, z)) in case.theirs.iter().zip(&case.ours).enumerate() {
            if !at.hides(*y, *z) {
                let [sum, count] = &mut sums[group(case, i)];
                (*sum, *count) = (*sum + y - z, *count + 1.0);
            }
        }
    }
    let bias: Vec<f64> =
        sums.iter().map(|[sum, count]| if *count > 0.0 { sum / count } else { 0.0 }).collect();
    // The same everywhere is no matter of distance.
    let [sum, count] = sums.iter().fold([0.0; 2], |[x, y], [sum, count]| [x + sum, y + count]);
    let everywhere = at.gives(|case| Some(case.ours.iter().map(|z| z + sum / count).collect()));
    if tokens < 6
        || everywhere
        || !at.gives(|case| Some((0..case.ours.len()).map(|i| case.ours[i] + bias[group(case, i)]).collect()))
    {
        return None;
    }
    let slope = |head: &[f64]| {
        let [by, dd] = head.iter().enumerate().fold([0.0; 2], |[by, dd], (d, bias)| {
            let d = d as f64;
            [by - bias * d, dd + d * d]
        });
        by / dd
    };
    let slopes: Vec<f64> = bias.chunks(tokens).map(slope).collect();
    let size = (at.visible().map(|y| y * y).sum::<f64>() / at.visible().count() as f64).sqrt();
    let linear = bias.chunks(tokens).zip(&slopes).all(|(head, slope)| {
        let allowed = 0.05 * slope.abs() * tokens as f64 + at.dtype.unit_roundoff() * size;
        head.iter().enumerate().all(|(d, bias)| (bias + slope * d as f64).abs() <= allowed)
    });
    let shown: Vec<String> = slopes.iter().take(8).map(|slope| text(simple(*slope))).collect();
    let said = match linear {
        true => format!("less a multiple of the distance, as ALiBi has it: {} by head", shown.join(", ")),
        false => "plus something that depends on the distance alone, by head".to_owned(),
    };
    Formula::new(catalogue::POSITION_BIAS, said)
}

/// Scores in a narrower format.
fn narrow(at: &At) -> Option<Formula> {
    let formats = [DType::Bf16, DType::F16].into_iter().filter(|_| at.dtype == DType::F32);
    let found = formats.into_iter().find(|&dtype| at.reproduces(|case| Some(cast(case.ours.clone(), dtype))));
    found.and_then(|dtype| Formula::new(catalogue::OUTPUT_ROUNDED, format!("scores rounded to {dtype}")))
}

/// Scores of keys or queries at another position.
fn moved(at: &At) -> Option<Formula> {
    for (what, keys) in [("keys", true), ("queries", false)] {
        for by in [1, 2] {
            let from = |case: &Case, i: usize| {
                let [h, query, key] = place(case, i);
                let (query, key) =
                    if keys { (query, key.checked_sub(by)?) } else { (query.checked_sub(by)?, key) };
                (key <= query).then(|| (h * case.tokens + query) * case.tokens + key)
            };
            if at.gives(|case| {
                Some((0..case.ours.len()).map(|i| from(case, i).map_or(f64::NAN, |j| case.ours[j])).collect())
            }) {
                return Formula::new(catalogue::CACHE_SHIFTED, before(what, by));
            }
        }
    }
    None
}

/// What stood so many positions before, in words.
pub(super) fn before(what: &str, by: usize) -> String {
    match by {
        1 => format!("{what} of the position before"),
        _ => format!("{what} of {by} positions before"),
    }
}

/// Scores of other key heads, of keys for queries, of keys kept in fewer bits.
fn of_keys(at: &At) -> Option<Formula> {
    let (heads, groups, width) =
        (at.config.num_attention_heads, at.config.num_key_value_heads, at.config.head_dim);
    let scale = 1.0 / (width as f64).sqrt();
    let read = |case: &Case| Some((at.read(case, BlockSite::QRope)?, at.read(case, BlockSite::KRope)?));
    // The product is rounded before it is scaled.
    let product = |case: &Case, q: &[f64], k: &[f64], of: &dyn Fn(usize) -> usize| -> Vec<f64> {
        let t = case.tokens;
        let one = |i: usize| {
            let [h, query, key] = place(case, i);
            dot(&q[(h * t + query) * width..][..width], &k[(of(h) * t + key) * width..][..width])
        };
        at.rounded((0..heads * t * t).map(one).collect()).into_iter().map(|x| x * scale).collect()
    };
    let own = |h: usize| h * groups / heads;
    let wide = |case: &Case| {
        let (q, k) = read(case)?;
        let t = case.tokens;
        let one = |i: usize| {
            let [h, query, key] = place(case, i);
            scale * dot(&q[(h * t + query) * width..][..width], &k[(own(h) * t + key) * width..][..width])
        };
        Some((0..heads * t * t).map(one).collect())
    };
    if at.dtype != at.own && at.gives(wide) {
        return Formula::new(catalogue::COMPUTED_OTHERWISE, format!("computed in {}", at.dtype));
    }

    // How far each query head's scores are from those of each key head.
    let mut apart = vec![0.0; heads * groups];
    for case in &at.cases {
        let (q, k) = read(case)?;
        for g in 0..groups {
            for (i, z) in product(case, &q, &k, &|_| g).into_iter().enumerate() {
                let [h, query, key] = place(case, i);
                if key <= query {
                    apart[h * groups + g] += (case.theirs[i] - z).powi(2);
                }
            }
        }
    }
    let of = nearest(&apart, groups);
    let differs = (0..heads).any(|h| of[h] != own(h));
    if differs && at.gives(|case| read(case).map(|(q, k)| product(case, &q, &k, &|h| of[h]))) {
        return Formula::new(catalogue::GQA, other_heads(&of));
    }
    if groups == heads && at.gives(|case| read(case).map(|(q, k)| product(case, &k, &q, &|h| h))) {
        return Formula::new(catalogue::CACHE_SHIFTED, "queries and keys exchanged");
    }
    let values = |case: &Case| Some((at.read(case, BlockSite::QRope)?, values(at, case)?));
    if at.gives(|case| values(case).map(|(q, v)| product(case, &q, &v, &own))) {
        return Formula::new(catalogue::WIRING, "values for keys");
    }
    let (unit, most) = (at.dtype.unit_roundoff(), at.cases[0].tokens - 1);
    let last = |case: &Case, keys: &dyn Fn(&mut [f64])| -> Option<bool> {
        let (q, mut k) = read(case)?;
        keys(&mut k);
        let at_last = |j: usize| dot(&q[most * width..][..width], &k[j * width..][..width]) * scale;
        let row = &case.theirs[most * case.tokens..][..=most];
        let size = row.iter().fold(0.0, |most: f64, y| most.max(y.abs()));
        Some(row.iter().enumerate().all(|(j, y)| (y - at_last(j)).abs() <= 8.0 * unit * size))
    };
    let cached = cached(at, &|case, keys| last(case, keys) == Some(true), &|keys| {
        at.gives(|case| {
            let (q, mut k) = read(case)?;
            keys(&mut k);
            Some(product(case, &q, &k, &own))
        })
    });
    if let Some((fault, said)) = cached {
        return Formula::new(fault, said);
    }
    coded(at, "keys", |case, code| {
        let (q, mut k) = read(case)?;
        code(&mut k);
        Some(product(case, &q, &at.rounded(k), &own))
    })
}

/// A change of `[heads, tokens, width]` in place.
pub(super) type Edit<'e> = &'e dyn Fn(&mut [f64]);

/// What a cache may have done to keys or values: the last ones not written, blocks in each other's place. `quickly` says of the first
/// prompt whether an edit may be the one, `holds` of all.
pub(super) fn cached(
    at: &At,
    quickly: &dyn Fn(&Case, Edit) -> bool,
    holds: &dyn Fn(Edit) -> bool,
) -> Option<(&'static Fault, String)> {
    let (tokens, width) = (at.cases[0].tokens, at.config.head_dim);
    // Edits are of so many tokens, which prompts of other lengths have not.
    if at.cases.iter().any(|case| case.tokens != tokens) {
        return None;
    }
    let fits = |edit: Edit| quickly(&at.cases[0], edit) && holds(edit);
    for (count, first) in
        [1, 2, 4, 8].into_iter().filter(|n| n * 2 <= tokens).flat_map(|n| [(n, false), (n, true)])
    {
        let from = if first { 0 } else { tokens - count };
        let edit = |x: &mut [f64]| {
            for head in x.chunks_mut(tokens * width) {
                head[from * width..(from + count) * width].fill(0.0);
            }
        };
        if fits(&edit) {
            let end = if first { "first" } else { "last" };
            let said = match count {
                1 => format!("those of the {end} position are zero"),
                _ => format!("those of the {end} {count} positions are zero"),
            };
            return Some((catalogue::CACHE_EMPTY, said));
        }
    }
    for slot in 0..tokens {
        for from in [slot.checked_sub(1), Some(slot + 1), Some(0)].into_iter().flatten() {
            if from == slot || from >= tokens {
                continue;
            }
            let edit = |x: &mut [f64]| {
                for head in x.chunks_mut(tokens * width) {
                    head.copy_within(from * width..(from + 1) * width, slot * width);
                }
            };
            if fits(&edit) {
                return Some((
                    catalogue::CACHE_SHIFTED,
                    format!("position {slot} holds what belongs to {from}"),
                ));
            }
        }
    }
    for size in [4, 8, 16, 32, 64] {
        for second in 1..tokens / size {
            for first in 0..second {
                let edit = |x: &mut [f64]| {
                    for head in x.chunks_mut(tokens * width) {
                        for i in 0..size * width {
                            head.swap(first * size * width + i, second * size * width + i);
                        }
                    }
                };
                if fits(&edit) {
                    let range = |block: usize| format!("{} to {}", block * size, (block + 1) * size - 1);
                    let said = format!("those of positions {} and {} exchanged", range(first), range(second));
                    return Some((catalogue::CACHE_SHIFTED, said));
                }
            }
        }
    }
    None
}

/// `[tokens, groups · width]` of values as `[groups, tokens, width]`.
pub(super) fn values(at: &At, case: &Case) -> Option<Vec<f64>> {
    Some(by_head(at, case, &at.read(case, BlockSite::VProj)?))
}

/// `[tokens, groups · width]` as `[groups, tokens, width]`.
pub(super) fn by_head(at: &At, case: &Case, v: &[f64]) -> Vec<f64> {
    let (groups, width, t) = (at.config.num_key_value_heads, at.config.head_dim, case.tokens);
    (0..v.len()).map(|i| v[(i / width % t * groups + i / (width * t)) * width + i % width]).collect()
}

/// For each query head the nearest of so many key or value heads, by how far it is from each.
pub(super) fn nearest(apart: &[f64], groups: usize) -> Vec<usize> {
    let one = |apart: &[f64]| (0..groups).min_by(|&x, &y| apart[x].total_cmp(&apart[y])).unwrap_or(0);
    apart.chunks(groups).map(one).collect()
}

/// The head that each query head reads, in words.
pub(super) fn other_heads(of: &[usize]) -> String {
    const SHOWN: usize = 16;
    let shown: Vec<String> = of.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = if of.len() > SHOWN { ", …" } else { "" };
    format!("query heads read heads {}{more} of keys or values", shown.join(", "))
}

/// Keys or values kept in few bits: `formula` makes the site's values of what the function that it is given has coded,
/// `[heads, tokens, width]`.
pub(super) fn coded(
    at: &At,
    what: &str,
    formula: impl Fn(&Case, &dyn Fn(&mut [f64])) -> Option<Vec<f64>>,
) -> Option<Formula> {
    let blocks = at.config.head_dim.is_multiple_of(32);
    if blocks && at.gives(|case| formula(case, &|x| x.chunks_mut(32).for_each(q8_0))) {
        return Formula::new(catalogue::CACHE, format!("{what} in q8_0, one scale for each 32"));
    }
    for bits in [8, 4] {
        for axis in [Axis::Vector, Axis::Channel] {
            for between in [false, true] {
                let shape = |case: &Case| (case.tokens, at.config.head_dim);
                if at.gives(|case| formula(case, &|x| code(x, shape(case), axis, bits, between))) {
                    return Formula::new(catalogue::CACHE, format!("{what} in int{bits}, one scale {axis}"));
                }
            }
        }
    }
    None
}

/// What shares a scale.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Axis {
    /// A head's vector at a token.
    Vector,
    /// A head's channel at all tokens.
    Channel,
}

impl std::fmt::Display for Axis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Axis::Vector => "for each token and head",
            Axis::Channel => "for each channel",
        })
    }
}

/// Quantises `[heads, tokens, width]`.
fn code(x: &mut [f64], (tokens, width): (usize, usize), axis: Axis, bits: u32, between: bool) {
    let one = |x: &mut [f64]| if between { quantised_between(x, bits) } else { quantised(x, bits) };
    if axis == Axis::Vector {
        return x.chunks_mut(width).for_each(one);
    }
    for head in x.chunks_mut(tokens * width) {
        for c in 0..width {
            let mut channel: Vec<f64> = (0..tokens).map(|t| head[t * width + c]).collect();
            one(&mut channel);
            (0..tokens).for_each(|t| head[t * width + c] = channel[t]);
        }
    }
}
