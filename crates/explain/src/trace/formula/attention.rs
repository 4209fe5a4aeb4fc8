//! What attention makes of scores and values: another softmax, other values, and without scores to
//! look at, all of it.

use ulpscope_decoder::AttentionKind;
use ulpscope_record::Finding;

use super::cache::{Edit, before, cached, coded};
use super::heads::{by_head, exchanged, heads_read, nearest, of_layer, other_layers, own_head, values};
use super::mask::{own_mask, ruled};
use super::numbers::{dot, largest, softmax};
use super::rotary::as_keys;
use super::{At, Case, Formula, Role, found, in_format};
use crate::causes;

/// Each row of the trace's scores by a function, on a prompt.
pub(crate) fn of_scores(at: &At, case: &Case, row: impl Fn(&[f64]) -> Vec<f64>) -> Option<Vec<f64>> {
    Some(at.read(case, Role::Scores)?.chunks(case.tokens).flat_map(row).collect())
}

/// Our softmax of scores in another format.
pub(super) fn softmax_of_format(at: &At) -> Option<Formula> {
    let scores = at.cases[0].recorded.get(&at.beside(Role::Scores)?)?;
    let format = scores.values.dtype();
    let finding = in_format("computed-in", format);
    (format != at.own && at.gives(|case| of_scores(at, case, softmax)))
        .then_some(Formula { kind: causes::COMPUTED_OTHERWISE, finding })
}

/// A mask that is applied behind the softmax.
pub(super) fn masked_late(at: &At) -> Option<Formula> {
    let ahead = |case: &Case, i: usize| i % case.tokens > i / case.tokens % case.tokens;
    let cut = |case: &Case| {
        let p = of_scores(at, case, softmax)?;
        Some(p.into_iter().enumerate().map(|(i, p)| if ahead(case, i) { 0.0 } else { p }).collect())
    };
    let finding = Finding::new("zero-after-softmax");
    at.explains(cut).then_some(Formula { kind: causes::MASK, finding })
}

/// By how many positions keys or values are late, and whether the last ones then stand in front.
const SHIFTS: [(usize, bool); 4] = [(1, true), (1, false), (2, true), (2, false)];

/// Probabilities, `[heads, tokens, tokens]`, and values, `[groups, tokens, width]`.
type Read = (Vec<f64>, Vec<f64>);

/// Probabilities and values as the trace has them; without probabilities, of its queries and keys.
fn read(at: &At, case: &Case) -> Option<Read> {
    let p = match at.attention {
        AttentionKind::Eager => at.read(case, Role::Probs)?,
        AttentionKind::Sdpa => attended(at, case, &at.read(case, Role::Key)?)?,
    };
    Some((p, values(at, case)?))
}

/// Values of positions before.
pub(super) fn late_values(at: &At) -> Option<Formula> {
    let moved = |by: usize, wraps: bool| {
        at.gives(|case| {
            let (p, v) = read(at, case)?;
            Some(mixed(at, case, &p, &shifted(&v, (case.tokens, at.spec.head_dim), by, wraps)))
        })
    };
    let (by, _) = SHIFTS.into_iter().find(|(by, wraps)| moved(*by, *wraps))?;
    found(causes::CACHE_SHIFTED, before("values", by))
}

/// Values that are mixed with those of the first layer.
pub(super) fn first_values(at: &At) -> Option<Formula> {
    let first = |case: &Case| {
        let (p, v) = read(at, case)?;
        let first = case.read(at.in_layer(0, Role::Value)?)?;
        let half: Vec<f64> =
            v.iter().zip(by_head(at, case, &first)).map(|(v, first)| (v + first) / 2.0).collect();
        Some(mixed(at, case, &p, &half))
    };
    let finding = Finding::new("values-with-first-layer");
    (at.site.layer() != Some(0) && at.gives(first)).then_some(Formula { kind: causes::WIRING, finding })
}

