//! Rotation at other positions, by other frequencies, of a part of each head.

use ulpscope_decoder::{Role, RopeKind, RopeParameters};
use ulpscope_floats::DType;

use super::cache::before;
use super::heads::exchanged;
use super::numbers::{least, simple, text};
use super::{At, Case, Formula, cast};
use crate::causes::{self, CauseKind};
use crate::trace::hypothesis::THETAS;

/// Positions that are tried for a token.
const POSITIONS: usize = 8192;

/// At a table of cosines or sines: angles in 16 bits, or the rows of other positions.
pub(super) fn table(at: &At) -> Option<Formula> {
    scaled(at).or_else(|| positions(at)).or_else(|| frequencies(at)).or_else(|| angles(at))
}

/// Ours times a factor.
fn scaled(at: &At) -> Option<Formula> {
    let factor = simple(at.factors(1, |_, _| 0)[0]);
    let times = |case: &Case| Some(case.ours.iter().map(|z| z * factor).collect());
    ((factor - 1.0).abs() > 0.01 && at.explains(times)).then(|| Formula {
        fault: causes::ROPE_SCALING,
        said: format!(
            "cos and sin times {}, an attention factor that is missing or is none of ours",
            text(factor)
        ),
    })
}

/// Angles that are products of position and frequency in 16 bits.
fn angles(at: &At) -> Option<Formula> {
    let frequencies = at.rope().inv_freq(at.spec.head_dim);
    for dtype in [DType::Bf16, DType::F16] {
        for narrow in [false, true] {
            let factor = |x: f64| if narrow { cast(vec![x], dtype)[0] } else { x };
            let row = |t: usize| {
                let products = frequencies.iter().map(|f| factor(t as f64) * factor(f64::from(*f)));
                let angles = cast(products.collect(), dtype);
                angles.repeat(2).into_iter().map(|angle| at.table_of(angle)).collect::<Vec<f64>>()
            };
            if at.has_nearly_all(|case| Some((0..case.tokens).flat_map(row).collect())) {
                return Formula::new(causes::ANGLES, format!("angles in {dtype}"));
            }
        }
    }
    None
}

/// Frequencies of another base, or all multiplied by a factor, as angles have them.
fn frequencies(at: &At) -> Option<Formula> {
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
        return Formula::new(causes::ROPE_SCALING, format!("angles times {}", text(factor)));
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
        let of = |case: &Case| {
            let sines = case.read(at.of.tables(at.rope_index())[1]).unwrap_or_default();
            let one = |(i, y): (usize, &f64)| {
                let angle = (i / width) as f64 * frequencies[i % width % frequencies.len()];
                (y - angle.sin()).powi(2)
            };
            sines.iter().enumerate().map(one).sum::<f64>()
        };
        at.cases.iter().map(of).sum()
    };
    let theta = rope.rope_theta;
    let root = theta.sqrt();
    // The longer the text, the nearer the guess has to be before a step towards the base is one to the better.
    let near = [theta, theta / 4.0, theta * 4.0, root].map(|near| least([near / 2.5, near * 2.5], apart));
    let nearest = near.into_iter().min_by(|x, y| apart(*x).total_cmp(&apart(*y)))?;
    let found =
        [root, nearest].into_iter().find(|&theta| at.explains(|case| Some(table(case, &based(theta)))))?;
    let of_root = if found == root { ", the root of ours: exponents i/D for 2i/D" } else { "" };
    Formula::new(causes::ROPE_THETA, format!("theta {}{of_root}", text(found)))
}

/// The rows of other positions.
fn positions(at: &At) -> Option<Formula> {
    let width = at.spec.head_dim;
    let frequencies = at.rope().inv_freq(width);
    let unit = at.dtype.unit_roundoff();
    let mut said = None;
    for case in &at.cases {
        let row = |position: usize, row: &[f64]| {
            frequencies.iter().zip(row).all(|(frequency, y)| {
                let angle = f64::from(position as f32 * frequency);
                (at.table_of(angle) - y).abs() <= 2.0 * unit + 4.0 * f64::from(f32::EPSILON) * angle
            })
        };
        let found: Option<Vec<usize>> =
            case.theirs.chunks(width).map(|theirs| (0..POSITIONS).find(|&p| row(p, theirs))).collect();
        let found =
            found.filter(|found| found.len() >= 2 && found.iter().enumerate().any(|(t, &p)| t != p))?;
        said.get_or_insert(found);
    }
    let positions = said?;
    Formula::new(causes::POSITIONS, format!("positions {}", in_words(&positions)))
}

