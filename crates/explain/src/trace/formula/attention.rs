//! What attention makes of scores and values: another softmax, other values, and without scores to look at, all of it.

use ulpscope_decoder::AttentionKind;

use super::cache::{Edit, before, cached, coded};
use super::heads::{by_head, exchanged, nearest, other_heads as read_heads, other_layers, own_head, values};
use super::mask::{own_mask, ruled};
use super::numbers::{dot, largest, softmax, text};
use super::rotary::as_keys;
use super::{At, Case, Formula, Role};
use crate::causes;

/// At the probabilities of eager attention.
pub(super) fn probabilities(at: &At) -> Option<Formula> {
    let one_more = |case: &Case| {
        let scores = at.read(case, Role::Scores)?;
        let row = |row: &[f64]| -> Vec<f64> {
            let sum = 1.0 + row.iter().map(|x| x.exp()).sum::<f64>();
            row.iter().map(|x| x.exp() / sum).collect()
        };
        Some(scores.chunks(case.tokens).flat_map(row).collect())
    };
    let plain = |case: &Case| {
        let scores = at.read(case, Role::Scores)?;
        Some(scores.chunks(case.tokens).flat_map(softmax).collect::<Vec<f64>>())
    };
    let ahead = |case: &Case, i: usize| i % case.tokens > i / case.tokens % case.tokens;
    let cut = |case: &Case| {
        let p = plain(case)?;
        Some(p.into_iter().enumerate().map(|(i, p)| if ahead(case, i) { 0.0 } else { p }).collect())
    };
    if at.explains(cut) {
        return Formula::new(causes::MASK, "what lies ahead set to 0 after the softmax, the rest as it was");
    }
    let by_key = |case: &Case| {
        let (scores, t) = (at.read(case, Role::Scores)?, case.tokens);
        let turned = |of: &[f64]| -> Vec<f64> { (0..t * t).map(|i| of[i % t * t + i / t]).collect() };
        let head = |of: &[f64]| turned(&turned(of).chunks(t).flat_map(softmax).collect::<Vec<f64>>());
        Some(scores.chunks(t * t).flat_map(head).collect())
    };
    if at.explains(by_key) {
        return Formula::new(causes::SOFTMAX_KIND, "a softmax over queries, not over keys");
    }
    let of_scores = at.beside(Role::Scores).and_then(|site| at.cases[0].recorded.get(&site));
    if let Some(format) = of_scores.map(|scores| scores.values.dtype()).filter(|format| *format != at.own)
        && at.gives(plain)
    {
        return Formula::new(causes::COMPUTED_OTHERWISE, format!("computed in {format}"));
    }
    if at.gives(one_more) {
        return Formula::new(causes::SOFTMAX_KIND, "a softmax with 1 more in its sum");
    }
    // Without scores, what it takes away from each row tells as much.
    let sums: Vec<f64> = (at.cases.iter())
        .flat_map(|case| case.theirs.chunks(case.tokens).map(|row| row.iter().sum::<f64>()))
        .collect();
    let by_row = |case: &Case| {
        let rows = case.theirs.chunks(case.tokens).zip(case.ours.chunks(case.tokens));
        Some(
            rows.flat_map(|(y, z)| {
                let factor = y.iter().sum::<f64>() / z.iter().sum::<f64>();
                z.iter().map(move |z| z * factor)
            })
            .collect(),
        )
    };
    let [low, high] =
        sums.iter().fold([f64::INFINITY, 0.0f64], |[low, high], sum| [low.min(*sum), high.max(*sum)]);
    let unit = at.dtype.unit_roundoff();
    (low < 1.0 - 16.0 * unit && high < 1.0 + 4.0 * unit && low > 0.0 && at.gives(by_row)).then(|| Formula {
        fault: causes::SOFTMAX_KIND,
        said: format!(
            "a softmax whose rows sum to {} to {}, as with something more in its sum",
            text(low),
            text(high)
        ),
    })
}

