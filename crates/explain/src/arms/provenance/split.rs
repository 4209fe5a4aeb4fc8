//! Tensors that were fused, and split at the wrong rows: each holds rows of the others.

use std::collections::{BTreeSet, HashMap};

use ulpscope_compare::{Differing, NamedArm};
use ulpscope_decoder::{AttentionKind, Op, Part, Site};
use ulpscope_floats::Floats;
use ulpscope_metrics::digest;
use ulpscope_relations::{Change, Relation, Statement};

use super::{Elsewhere, parameter};
use crate::causes;
use crate::evidence::{Moved, SplitTensor};
use crate::layer_groups::by_key;

/// Runs of rows that are told of each tensor.
const SHOWN: usize = 4;

/// Every set of tensors of one layer in which each row is one of the set, of this tensor or
/// another.
pub(super) fn splits<'d>(a: &NamedArm, b: &NamedArm, left: &[&'d Differing]) -> Vec<Elsewhere<'d>> {
    let of = a.arm.architecture();
    let layers: BTreeSet<usize> = left.iter().filter_map(|d| d.kind.layer).collect();
    let mut found = Vec::new();
    for layer in layers {
        // Linear layers that read the same are fused by those who fuse any.
        let linear = of.sites_of(Part::Block(layer)).filter(|site| site.op() == Op::Linear);
        let reads = |site: &Site| of.reads(*site, AttentionKind::Eager);
        for fused in by_key(linear.collect(), reads).into_iter().filter(|fused| fused.len() > 1) {
            let names: Vec<String> = fused.iter().map(|site| format!("{site}.weight")).collect();
            let tensors: Vec<&Differing> =
                left.iter().copied().filter(|d| names.contains(&d.name) && unknown(&d.statement)).collect();
            if tensors.len() > 1
                && let Some(split) = split(a, b, &names)
            {
                found.push(Elsewhere::new(Moved::Split(split), causes::SPLIT, tensors));
            }
        }
    }
    found
}

/// Whether no rule leads from the one side to the other.
fn unknown(statement: &Statement) -> bool {
    match statement {
        Statement::Exact(Relation::Partial(partial)) => {
            matches!(partial.change, Change::Other | Change::Moved { .. } | Change::Several(_))
        }
        Statement::Exact(_) => false,
        Statement::Described(_) => true,
    }
}

fn split(a: &NamedArm, b: &NamedArm, names: &[String]) -> Option<Vec<SplitTensor>> {
    let columns = |name: &str| a.arm.checkpoint().tensor(name).ok()?.shape.get(1).copied();
    let width = columns(&names[0]).filter(|width| *width > 0)?;
    if !names.iter().all(|name| columns(name) == Some(width)) {
        return None;
    }
    let rows = |arm: &NamedArm, name: &str| Some(digests(&parameter(arm, name)?.cast(b.arm.dtype()), width));
    let ours: Vec<Vec<u128>> = names.iter().map(|name| rows(a, name)).collect::<Option<_>>()?;
    let theirs: Vec<Vec<u128>> = names.iter().map(|name| rows(b, name)).collect::<Option<_>>()?;
    sources(names, &ours, &theirs)
}

fn digests(x: &Floats, width: usize) -> Vec<u128> {
    (0..x.len() / width).map(|row| digest(&x.slice(row * width..(row + 1) * width))).collect()
}

/// Which rows of `ours` those of `theirs` are, if each is one.
fn sources(names: &[String], ours: &[Vec<u128>], theirs: &[Vec<u128>]) -> Option<Vec<SplitTensor>> {
    let mut places: HashMap<u128, (usize, usize)> = HashMap::new();
    for (tensor, rows) in ours.iter().enumerate() {
        for (row, digest) in rows.iter().enumerate() {
            places.entry(*digest).or_insert((tensor, row));
        }
    }
    let short = |tensor: usize| names[tensor].rsplit('.').nth(1).unwrap_or_default();
    let mut found = Vec::new();
    for (tensor, rows) in theirs.iter().enumerate() {
        let sources: Vec<(usize, usize)> =
            rows.iter().map(|digest| places.get(digest).copied()).collect::<Option<_>>()?;
        if sources.iter().enumerate().all(|(row, source)| *source == (tensor, row)) {
            continue;
        }
        let runs: Vec<&[(usize, usize)]> = sources.chunk_by(|x, y| x.0 == y.0 && x.1 + 1 == y.1).collect();
        let shown = runs.iter().take(SHOWN).map(|run| {
            let (of, first) = run[0];
            (short(of).to_owned(), first, first + run.len() - 1)
        });
        found.push(SplitTensor {
            name: names[tensor].clone(),
            runs: shown.collect(),
            more: runs.len() > SHOWN,
        });
    }
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_another_tensor_are_found() {
        let names =
            ["model.layers.0.mlp.gate_proj.weight", "model.layers.0.mlp.up_proj.weight"].map(String::from);
        let said = |rows: [&[u128]; 2]| {
            let found = sources(&names, &[vec![1, 2, 3, 4], vec![5, 6, 7, 8]], &rows.map(<[u128]>::to_vec));
            found.map(|tensors| Moved::Split(tensors).to_string())
        };
        assert_eq!(
            said([&[1, 2, 5, 6], &[3, 4, 7, 8]]).as_deref(),
            Some(
                "b's model.layers.0.mlp.gate_proj.weight is rows gate_proj 0 to 1, up_proj 0 to 1 of a; \
                 b's model.layers.0.mlp.up_proj.weight is rows gate_proj 2 to 3, up_proj 2 to 3 of a"
            )
        );
        assert_eq!(said([&[1, 2, 5, 6], &[3, 4, 7, 9]]), None);
        assert_eq!(said([&[1, 2, 3, 4], &[5, 6, 7, 8]]), None);
    }
}