/// Runs of positions that are shown.
const SHOWN: usize = 4;

/// Positions token by token: `0 to 11, then 0 to 20 from token 12 on`.
fn in_words(positions: &[usize]) -> String {
    // The token at which a run begins, and by how much each of its positions is more than the one before.
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
    let said = |(i, (&(from, by), end)): (usize, (&(usize, usize), usize))| {
        let what = match (by, end - from) {
            (_, 0) => positions[from].to_string(),
            (0, _) => format!("{} throughout", positions[from]),
            _ => format!("{} to {}", positions[from], positions[end]),
        };
        if i == 0 { what } else { format!("then {what} from token {from} on") }
    };
    let said: Vec<String> = runs.iter().zip(ends).enumerate().take(SHOWN).map(said).collect();
    said.join(", ") + if runs.len() > SHOWN { ", …" } else { "" }
}

/// At rotated queries or keys: another base than the rest of the model has, or part of a head left as it is.
pub(super) fn rotated(at: &At) -> Option<Formula> {
    let (width, rope) = (at.spec.head_dim, at.rope());
    let read = |site| at.of.reads(site, at.attention).first().copied();
    let from = read(at.site)?;
    let whole = rope.inv_freq(width);
    let own = |case: &Case| case.read(from);
    for theta in THETAS.into_iter().filter(|theta| *theta != rope.rope_theta) {
        let other = RopeParameters { rope_theta: theta, kind: RopeKind::Default, factors: None };
        let frequencies = other.inv_freq(width);
        if at.explains(|case| {
            Some(rotate(at, case, &own(case)?, [&frequencies, &frequencies], width, own_position))
        }) {
            return Formula::new(causes::ROPE_THETA, format!("theta {} here", text(theta)));
        }
    }
    for part in [width / 4, width / 2, width * 3 / 4].into_iter().filter(|part| *part > 0 && part % 2 == 0) {
        let of_part = rope.inv_freq(part);
        let (lower, upper) = (&whole[..part / 2], &whole[part / 2..part.min(whole.len())]);
        // With a table of its own, or with the beginning of the whole table, in which the halves are alike or are not.
        let upper = if upper.len() == lower.len() { upper } else { lower };
        for frequencies in [[&of_part[..], &of_part], [lower, lower], [lower, upper]] {
            if at.explains(|case| Some(rotate(at, case, &own(case)?, frequencies, part, own_position))) {
                let said = format!("only the first {part} of {width} elements of a head are rotated");
                return Formula::new(causes::PARTIAL_ROTARY, said);
            }
        }
    }
    if let Some(found) = split(at, &own) {
        return Some(found);
    }
    let shifted = |case: &Case, by: usize| -> Option<Vec<f64>> {
        let mut x = own(case)?;
        let back = by * x.len() / case.tokens.max(1) % x.len().max(1);
        x.rotate_right(back);
        Some(x)
    };
    for by in [1, 2] {
        if at.explains(|case| Some(as_keys(at, case, &shifted(case, by)?))) {
            return Formula::new(causes::CACHE_SHIFTED, before("queries or keys", by));
        }
    }
    let at_position = |position: Position| {
        at.explains(|case| Some(rotate(at, case, &own(case)?, [&whole, &whole], width, position)))
    };
    type Named = (&'static CauseKind, &'static str, Position);
    const OTHERS: [Named; 8] = [
        (causes::POSITIONS, "rotated at the position behind, t + 1", |t, _, _| t + 1.0),
        (causes::POSITIONS, "rotated at the position behind, t + 1, the last at its own", |t, n, _| {
            (t + 1.0).min(n - 1.0)
        }),
        (causes::POSITIONS, "rotated at the position before, t - 1", |t, _, _| t - 1.0),
        (causes::POSITIONS, "rotated at the position before, t - 1, the first at its own", |t, _, _| {
            (t - 1.0).max(0.0)
        }),
        (causes::POSITIONS, "rotated at two positions on, t + 2", |t, _, _| t + 2.0),
        (causes::POSITIONS, "rotated by the number of the head, not the token", |_, _, h| h),
        (causes::ROPE_LAYOUT, "rotated twice", |t, _, _| 2.0 * t),
        (causes::ROPE_LAYOUT, "rotated by half of each angle", |t, _, _| t / 2.0),
    ];
    if let Some((fault, how, _)) = OTHERS.into_iter().find(|(.., position)| at_position(*position)) {
        return Formula::new(fault, how);
    }
    const TURNS: [(&str, Turn); 4] = [
        ("cos and sin exchanged", |[x, y], [c, s]| [x * s - y * c, y * s + x * c]),
        ("rotate_half without its minus", |[x, y], [c, s]| [x * c + y * s, y * c + x * s]),
        ("cos alone", |[x, y], [c, _]| [x * c, y * c]),
        ("sin alone", |[x, y], [_, s]| [-y * s, x * s]),
    ];
    let turned = |turn: Turn| {
        at.explains(|case| Some(turned(at, case, &own(case)?, [&whole, &whole], width, own_position, turn)))
    };
    if let Some((how, _)) = TURNS.into_iter().find(|(_, turn)| turned(*turn)) {
        return Formula::new(causes::ROPE_LAYOUT, how);
    }
    let other = read(at.beside(if at.plays(Role::Key) { Role::Query } else { Role::Key })?)?;
    let other_way = |case: &Case| {
        let x = case.read(other).filter(|x| x.len() == case.ours.len())?;
        Some(as_keys(at, case, &x))
    };
    at.explains(other_way)
        .then(|| Formula { fault: causes::CACHE_SHIFTED, said: "queries and keys exchanged".to_owned() })
}