/// By how many positions keys or values are late, and whether the last ones then stand in front.
const SHIFTS: [(usize, bool); 4] = [(1, true), (1, false), (2, true), (2, false)];

/// Probabilities, `[heads, tokens, tokens]`, and values, `[groups, tokens, width]`.
type Read = (Vec<f64>, Vec<f64>);

/// At the output of attention, before its projection.
pub(super) fn context(at: &At) -> Option<Formula> {
    let read = |case: &Case| -> Option<Read> {
        let p = match at.attention {
            AttentionKind::Eager => at.read(case, Role::Probs)?,
            AttentionKind::Sdpa => attended(at, case, &at.read(case, Role::Key)?)?,
        };
        Some((p, values(at, case)?))
    };
    if at.attention == AttentionKind::Sdpa
        && let Some(found) = of_scores(at)
    {
        return Some(found);
    }
    if let Some(found) = elsewhere(at, &read).or_else(|| other_heads(at, &read)) {
        return Some(found);
    }
    if let Some(found) = other_layer(at, &read).or_else(|| from_cache(at, &read)) {
        return Some(found);
    }
    for (by, wraps) in SHIFTS {
        let moved = |case: &Case| {
            let (p, v) = read(case)?;
            Some(mixed(at, case, &p, &shifted(&v, (case.tokens, at.spec.head_dim), by, wraps)))
        };
        if at.gives(moved) {
            return Formula::new(causes::CACHE_SHIFTED, before("values", by));
        }
    }
    let first = |case: &Case| {
        let (p, v) = read(case)?;
        let first = case.read(at.in_layer(0, Role::Value)?)?;
        let half: Vec<f64> =
            v.iter().zip(by_head(at, case, &first)).map(|(v, first)| (v + first) / 2.0).collect();
        Some(mixed(at, case, &p, &half))
    };
    if at.site.layer() != Some(0) && at.gives(first) {
        return Formula::new(causes::WIRING, "values that are the mean of this layer's and the first's");
    }
    if at.attention == AttentionKind::Sdpa {
        let of_both = coded(at, "keys and values", |case, code| {
            let (mut k, mut v) = (at.read(case, Role::Key)?, values(at, case)?);
            code(&mut k);
            code(&mut v);
            Some(mixed(at, case, &attended(at, case, &at.rounded(k))?, &at.rounded(v)))
        });
        let of_keys = || {
            coded(at, "keys", |case, code| {
                let mut k = at.read(case, Role::Key)?;
                code(&mut k);
                Some(mixed(at, case, &attended(at, case, &at.rounded(k))?, &values(at, case)?))
            })
        };
        if let Some(found) = of_both.or_else(of_keys) {
            return Some(found);
        }
    }
    coded(at, "values", |case, code| {
        let (p, mut v) = read(case)?;
        code(&mut v);
        Some(mixed(at, case, &p, &at.rounded(v)))
    })
}

