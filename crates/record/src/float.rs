//! Numbers that JSON lacks.
//!
//! For serde's `with` attribute. Finite numbers are written as numbers and read back bit for bit,
//! `-0.0` and subnormals included; the others are the strings `"NaN"`, `"inf"` and `"-inf"`. A
//! NaN's sign and payload are not kept. Whole numbers written without a point (`0`) are read as
//! well.

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Writes one number.
pub fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
    Float(*value).serialize(to)
}

/// Reads one number.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Float::deserialize(from)?.0)
}

/// What a pair is that an older record does not have.
pub(crate) fn nan_pair() -> [f64; 2] {
    [f64::NAN; 2]
}

/// A list of numbers.
pub mod vec {
    use super::{Deserialize, Deserializer, Float, Serializer};

    /// Writes a list of numbers.
    pub fn serialize<S: Serializer>(values: &[f64], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(values.iter().map(|&value| Float(value)))
    }

    /// Reads a list of numbers.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
        Ok(super::plain(Vec::deserialize(from)?))
    }
}

/// Rows of numbers, which may differ in length.
pub mod rows {
    use super::{Deserialize, Deserializer, Float, Serializer, wrapped};

    /// Writes rows of numbers.
    pub fn serialize<S: Serializer>(rows: &[Vec<f64>], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(rows.iter().map(|row| wrapped(row)))
    }

    /// Reads rows of numbers.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Vec<f64>>, D::Error> {
        let rows: Vec<Vec<Float>> = Vec::deserialize(from)?;
        Ok(rows.into_iter().map(super::plain).collect())
    }
}

/// Two numbers: a pair of values, or the ends of an interval.
pub mod two {
    use super::{Deserialize, Deserializer, Float, Serializer};

    /// Writes two numbers.
    pub fn serialize<S: Serializer>(pair: &[f64; 2], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(pair.iter().map(|&value| Float(value)))
    }

    /// Reads exactly two numbers.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[f64; 2], D::Error> {
        let [a, b]: [Float; 2] = Deserialize::deserialize(from)?;
        Ok([a.0, b.0])
    }
}

/// Two lists of numbers, the reference's and an arm's.
pub mod pair {
    use super::{Deserialize, Deserializer, Float, Serializer, plain, wrapped};

    /// Writes two lists of numbers.
    pub fn serialize<S: Serializer>(pair: &[Vec<f64>; 2], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(pair.iter().map(|list| wrapped(list)))
    }

    /// Reads exactly two lists of numbers.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[Vec<f64>; 2], D::Error> {
        let [a, b]: [Vec<Float>; 2] = Deserialize::deserialize(from)?;
        Ok([plain(a), plain(b)])
    }
}

/// A number as it stands in the file.
struct Float(f64);

fn wrapped(values: &[f64]) -> Vec<Float> {
    values.iter().map(|&value| Float(value)).collect()
}

fn plain(values: Vec<Float>) -> Vec<f64> {
    values.into_iter().map(|value| value.0).collect()
}

impl Serialize for Float {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            value if value.is_finite() => to.serialize_f64(value),
            value if value.is_nan() => to.serialize_str("NaN"),
            value if value > 0.0 => to.serialize_str("inf"),
            _ => to.serialize_str("-inf"),
        }
    }
}

impl<'de> Deserialize<'de> for Float {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader)
    }
}

struct Reader;

impl Visitor<'_> for Reader {
    type Value = Float;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a number, \"NaN\", \"inf\" or \"-inf\"")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Float, E> {
        Ok(Float(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Float, E> {
        Ok(Float(value as f64))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Float, E> {
        Ok(Float(value as f64))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Float, E> {
        match value {
            "NaN" => Ok(Float(f64::NAN)),
            "inf" => Ok(Float(f64::INFINITY)),
            "-inf" => Ok(Float(f64::NEG_INFINITY)),
            other => Err(E::invalid_value(Unexpected::Str(other), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Serialize, Deserialize)]
    struct Inner {
        #[serde(with = "super")]
        one: f64,
    }

    #[derive(Serialize, Deserialize)]
    struct Holder {
        // Flattened fields pass through another deserializer of serde's, which must not lose bits
        // either.
        #[serde(flatten)]
        inner: Inner,
        #[serde(with = "super::vec")]
        many: Vec<f64>,
        #[serde(with = "super::rows")]
        rows: Vec<Vec<f64>>,
        #[serde(with = "super::pair")]
        pair: [Vec<f64>; 2],
    }

    fn holder(value: f64) -> Holder {
        Holder {
            inner: Inner { one: value },
            many: vec![value, 1.0],
            rows: vec![vec![], vec![value]],
            pair: [vec![value], vec![]],
        }
    }

    fn same(a: f64, b: f64) -> bool {
        a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
    }

    fn assert_survives(value: f64) {
        let json = serde_json::to_string(&holder(value)).unwrap();
        let back: Holder = serde_json::from_str(&json).unwrap();
        assert!(same(back.inner.one, value), "{value:?} in {json}");
        assert!(same(back.many[0], value) && back.many.len() == 2, "{value:?} in {json}");
        assert!(same(back.rows[1][0], value) && back.rows[0].is_empty(), "{value:?} in {json}");
        assert!(same(back.pair[0][0], value) && back.pair[1].is_empty(), "{value:?} in {json}");
    }

    #[test]
    fn edges_survive() {
        let smallest = f64::from_bits(1);
        for value in [0.0, -0.0, smallest, -smallest, f64::MIN_POSITIVE, f64::MAX, f64::MIN, 0.1, 1e23] {
            assert_survives(value);
        }
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_survives(value);
        }
    }

    #[test]
    fn strings_are_the_documented_ones() {
        let values = holder(f64::NEG_INFINITY);
        assert!(serde_json::to_string(&values).unwrap().contains(r#""many":["-inf",1.0]"#));
        let values = holder(f64::NAN);
        assert!(serde_json::to_string(&values).unwrap().contains(r#""one":"NaN""#));
    }

    #[test]
    fn whole_numbers_are_read_and_words_are_not() {
        let read = |json: &str| serde_json::from_str::<Inner>(json).map(|inner| inner.one);
        assert_eq!(read(r#"{"one": 3}"#).unwrap(), 3.0);
        assert_eq!(read(r#"{"one": -3}"#).unwrap(), -3.0);
        let error = read(r#"{"one": "many"}"#).unwrap_err().to_string();
        assert!(error.contains("many") && error.contains("\"NaN\""), "{error}");
        assert!(read(r#"{"one": null}"#).is_err());
        assert!(read(r#"{"one": 1e999}"#).is_err());
    }

    proptest! {
        #[test]
        fn every_bit_pattern_survives(bits in any::<u64>()) {
            assert_survives(f64::from_bits(bits));
        }
    }
}
