//! What can happen to parameters, recognised from how the two sides of each tensor are related.

use ulpscope_decoder::{Op, ParameterKind};
use ulpscope_floats::Rounding;
use ulpscope_relations::{
    Axis, Change, Description, Edge, Operation, Rearrangement, Relation, Rule, Statement, Zeros,
};

use crate::causes::{CauseKind, Scope};

registry! {
    ROUNDED = rounded;
    TRUNCATED = truncated;
    TWICE = rounded_twice;
    NEIGHBOURS = rounded_otherwise;
    OVERFLOWED = overflowed;
    CLAMPED = clamped;
    QUANTISED = quantised;
    DEQUANTISED = dequantised_wrongly;
    MISREAD = misread;
    SCALED = scaled;
    OFFSET = offset;
    NORM = norm_plus_one;
    SIGNS = sign_flipped;
    PERMUTED = qk_permutation;
    ROWS = rows_permuted;
    TRANSPOSED = transposed;
    SHIFTED = shifted;
    CORRUPTED = corrupted;
    ZEROED = partly_zero;
    PRUNED = pruned;
    PARTLY = partly_changed;
    ROTATED = rotated;
    ADAPTER = low_rank_update;
    REDUCED = of_low_rank;
    UPDATE_ALONE = update_without_base;
    AVERAGED = heads_averaged;
    FUNCTION = mapped;
    CONSTANT = constant;
    NOT_FINITE = not_finite;
    UNRELATED = reinitialised;
    HEAD = head_not_tied;
    EXCHANGED = tensors_exchanged;
    LAYERS = layers_exchanged;
    SPLIT = fused_split;
    FOLDED_PARTLY = folded_partly;
    FOLDED_TWICE = norm_folded_and_kept;
    NEURONS = neurons_permuted_partly;
    NOISY = changed;
}

/// Below this, a matrix of low rank is no approximation of the original.
const UPDATE_ALONE_DB: f64 = 1.5;

/// The entry that a tensor falls under.
pub(crate) fn of_statement(of: ParameterKind, statement: &Statement) -> &'static CauseKind {
    match statement {
        Statement::Exact(relation) => of_relation(of, relation),
        Statement::Described(description) => match description {
            Description::Constant { value: 0.0 } if of.bias => super::BIAS,
            Description::Constant { .. } => CONSTANT,
            Description::NotFinite { .. } => NOT_FINITE,
            Description::Aligned { by, .. } => of_rearrangement(of, by),
            Description::Except { parts, .. } => match &parts[0].1 {
                Change::Zero(_) => ZEROED,
                Change::NotFinite => NOT_FINITE,
                _ => PARTLY,
            },
            Description::Update { .. } => ADAPTER,
            Description::Reduced { sqnr_db, .. } if *sqnr_db < UPDATE_ALONE_DB => UPDATE_ALONE,
            Description::Reduced { .. } => REDUCED,
            Description::Coded { .. } => QUANTISED,
            Description::Unsigned { .. } => DEQUANTISED,
            Description::Averaged { .. } => AVERAGED,
            Description::Rotated { .. } => ROTATED,
            // Near to a multiple of the original, and farther from the original itself: a scale is missing, whatever
            // else was rounded.
            Description::Noisy { gain, .. } if *gain != 1.0 => SCALED,
            Description::Unrelated { .. } if of.op == Op::Linear && of.layer.is_none() => HEAD,
            Description::Unrelated { .. } | Description::Lengths { .. } => UNRELATED,
            _ => NOISY,
        },
    }
}

