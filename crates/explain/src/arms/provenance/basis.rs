//! The residual stream in another basis, as QuaRot and SpinQuant put it: what writes it is rotated
//! back, what reads it is rotated, with the norms' weights folded in. Done everywhere it changes
//! nothing; here it is held against each tensor, to name the one that was left out, or what was
//! done besides.

use rayon::prelude::*;
use ulpscope_compare::{Differing, NamedArm};
use ulpscope_decoder::{AttentionKind, Op, Site};
use ulpscope_floats::Floats;
use ulpscope_relations::{Axis, Description, Hints, Statement, describe};

use super::folded::links;
use super::{Elsewhere, Extra, parameter};
use crate::causes;
use crate::evidence::Moved;

/// The largest hidden size for which a basis is looked for: it takes the cube of it.
const MOST: usize = 1024;
/// Rows of the embedding for each dimension, from which the basis is found.
const ROWS: usize = 3;
/// Rows or columns of a tensor that are looked at.
const SAMPLE: usize = 32;
/// How far the basis found may be from an orthogonal one.
const ORTHOGONAL: f64 = 0.02;
/// Roundings of a tensor that has followed, in root mean square; and the share of its squares that
/// may be left of one that was changed besides.
const ROUNDINGS: f64 = 4.0;
const NEAR: f64 = 0.1;
/// What solving for the basis leaves, as a share of squares.
const SOLVED: f64 = 1e-20;
/// Of the tensors, the share that may be left out: more have another rule.
const LEFT_OUT: f64 = 0.25;

/// A square matrix, by rows.
struct Basis {
    rotation: Vec<f64>,
    size: usize,
}

/// A tensor that meets the residual stream.
struct Meeting {
    name: String,
    /// What its columns are multiplied by before they are rotated; `None` for what writes.
    factors: Option<Vec<f64>>,
}

/// How a tensor has followed.
enum State {
    Exact,
    Near,
    Not,
}

/// What was left out of a change of basis, or done besides, among the parameters that differ.
pub(super) fn basis<'d>(a: &NamedArm, b: &NamedArm, left: &[&'d Differing]) -> Option<Elsewhere<'d>> {
    let of = a.arm.architecture();
    let (size, embedding) = (of.width, of.embedding_weight());
    let differing = |name: &str| left.iter().copied().find(|d| d.name == name);
    let turned = |d: &Differing| {
        matches!(d.statement, Statement::Described(Description::Rotated { axis: Axis::Columns, .. }))
    };
    differing(embedding).filter(|d| size <= MOST && turned(d))?;
    let basis = Basis::of(&parameter(a, embedding)?, &parameter(b, embedding)?, size)?;

    let (mut follow, mut near, mut missing) = (vec![embedding.to_owned()], Vec::new(), Vec::new());
    for meeting in meetings(a, b)? {
        let state = match differing(&meeting.name) {
            Some(_) => basis.state(&parameter(a, &meeting.name)?, &parameter(b, &meeting.name)?, &meeting),
            None => State::Not,
        };
        match state {
            State::Exact => follow.push(meeting.name),
            State::Near => near.push(meeting),
            State::Not => missing.push(meeting.name),
        }
    }
    let count = follow.len() + near.len() + missing.len();
    if missing.len() as f64 > LEFT_OUT * count as f64 || (missing.is_empty() && near.is_empty()) {
        return None;
    }
    follow.extend(near.iter().map(|meeting| meeting.name.clone()));
    let in_it =
        |d: &&Differing| follow.contains(&d.name) || missing.contains(&d.name) || d.kind.op == Op::Norm;
    let tensors: Vec<&Differing> = left.iter().copied().filter(in_it).collect();
    let followed = follow.len();
    if !missing.is_empty() {
        let what = Moved::Basis { followed, missing, besides: None, more: 0 };
        return Some(Elsewhere::new(what, causes::ROTATED, tensors));
    }
    let first = &near[0];
    let made = basis.applied(&parameter(a, &first.name)?, first);
    let theirs = parameter(b, &first.name)?;
    let columns = if first.factors.is_some() { size } else { made.len() / size };
    let statement =
        describe(&made.cast(theirs.dtype()), &theirs, &[made.len() / columns, columns], &Hints::default());
    let extra = Extra(vec![(&first.name, of.kind(&first.name)?, statement)]);
    let cause = extra.cause()?;
    let what = Moved::Basis { followed, missing, besides: extra.first(), more: near.len() - 1 };
    Some(Elsewhere::new(what, cause, tensors))
}

