//! The neurons of an MLP in another order: of gate and up the rows, of down the columns. In all
//! three alike that changes nothing; in some of them only, or with something else done besides, it
//! does.

use std::collections::BTreeSet;

use ulpscope_compare::{Differing, NamedArm};
use ulpscope_decoder::{Part, Role};
use ulpscope_floats::Floats;
use ulpscope_metrics::correlation;
use ulpscope_relations::{Axis, Description, Hints, Rearrangement, Relation, Statement, describe};

use super::{Elsewhere, Extra, by_tensors, parameter};
use crate::causes;
use crate::evidence::Moved;

/// What lies along the neurons of each linear layer of an MLP.
const ROLES: [(Role, Axis); 3] =
    [(Role::Gate, Axis::Rows), (Role::Up, Axis::Rows), (Role::Down, Axis::Columns)];

/// A correlation that two trained tensors do not have by chance.
const NEAR: f64 = 0.7;

/// What was done by halves, or with something besides, among the parameters that differ.
pub(super) fn neurons<'d>(a: &NamedArm, b: &NamedArm, left: &[&'d Differing]) -> Vec<Elsewhere<'d>> {
    let layers: BTreeSet<usize> = left.iter().filter_map(|d| d.kind.layer).collect();
    let found = layers.into_iter().filter_map(|layer| one(a, b, left, layer)).collect();
    by_tensors(found, a.arm.architecture().layers.len())
}

fn one<'d>(a: &NamedArm, b: &NamedArm, left: &[&'d Differing], layer: usize) -> Option<Elsewhere<'d>> {
    let of = a.arm.architecture();
    let member = |(role, axis)| {
        let site = of.site_of(Part::Block(layer), of.layers[layer].place(role)?);
        let name = format!("{site}.weight");
        let differing = left.iter().copied().find(|d| d.name == name);
        Some((name, axis, differing))
    };
    let members: Vec<_> = ROLES.into_iter().map(member).collect::<Option<_>>()?;
    let count = of.layers[layer].feed_forward.width;
    let order = members.iter().find_map(|(_, axis, d)| order(&d.as_ref()?.statement, *axis, count))?;
    let (mut follow, mut same, mut extra) = (Vec::new(), Vec::new(), Extra::default());
    for (name, axis, differing) in &members {
        let Some(d) = differing else {
            same.push(name.as_str());
            continue;
        };
        let pure = matches!(d.statement, Statement::Exact(Relation::Rearranged(_)));
        if pure && self::order(&d.statement, *axis, count).as_ref() == Some(&order) {
            follow.push(*d);
            continue;
        }
        let (moved, theirs) = (moved(&parameter(a, name)?, *axis, &order)?, parameter(b, name)?);
        let pairs = (0..moved.len()).step_by(7).map(|i| (moved.get(i), theirs.get(i)));
        if correlation(pairs).abs() < NEAR {
            return None;
        }
        let shape = match axis {
            Axis::Columns => [moved.len() / count, count],
            _ => [count, moved.len() / count],
        };
        extra.0.push((name.as_str(), d.kind, describe(&moved, &theirs, &shape, &Hints::default())));
        follow.push(*d);
    }
    // Of one alone its own statement says more.
    if follow.len() < 2 {
        return None;
    }
    let cause = if same.is_empty() { extra.cause()? } else { causes::NEURONS };
    let what = Moved::Neurons {
        moved: follow.iter().map(|d| d.name.clone()).collect(),
        not: same.into_iter().map(str::to_owned).collect(),
        besides: extra.first(),
    };
    Some(Elsewhere::new(what, cause, follow))
}

/// For each neuron of `b` which one of `a` it is, if a statement says so.
fn order(statement: &Statement, along: Axis, count: usize) -> Option<Vec<usize>> {
    let by = match statement {
        Statement::Exact(Relation::Rearranged(found)) => &found.by,
        Statement::Described(Description::Aligned { by, .. }) => by,
        _ => return None,
    };
    match by {
        Rearrangement::Permuted { axis, order, of } if *axis == along && *of == count => {
            Some((0..count).map(|i| order.source(i, count)).collect())
        }
        _ => None,
    }
}

/// A weight with its neurons in this order.
fn moved(x: &Floats, axis: Axis, order: &[usize]) -> Option<Floats<'static>> {
    let count = order.len();
    let other = x.len() / count;
    if other * count != x.len() {
        return None;
    }
    let from = |i: usize| match axis {
        Axis::Columns => i / count * count + order[i % count],
        _ => order[i / other] * other + i % other,
    };
    Some(Floats::from((0..x.len()).map(|i| x.get(from(i))).collect::<Vec<f64>>()).cast(x.dtype()))
}
