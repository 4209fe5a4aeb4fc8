use proptest::prelude::*;
use ulpscope_floats::{DType, Rounding};

use super::*;
use crate::side::Side;

fn said(a: &Floats, b: &Floats) -> String {
    relation(a, b).map_or("none".to_owned(), |r| r.to_string())
}

/// Values that every rounding changes differently, over more than one piece.
fn sample() -> Floats<'static> {
    let mut x: Vec<f32> = (0..1500).map(|i| 1.0 / (1.0 + i as f32)).collect();
    // Lies between the bf16 midpoint and f16's rounding to it, so that two roundings differ from
    // one.
    x.push(1.0 + 3.0 * (-8f32).exp2() - (-16f32).exp2());
    Floats::from(x)
}

#[test]
fn every_rounding_is_recognised_both_ways_and_in_any_storage() {
    let a = sample();
    for by in Rounding::ALL.into_iter().filter(|by| *by != Rounding::NearestF32) {
        let b = by.apply(&a);
        for stored in [b.dtype(), DType::F32, DType::F64] {
            let b = b.cast(stored);
            assert_eq!(relation(&a, &b), Some(Relation::Rounded { by, of: Side::A }));
            assert_eq!(relation(&b, &a), Some(Relation::Rounded { by, of: Side::B }));
        }
        assert_eq!(said(&b, &a), format!("a = {}", by.formula("b")));
    }
    let wide = Floats::from(vec![0.1f64, 0.2, 0.3]);
    assert_eq!(said(&wide, &wide.cast(DType::F32)), "b = round_f32(a)");
    assert_eq!(said(&wide, &wide.cast(DType::Bf16)), "b = round_bf16(a)");
}

#[test]
fn a_factor_in_a_finer_format_is_no_rounding_of_the_other_side() {
    let a = sample().cast(DType::Bf16);
    let times = |k: f32| Floats::from(a.to_f32().iter().map(|x| x * k).collect::<Vec<_>>());
    assert_eq!(said(&a, &times(0.999)), "b = round_f32(0.999*a)");
    assert_eq!(said(&times(0.999), &a), "a = round_f32(0.999*b)");
}

#[test]
fn one_element_off_anywhere_is_no_relation() {
    let a = sample();
    let good = a.cast(DType::Bf16);
    for i in [0, 511, 512, 1023, 1500] {
        let mut bits: Vec<_> = good.to_f32();
        bits[i] = bits[i].next_up();
        assert_eq!(relation(&a, &Floats::from(bits)), None, "element {i}");
    }
}

#[test]
fn no_rounding_is_claimed_where_nothing_changed() {
    let a = sample().cast(DType::Bf16);
    assert_eq!(relation(&a, &a), Some(Relation::Identical));
    assert_eq!(said(&a, &a), "b = a");
    for other in [DType::F32, DType::F64] {
        assert_eq!(relation(&a, &a.cast(other)), Some(Relation::SameValues));
        assert_eq!(said(&a.cast(other), &a), "same values, other dtype");
    }
    let none = a.slice(0..0);
    assert_eq!(relation(&none, &none), Some(Relation::Identical));
    assert_eq!(relation(&none, &none.cast(DType::F16)), Some(Relation::SameValues));
    assert_eq!(relation(&a, &none), None);
}

#[test]
fn special_values_take_part() {
    let a = Floats::from(vec![f32::NAN, f32::INFINITY, 70000.0, -0.0, 1e-45]);
    assert_eq!(said(&a, &a.cast(DType::F16)), "b = round_f16(a)");
    let payload = Floats::from(vec![f32::from_bits(0xff80_0001), f32::INFINITY, 70000.0, -0.0, 1e-45]);
    assert_eq!(relation(&a, &payload), Some(Relation::Identical));
    let zeros = |x: f32| Floats::from(vec![x, 1.0]);
    assert_eq!(relation(&zeros(0.0), &zeros(-0.0)), None);
}

#[test]
fn signs_and_factors() {
    let x = sample().to_f32();
    let times = |k: f32| Floats::from(x.iter().map(|x| x * k).collect::<Vec<_>>());
    let a = times(1.0);
    assert_eq!(relation(&a, &times(-1.0)), Some(Relation::Negated));
    assert_eq!(said(&a, &times(-1.0)), "b = -a");
    assert_eq!(said(&a, &times(0.125)), "b = 0.125*a");
    assert_eq!(said(&a, &times(-8.0)), "b = -8*a");
    // 3x rounds for most of these values; an exact f64 product does not.
    assert_eq!(said(&a, &times(3.0)), "b = round_f32(3*a)");
    let exact = Floats::from(x.iter().map(|x| f64::from(*x) * 3.0).collect::<Vec<_>>());
    assert_eq!(said(&a, &exact), "b = 3*a");
    assert_eq!(said(&exact, &a), "a = 3*b");
    // Zero is no factor, and one element tells nothing.
    assert_eq!(relation(&a, &times(0.0)), None);
    let one = |x: f32| Floats::from(vec![x, 0.0]);
    assert_eq!(relation(&one(3.0), &one(1.5)), None);
    // An infinity is a multiple of itself; an overflow is no exact product.
    let b = |x: f32| Floats::from(vec![1.0, 2.0, x]);
    assert_eq!(said(&b(f32::INFINITY), &Floats::from(vec![2.0f32, 4.0, f32::INFINITY])), "b = 2*a");
    assert_eq!(relation(&b(f32::MAX), &Floats::from(vec![2.0f32, 4.0, f32::INFINITY])), None);
}

proptest! {
    /// Whatever is claimed holds: recomputed here one element at a time.
    #[test]
    fn a_rounding_found_is_a_rounding(
        bits in prop::collection::vec(any::<u32>(), 1..20), which in 0usize..5,
    ) {
        let a = Floats::from(bits.iter().map(|&b| f32::from_bits(b)).collect::<Vec<_>>());
        let b = Rounding::ALL[which].apply(&a);
        let found = relation(&a, &b);
        prop_assert!(found.is_some());
        if let Some(Relation::Rounded { by, of: Side::A }) = found {
            for (i, x) in a.to_f32().iter().enumerate() {
                let want = by.round(*x);
                prop_assert!(f64::from(want) == b.get(i) || (want.is_nan() && b.get(i).is_nan()));
            }
        }
    }
}