/// The output in other places, or keys in the place of values.
fn elsewhere(at: &At, read: &dyn Fn(&Case) -> Option<Read>) -> Option<Formula> {
    let (heads, width) = (at.spec.heads, at.spec.head_dim);
    let turned = |case: &Case| {
        let from = |i: usize| exchanged(i, [heads, case.tokens, width]);
        Some((0..case.ours.len()).map(|i| case.ours[from(i)]).collect())
    };
    if heads > 1 && at.explains(turned) {
        let said = "[heads, tokens, head_dim] taken as [tokens, heads · head_dim] without exchanging heads and tokens";
        return Formula::new(causes::OUTPUT_REARRANGED, said);
    }
    let by_element = |case: &Case| {
        let from = |i: usize| {
            let place = i % (heads * width);
            i - place + exchanged(place, [width, heads, 1])
        };
        Some((0..case.ours.len()).map(|i| case.ours[from(i)]).collect())
    };
    if heads > 1 && at.explains(by_element) {
        let said = "[tokens, heads, head_dim] taken as [tokens, head_dim, heads]";
        return Formula::new(causes::OUTPUT_REARRANGED, said);
    }
    let keys = |case: &Case| Some(mixed(at, case, &read(case)?.0, &at.read(case, Role::Key)?));
    if at.gives(keys) {
        return Formula::new(causes::WIRING, "rotated keys for values");
    }
    let rotated = |case: &Case| {
        let v = as_keys(at, case, &at.read(case, Role::Value)?);
        Some(mixed(at, case, &read(case)?.0, &v))
    };
    if at.gives(rotated) {
        return Formula::new(causes::WIRING, "values that are rotated as keys are");
    }
    let swapped = |case: &Case| {
        let (k, v) = (at.read(case, Role::Key)?, values(at, case)?);
        Some(mixed(at, case, &attended(at, case, &v)?, &k))
    };
    (at.attention == AttentionKind::Sdpa && at.gives(swapped))
        .then(|| Formula { fault: causes::WIRING, said: "keys and values exchanged".to_owned() })
}

/// Keys and values, or values, of another layer.
fn other_layer(at: &At, read: &dyn Fn(&Case) -> Option<Read>) -> Option<Formula> {
    for layer in other_layers(at) {
        let recorded = |case: &Case, role| case.read(at.in_layer(layer, role)?);
        let of_values = |case: &Case| {
            Some(mixed(at, case, &read(case)?.0, &by_head(at, case, &recorded(case, Role::Value)?)))
        };
        let of_both = |case: &Case| {
            let (k, v) = (recorded(case, Role::Key)?, recorded(case, Role::Value)?);
            Some(mixed(at, case, &attended(at, case, &k)?, &by_head(at, case, &v)))
        };
        if at.gives(of_values) {
            return Formula::new(causes::CACHE_SHIFTED, format!("values of layer {layer}"));
        }
        if at.attention == AttentionKind::Sdpa && at.gives(of_both) {
            return Formula::new(causes::CACHE_SHIFTED, format!("keys and values of layer {layer}"));
        }
    }
    None
}

/// Query heads that read other value heads, and other key heads where scores are not at hand.
fn other_heads(at: &At, read: &dyn Fn(&Case) -> Option<Read>) -> Option<Formula> {
    // Of values alone, and where scores are not at hand of keys, too.
    let of_values = |case: &Case, of: &dyn Fn(usize) -> usize| {
        let (p, v) = read(case)?;
        Some(mixed_of(at, case, &p, &v, of))
    };
    let of_both = |case: &Case, of: &dyn Fn(usize) -> usize| {
        let p = attend(at, case, 1.0, of, &at.read(case, Role::Key)?, &own_mask(at))?;
        Some(mixed_of(at, case, &p, &values(at, case)?, of))
    };
    match at.attention {
        AttentionKind::Eager => nearest_heads(at, &of_values),
        AttentionKind::Sdpa => nearest_heads(at, &of_values).or_else(|| nearest_heads(at, &of_both)),
    }
}

/// What attention gives on a prompt with these heads for each query head.
type OfHeads<'f> = &'f dyn Fn(&Case, &dyn Fn(usize) -> usize) -> Option<Vec<f64>>;

fn nearest_heads(at: &At, all_of: OfHeads) -> Option<Formula> {
    let (heads, groups) = (at.spec.heads, at.spec.groups);
    let width = at.spec.head_dim;
    // How far each query head's output is from what it would be of each value head.
    let mut apart = vec![0.0; heads * groups];
    for case in &at.cases {
        for g in 0..groups {
            for (i, y) in all_of(case, &|_| g)?.into_iter().enumerate() {
                apart[i / width % heads * groups + g] += (case.theirs[i] - y).powi(2);
            }
        }
    }
    let (of, own) = (nearest(&apart, groups), own_head(at));
    let differs = (0..heads).any(|h| of[h] != own(h));
    (differs && at.gives(|case| all_of(case, &|h| of[h])))
        .then(|| Formula { fault: causes::GQA, said: read_heads(&of) })
}

