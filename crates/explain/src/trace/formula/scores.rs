//! Attention scores before the softmax: capped, biased, of other keys.

use ulpscope_floats::DType;
use ulpscope_record::{Finding, Value};

use super::cache::{Edit, before, cached, coded};
use super::heads::{heads_read, nearest, of_layer, other_layers, own_head, values};
use super::numbers::{constant, dot, largest, simple};
use super::{At, Case, Formula, Role, cast, found, in_format};
use crate::causes;

/// Head, query and key of an element.
pub(crate) fn place(case: &Case, i: usize) -> [usize; 3] {
    let t = case.tokens;
    [i / (t * t), i / t % t, i % t]
}

/// A factor, for each head or for each query.
pub(super) fn scaled(at: &At) -> Option<Formula> {
    let factor = simple(at.factors(1, |_, _| 0)[0]);
    if factor != 1.0 && at.explains(|case| Some(times(case, |_| factor))) {
        return found(causes::SCALE, Finding::new("scores-times").with("factor", factor));
    }
    let heads = at.spec.heads;
    let by_head = at.factors(heads, |case, i| place(case, i)[0]);
    if !constant(&by_head) && at.explains(|case| Some(times(case, |i| by_head[place(case, i)[0]]))) {
        let factors = Value::List(by_head.into_iter().map(|factor| simple(factor).into()).collect());
        return found(causes::SCALE, Finding::new("scores-times-by-head").with("factors", factors));
    }
    let tokens = at.cases.iter().map(|case| case.tokens).max()?;
    let by_query = at.factors(tokens, |case, i| place(case, i)[1]);
    if tokens >= 4
        && !constant(&by_query)
        && at.explains(|case| Some(times(case, |i| by_query[place(case, i)[1]])))
    {
        let [first, last] = [by_query[0], by_query[tokens - 1]];
        let finding = Finding::new("scores-times-by-position").with("first", first).with("last", last);
        return found(causes::SCALE, finding);
    }
    None
}

fn times(case: &Case, factor: impl Fn(usize) -> f64) -> Vec<f64> {
    case.ours.iter().enumerate().map(|(i, z)| z * factor(i)).collect()
}

/// Scores in a narrower format.
pub(super) fn narrow(at: &At) -> Option<Formula> {
    let formats = [DType::Bf16, DType::F16].into_iter().filter(|_| at.dtype == DType::F32);
    let dtype =
        formats.into_iter().find(|&dtype| at.reproduces(|case| Some(cast(case.ours.clone(), dtype))))?;
    found(causes::OUTPUT_ROUNDED, in_format("scores-in", dtype))
}

/// Scores of keys or queries at another position.
pub(super) fn moved(at: &At) -> Option<Formula> {
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
                return found(causes::CACHE_SHIFTED, before(what, by));
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
    let product = |i: usize| {
        let [h, query, key] = place(case, i);
        dot(&q[(h * t + query) * width..][..width], &k[(of(h) * t + key) * width..][..width])
    };
    (0..heads * t * t).map(product).collect()
}

/// The same as scores: rounded before they are scaled.
fn scores_of(at: &At, case: &Case, q: &[f64], k: &[f64], of: &dyn Fn(usize) -> usize) -> Vec<f64> {
    at.rounded(products(at, case, q, k, of)).into_iter().map(|x| x * at.scale()).collect()
}

/// Scores of other key heads, of keys for queries, of values, in a wider format.
pub(super) fn of_keys(at: &At) -> Option<Formula> {
    let (heads, groups) = (at.spec.heads, at.spec.groups);
    let own = own_head(at);
    let wide = |case: &Case| {
        let (q, k) = queries_and_keys(at, case)?;
        Some(products(at, case, &q, &k, &own).into_iter().map(|x| x * at.scale()).collect())
    };
    if at.dtype != at.own && at.gives(wide) {
        return found(causes::COMPUTED_OTHERWISE, in_format("computed-in", at.dtype));
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
    let heads_of = nearest(&apart, groups);
    let of_heads = |case: &Case| {
        let (q, k) = queries_and_keys(at, case)?;
        Some(scores_of(at, case, &q, &k, &|h| heads_of[h]))
    };
    if (0..heads).any(|h| heads_of[h] != own(h)) && at.gives(of_heads) {
        return found(causes::GQA, heads_read(&heads_of));
    }
    let exchanged = |case: &Case| {
        let (q, k) = queries_and_keys(at, case)?;
        Some(scores_of(at, case, &k, &q, &own))
    };
    if groups == heads && at.gives(exchanged) {
        return found(causes::CACHE_SHIFTED, Finding::new("queries-and-keys-exchanged"));
    }
    for layer in other_layers(at) {
        let keys_of_layer = |case: &Case| {
            let k = case.read(at.in_layer(layer, Role::Key)?)?;
            Some(scores_of(at, case, &at.read(case, Role::Query)?, &k, &own))
        };
        if at.gives(keys_of_layer) {
            return found(causes::CACHE_SHIFTED, of_layer("keys", layer));
        }
    }
    let of_values = |case: &Case| {
        let (q, v) = (at.read(case, Role::Query)?, values(at, case)?);
        Some(scores_of(at, case, &q, &v, &own))
    };
    let finding = Finding::new("values-for-keys");
    at.gives(of_values).then_some(Formula { kind: causes::WIRING, finding })
}

/// Scores of keys that a cache has changed.
pub(super) fn of_cache(at: &At) -> Option<Formula> {
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
    let edited = |case: &Case, edit: Edit| {
        let (q, mut k) = queries_and_keys(at, case)?;
        edit(&mut k);
        Some(scores_of(at, case, &q, &at.rounded(k), &own))
    };
    cached(at, &quickly, &|edit| at.gives(|case| edited(case, edit)))
        .or_else(|| coded(at, "keys", |case, code| edited(case, code)))
}
