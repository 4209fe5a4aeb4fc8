//! What a cache holds of a prefix: keys that were not rotated, rows that are empty, late or out of
//! sight.

use ulpscope_decoder::Role;
use ulpscope_record::Finding;

use super::at::Case;
use super::attention::{attend, mixed};
use super::heads::{by_head, own_head, values};
use super::mask::own_mask;
use super::rotary::as_keys;
use super::{At, Formula, found};
use crate::causes;

/// Keys and values of all tokens, `[groups, tokens, width]`.
type Cached = (Vec<f64>, Vec<f64>);

/// At attention's output behind a cached prefix.
pub(super) fn context(at: &At) -> Option<Formula> {
    let before = at.cases.iter().map(|case| case.before).max().filter(|before| *before > 0)?;
    let own = |case: &Case| Some((at.read(case, Role::Key)?, values(at, case)?));
    let run = |case: &Case, cached: Cached, sees: &dyn Fn(usize, usize) -> bool| {
        let p = attend(at, case, 1.0, &own_head(at), &cached.0, sees)?;
        Some(mixed(at, case, &p, &cached.1))
    };
    let sees = own_mask(at);
    let fact = |what: &str| {
        let finding = Finding::new("prefix-holds").with("what", what).with("tokens", before);
        found(causes::CACHED_PREFIX, finding)
    };
    let with = |edit: &dyn Fn(&Case, &mut Cached) -> Option<()>| {
        at.gives(|case| {
            let mut cached = own(case)?;
            edit(case, &mut cached)?;
            run(case, cached, &sees)
        })
    };
    let from = *at.model.reads(at.beside(Role::Key)?, at.attention).first()?;
    let plain = |case: &Case| Some(by_head(at, case, &case.read(from)?));
    if with(&|case, (k, _)| {
        replace(at, case, k, &plain(case)?);
        Some(())
    }) {
        return fact("keys not rotated");
    }
    if with(&|case, (k, _)| {
        let rows: Vec<f64> = in_rows(at, case, k);
        replace(at, case, k, &as_keys(at, case, &rows));
        Some(())
    }) {
        return fact("keys rotated twice");
    }
    if at.gives(|case| run(case, own(case)?, &|i, j| sees(i, j) && (j >= case.before || i < case.before))) {
        return found(causes::CACHED_PREFIX, Finding::new("prefix-unseen").with("tokens", before));
    }
    type Edit<'e> = (&'e str, &'e dyn Fn(&Case, &mut Cached));
    let zero = |case: &Case, x: &mut Vec<f64>| {
        let none = vec![0.0; x.len()];
        replace(at, case, x, &none);
    };
    let late = |case: &Case, x: &mut Vec<f64>| {
        let shifted = shifted(at, case, x);
        replace(at, case, x, &shifted);
    };
    let edits: [Edit; 6] = [
        ("keys and values that are zero", &|case, (k, v)| {
            zero(case, k);
            zero(case, v);
        }),
        ("keys that are zero", &|case, (k, _)| zero(case, k)),
        ("values that are zero", &|case, (_, v)| zero(case, v)),
        ("keys and values that stand one slot late", &|case, (k, v)| {
            late(case, k);
            late(case, v);
        }),
        ("keys that stand one slot late", &|case, (k, _)| late(case, k)),
        ("values that stand one slot late", &|case, (_, v)| late(case, v)),
    ];
    let held = edits.into_iter().find(|(_, edit)| {
        with(&|case, cached| {
            edit(case, cached);
            Some(())
        })
    });
    held.and_then(|(what, _)| fact(what))
}

/// Puts other rows in the place of a prefix's.
fn replace(at: &At, case: &Case, x: &mut [f64], other: &[f64]) {
    let (width, tokens) = (at.spec.head_dim, case.tokens);
    for (x, other) in x.chunks_mut(tokens * width).zip(other.chunks(tokens * width)) {
        x[..case.before * width].copy_from_slice(&other[..case.before * width]);
    }
}

/// `[heads, tokens, width]` as `[tokens, heads · width]`.
fn in_rows(at: &At, case: &Case, x: &[f64]) -> Vec<f64> {
    let (width, tokens) = (at.spec.head_dim, case.tokens);
    let heads = x.len() / (width * tokens).max(1);
    let from = |i: usize| (i / width % heads * tokens + i / (heads * width)) * width + i % width;
    (0..x.len()).map(|i| x[from(i)]).collect()
}

/// Each head's rows one later.
fn shifted(at: &At, case: &Case, x: &[f64]) -> Vec<f64> {
    let (width, tokens) = (at.spec.head_dim, case.tokens);
    let head = |x: &[f64]| [&x[..width], &x[..(tokens - 1) * width]].concat();
    x.chunks(tokens * width).flat_map(head).collect()
}
