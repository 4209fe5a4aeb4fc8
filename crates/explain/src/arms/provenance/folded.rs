//! A norm's weight taken into the layers behind it, or a factor for each channel moved from the one
//! into the others, as folding, SmoothQuant and AWQ do it: into some of them only, twice, or with
//! something else done besides.
//!
//! Done rightly, and with nothing besides, it changes nothing: that is for the counterfactuals to
//! say.

use ulpscope_compare::{Differing, NamedArm};
use ulpscope_decoder::{Architecture, AttentionKind, Op, Site};
use ulpscope_floats::Floats;
use ulpscope_relations::{Hints, describe};

use super::{Elsewhere, Extra, by_tensors, parameter};
use crate::causes;
use crate::evidence::{Folding, Moved};

/// Rows of a layer that are looked at before all are.
const SAMPLE: usize = 64;
/// How far factors must be from 1, in root mean square, to be more than noise.
const FACTORS: f64 = 0.02;
/// Of the squares of what differs, the share that may be left when the factors are taken in; and of
/// those of the layer itself.
const LEFT: f64 = 0.25;
const NEAR: f64 = 0.1;
/// Roundings that the factors and the product have, in root mean square.
const ROUNDINGS: f64 = 1.5;

/// A norm, and the layers that read what it gives.
pub(super) struct Link {
    pub(super) norm: String,
    pub(super) behind: Vec<String>,
}

impl Link {
    /// The norm's weight in both arms.
    pub(super) fn weights(&self, a: &NamedArm, b: &NamedArm) -> Option<[Vec<f64>; 2]> {
        Some([parameter(a, &self.norm)?.to_f64(), parameter(b, &self.norm)?.to_f64()])
    }
}

/// Every norm of the residual stream that only linear layers read.
pub(super) fn links(of: &Architecture) -> Vec<Link> {
    let weight = |site: &Site| format!("{site}.weight");
    let norms = of.sites(AttentionKind::Eager).into_iter().filter(|site| site.op() == Op::Norm);
    let link = |norm: Site| {
        let readers = of.readers(norm, AttentionKind::Eager);
        let tied = of.tied && readers.contains(&of.logits());
        let linear = !readers.is_empty() && readers.iter().all(|site| site.op() == Op::Linear);
        (linear && !tied).then(|| Link { norm: weight(&norm), behind: readers.iter().map(weight).collect() })
    };
    norms.filter_map(link).collect()
}

/// A layer behind a norm.
enum State {
    /// It does not differ.
    Same,
    /// It is the reference's times the factors, up to rounding.
    Exact,
    /// It is near to that.
    Near(Floats<'static>, Floats<'static>),
    Other,
}

/// What was done by halves, twice, or with something besides, among the parameters that differ.
pub(super) fn folded<'d>(a: &NamedArm, b: &NamedArm, left: &[&'d Differing]) -> Vec<Elsewhere<'d>> {
    let found: Vec<Elsewhere> =
        links(a.arm.architecture()).iter().filter_map(|link| one(a, b, left, link)).collect();
    by_tensors(found, a.arm.architecture().layers.len())
}

