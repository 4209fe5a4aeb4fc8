//! What a site's values in a trace are of ours, where no hypothesis about the operation gives them.
//!
//! A multiplier that our model has not, an adapter that is loaded, dropout that is on: that is not
//! put in and run, but read off the values. A rule that holds of every element is one; whatever
//! else a site does would have to keep to it.

use ulpscope_capture::Activation;
use ulpscope_decoder::{Op, Site};
use ulpscope_floats::Floats;
use ulpscope_record::Finding;
use ulpscope_relations::{
    Change, Description, Hints, Operation, Place, Relation, Statement, Zeros, describe,
};

use super::evidence::Evidence;
use super::pattern::{self, Odd, hidden};
use crate::causes::{self, CauseKind};

/// Signal-to-noise ratio, dB, that activations keep when somebody quantises them on purpose, to 8
/// bits.
const CODED_DB: f64 = 24.0;
/// Shares of elements below this are dropped by nobody.
const RARELY: f64 = 0.02;
/// A factor that is nearer to 1 is none.
const NEARLY_ONE: f64 = 0.02;

/// What the values at a site show; ours is `a` in it, the trace's is `b`.
pub(super) enum Seen {
    /// A rule that leads from ours to the trace's.
    Rule {
        kind: &'static CauseKind,
        evidence: Evidence,
    },
    /// No rule that names a cause, but one place where they differ.
    Place(Statement),
    Nothing,
}

/// The cause where infinities and NaN of the trace's differ, or signs of zeros, and nothing else.
pub(super) fn odd(pairs: &[(&Activation, &Activation)]) -> Option<(&'static CauseKind, Finding)> {
    let of: usize = pairs.iter().map(|(a, _)| a.values.len()).sum();
    let (kind, finding) = match pattern::odd(pairs)? {
        Odd::NotFinite { count, first, at: [row, channel] } => {
            let finding = Finding::new("not-finite").with("count", count).with("first", first.to_string());
            (causes::NOT_FINITE_OUTPUT, finding.with("row", row).with("channel", channel))
        }
        Odd::ZeroSigns(count) => (causes::ZERO_SIGN, Finding::new("zero-signs").with("count", count)),
    };
    Some((kind, finding.with("of", of)))
}

/// A constant that was added or multiplied moves most elements: at least one of so many.
const FEW: usize = 8;

/// Whether a statement is of constants that were added or multiplied.
fn is_of_constants(statement: &Statement) -> bool {
    matches!(statement, Statement::Exact(Relation::Affine(_) | Relation::Grouped(_)))
}

/// What pairs of the trace's values and ours at a site show.
pub(super) fn seen(site: Site, pairs: &[(&Activation, &Activation)], heads: &[usize]) -> Seen {
    let Some((ours, theirs, width)) = joined(site, pairs) else { return Seen::Nothing };
    let (a, b) = (Floats::from(ours), Floats::from(theirs));
    let dtype = pairs[0].0.values.dtype();
    let (a, b) = (a.cast(dtype), b.cast(dtype));
    if let Some((share, factor)) = dropped(&a, &b) {
        let percent = (1000.0 * share).round() / 10.0;
        let finding = Finding::new("dropped").with("factor", factor).with("percent", percent);
        return Seen::Rule { kind: causes::DROPOUT, evidence: Evidence::Fact(finding) };
    }
    if biased(&a, &b, width) {
        let evidence = Evidence::Fact(Finding::new("channel-constant"));
        return Seen::Rule { kind: causes::OUTPUT_OFFSET, evidence };
    }
    let statement = describe(&a, &b, &[a.len() / width, width], &Hints { heads });
    let differing = (0..a.len()).filter(|&i| a.get(i) != b.get(i)).count();
    if FEW * differing < a.len() && is_of_constants(&statement) {
        return Seen::Nothing;
    }
    match kind(site, &statement, a.len(), dtype.unit_roundoff()) {
        Some(kind) => Seen::Rule { kind, evidence: Evidence::Related(statement) },
        None if matches!(statement, Statement::Exact(Relation::Partial(_))) => Seen::Place(statement),
        None => Seen::Nothing,
    }
}