fn of_relation(of: ParameterKind, relation: &Relation) -> &'static CauseKind {
    let norm = of.op == Op::Norm;
    match relation {
        Relation::Rounded { by: Rounding::TruncateBf16, .. } => TRUNCATED,
        Relation::Rounded { by: Rounding::NearestBf16ViaF16, .. } => TWICE,
        Relation::Identical | Relation::SameValues | Relation::Rounded { .. } => ROUNDED,
        Relation::Neighbours(found) if found.rule == Rule::TowardZero => TRUNCATED,
        Relation::Neighbours(_) => NEIGHBOURS,
        Relation::Negated | Relation::Signs { .. } => SIGNS,
        Relation::Scaled { .. } => SCALED,
        Relation::Affine(found) => of_operation(norm, found.operation),
        Relation::Grouped(found) => of_operation(norm, found.operation),
        Relation::Overflowed(_) => OVERFLOWED,
        Relation::Clamped(_) => CLAMPED,
        Relation::Quantised(found) if found.misfit.is_some() => DEQUANTISED,
        Relation::Quantised(_) => QUANTISED,
        Relation::Misread(_) => MISREAD,
        Relation::Mapped(_) => FUNCTION,
        // One element can become zero by chance; several that do were pruned, flushed, or not copied.
        Relation::Few(few) if few.changed.len() > 1 && few.changed.iter().all(|c| c.to == 0.0) => ZEROED,
        Relation::Few(_) => CORRUPTED,
        Relation::Rearranged(found) => of_rearrangement(of, &found.by),
        Relation::Partial(found) => match &found.change {
            Change::Zero(Zeros::TwoOfFour | Zeros::Below(_) | Zeros::EachRow) => PRUNED,
            Change::Zero(Zeros::Place) => ZEROED,
            Change::Moved { .. } => ROWS,
            Change::Several(parts)
                if parts.iter().any(|(_, change)| matches!(change, Change::Moved { .. })) =>
            {
                ROWS
            }
            Change::Related(inner) => match of_relation(of, inner) {
                // What happened to a part says what happened; that it was a part says where.
                fault if (fault.scope == Scope::PerClass) => PARTLY,
                fault => fault,
            },
            _ => PARTLY,
        },
    }
}

fn of_rearrangement(kind: ParameterKind, by: &Rearrangement) -> &'static CauseKind {
    let of_heads = kind.rows.rotated().is_some();
    match by {
        Rearrangement::Transposed { .. } => TRANSPOSED,
        // Rows that are there twice were not shifted by a wrong offset.
        Rearrangement::Shifted { axis: Axis::Rows, edge: Edge::Kept, .. } => ROWS,
        Rearrangement::Shifted { .. } => SHIFTED,
        Rearrangement::Shards { .. } => ROWS,
        Rearrangement::Permuted { axis: Axis::Rows | Axis::Elements, order, of }
            if of_heads && order.of_heads(*of) =>
        {
            PERMUTED
        }
        Rearrangement::Permuted { .. } => ROWS,
    }
}

fn of_operation(norm: bool, operation: Operation) -> &'static CauseKind {
    match operation {
        Operation::Times => SCALED,
        Operation::Plus if norm => NORM,
        Operation::Plus => OFFSET,
    }
}

#[cfg(test)]
mod tests {
    use ulpscope_floats::Floats;
    use ulpscope_relations::{Hints, describe};

    use super::*;

    /// What becomes of 1024 numbers, in rows of 32.
    fn of(change: impl Fn(usize, f32) -> f32) -> &'static str {
        let value = |i: usize| ((i * 7919 % 1009) as f32 - 500.0) / 300.0;
        let a: Vec<f32> = (0..1024).map(value).collect();
        let b: Vec<f32> = a.iter().enumerate().map(|(i, &x)| change(i, x)).collect();
        let said = describe(&Floats::from(a), &Floats::from(b), &[32, 32], &Hints::default());
        let (op, branch) = (Op::Linear, Some(ulpscope_decoder::Branch::FeedForward));
        let rows = ulpscope_decoder::Rows::Plain;
        of_statement(ParameterKind { op, layer: Some(0), branch, rows, bias: false }, &said).id
    }

    #[test]
    fn several_zeros_are_no_flipped_bits() {
        assert_eq!(of(|_, x| if x.abs() < 0.01 { 0.0 } else { x }), "weights-pruned");
        assert_eq!(of(|i, x| if [40, 300, 777].contains(&i) { 0.0 } else { x }), "weight-partly-zero");
        assert_eq!(of(|i, x| if i == 40 { 0.0 } else { x }), "weight-corrupted");
        assert_eq!(of(|i, x| if [40, 300, 777].contains(&i) { -x } else { x }), "weight-corrupted");
    }

    #[test]
    fn a_missing_scale_is_one_whatever_was_rounded_besides() {
        let noise = |i: usize| 0.02 * ((i * 31 % 17) as f32 - 8.0) / 8.0;
        assert_eq!(of(|i, x| 448.0 * (x + noise(i))), "weights-scaled");
        assert_eq!(of(|i, x| x + noise(i)), "weights-changed");
    }
}
