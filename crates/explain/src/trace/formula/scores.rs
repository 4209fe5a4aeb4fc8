//! Attention scores before the softmax: capped, biased, of other keys.

use ulpscope_floats::DType;

use super::cache::{Edit, before, cached, coded};
use super::heads::{nearest, other_heads, other_layers, own_head, values};
use super::mask::mask;
use super::numbers::{constant, dot, largest, simple, text};
use super::{At, Case, Formula, Role, cast};
use crate::causes;

/// At the scores of eager attention.
pub(super) fn scores(at: &At) -> Option<Formula> {
    if let Some(cap) = cap(at) {
        return Formula::new(causes::SOFT_CAP, format!("{0}·tanh(x/{0})", text(cap)));
    }
    mask(at)
        .or_else(|| scaled(at))
        .or_else(|| biased(at))
        .or_else(|| narrow(at))
        .or_else(|| moved(at))
        .or_else(|| of_keys(at))
        .or_else(|| of_cache(at))
}

/// Head, query and key of an element.
pub(super) fn place(case: &Case, i: usize) -> [usize; 3] {
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

/// A factor, for each head or for each query.
fn scaled(at: &At) -> Option<Formula> {
    let one = simple(at.factors(1, |_, _| 0)[0]);
    if one != 1.0 && at.explains(|case| Some(times(case, |_| one))) {
        return Formula::new(causes::SCALE, format!("scores times {}", text(one)));
    }
    let heads = at.spec.heads;
    let by_head = at.factors(heads, |case, i| place(case, i)[0]);
    if !constant(&by_head) && at.explains(|case| Some(times(case, |i| by_head[place(case, i)[0]]))) {
        let said: Vec<String> = by_head.iter().take(8).map(|factor| text(simple(*factor))).collect();
        return Formula::new(causes::SCALE, format!("scores times {} by head", said.join(", ")));
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
        return Formula::new(causes::SCALE, said);
    }
    None
}

fn times(case: &Case, factor: impl Fn(usize) -> f64) -> Vec<f64> {
    case.ours.iter().enumerate().map(|(i, z)| z * factor(i)).collect()
}

/// Something added that the distance of query and key determines, for each head.
fn biased(at: &At) -> Option<Formula> {
    let (heads, tokens) = (at.spec.heads, at.cases.iter().map(|case| case.tokens).max()?);
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
    Formula::new(causes::POSITION_BIAS, said)
}

/// Scores in a narrower format.
fn narrow(at: &At) -> Option<Formula> {
    let formats = [DType::Bf16, DType::F16].into_iter().filter(|_| at.dtype == DType::F32);
    let found = formats.into_iter().find(|&dtype| at.reproduces(|case| Some(cast(case.ours.clone(), dtype))));
    found.and_then(|dtype| Formula::new(causes::OUTPUT_ROUNDED, format!("scores rounded to {dtype}")))
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
                return Formula::new(causes::CACHE_SHIFTED, before(what, by));
            }
        }
    }
    None
}

/// Queries and keys after rotation: `[heads, tokens, width]`, and as many of the key heads.
fn queries_and_keys(at: &At, case: &Case) -> Option<(Vec<f64>, Vec<f64>)> {
    Some((at.read(case, Role::Query)?, at.read(case, Role::Key)?))
}

/// The product of every query with every key, of these heads.
fn products(at: &At, case: &Case, q: &[f64], k: &[f64], of: &dyn Fn(usize) -> usize) -> Vec<f64> {
    let (heads, width, t) = (at.spec.heads, at.spec.head_dim, case.tokens);
    let one = |i: usize| {
        let [h, query, key] = place(case, i);
        dot(&q[(h * t + query) * width..][..width], &k[(of(h) * t + key) * width..][..width])
    };
    (0..heads * t * t).map(one).collect()
}