/// Values, and where scores are not at hand keys, as a cache may have them.
fn from_cache(at: &At, read: &dyn Fn(&Case) -> Option<Read>) -> Option<Formula> {
    let run = |case: &Case, edit: Edit| -> Option<Vec<f64>> {
        let (mut p, mut v) = read(case)?;
        edit(&mut v);
        if at.attention == AttentionKind::Sdpa {
            let mut k = at.read(case, Role::Key)?;
            edit(&mut k);
            p = attended(at, case, &k)?;
        }
        Some(mixed(at, case, &p, &v))
    };
    let likely = |case: &Case, edit: Edit| {
        let (Some((p, mut v)), Some(mut k)) = (read(case), at.read(case, Role::Key)) else {
            return false;
        };
        edit(&mut v);
        match at.attention {
            AttentionKind::Eager => first_head(at, case, &v, |i| {
                p[i * case.tokens..][..case.tokens].iter().copied().enumerate().collect()
            }),
            AttentionKind::Sdpa => {
                edit(&mut k);
                sees_so(at, case, &k, &v, &own_mask(at)) == Some(true)
            }
        }
    };
    let (fault, said) = cached(at, &likely, &|edit| at.gives(|case| run(case, edit)))?;
    Some(Formula { fault, said })
}

/// What is done to scores that a fused attention does not show.
fn of_scores(at: &At) -> Option<Formula> {
    let run = |case: &Case, scale: f64, sees: &dyn Fn(usize, usize) -> bool| {
        let p = attend(at, case, scale, &own_head(at), &at.read(case, Role::Key)?, sees)?;
        Some(mixed(at, case, &p, &values(at, case)?))
    };
    let own = own_mask(at);
    let scale = at.best([0.05, 20.0], |scale, case| run(case, scale, &own));
    if at.gives(|case| run(case, scale, &own)) {
        return Formula::new(causes::SCALE, format!("scores times {}", text(scale)));
    }
    let tokens = at.cases.iter().map(|case| case.tokens).max()?;
    let likely = |case: &Case, rule: &dyn Fn(usize, usize) -> bool| {
        let (k, v) = (at.read(case, Role::Key)?, values(at, case)?);
        sees_so(at, case, &k, &v, rule)
    };
    let holds = |rule: &dyn Fn(usize, usize) -> bool| {
        likely(&at.cases[0], rule) == Some(true) && at.gives(|case| run(case, 1.0, rule))
    };
    if let Some(found) = ruled(at, tokens, holds) {
        return Some(found);
    }
    let moved = |by: usize, wraps: bool| {
        at.gives(|case| {
            let k = shifted(&at.read(case, Role::Key)?, (case.tokens, at.spec.head_dim), by, wraps);
            Some(mixed(at, case, &attended(at, case, &k)?, &values(at, case)?))
        })
    };
    let found = SHIFTS.into_iter().find(|(by, wraps)| moved(*by, *wraps));
    found.and_then(|(by, _)| Formula::new(causes::CACHE_SHIFTED, before("keys", by)))
}

/// Probabilities of the scores with these keys.
fn attended(at: &At, case: &Case, k: &[f64]) -> Option<Vec<f64>> {
    attend(at, case, 1.0, &own_head(at), k, &own_mask(at))
}

