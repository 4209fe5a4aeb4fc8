//! What can happen to parameters, recognised from how the two sides of each tensor are related.

use ulpscope_decoder::{Op, ParameterKind};
use ulpscope_floats::Rounding;
use ulpscope_metrics::{
    Axis, Change, Description, Edge, Operation, Rearrangement, Relation, Rule, Statement, Zeros,
};

use super::Fault;

causes! {
    ROUNDED (choice, pervasive) "weights-rounded": "weights rounded to a narrower format"
        => "Convert from the widest checkpoint there is, once; nothing is wrong if the narrower format was meant.";
    TRUNCATED (fault, pervasive) "weights-truncated": "weights truncated instead of rounded to nearest"
        => "Round to nearest, ties to even, when converting f32 to bf16; dropping the lower sixteen bits biases every \
            weight towards zero.";
    TWICE (fault, pervasive) "weights-rounded-twice": "weights rounded twice, by way of f16"
        => "Convert the original f32 weights directly; a stop at f16 also loses range.";
    NEIGHBOURS (fault, pervasive) "weights-rounded-otherwise": "weights rounded by another rule than to nearest"
        => "Round to nearest, ties to even; stochastic rounding belongs into training only.";
    OVERFLOWED (fault, pervasive) "weights-overflowed": "weights that overflowed to infinity in a narrower format"
        => "Keep these tensors in bf16 or f32; f16 ends at 65504.";
    CLAMPED (fault, pervasive) "weights-clamped": "weights cut off at a largest magnitude"
        => "Do not clamp when converting, or use a format with more range.";
    QUANTISED (choice, pervasive) "weights-quantised": "weights quantised"
        => "Nothing is wrong if quantised weights were meant; compare with the size of their effect below.";
    DEQUANTISED (fault, pervasive) "weights-dequantised-wrongly": "quantised weights decoded with wrong scales or zero points"
        => "Pair each tensor with its own scales and zero points, in the order and direction of their groups; some formats \
            store zero points minus one.";
    MISREAD (fault, pervasive) "weights-misread": "the bytes of weights read in the wrong order or format"
        => "Read the tensor by the dtype of its header; safetensors and GGUF files are little-endian.";
    SCALED (fault, pervasive) "weights-scaled": "weights multiplied by a constant: a scale dropped or applied twice"
        => "Apply the scale that is stored beside the tensor exactly once when dequantising; undo folded scales.";
    OFFSET (fault, pervasive) "weights-offset": "a constant added to weights"
        => "Check zero points, which some formats store minus one.";
    NORM (fault, pervasive) "norm-plus-one": "norm weights with the 1 + w convention applied or lost"
        => "Store w; only Gemma-style models hold w - 1 and add the 1 in the forward pass.";
    SIGNS (fault) "sign-flipped": "signs of weights turned"
        => "Convert again; look for a rotation or a subtraction with its sides exchanged.";
    PERMUTED (fault, pervasive) "qk-permutation": "query and key rows in the other rotary layout"
        => "Undo (or apply) the permutation between interleaved and half-split rotary layout, with the key heads' own \
            number for k_proj.";
    ROWS (fault) "rows-permuted": "rows or columns of a weight in another order"
        => "Convert again; look at how the tensor is split into heads or shards and put together.";
    TRANSPOSED (fault) "weight-transposed": "a weight transposed"
        => "Linear weights are [out, in] in PyTorch, [in, out] elsewhere; transpose exactly once.";
    SHIFTED (fault) "weight-shifted": "a weight shifted by some elements"
        => "The data offset is wrong; check the header's length and alignment.";
    CORRUPTED (fault) "weight-corrupted": "a few elements of a weight changed"
        => "Copy the file again and compare its checksum; a single flipped bit is a storage or memory error.";
    ZEROED (fault) "weight-partly-zero": "part of a weight is zero"
        => "A shard or a slice was not copied; convert again and check that every byte of the file was written.";
    PRUNED (fault, pervasive) "weights-pruned": "small weights set to zero, as pruning does"
        => "Nothing is wrong if a sparse model was meant; magnitudes below a format's range are flushed by some converters.";
    PARTLY (fault) "weight-partly-changed": "part of a weight changed"
        => "Convert again; look at how the tensor is split and put together.";
    ROTATED (fault, pervasive) "weight-rotated": "a weight in another basis: rotated or permuted along one side"
        => "Apply a rotation (QuaRot, SpinQuant) or a permutation to all tensors that meet there, or to none.";
    ADAPTER (fault, pervasive) "low-rank-update": "weights changed by an update of low rank, as by a merged adapter"
        => "Compare with the same adapter merged (once), or with the base checkpoint before merging.";
    REDUCED (fault, pervasive) "weights-of-low-rank": "weights reduced to a low rank"
        => "Nothing is wrong if a truncated decomposition was meant; else convert again from the full matrices.";
    UPDATE_ALONE (fault, pervasive) "update-without-base": "a weight that is a matrix of low rank, as an adapter's update without the base"
        => "Add an adapter's update to the weight that it was trained on.";
    AVERAGED (fault, pervasive) "heads-averaged": "heads that are the mean of several, as conversions to grouped heads make them"
        => "Nothing is wrong if the heads were to be pooled and the model is trained on; otherwise keep them apart.";
    FUNCTION (fault, pervasive) "weights-mapped": "weights that went through a function: a root, a square, a reciprocal"
        => "Store weights as they are; look at what the converter takes norms or scales for.";
    CONSTANT (fault) "weight-constant": "a weight that is one number throughout"
        => "It was never loaded; check the names in the state dict for missing keys.";
    NOT_FINITE (fault) "weights-not-finite": "NaN or infinity in weights"
        => "Convert again, in a format with more range; look for uninitialised memory.";
    UNRELATED (fault) "weight-reinitialised": "a weight that has nothing to do with the original"
        => "Look whether it was loaded at all (the loader's list of missing and unexpected keys), and whether it is another \
            tensor under this name.";
    HEAD (fault) "head-not-tied": "an output layer that is tied on one side only, or was never loaded"
        => "Set tie_word_embeddings as the original has it, and store lm_head.weight where it is not tied.";
    EXCHANGED (fault) "tensors-exchanged": "tensors under each other's names"
        => "Check the map of names between the two layouts.";
    LAYERS (fault) "layers-exchanged": "whole layers under other numbers"
        => "Check where layers are numbered from when names are mapped, and that every shard was read once.";
    SPLIT (fault) "fused-split": "a fused tensor split at the wrong rows"
        => "Split qkv and gate_up as they were fused: in whole blocks, by group of heads, or by shard.";
    FOLDED_PARTLY (fault) "folded-partly": "factors of a norm taken into some of the layers behind it, and not into all"
        => "Fold a norm's weight into every layer that reads its output (q, k and v; gate and up), or into none.";
    FOLDED_TWICE (fault) "norm-folded-and-kept": "a norm's weight folded into the layers behind it and kept, so that it is applied twice"
        => "Set the norm's weight to 1 where it was folded, or do not fold it.";
    NEURONS (fault) "neurons-permuted-partly": "the neurons of an MLP in another order in some of its layers, and not in all"
        => "Put the rows of gate and up and the columns of down into one order.";
    NOISY (fault, pervasive) "weights-changed": "weights changed by something like noise"
        => "The two come from different weights: a fine-tuning, a merged adapter, or a quantisation whose grid is not known.";
}

/// Below this, a matrix of low rank is no approximation of the original.
const UPDATE_ALONE_DB: f64 = 1.5;

/// The entry that a tensor falls under.
pub(crate) fn of_statement(of: ParameterKind, statement: &Statement) -> &'static Fault {
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

fn of_relation(of: ParameterKind, relation: &Relation) -> &'static Fault {
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
                fault if fault.pervasive => PARTLY,
                fault => fault,
            },
            _ => PARTLY,
        },
    }
}

fn of_rearrangement(kind: ParameterKind, by: &Rearrangement) -> &'static Fault {
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

fn of_operation(norm: bool, operation: Operation) -> &'static Fault {
    match operation {
        Operation::Times => SCALED,
        Operation::Plus if norm => NORM,
        Operation::Plus => OFFSET,
    }
}

#[cfg(test)]
mod tests {
    use ulpscope_floats::Floats;
    use ulpscope_metrics::{Hints, describe};

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
