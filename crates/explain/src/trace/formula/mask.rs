//! Masks that are not the model's: which keys a query sees.

use ulpscope_decoder::departure::Mask;

use super::heads::own_head;
use super::numbers::{dot, simple, text};
use super::scores::place;
use super::{At, Case, Formula, Role};
use crate::causes;
use crate::layer_groups::ranges;

/// Keys that the trace's queries see, where they are not those that ours do.
pub(super) fn mask(at: &At) -> Option<Formula> {
    // Ours are those of Hugging Face; what is hidden here is far below any score.
    let sees = |case: &Case, i: usize, j: usize| {
        let t = case.tokens;
        (0..case.theirs.len() / (t * t)).any(|h| case.theirs[(h * t + i) * t + j] > -6e4)
    };
    let own = own_mask(at);
    let every = |case: &Case, holds: &dyn Fn(usize, usize) -> bool| {
        (0..case.tokens).all(|i| (0..case.tokens).all(|j| holds(i, j)))
    };
    if at.cases.iter().all(|case| every(case, &|i, j| sees(case, i, j) == own(i, j))) {
        return None;
    }
    let found = ruled(at, at.cases.iter().map(|case| case.tokens).max()?, |rule| {
        at.cases.iter().all(|case| every(case, &|i, j| sees(case, i, j) == rule(i, j)))
    });
    let other = || lowered(at).or_else(|| other_keys(at, &sees));
    let found = found.or_else(|| other().map(|said| Formula { fault: causes::MASK, said }));
    found.filter(|_| at.agrees())
}

/// Whether a query of the model sees a key.
pub(super) fn own_mask(at: &At) -> impl Fn(usize, usize) -> bool + use<> {
    let mask = at.spec.mask;
    move |query, key| mask.sees(query, key)
}

/// The rule of a mask that holds: another window, where the model has one.
pub(super) fn ruled(
    at: &At,
    tokens: usize,
    holds: impl Fn(&dyn Fn(usize, usize) -> bool) -> bool,
) -> Option<Formula> {
    if let Mask::Window(own) = at.spec.mask {
        let mut others = (1..=tokens).filter(|n| *n != own.get());
        if let Some(n) = others.find(|&n| holds(&|i, j| j <= i && i - j < n)) {
            let keys =
                if n == tokens { "every key up to its own".to_owned() } else { format!("the last {n} keys") };
            return Formula::new(causes::WINDOW, format!("a query sees {keys}"));
        }
    }
    masked(tokens, holds).and_then(|said| Formula::new(causes::MASK, said))
}

/// By how much what lies ahead is lowered, where it is not hidden.
fn lowered(at: &At) -> Option<String> {
    let (width, own) = (at.spec.head_dim, own_head(at));
    let (mut sum, mut squares, mut count, mut size) = (0.0, 0.0, 0.0, 0.0);
    for case in &at.cases {
        let (q, k) = (at.read(case, Role::Query)?, at.read(case, Role::Key)?);
        let t = case.tokens;
        for (i, y) in case.theirs.iter().enumerate() {
            let [h, query, key] = place(case, i);
            if key > query {
                let q = &q[(h * t + query) * width..][..width];
                let k = &k[(own(h) * t + key) * width..][..width];
                let less = dot(q, k) * at.scale() - y;
                (sum, squares, count, size) = (sum + less, squares + less * less, count + 1.0, size + y * y);
            }
        }
    }
    if count >= 3.0 && size == 0.0 {
        return Some("the scores of what lies ahead are 0, not hidden".to_owned());
    }
    let by = sum / count;
    let (rms, spread) = ((size / count).sqrt(), (squares / count - by * by).max(0.0).sqrt());
    // Not a number either.
    let constant = count >= 3.0 && by.abs() < 1e3 && spread <= 4.0 * at.roundings() * rms;
    constant.then(|| match by.abs() <= 1e-3 * rms {
        true => "what lies ahead is not hidden".to_owned(),
        false => format!("what lies ahead is lowered by {}, not hidden", text(simple(by))),
    })
}

/// The first query that sees other keys than ours does, and which, where no rule is known.
fn other_keys(at: &At, sees: &dyn Fn(&Case, usize, usize) -> bool) -> Option<String> {
    let own = own_mask(at);
    for case in &at.cases {
        let differs = |query: &usize| (0..case.tokens).any(|key| own(*query, key) != sees(case, *query, key));
        let all = (0..case.tokens).filter(differs).count();
        let more = if all > 1 { format!(", the first of {all} such queries") } else { String::new() };
        for query in 0..case.tokens {
            let wrong = |hidden: bool| -> Vec<usize> {
                (0..case.tokens)
                    .filter(|&key| own(query, key) == hidden && sees(case, query, key) != hidden)
                    .collect()
            };
            let (hidden, shown) = (wrong(true), wrong(false));
            if !hidden.is_empty() {
                return Some(format!("query {query} does not see keys {}{more}", ranges(hidden)));
            }
            if !shown.is_empty() {
                return Some(format!("query {query} sees keys {}{more}", ranges(shown)));
            }
        }
    }
    None
}

/// The rule of a mask that holds, in words: of windows, chunks, prefixes and padding.
fn masked(tokens: usize, holds: impl Fn(&dyn Fn(usize, usize) -> bool) -> bool) -> Option<String> {
    if holds(&|i, j| j < i || i + j == 0) {
        return Some("a query does not see its own key, the first query excepted".to_owned());
    }
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