/// Every tensor that reads or writes the residual stream, but for the embedding.
fn meetings(a: &NamedArm, b: &NamedArm) -> Option<Vec<Meeting>> {
    let mut found = Vec::new();
    for link in links(a.arm.architecture()) {
        let [ours, theirs] = link.weights(a, b)?;
        let factors: Vec<f64> = ours.iter().zip(&theirs).map(|(x, y)| x / y).collect();
        let reads = |name| Meeting { name, factors: Some(factors.clone()) };
        found.extend(link.behind.into_iter().map(reads));
    }
    let of = a.arm.architecture();
    let writes = |site: &Site| {
        let added = |reader: Site| matches!(reader.op(), Op::Add(_));
        site.op() == Op::Linear && of.readers(*site, AttentionKind::Eager).into_iter().any(added)
    };
    let writes =
        of.sites(AttentionKind::Eager).into_iter().filter(writes).map(|site| format!("{site}.weight"));
    found.extend(writes.map(|name| Meeting { name, factors: None }));
    Some(found)
}

impl Basis {
    /// The rotation that leads from the rows of `x` to those of `y`, if there is one.
    fn of(x: &Floats, y: &Floats, size: usize) -> Option<Self> {
        let rows = x.len() / size;
        let count = rows.min(ROWS * size);
        if count < size + size / 8 || y.len() != x.len() {
            return None;
        }
        let row = |x: &Floats, n: usize| {
            let mut row = vec![0.0; size];
            x.read_f64(n * rows / count * size, &mut row);
            row
        };
        let take = |x: &Floats| (0..count).map(|n| row(x, n)).collect::<Vec<_>>();
        let (x, y) = (take(x), take(y));
        // Least squares: (XᵀX) R = XᵀY.
        let product = |y: &[Vec<f64>]| -> Vec<f64> {
            let line = |i: usize| {
                let mut line = vec![0.0; size];
                for (x, y) in x.iter().zip(y) {
                    line.iter_mut().zip(y).for_each(|(sum, y)| *sum += x[i] * y);
                }
                line
            };
            (0..size).into_par_iter().flat_map_iter(line).collect()
        };
        let rotation = solved(product(&x), product(&y), size)?;
        let basis = Basis { rotation, size };
        let column = |j: usize| (0..size).map(|i| basis.rotation[i * size + j]).collect::<Vec<f64>>();
        let some: Vec<Vec<f64>> =
            (0..SAMPLE.min(size)).map(|n| column(n * size / SAMPLE.min(size))).collect();
        let orthogonal = some.iter().enumerate().all(|(i, x)| {
            some.iter().enumerate().all(|(j, y)| {
                let product: f64 = x.iter().zip(y).map(|(x, y)| x * y).sum();
                (product - f64::from(u8::from(i == j))).abs() <= ORTHOGONAL
            })
        });
        orthogonal.then_some(basis)
    }

    /// `x`, of this many elements in each row, times the basis.
    fn rotated(&self, x: &[f64]) -> Vec<f64> {
        let mut y = vec![0.0; self.size];
        for (x, row) in x.iter().zip(self.rotation.chunks(self.size)) {
            y.iter_mut().zip(row).for_each(|(y, r)| *y += x * r);
        }
        y
    }

    /// A row of what reads, or a column of what writes, and whether it is that.
    fn line(x: &Floats, n: usize, size: usize, meeting: &Meeting) -> Vec<f64> {
        match &meeting.factors {
            Some(factors) => (0..size).map(|c| x.get(n * size + c) * factors[c]).collect(),
            None => {
                let columns = x.len() / size;
                (0..size).map(|row| x.get(row * columns + n)).collect()
            }
        }
    }

    fn state(&self, x: &Floats, y: &Floats, meeting: &Meeting) -> State {
        let (size, lines) = (self.size, x.len() / self.size);
        if x.len() != y.len() || lines == 0 {
            return State::Not;
        }
        let plain =
            Meeting { name: String::new(), factors: meeting.factors.as_ref().map(|_| vec![1.0; size]) };
        let some = SAMPLE.min(lines);
        let (mut apart, mut whole) = (0.0, 0.0);
        for n in (0..some).map(|n| n * lines / some) {
            let made = self.rotated(&Self::line(x, n, size, meeting));
            let theirs = Self::line(y, n, size, &plain);
            apart += made.iter().zip(&theirs).map(|(x, y)| (x - y).powi(2)).sum::<f64>();
            whole += theirs.iter().map(|y| y * y).sum::<f64>();
        }
        let unit = x.dtype().unit_roundoff().max(y.dtype().unit_roundoff());
        match apart / whole {
            share if share <= (ROUNDINGS * unit).powi(2).max(SOLVED) => State::Exact,
            share if share <= NEAR => State::Near,
            _ => State::Not,
        }
    }

