//! Rotary angles computed in 16 bits.
//!
//! A model cast to bf16 with its frequencies multiplies position 257 to the angle of 256.

use ulpscope_decoder::Op;
use ulpscope_floats::DType;
use ulpscope_record::Finding;

use crate::causes::{CauseKind, Scope, Severity, Test};
use crate::trace::formula::at::{At, cast};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "rotary-angles-format",
    title: "rotary angles computed in 16 bits",
    remedy: "Multiply positions and inv_freq in f32 (autocast off), and round only cos and sin.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};

pub(crate) static TEST: Test = Test { cause: &CAUSE, ops: |op| matches!(op, Op::Table(_)), find };

/// Angles that are products of position and frequency in 16 bits.
fn find(at: &At) -> Option<Finding> {
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
                return Some(Finding::new("angles-in").with("format", dtype.to_string()));
            }
        }
    }
    None
}
