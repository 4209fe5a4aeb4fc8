//! Masks that are not the model's: which keys a query sees.

use ulpscope_decoder::departure::Mask;
use ulpscope_record::Finding;

use super::heads::own_head;
use super::numbers::{dot, simple};
use super::scores::place;
use super::{At, Case, Formula, Role, found};
use crate::causes;

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
    let known = ruled(at, at.cases.iter().map(|case| case.tokens).max()?, |rule| {
        at.cases.iter().all(|case| every(case, &|i, j| sees(case, i, j) == rule(i, j)))
    });
    let other = || lowered(at).or_else(|| other_keys(at, &sees));
    known.or_else(|| found(causes::MASK, other()?)).filter(|_| at.agrees())
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
            let finding =
                if n == tokens { Finding::new("no-window") } else { Finding::new("window").with("keys", n) };
            return found(causes::WINDOW, finding);
        }
    }
    found(causes::MASK, masked(tokens, holds)?)
}

/// By how much what lies ahead is lowered, where it is not hidden.
fn lowered(at: &At) -> Option<Finding> {
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
        return Some(Finding::new("ahead-zero"));
    }
    let by = sum / count;
    let (rms, spread) = ((size / count).sqrt(), (squares / count - by * by).max(0.0).sqrt());
    // Not a number either.
    let constant = count >= 3.0 && by.abs() < 1e3 && spread <= 4.0 * at.roundings() * rms;
    constant.then(|| match by.abs() <= 1e-3 * rms {
        true => Finding::new("ahead-seen"),
        false => Finding::new("ahead-lowered").with("by", simple(by)),
    })
}

/// The first query that sees other keys than ours does, and which, where no rule is known.
fn other_keys(at: &At, sees: &dyn Fn(&Case, usize, usize) -> bool) -> Option<Finding> {
    let own = own_mask(at);
    for case in &at.cases {
        let differs = |query: &usize| (0..case.tokens).any(|key| own(*query, key) != sees(case, *query, key));
        let queries = (0..case.tokens).filter(differs).count();
        for query in 0..case.tokens {
            let wrong = |hidden: bool| -> Vec<usize> {
                (0..case.tokens)
                    .filter(|&key| own(query, key) == hidden && sees(case, query, key) != hidden)
                    .collect()
            };
            for (rule, keys) in [("keys-missed", wrong(true)), ("keys-seen", wrong(false))] {
                if !keys.is_empty() {
                    let finding = Finding::new(rule).with("query", query).with("keys", keys);
                    return Some(finding.with("queries", queries));
                }
            }
        }
    }
    None
}

/// The rule of a mask that holds: of windows, chunks, prefixes and padding.
fn masked(tokens: usize, holds: impl Fn(&dyn Fn(usize, usize) -> bool) -> bool) -> Option<Finding> {
    if holds(&|i, j| j < i || i + j == 0) {
        return Some(Finding::new("own-key-hidden"));
    }
    for n in 1..tokens {
        let rule = |rule: &str, key: &str| Some(Finding::new(rule).with(key, n));
        if holds(&|i, j| j <= i && i - j < n) {
            return rule("window", "keys");
        }
        for first in [1, 2, 4, 8].into_iter().filter(|first| first + n < tokens) {
            if holds(&|i, j| j <= i && (i - j < n || j < first)) {
                return Some(Finding::new("window-and-first").with("keys", n).with("first", first));
            }
        }
        if holds(&|i, j| j <= i && i / n == j / n) {
            return rule("chunks", "size");
        }
        if holds(&|i, j| j <= i || (i < n && j < n)) && n > 1 {
            return rule("prefix", "tokens");
        }
        if holds(&|i, j| j <= i && j >= n) {
            return rule("first-hidden", "keys");
        }
        if holds(&|i, j| j <= i && (j >= n || i < n)) {
            return rule("first-hidden-behind", "keys");
        }
        if holds(&|i, j| j <= i && (j >= n || i == j)) {
            return rule("first-hidden-but-own", "keys");
        }
    }
    None
}