fn one<'d>(a: &NamedArm, b: &NamedArm, left: &[&'d Differing], link: &Link) -> Option<Elsewhere<'d>> {
    let differing = |name: &String| left.iter().copied().find(|d| d.name == *name);
    let behind: Vec<&'d Differing> = link.behind.iter().filter_map(differing).collect();
    if behind.is_empty() {
        return None;
    }
    let [ours, theirs] = link.weights(a, b)?;
    let norm = differing(&link.norm);
    if norm.is_none() && ours != theirs {
        return None;
    }
    let factors: Vec<f64> = match norm {
        Some(_) => ours.iter().zip(&theirs).map(|(x, y)| x / y).collect(),
        None => ours,
    };
    let apart = factors.iter().map(|k| (k - 1.0).powi(2)).sum::<f64>() / factors.len() as f64;
    // Not a number either.
    if !(apart.sqrt() > FACTORS && apart.is_finite()) {
        return None;
    }
    let of = |name| match differing(name) {
        Some(_) => Some((name.as_str(), state(a, b, name, &factors)?)),
        None => Some((name.as_str(), State::Same)),
    };
    let states: Vec<(&str, State)> = link.behind.iter().map(of).collect::<Option<_>>()?;
    let names = |wanted: &dyn Fn(&State) -> bool| -> Vec<&str> {
        states.iter().filter(|(_, state)| wanted(state)).map(|(name, _)| *name).collect()
    };
    let follow = names(&|state| matches!(state, State::Exact | State::Near(..)));
    let same = names(&|state| matches!(state, State::Same));
    let near = states.iter().filter_map(|(name, state)| match state {
        State::Near(made, theirs) => Some((*name, made, theirs)),
        _ => None,
    });
    let hints = super::heads(a);
    let described = near.map(|(name, made, theirs)| {
        let shape = [theirs.len() / factors.len(), factors.len()];
        let kind = a.arm.architecture().kind(name)?;
        Some((name, kind, describe(made, theirs, &shape, &Hints { heads: &hints })))
    });
    let extra = Extra(described.collect::<Option<_>>()?);
    let followed = behind.into_iter().filter(|d| follow.contains(&d.name.as_str()));
    let tensors = norm.into_iter().chain(followed).collect();
    let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
    let all = follow.len() == states.len();
    let (how, cause) = match norm {
        _ if follow.is_empty() => return None,
        None => (Folding::Kept, causes::FOLDED_TWICE),
        Some(_) if all => (Folding::All, extra.cause()?),
        Some(_) if follow.len() + same.len() == states.len() => {
            (Folding::NotInto(own(&same)), causes::FOLDED_PARTLY)
        }
        Some(_) => return None,
    };
    let what = Moved::Folded { norm: link.norm.clone(), into: own(&follow), how, besides: extra.first() };
    Some(Elsewhere::new(what, cause, tensors))
}

/// What became of a layer, if its columns should have been multiplied by these factors.
fn state(a: &NamedArm, b: &NamedArm, name: &str, factors: &[f64]) -> Option<State> {
    let (ours, theirs) = (parameter(a, name)?, parameter(b, name)?);
    let width = factors.len();
    let rows = ours.len() / width;
    if rows == 0 || rows * width != ours.len() || theirs.len() != ours.len() {
        return None;
    }
    let every = rows.div_ceil(SAMPLE);
    let (mut with, mut without, mut size) = (0.0, 0.0, 0.0);
    for row in (0..rows).step_by(every) {
        let pairs = || (row * width..(row + 1) * width).map(|i| (ours.get(i), theirs.get(i)));
        // What was lost says nothing of factors.
        if pairs().all(|(_, y)| y == 0.0) {
            continue;
        }
        for ((x, y), factor) in pairs().zip(factors) {
            with += (y - x * factor).powi(2);
            without += (y - x).powi(2);
            size += y * y;
        }
    }
    // What is no number follows no factor, nor do zeros.
    if !(size.is_finite() && size > 0.0 && with <= LEFT * without && with <= NEAR * size) {
        return Some(State::Other);
    }
    let unit = ours.dtype().unit_roundoff().max(theirs.dtype().unit_roundoff());
    let mut made = ours.to_f64();
    made.iter_mut().enumerate().for_each(|(i, x)| *x *= factors[i % width]);
    let made = Floats::from(made);
    let apart: f64 = (0..made.len()).map(|i| (made.get(i) - theirs.get(i)).powi(2)).sum();
    let size: f64 = (0..made.len()).map(|i| made.get(i).powi(2)).sum();
    if apart <= (ROUNDINGS * unit).powi(2) * size {
        return Some(State::Exact);
    }
    let made = made.cast(theirs.dtype());
    Some(State::Near(made, theirs))
}