/// Keys and values, keys, or values in fewer bits; the first two only where no scores are at hand.
pub(super) fn coded_values(at: &At) -> Option<Formula> {
    let fused = |what: &str, both: bool| {
        coded(at, what, |case, code| {
            let (mut k, mut v) = (at.read(case, Role::Key)?, values(at, case)?);
            code(&mut k);
            if both {
                code(&mut v);
                v = at.rounded(v);
            }
            Some(mixed(at, case, &attended(at, case, &at.rounded(k))?, &v))
        })
    };
    if at.attention == AttentionKind::Sdpa
        && let Some(known) = fused("keys and values", true).or_else(|| fused("keys", false))
    {
        return Some(known);
    }
    coded(at, "values", |case, code| {
        let (p, mut v) = read(at, case)?;
        code(&mut v);
        Some(mixed(at, case, &p, &at.rounded(v)))
    })
}

/// The output in other places, or keys in the place of values.
pub(super) fn elsewhere(at: &At) -> Option<Formula> {
    let (heads, width) = (at.spec.heads, at.spec.head_dim);
    let turned = |case: &Case| {
        let from = |i: usize| exchanged(i, [heads, case.tokens, width]);
        Some((0..case.ours.len()).map(|i| case.ours[from(i)]).collect())
    };
    if heads > 1 && at.explains(turned) {
        return found(causes::OUTPUT_REARRANGED, Finding::new("heads-not-exchanged"));
    }
    let by_element = |case: &Case| {
        let from = |i: usize| {
            let place = i % (heads * width);
            i - place + exchanged(place, [width, heads, 1])
        };
        Some((0..case.ours.len()).map(|i| case.ours[from(i)]).collect())
    };
    if heads > 1 && at.explains(by_element) {
        return found(causes::OUTPUT_REARRANGED, Finding::new("heads-as-elements"));
    }
    let keys = |case: &Case| Some(mixed(at, case, &read(at, case)?.0, &at.read(case, Role::Key)?));
    if at.gives(keys) {
        return found(causes::WIRING, Finding::new("keys-for-values"));
    }
    let rotated = |case: &Case| {
        let v = as_keys(at, case, &at.read(case, Role::Value)?);
        Some(mixed(at, case, &read(at, case)?.0, &v))
    };
    if at.gives(rotated) {
        return found(causes::WIRING, Finding::new("values-rotated"));
    }
    let swapped = |case: &Case| {
        let (k, v) = (at.read(case, Role::Key)?, values(at, case)?);
        Some(mixed(at, case, &attended(at, case, &v)?, &k))
    };
    let finding = Finding::new("keys-and-values-exchanged");
    (at.attention == AttentionKind::Sdpa && at.gives(swapped))
        .then_some(Formula { kind: causes::WIRING, finding })
}

/// Keys and values, or values, of another layer.
pub(super) fn other_layer(at: &At) -> Option<Formula> {
    for layer in other_layers(at) {
        let recorded = |case: &Case, role| case.read(at.in_layer(layer, role)?);
        let of_values = |case: &Case| {
            Some(mixed(at, case, &read(at, case)?.0, &by_head(at, case, &recorded(case, Role::Value)?)))
        };
        let of_both = |case: &Case| {
            let (k, v) = (recorded(case, Role::Key)?, recorded(case, Role::Value)?);
            Some(mixed(at, case, &attended(at, case, &k)?, &by_head(at, case, &v)))
        };
        if at.gives(of_values) {
            return found(causes::CACHE_SHIFTED, of_layer("values", layer));
        }
        if at.attention == AttentionKind::Sdpa && at.gives(of_both) {
            return found(causes::CACHE_SHIFTED, of_layer("keys and values", layer));
        }
    }
    None
}