/// The values of all prompts, ours and the trace's, and the width of a row. Of scores, those that
/// no mask hides, one a row.
fn joined(site: Site, pairs: &[(&Activation, &Activation)]) -> Option<(Vec<f64>, Vec<f64>, usize)> {
    let width = *pairs.first()?.0.shape.last()?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for (a, b) in pairs.iter().filter(|(a, _)| site.op().of_pairs() || a.shape.last() == Some(&width)) {
        for (x, y) in (0..a.values.len()).map(|i| (a.values.get(i), b.values.get(i))) {
            if !hidden(site, x) && !hidden(site, y) {
                theirs.push(x);
                ours.push(y);
            }
        }
    }
    let width = if site.op().of_pairs() { 1 } else { width };
    (width > 0 && !ours.is_empty()).then_some((ours, theirs, width))
}

/// Whether the trace's has a constant for each channel more than ours: what a bias is.
fn biased(ours: &Floats, theirs: &Floats, width: usize) -> bool {
    let tokens = ours.len() / width;
    let unit = theirs.dtype().unit_roundoff();
    let channel = |c: usize| (0..tokens).map(move |t| t * width + c);
    let apart = |i: usize| theirs.get(i) - ours.get(i);
    let constant = |c: usize| {
        let first = apart(c);
        let rounding = |i: usize| 16.0 * unit * (theirs.get(i).abs() + ours.get(i).abs());
        channel(c).all(|i| (apart(i) - first).abs() <= 0.01 * first.abs() + rounding(i))
    };
    // Beside numbers that large, one that is constant would not be seen to be.
    let clear = |c: usize| channel(c).any(|i| apart(i).abs() > 64.0 * unit * theirs.get(i).abs());
    width > 1 && tokens >= 4 && (0..width).all(constant) && (0..width).any(clear)
}

fn kind(site: Site, statement: &Statement, len: usize, unit: f64) -> Option<&'static CauseKind> {
    // Another mask, or another softmax, gives what may pass for coarse numbers.
    let attention = site.op().of_pairs() || site.op() == Op::Mix;
    let of_operation = |operation| match operation {
        Operation::Times => causes::OUTPUT_SCALED,
        Operation::Plus => causes::OUTPUT_OFFSET,
    };
    let of_relation = |relation: &Relation| match relation {
        Relation::Scaled { .. } | Relation::Negated => Some(causes::OUTPUT_SCALED),
        Relation::Affine(found) => Some(of_operation(found.operation)),
        // A constant that few elements share is a way to write them down.
        Relation::Grouped(found) if found.constants.len() * 8 <= len => Some(of_operation(found.operation)),
        Relation::Clamped(_) => Some(causes::OUTPUT_CLAMPED),
        Relation::Quantised(found) if !attention && found.sqnr_db >= CODED_DB => Some(causes::OUTPUT_ROUNDED),
        Relation::Rounded { .. } | Relation::Neighbours(_) if !attention => Some(causes::OUTPUT_ROUNDED),
        Relation::Rearranged(_) if !site.op().of_pairs() => Some(causes::OUTPUT_REARRANGED),
        _ => None,
    };
    match statement {
        Statement::Exact(Relation::Partial(found)) => match &found.change {
            // Zeros here and there are what many a function makes.
            Change::Zero(Zeros::Place) if found.place != Place::Scattered => Some(causes::OUTPUT_ZERO),
            Change::Related(inner) => of_relation(inner),
            _ => None,
        },
        Statement::Exact(relation) => of_relation(relation),
        Statement::Described(Description::Constant { value: 0.0 }) => Some(causes::OUTPUT_ZERO),
        // What rounding leaves of a product with a constant that was rounded before; a factor of
        // nearly 1 is what sums in another order may have, too.
        Statement::Described(Description::Noisy { gain, sqnr_db, .. })
            if (gain - 1.0).abs() > NEARLY_ONE && *sqnr_db >= -20.0 * (2.0 * unit).log10() =>
        {
            Some(causes::OUTPUT_SCALED)
        }
        Statement::Described(Description::Update { .. }) if site.op() == Op::Linear => {
            Some(causes::ADAPTER_ACTIVE)
        }
        // Of a layer with other weights, or other inputs.
        Statement::Described(Description::Unrelated { .. }) if site.op() == Op::Linear => {
            Some(causes::LAYER_UNRELATED)
        }
        Statement::Described(_) => None,
    }
}