/// Probabilities of scores with these keys and key heads, times a factor, where such keys are seen.
fn attend(
    at: &At,
    case: &Case,
    factor: f64,
    of: &dyn Fn(usize) -> usize,
    k: &[f64],
    sees: &dyn Fn(usize, usize) -> bool,
) -> Option<Vec<f64>> {
    let (heads, width) = (at.spec.heads, at.spec.head_dim);
    let q = at.read(case, Role::Query)?;
    let (t, scale) = (case.tokens, factor / (width as f64).sqrt());
    let mut p = vec![0.0; heads * t * t];
    for (row, p) in p.chunks_mut(t).enumerate() {
        let (h, i) = (row / t, row % t);
        let k = &k[of(h) * t * width..][..t * width];
        let seen = probabilities_of(&q[(h * t + i) * width..][..width], k, scale, |j| sees(i, j));
        seen.into_iter().for_each(|(j, probability)| p[j] = probability);
    }
    Some(p)
}

/// The keys of a head that a query sees, with their probabilities.
fn probabilities_of(q: &[f64], k: &[f64], scale: f64, sees: impl Fn(usize) -> bool) -> Vec<(usize, f64)> {
    let keys = k.chunks(q.len()).enumerate().filter(|(j, _)| sees(*j));
    let (seen, scores): (Vec<usize>, Vec<f64>) = keys.map(|(j, k)| (j, scale * dot(q, k))).unzip();
    seen.into_iter().zip(softmax(&scores)).collect()
}

/// Whether two outputs of the first head are the trace's: that is soon tried, and tells nearly all hypotheses apart.
fn first_head(at: &At, case: &Case, v: &[f64], probabilities: impl Fn(usize) -> Vec<(usize, f64)>) -> bool {
    let (heads, width) = (at.spec.heads, at.spec.head_dim);
    [case.tokens - 1, case.tokens / 2].into_iter().all(|i| {
        let theirs = &case.theirs[i * heads * width..][..width];
        let (size, p) = (largest(theirs), probabilities(i));
        (0..width).all(|c| {
            let y: f64 = p.iter().map(|(j, p)| p * v[j * width + c]).sum();
            (y - theirs[c]).abs() <= 16.0 * at.dtype.unit_roundoff() * size
        })
    })
}

/// Whether a mask, and these keys and values, may give the trace's output.
fn sees_so(at: &At, case: &Case, k: &[f64], v: &[f64], sees: &dyn Fn(usize, usize) -> bool) -> Option<bool> {
    let (width, t) = (at.spec.head_dim, case.tokens);
    let q = at.read(case, Role::Query)?;
    Some(first_head(at, case, v, |i| {
        probabilities_of(&q[i * width..][..width], &k[..t * width], at.scale(), |j| sees(i, j))
    }))
}

/// `[heads, tokens, width]` with what stood so many positions before; in front stands the end, or the first again.
fn shifted(x: &[f64], (tokens, width): (usize, usize), by: usize, wraps: bool) -> Vec<f64> {
    let from = |t: usize| if wraps { (t + tokens - by % tokens) % tokens } else { t.saturating_sub(by) };
    let head = |head: &[f64]| -> Vec<f64> {
        (0..tokens).flat_map(|t| head[from(t) * width..][..width].to_vec()).collect()
    };
    x.chunks(tokens * width).flat_map(head).collect()
}

/// Values mixed by probabilities: `[tokens, heads · width]`.
fn mixed(at: &At, case: &Case, p: &[f64], v: &[f64]) -> Vec<f64> {
    mixed_of(at, case, p, v, &own_head(at))
}

/// The same of other value heads.
fn mixed_of(at: &At, case: &Case, p: &[f64], v: &[f64], of: &dyn Fn(usize) -> usize) -> Vec<f64> {
    let (heads, width) = (at.spec.heads, at.spec.head_dim);
    let t = case.tokens;
    let mut y = vec![0.0; t * heads * width];
    for (row, p) in p.chunks(t).enumerate() {
        let (h, i) = (row / t, row % t);
        let y = &mut y[(i * heads + h) * width..][..width];
        for (j, p) in p.iter().enumerate().filter(|(_, p)| **p != 0.0) {
            let v = &v[(of(h) * t + j) * width..][..width];
            y.iter_mut().zip(v).for_each(|(y, v)| *y += p * v);
        }
    }
    y
}
