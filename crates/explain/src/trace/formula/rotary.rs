//! Rotation at other positions, by other frequencies, of a part of each head.

use ulpscope_decoder::{Role, RopeKind, RopeParameters};
use ulpscope_record::{Finding, Value};

use super::cache::before;
use super::heads::exchanged;
use super::numbers::{least, simple};
use super::{At, Case, Formula, found};
use crate::causes::{self, CauseKind};
use crate::trace::hypothesis::THETAS;

/// Positions that are tried for a token.
const POSITIONS: usize = 8192;

/// Ours times a factor.
pub(super) fn scaled(at: &At) -> Option<Formula> {
    let factor = simple(at.factors(1, |_, _| 0)[0]);
    let times = |case: &Case| Some(case.ours.iter().map(|z| z * factor).collect());
    let finding = Finding::new("tables-times").with("factor", factor);
    ((factor - 1.0).abs() > 0.01 && at.explains(times))
        .then_some(Formula { kind: causes::ROPE_SCALING, finding })
}

/// Frequencies of another base, or all multiplied by a factor, as angles have them.
pub(super) fn frequencies(at: &At) -> Option<Formula> {
    let (width, rope) = (at.spec.head_dim, at.rope());
    let own = rope.inv_freq(width);
    let table = |case: &Case, frequencies: &[f64]| -> Vec<f64> {
        let row = |t: usize| frequencies.repeat(2).into_iter().map(move |f| at.table_of(t as f64 * f));
        (0..case.tokens).flat_map(row).collect()
    };
    let scaled = |by: f64| own.iter().map(|f| f64::from(*f) * by).collect::<Vec<f64>>();
    // At position 1 the first angle is the factor itself, where it is less than half a turn.
    let factor = at.best([1.0 / 64.0, 3.0], |by, case| Some(table(case, &scaled(by))));
    let factor = [factor]
        .into_iter()
        .chain([0.125, 0.25, 0.5, 2.0])
        .find(|&by| (by - 1.0).abs() > 1e-3 && at.explains(|case| Some(table(case, &scaled(by)))));
    if let Some(factor) = factor {
        return found(causes::ROPE_SCALING, Finding::new("angles-times").with("factor", factor));
    }
    if rope.kind != RopeKind::Default {
        return None;
    }
    let based = |theta: f64| -> Vec<f64> {
        (0..width / 2).map(|i| theta.powf(-2.0 * i as f64 / width as f64)).collect()
    };
    // Both tables are of one base, and sines tell more of small angles.
    let apart = |theta: f64| -> f64 {
        let frequencies = based(theta);
        let distance = |case: &Case| {
            let sines = case.read(at.model.tables(at.rope_index())[1]).unwrap_or_default();
            let square = |(i, y): (usize, &f64)| {
                let angle = (i / width) as f64 * frequencies[i % width % frequencies.len()];
                (y - angle.sin()).powi(2)
            };
            sines.iter().enumerate().map(square).sum::<f64>()
        };
        at.cases.iter().map(distance).sum()
    };
    let theta = rope.rope_theta;
    let root = theta.sqrt();
    // The longer the text, the nearer the guess has to be before a step towards the base is one to
    // the better.
    let near = [theta, theta / 4.0, theta * 4.0, root].map(|near| least([near / 2.5, near * 2.5], apart));
    let nearest = near.into_iter().min_by(|x, y| apart(*x).total_cmp(&apart(*y)))?;
    let theta =
        [root, nearest].into_iter().find(|&theta| at.explains(|case| Some(table(case, &based(theta)))))?;
    let rule = if theta == root { "theta-root" } else { "theta" };
    found(causes::ROPE_THETA, Finding::new(rule).with("theta", theta))
}

/// The rows of other positions.
pub(super) fn positions(at: &At) -> Option<Formula> {
    let width = at.spec.head_dim;
    let frequencies = at.rope().inv_freq(width);
    let unit = at.dtype.unit_roundoff();
    let mut first = None;
    for case in &at.cases {
        let row = |position: usize, row: &[f64]| {
            frequencies.iter().zip(row).all(|(frequency, y)| {
                let angle = f64::from(position as f32 * frequency);
                (at.table_of(angle) - y).abs() <= 2.0 * unit + 4.0 * f64::from(f32::EPSILON) * angle
            })
        };
        let positions: Option<Vec<usize>> =
            case.theirs.chunks(width).map(|theirs| (0..POSITIONS).find(|&p| row(p, theirs))).collect();
        let moved = |all: &Vec<usize>| all.len() >= 2 && all.iter().enumerate().any(|(t, &p)| t != p);
        first.get_or_insert(positions.filter(moved)?);
    }
    let runs = runs(&first?).into_iter().map(|run| Value::from(run.to_vec())).collect();
    found(causes::POSITIONS, Finding::new("positions").with("runs", Value::List(runs)))
}