/// The position that a token is rotated at, of its own, the number of tokens, and the head.
type Position = fn(f64, f64, f64) -> f64;

fn own_position(t: f64, _: f64, _: f64) -> f64 {
    t
}

/// `[tokens, heads · width]` as `[heads, tokens, width]`, rotated as keys are.
pub(super) fn as_keys(at: &At, case: &Case, x: &[f64]) -> Vec<f64> {
    let frequencies = at.rope().inv_freq(at.spec.head_dim);
    rotate(at, case, x, [&frequencies, &frequencies], at.spec.head_dim, own_position)
}

/// Heads cut out of a projection's output in another way.
fn split(at: &At, own: &dyn Fn(&Case) -> Option<Vec<f64>>) -> Option<Formula> {
    let width = at.spec.head_dim;
    // Of `[tokens, heads · width]` the element that each one is taken for.
    type Way = (&'static str, fn(usize, [usize; 3]) -> usize);
    let ways: [Way; 2] = [
        ("[tokens, heads · head_dim] taken as [heads, tokens, head_dim] without exchanging them", exchanged),
        ("[tokens, heads · head_dim] taken as [tokens, head_dim, heads]", |i, [_, n, d]| {
            let place = i % (n * d);
            i - place + exchanged(place, [n, d, 1])
        }),
    ];
    let found = ways.into_iter().find(|(_, from)| {
        at.explains(|case| {
            let x = own(case)?;
            let shape = [case.tokens, x.len() / (case.tokens * width).max(1), width];
            let taken: Vec<f64> = (0..x.len()).map(|i| x[from(i, shape)]).collect();
            Some(as_keys(at, case, &taken))
        })
    });
    found.and_then(|(said, _)| Formula::new(causes::OUTPUT_REARRANGED, said))
}

/// What becomes of a pair of elements by its cosine and sine.
type Turn = fn([f64; 2], [f64; 2]) -> [f64; 2];

/// `[tokens, heads · width]` as `[heads, tokens, width]`, the first `part` elements of each head rotated in halves, by frequencies
/// of the lower half and the upper one, as at the position that is made of each token's.
fn rotate(
    at: &At,
    case: &Case,
    x: &[f64],
    frequencies: [&[f32]; 2],
    part: usize,
    position: Position,
) -> Vec<f64> {
    turned(at, case, x, frequencies, part, position, |[x, y], [c, s]| [x * c - y * s, y * c + x * s])
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
    fn positions_are_told_in_runs() {
        let said = |positions: &[usize]| in_words(positions);
        assert_eq!(said(&[1, 2, 3, 4]), "1 to 4");
        assert_eq!(said(&[0, 1, 2, 3, 3, 3, 3]), "0 to 3, then 3 throughout from token 4 on");
        assert_eq!(said(&[0, 1, 2, 0, 1, 2, 3]), "0 to 2, then 0 to 3 from token 3 on");
        assert_eq!(said(&[0, 0, 0, 0]), "0 throughout");
        assert_eq!(said(&[0, 1, 2, 9]), "0 to 2, then 9 from token 3 on");
        assert_eq!(
            said(&[9, 7, 5, 3, 1, 8]),
            "9, then 7 from token 1 on, then 5 from token 2 on, then 3 from token 3 on, …"
        );
    }
}