    /// All of a tensor in this basis.
    fn applied(&self, x: &Floats, meeting: &Meeting) -> Floats<'static> {
        let (size, lines) = (self.size, x.len() / self.size);
        let made: Vec<Vec<f64>> =
            (0..lines).into_par_iter().map(|n| self.rotated(&Self::line(x, n, size, meeting))).collect();
        Floats::from(match meeting.factors {
            Some(_) => made.concat(),
            None => (0..size).flat_map(|row| made.iter().map(move |column| column[row])).collect(),
        })
    }
}

/// `X` of `A X = B`, all of them square and by rows, `A` symmetric and positive definite: by
/// Cholesky's method.
fn solved(mut a: Vec<f64>, mut b: Vec<f64>, size: usize) -> Option<Vec<f64>> {
    for j in 0..size {
        let (above, row) = a.split_at_mut(j * size);
        for i in 0..=j {
            let of_i = if i < j { &above[i * size..i * size + i] } else { &[][..] };
            let sum: f64 = if i < j {
                row[..i].iter().zip(of_i).map(|(x, y)| x * y).sum()
            } else {
                row[..j].iter().map(|x| x * x).sum()
            };
            if i < j {
                row[i] = (row[i] - sum) / above[i * size + i];
            } else {
                row[j] = (row[j] - sum).sqrt();
                if row[j].is_nan() || row[j] <= 0.0 {
                    return None;
                }
            }
        }
    }
    // Forwards with L, backwards with its transpose, all right-hand sides at once.
    for i in 0..size {
        let (done, rest) = b.split_at_mut(i * size);
        let row = &mut rest[..size];
        for j in 0..i {
            let l = a[i * size + j];
            row.iter_mut().zip(&done[j * size..]).for_each(|(x, y)| *x -= l * y);
        }
        row.iter_mut().for_each(|x| *x /= a[i * size + i]);
    }
    for i in (0..size).rev() {
        let (done, rest) = b.split_at_mut((i + 1) * size);
        let row = &mut done[i * size..];
        for (n, below) in rest.chunks(size).enumerate() {
            let l = a[(i + 1 + n) * size + i];
            row.iter_mut().zip(below).for_each(|(x, y)| *x -= l * y);
        }
        row.iter_mut().for_each(|x| *x /= a[i * size + i]);
    }
    Some(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(count: usize, seed: u32) -> Vec<f64> {
        let one = |i: u32| f64::from((i ^ seed).wrapping_mul(2_654_435_761) >> 8) / f64::from(1 << 23) - 1.0;
        (0..count as u32).map(|i| one(2 * i) + one(2 * i + 1)).collect()
    }

    #[test]
    fn a_rotation_is_found_and_applied() {
        const SIZE: usize = 16;
        // Walsh's matrix.
        let element = |i: usize, j: usize| if (i & j).count_ones().is_multiple_of(2) { 0.25 } else { -0.25 };
        let x = random(64 * SIZE, 1);
        let row = |x: &[f64]| -> Vec<f64> {
            (0..SIZE).map(|j| (0..SIZE).map(|i| x[i] * element(i, j)).sum()).collect()
        };
        let y: Vec<f64> = x.chunks(SIZE).flat_map(row).collect();
        let (x, y) = (Floats::from(x), Floats::from(y));
        let basis = Basis::of(&x, &y, SIZE).unwrap();
        let apart = (0..SIZE * SIZE).map(|i| (basis.rotation[i] - element(i / SIZE, i % SIZE)).abs());
        assert!(apart.fold(0.0, f64::max) < 1e-12);
        let reads = Meeting { name: String::new(), factors: Some(vec![1.0; SIZE]) };
        assert!(matches!(basis.state(&x, &y, &reads), State::Exact));
        assert!(matches!(basis.state(&x, &x, &reads), State::Not));
        let writes = Meeting { name: String::new(), factors: None };
        let made = basis.applied(&x, &writes);
        assert!(matches!(basis.state(&x, &made, &writes), State::Exact));
        // What is no rotation is none.
        let other = random(128 * SIZE, 1).split_off(64 * SIZE);
        assert!(Basis::of(&x, &Floats::from(other), SIZE).is_none());
    }
}