/// The share of zeros and the factor of all else, where the trace's is ours with some elements at
/// random dropped, and the rest made larger by as much.
fn dropped(ours: &Floats, theirs: &Floats) -> Option<(f64, f64)> {
    let unit = theirs.dtype().unit_roundoff();
    let (mut alive, mut zero, mut ab, mut aa) = (0.0f64, 0.0f64, 0.0, 0.0);
    for (x, y) in (0..ours.len()).map(|i| (ours.get(i), theirs.get(i))).filter(|(x, _)| *x != 0.0) {
        if y == 0.0 {
            zero += 1.0;
        } else {
            (alive, ab, aa) = (alive + 1.0, ab + x * y, aa + x * x);
        }
    }
    let (share, factor) = (zero / (zero + alive), ab / aa);
    // Rounded in ours, and in the product.
    let kept = |(x, y): (f64, f64)| y == 0.0 || (y - factor * x).abs() <= 3.0 * unit * y.abs();
    let all = (0..ours.len()).map(|i| (ours.get(i), theirs.get(i))).all(kept);
    let spread = (share * (1.0 - share) / (zero + alive)).sqrt();
    let made_up = (factor * (1.0 - share) - 1.0).abs() <= 5.0 * factor * spread + unit;
    // What is a rare zero is something else.
    (share >= RARELY && zero >= 8.0 && alive >= 8.0 && all && made_up).then_some((share, factor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::site;
    use ulpscope_floats::DType;

    /// What is seen where the trace is `f` of ours at each element, over 24 tokens of width 64.
    fn seen_of(f: impl Fn(usize, f64) -> f64) -> Seen {
        let random =
            |i: usize| ((i as u32).wrapping_mul(2_654_435_761) >> 8) as f64 / f64::from(1 << 23) - 1.0;
        let ours = Floats::from((0..24 * 64).map(|i| random(i) + random(i + 7)).collect::<Vec<f64>>());
        let ours = ours.cast(DType::Bf16);
        let theirs =
            Floats::from((0..ours.len()).map(|i| f(i, ours.get(i))).collect::<Vec<f64>>()).cast(DType::Bf16);
        let [theirs, ours] = [theirs, ours].map(|values| Activation { shape: vec![1, 24, 64], values });
        seen(site("model.layers.1.self_attn.o_proj"), &[(&theirs, &ours)], &[4, 2])
    }

    fn id_of(seen: Seen) -> Option<&'static str> {
        if let Seen::Rule { kind, .. } = seen { Some(kind.id) } else { None }
    }

    #[test]
    fn what_was_done_to_an_output_is_read_off_its_values() {
        let hash = |i: usize| (i as u32).wrapping_mul(0x9E37_79B9) >> 16;
        type Change = fn(usize, f64) -> f64;
        let cases: [(&str, Change); 5] = [
            ("activation-scaled", |_, x| 0.5 * x),
            ("activation-scaled", |_, x| 0.7 * x),
            ("activation-offset", |_, x| x + 0.1),
            ("activation-clamped", |_, x| x.clamp(-0.5, 0.5)),
            ("activation-partly-zero", |i, x| if i / 64 < 5 { 0.0 } else { x }),
        ];
        for (id, change) in cases {
            assert_eq!(id_of(seen_of(change)), Some(id));
        }
        let Seen::Rule { kind, evidence } = seen_of(|i, x| if hash(i) % 10 == 0 { 0.0 } else { x / 0.9 })
        else {
            panic!("dropout is a rule");
        };
        assert_eq!(kind.id, "dropout-active");
        let factor = evidence.finding().number("factor").unwrap();
        assert!((factor - 1.0 / 0.9).abs() < 0.01, "{factor}");
        // Zeros without the factor are not dropout, and rows that differ are no cause.
        let zeros = seen_of(|i, x| if hash(i) % 10 == 0 { 0.0 } else { x });
        let partly = |seen: Seen, text: &str| matches!(seen, Seen::Place(statement) if statement.to_string().contains(text));
        assert!(partly(zeros, "which are zero"));
        let rows = seen_of(|i, x| if i / 64 < 8 { x } else { (3.0 * x).sin() });
        assert!(partly(rows, "rows 8 to the end"));
        assert!(matches!(seen_of(|_, x| (3.0 * x).sin()), Seen::Nothing));
    }

    #[test]
    fn an_update_of_low_rank_is_an_adapter_where_there_is_a_layer() {
        let update = |i: usize, x: f64| x + 0.3 * ((i / 64) as f64).sin() * ((i % 64) as f64).cos();
        assert_eq!(id_of(seen_of(update)), Some("adapter-active"));
    }
}