/// Runs of positions that go up by one or stay: first token, length, first and last position of
/// each.
fn runs(positions: &[usize]) -> Vec<[usize; 4]> {
    // The token at which a run begins, and by how much each of its positions is more than the one
    // before.
    let mut runs: Vec<(usize, usize)> = Vec::new();
    let step = |t: usize| positions[t].checked_sub(positions[t - 1]).filter(|step| *step < 2);
    for t in 0..positions.len() {
        let begun = runs.last().copied();
        match (begun, begun.and_then(|_| step(t))) {
            (Some((from, _)), Some(by)) if t == from + 1 => {
                *runs.last_mut().expect("it has begun") = (from, by)
            }
            (Some((_, by)), Some(step)) if step == by => {}
            _ => runs.push((t, 1)),
        }
    }
    let ends = runs.iter().skip(1).map(|(from, _)| from - 1).chain([positions.len() - 1]);
    runs.iter()
        .zip(ends)
        .map(|(&(from, _), end)| [from, end - from + 1, positions[from], positions[end]])
        .collect()
}

/// What rotated queries or keys are made of.
pub(crate) fn unrotated(at: &At, case: &Case) -> Option<Vec<f64>> {
    case.read(*at.model.reads(at.site, at.attention).first()?)
}

/// Another base than the rest of the model has.
pub(super) fn base_here(at: &At) -> Option<Formula> {
    let (width, own) = (at.spec.head_dim, at.rope().rope_theta);
    let based = |theta: f64| {
        let other = RopeParameters { rope_theta: theta, kind: RopeKind::Default, factors: None };
        let frequencies = other.inv_freq(width);
        let turned = |case: &Case| {
            Some(rotate(at, case, &unrotated(at, case)?, [&frequencies, &frequencies], width, own_position))
        };
        at.explains(turned)
    };
    let theta = THETAS.into_iter().find(|theta| *theta != own && based(*theta))?;
    found(causes::ROPE_THETA, Finding::new("theta-here").with("theta", theta))
}

/// Queries or keys of positions before.
pub(super) fn late(at: &At) -> Option<Formula> {
    let shifted = |case: &Case, by: usize| -> Option<Vec<f64>> {
        let mut x = unrotated(at, case)?;
        let back = by * x.len() / case.tokens.max(1) % x.len().max(1);
        x.rotate_right(back);
        Some(x)
    };
    let by =
        [1, 2].into_iter().find(|&by| at.explains(|case| Some(as_keys(at, case, &shifted(case, by)?))))?;
    found(causes::CACHE_SHIFTED, before("queries or keys", by))
}

/// Rotated at other positions, or in another way.
pub(super) fn turned_otherwise(at: &At) -> Option<Formula> {
    type Named = (&'static CauseKind, &'static str, Position);
    const OTHERS: [Named; 8] = [
        (causes::POSITIONS, "rotated-behind", |t, _, _| t + 1.0),
        (causes::POSITIONS, "rotated-behind-but-last", |t, n, _| (t + 1.0).min(n - 1.0)),
        (causes::POSITIONS, "rotated-before", |t, _, _| t - 1.0),
        (causes::POSITIONS, "rotated-before-but-first", |t, _, _| (t - 1.0).max(0.0)),
        (causes::POSITIONS, "rotated-two-behind", |t, _, _| t + 2.0),
        (causes::POSITIONS, "rotated-by-head", |_, _, h| h),
        (causes::ROPE_LAYOUT, "rotated-twice", |t, _, _| 2.0 * t),
        (causes::ROPE_LAYOUT, "rotated-half", |t, _, _| t / 2.0),
    ];
    const TURNS: [(&str, Turn); 4] = [
        ("cos-and-sin-exchanged", |[x, y], [c, s]| [x * s - y * c, y * s + x * c]),
        ("minus-missing", |[x, y], [c, s]| [x * c + y * s, y * c + x * s]),
        ("cos-alone", |[x, y], [c, _]| [x * c, y * c]),
        ("sin-alone", |[x, y], [_, s]| [-y * s, x * s]),
    ];
    let width = at.spec.head_dim;
    let whole = at.rope().inv_freq(width);
    let fits = |position: Position, turn: Turn| {
        at.explains(|case| {
            Some(turned(at, case, &unrotated(at, case)?, [&whole, &whole], width, position, turn))
        })
    };
    if let Some((kind, rule, _)) = OTHERS.into_iter().find(|(.., position)| fits(*position, rotation)) {
        return found(kind, Finding::new(rule));
    }
    let (rule, _) = TURNS.into_iter().find(|(_, turn)| fits(own_position, *turn))?;
    found(causes::ROPE_LAYOUT, Finding::new(rule))
}

