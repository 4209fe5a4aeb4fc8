//! Bytes taken for something else: in the wrong order, or for another format of the same size.
//!
//! ```
//! use ulpscope_floats::Floats;
//! use ulpscope_relations::{Hints, describe};
//!
//! let a = Floats::from((0..64).map(|i| (i as f32).sin()).collect::<Vec<_>>());
//! let b = Floats::from((0..64).map(|i| f32::from_bits((a.get(i) as f32).to_bits().swap_bytes())).collect::<Vec<_>>());
//! let statement = describe(&a, &b, &[64], &Hints::default()).to_string();
//! assert_eq!(statement, "b = the bytes of a in f32, read in the other order");
//! ```

use std::fmt;

use ulpscope_floats::{DType, Floats, bf16, f16};

use crate::cell::Path;
use crate::side::Side;
use crate::view::{View, each};

/// One side is what the bytes of the other say, read wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misread {
    /// The format that the bytes were written in.
    pub written: DType,
    /// The format that they were read as.
    pub read: DType,
    /// Whether the bytes of each number were read in the other order.
    pub swapped: bool,
    /// The side that was read wrongly to give the other one.
    pub of: Side,
}

impl fmt::Display for Misread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Misread { written, read, swapped, of } = self;
        write!(f, "{} = the bytes of {of} in {written}", of.other())?;
        match (swapped, written == read) {
            (true, true) => f.write_str(", read in the other order"),
            (true, false) => write!(f, ", read in the other order and as {read}"),
            (false, _) => write!(f, ", read as {read}"),
        }
    }
}

/// Elements that must have become others.
const EVIDENCE: usize = 8;

pub(crate) fn misread(a: &Floats, b: &Floats) -> Option<Misread> {
    [(Side::A, a, b), (Side::B, b, a)].into_iter().find_map(|(of, source, result)| {
        WAYS.into_iter().find_map(|(written, read, swapped)| {
            let follows = |x: f64, y: f64| {
                let z = Path::ViaF32.round(reread(x, written, read, swapped), result.dtype());
                z == y || (z.is_nan() && y.is_nan())
            };
            let (x, y) = (View::plain(source), View::plain(result));
            // Nearly all ways fail at the first element.
            let starts = (0..x.len().min(EVIDENCE)).all(|i| follows(x.get(i), y.get(i)));
            if !starts || !each(x, y, follows) {
                return None;
            }
            let changed = (0..x.len()).filter(|&i| x.get(i) != y.get(i)).take(EVIDENCE).count();
            (changed == EVIDENCE).then_some(Misread { written, read, swapped, of })
        })
    })
}

/// Written as, read as, in the other order.
const WAYS: [(DType, DType, bool); 7] = [
    (DType::Bf16, DType::Bf16, true),
    (DType::F16, DType::F16, true),
    (DType::F32, DType::F32, true),
    (DType::Bf16, DType::F16, false),
    (DType::F16, DType::Bf16, false),
    (DType::Bf16, DType::F16, true),
    (DType::F16, DType::Bf16, true),
];

/// What the bytes of `x` say, which was rounded to `written` if that does not hold it.
fn reread(x: f64, written: DType, read: DType, swapped: bool) -> f64 {
    let turned = |bits: u16| if swapped { bits.swap_bytes() } else { bits };
    let half = match written {
        DType::Bf16 => turned(bf16::from_f32(x as f32).to_bits()),
        DType::F16 => turned(f16::from_f32(x as f32).to_bits()),
        _ => return f64::from(f32::from_bits((x as f32).to_bits().swap_bytes())),
    };
    if read == DType::Bf16 { bf16::from_bits(half).to_f64() } else { f16::from_bits(half).to_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{build, gaussian};

    #[test]
    fn every_way_is_recognised_and_one_element_off_is_none() {
        for (written, read, swapped) in WAYS {
            let a = gaussian(3000, 1).cast(written);
            let b = Floats::from(
                (0..a.len()).map(|i| reread(a.get(i), written, read, swapped)).collect::<Vec<_>>(),
            );
            for stored in [read, DType::F32] {
                let b = b.cast(stored);
                let found = misread(&a, &b);
                assert_eq!(found, Some(Misread { written, read, swapped, of: Side::A }), "{written} {read}");
                let off = build(&b, |i| if i == 2000 { 0.75 } else { b.get(i) });
                assert_eq!(misread(&a, &off), None);
            }
        }
        assert_eq!(misread(&gaussian(100, 1), &gaussian(100, 2)), None);
    }

    #[test]
    fn the_statement_says_what_was_done() {
        let said = |(written, read, swapped)| Misread { written, read, swapped, of: Side::A }.to_string();
        assert_eq!(said(WAYS[0]), "b = the bytes of a in bf16, read in the other order");
        assert_eq!(said(WAYS[3]), "b = the bytes of a in bf16, read as f16");
    }
}