/// The same as scores: rounded before they are scaled.
fn scores_of(at: &At, case: &Case, q: &[f64], k: &[f64], of: &dyn Fn(usize) -> usize) -> Vec<f64> {
    at.rounded(products(at, case, q, k, of)).into_iter().map(|x| x * at.scale()).collect()
}

/// Scores of other key heads, of keys for queries, of values, in a wider format.
fn of_keys(at: &At) -> Option<Formula> {
    let (heads, groups) = (at.spec.heads, at.spec.groups);
    let own = own_head(at);
    let wide = |case: &Case| {
        let (q, k) = queries_and_keys(at, case)?;
        Some(products(at, case, &q, &k, &own).into_iter().map(|x| x * at.scale()).collect())
    };
    if at.dtype != at.own && at.gives(wide) {
        return Formula::new(causes::COMPUTED_OTHERWISE, format!("computed in {}", at.dtype));
    }
    // How far each query head's scores are from those of each key head.
    let mut apart = vec![0.0; heads * groups];
    for case in &at.cases {
        let (q, k) = queries_and_keys(at, case)?;
        for g in 0..groups {
            for (i, z) in scores_of(at, case, &q, &k, &|_| g).into_iter().enumerate() {
                let [h, query, key] = place(case, i);
                if key <= query {
                    apart[h * groups + g] += (case.theirs[i] - z).powi(2);
                }
            }
        }
    }
    let of = nearest(&apart, groups);
    let of_heads = |case: &Case| {
        let (q, k) = queries_and_keys(at, case)?;
        Some(scores_of(at, case, &q, &k, &|h| of[h]))
    };
    if (0..heads).any(|h| of[h] != own(h)) && at.gives(of_heads) {
        return Formula::new(causes::GQA, other_heads(&of));
    }
    let exchanged = |case: &Case| {
        let (q, k) = queries_and_keys(at, case)?;
        Some(scores_of(at, case, &k, &q, &own))
    };
    if groups == heads && at.gives(exchanged) {
        return Formula::new(causes::CACHE_SHIFTED, "queries and keys exchanged");
    }
    for layer in other_layers(at) {
        let of_layer = |case: &Case| {
            let k = case.read(at.in_layer(layer, Role::Key)?)?;
            Some(scores_of(at, case, &at.read(case, Role::Query)?, &k, &own))
        };
        if at.gives(of_layer) {
            return Formula::new(causes::CACHE_SHIFTED, format!("keys of layer {layer}"));
        }
    }
    let of_values = |case: &Case| {
        let (q, v) = (at.read(case, Role::Query)?, values(at, case)?);
        Some(scores_of(at, case, &q, &v, &own))
    };
    at.gives(of_values).then(|| Formula { fault: causes::WIRING, said: "values for keys".to_owned() })
}

/// Scores of keys that a cache has changed.
fn of_cache(at: &At) -> Option<Formula> {
    let (width, own) = (at.spec.head_dim, own_head(at));
    // The last query of the first head tells nearly all edits apart.
    let quickly = |case: &Case, edit: Edit| {
        let (last, Some((q, mut k))) = (case.tokens - 1, queries_and_keys(at, case)) else { return false };
        edit(&mut k);
        let score = |j: usize| dot(&q[last * width..][..width], &k[j * width..][..width]) * at.scale();
        let row = &case.theirs[last * case.tokens..][..=last];
        let allowed = 8.0 * at.dtype.unit_roundoff() * largest(row);
        row.iter().enumerate().all(|(j, y)| (y - score(j)).abs() <= allowed)
    };
    let of = |case: &Case, edit: Edit| {
        let (q, mut k) = queries_and_keys(at, case)?;
        edit(&mut k);
        Some(scores_of(at, case, &q, &at.rounded(k), &own))
    };
    if let Some((fault, said)) = cached(at, &quickly, &|edit| at.gives(|case| of(case, edit))) {
        return Formula::new(fault, said);
    }
    coded(at, "keys", |case, code| of(case, code))
}