/// Queries for keys, or keys for queries.
pub(super) fn other_input(at: &At) -> Option<Formula> {
    let other = at.beside(if at.plays(Role::Key) { Role::Query } else { Role::Key })?;
    let other = *at.model.reads(other, at.attention).first()?;
    let other_way = |case: &Case| {
        let x = case.read(other).filter(|x| x.len() == case.ours.len())?;
        Some(as_keys(at, case, &x))
    };
    let finding = Finding::new("queries-and-keys-exchanged");
    at.explains(other_way).then_some(Formula { kind: causes::CACHE_SHIFTED, finding })
}

/// The position that a token is rotated at, of its own, the number of tokens, and the head.
pub(crate) type Position = fn(f64, f64, f64) -> f64;

pub(crate) fn own_position(t: f64, _: f64, _: f64) -> f64 {
    t
}

/// `[tokens, heads · width]` as `[heads, tokens, width]`, rotated as keys are.
pub(super) fn as_keys(at: &At, case: &Case, x: &[f64]) -> Vec<f64> {
    let frequencies = at.rope().inv_freq(at.spec.head_dim);
    rotate(at, case, x, [&frequencies, &frequencies], at.spec.head_dim, own_position)
}

/// Heads cut out of a projection's output in another way.
pub(super) fn other_heads(at: &At) -> Option<Formula> {
    let width = at.spec.head_dim;
    // Of `[tokens, heads · width]` the element that each one is taken for.
    type Way = (&'static str, fn(usize, [usize; 3]) -> usize);
    let ways: [Way; 2] = [
        ("tokens-as-heads", exchanged),
        ("elements-as-heads", |i, [_, n, d]| {
            let place = i % (n * d);
            i - place + exchanged(place, [n, d, 1])
        }),
    ];
    let (rule, _) = ways.into_iter().find(|(_, from)| {
        at.explains(|case| {
            let x = unrotated(at, case)?;
            let shape = [case.tokens, x.len() / (case.tokens * width).max(1), width];
            let taken: Vec<f64> = (0..x.len()).map(|i| x[from(i, shape)]).collect();
            Some(as_keys(at, case, &taken))
        })
    })?;
    found(causes::OUTPUT_REARRANGED, Finding::new(rule))
}

/// What becomes of a pair of elements by its cosine and sine.
type Turn = fn([f64; 2], [f64; 2]) -> [f64; 2];

/// `[tokens, heads · width]` as `[heads, tokens, width]`, the first `part` elements of each head
/// rotated in halves, by frequencies of the lower half and the upper one, as at the position that
/// is made of each token's.
pub(crate) fn rotate(
    at: &At,
    case: &Case,
    x: &[f64],
    frequencies: [&[f32]; 2],
    part: usize,
    position: Position,
) -> Vec<f64> {
    turned(at, case, x, frequencies, part, position, rotation)
}

fn rotation([x, y]: [f64; 2], [c, s]: [f64; 2]) -> [f64; 2] {
    [x * c - y * s, y * c + x * s]
}

/// The same, turned in another way.
fn turned(
    at: &At,
    case: &Case,
    x: &[f64],
    [lower, upper]: [&[f32]; 2],
    part: usize,
    position: Position,
    turn: Turn,
) -> Vec<f64> {
    let (width, tokens) = (at.spec.head_dim, case.tokens);
    let heads = x.len() / (width * tokens).max(1);
    let mut y = vec![0.0; x.len()];
    for h in 0..heads {
        for t in 0..tokens {
            let x = &x[(t * heads + h) * width..][..width];
            let y = &mut y[(h * tokens + t) * width..][..width];
            y.copy_from_slice(x);
            for i in 0..part / 2 {
                let angle = |frequency: f32| {
                    f64::from(position(t as f64, tokens as f64, h as f64) as f32 * frequency)
                };
                let ([a, b], j) = ([angle(lower[i]), angle(upper[i])], i + part / 2);
                let pair = [x[i], x[j]];
                y[i] = turn(pair, [a.cos(), a.sin()])[0];
                y[j] = turn(pair, [b.cos(), b.sin()])[1];
            }
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_put_into_runs() {
        assert_eq!(runs(&[1, 2, 3, 4]), [[0, 4, 1, 4]]);
        assert_eq!(runs(&[0, 1, 2, 3, 3, 3, 3]), [[0, 4, 0, 3], [4, 3, 3, 3]]);
        assert_eq!(runs(&[0, 1, 2, 0, 1, 2, 3]), [[0, 3, 0, 2], [3, 4, 0, 3]]);
        assert_eq!(runs(&[0, 0, 0, 0]), [[0, 4, 0, 0]]);
        assert_eq!(runs(&[9, 7, 5]), [[0, 1, 9, 9], [1, 1, 7, 7], [2, 1, 5, 5]]);
    }
}