/// Query heads that read other value heads, and other key heads where scores are not at hand.
pub(super) fn other_heads(at: &At) -> Option<Formula> {
    // Of values alone, and where scores are not at hand of keys, too.
    let of_values = |case: &Case, of: &dyn Fn(usize) -> usize| {
        let (p, v) = read(at, case)?;
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
    let (heads_of, own) = (nearest(&apart, groups), own_head(at));
    let differs = (0..heads).any(|h| heads_of[h] != own(h));
    (differs && at.gives(|case| all_of(case, &|h| heads_of[h])))
        .then(|| Formula { kind: causes::GQA, finding: heads_read(&heads_of) })
}

/// Values, and where scores are not at hand keys, as a cache may have them.
pub(super) fn from_cache(at: &At) -> Option<Formula> {
    let run = |case: &Case, edit: Edit| -> Option<Vec<f64>> {
        let mut v = values(at, case)?;
        edit(&mut v);
        let p = match at.attention {
            AttentionKind::Eager => at.read(case, Role::Probs)?,
            AttentionKind::Sdpa => {
                let mut k = at.read(case, Role::Key)?;
                edit(&mut k);
                attended(at, case, &k)?
            }
        };
        Some(mixed(at, case, &p, &v))
    };
    let likely = |case: &Case, edit: Edit| {
        let (Some(mut v), Some(mut k)) = (values(at, case), at.read(case, Role::Key)) else {
            return false;
        };
        edit(&mut v);
        match at.attention {
            AttentionKind::Eager => at.read(case, Role::Probs).is_some_and(|p| {
                first_head(at, case, &v, |i| {
                    p[i * case.tokens..][..case.tokens].iter().copied().enumerate().collect()
                })
            }),
            AttentionKind::Sdpa => {
                edit(&mut k);
                sees_so(at, case, &k, &v, &own_mask(at)) == Some(true)
            }
        }
    };
    cached(at, &likely, &|edit| at.gives(|case| run(case, edit)))
}

/// What is done to scores that a fused attention does not show.
pub(super) fn fused_scores(at: &At) -> Option<Formula> {
    if at.attention != AttentionKind::Sdpa {
        return None;
    }
    let run = |case: &Case, scale: f64, sees: &dyn Fn(usize, usize) -> bool| {
        let p = attend(at, case, scale, &own_head(at), &at.read(case, Role::Key)?, sees)?;
        Some(mixed(at, case, &p, &values(at, case)?))
    };
    let own = own_mask(at);
    let scale = at.best([0.05, 20.0], |scale, case| run(case, scale, &own));
    if at.gives(|case| run(case, scale, &own)) {
        return found(causes::SCALE, Finding::new("scores-times").with("factor", scale));
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
    let (by, _) = SHIFTS.into_iter().find(|(by, wraps)| moved(*by, *wraps))?;
    found(causes::CACHE_SHIFTED, before("keys", by))
}

/// Probabilities of the scores with these keys.
fn attended(at: &At, case: &Case, k: &[f64]) -> Option<Vec<f64>> {
    attend(at, case, 1.0, &own_head(at), k, &own_mask(at))
}

/// Probabilities of scores with these keys and key heads, times a factor, where such keys are seen.
pub(super) fn attend(
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

/// Whether two outputs of the first head are the trace's: that is soon tried, and tells nearly all
/// hypotheses apart.
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

/// `[heads, tokens, width]` with what stood so many positions before; in front stands the end, or
/// the first again.
fn shifted(x: &[f64], (tokens, width): (usize, usize), by: usize, wraps: bool) -> Vec<f64> {
    let from = |t: usize| if wraps { (t + tokens - by % tokens) % tokens } else { t.saturating_sub(by) };
    let head = |head: &[f64]| -> Vec<f64> {
        (0..tokens).flat_map(|t| head[from(t) * width..][..width].to_vec()).collect()
    };
    x.chunks(tokens * width).flat_map(head).collect()
}

/// Values mixed by probabilities: `[tokens, heads · width]`.
pub(super) fn mixed(at: &At, case: &Case, p: &[f64], v: &[f64]) -> Vec<f64> {
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
