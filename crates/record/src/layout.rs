//! How `record.json` is laid out: one field a line, but lists of numbers and words in rows.
//!
//! serde_json's pretty printer gives every number of a list a line of its own, which makes a record
//! of a small model 20,000 lines long and hides the fields between the samples.

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};
use std::io::{self, Write};

/// Values in one row of a list.
const ROW: usize = 12;

/// `value` as JSON, with a newline at the end.
pub(crate) fn to_json<T: Serialize>(value: &T) -> serde_json::Result<String> {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, Layout::default()))?;
    bytes.push(b'\n');
    // serde_json emits UTF-8 only, and this file adds ASCII.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[derive(Default)]
struct Layout {
    depth: usize,
    lists: Vec<List>,
    /// A list's value begins, and it is not known yet whether it is a plain one.
    pending: bool,
    /// The object that is open has a field.
    has_field: bool,
}

#[derive(Default)]
struct List {
    written: usize,
    /// It holds objects or lists, which stand on lines of their own.
    spread: bool,
}

impl Layout {
    fn newline<W: ?Sized + Write>(&self, to: &mut W) -> io::Result<()> {
        to.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| to.write_all(b"  "))
    }

    /// Writes what stands before a value of a list, now that its kind is known.
    fn settle<W: ?Sized + Write>(&mut self, to: &mut W, nested: bool) -> io::Result<()> {
        if !std::mem::take(&mut self.pending) {
            return Ok(());
        }
        let Some(list) = self.lists.last_mut() else { return Ok(()) };
        list.spread |= nested;
        let (written, spread) = (list.written, list.spread);
        list.written += 1;
        if written > 0 {
            to.write_all(b",")?;
        }
        match written {
            _ if spread => self.newline(to),
            0 => Ok(()),
            _ if written.is_multiple_of(ROW) => self.newline(to),
            _ => to.write_all(b" "),
        }
    }
}

/// Methods that write one plain value: settle first, then what serde_json does.
macro_rules! plain {
    ($($method:ident($kind:ty) => $written:expr;)*) => {$(
        fn $method<W: ?Sized + Write>(&mut self, to: &mut W, value: $kind) -> io::Result<()> {
            self.settle(to, false)?;
            let text: fn($kind) -> String = $written;
            to.write_all(text(value).as_bytes())
        }
    )*};
}

impl Formatter for Layout {
    plain! {
        write_bool(bool) => |value| value.to_string();
        write_i8(i8) => |value| value.to_string();
        write_i16(i16) => |value| value.to_string();
        write_i32(i32) => |value| value.to_string();
        write_i64(i64) => |value| value.to_string();
        write_i128(i128) => |value| value.to_string();
        write_u8(u8) => |value| value.to_string();
        write_u16(u16) => |value| value.to_string();
        write_u32(u32) => |value| value.to_string();
        write_u64(u64) => |value| value.to_string();
        write_u128(u128) => |value| value.to_string();
        write_number_str(&str) => |value| value.to_owned();
        write_raw_fragment(&str) => |value| value.to_owned();
    }

    fn write_null<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.settle(to, false)?;
        to.write_all(b"null")
    }

    fn write_f32<W: ?Sized + Write>(&mut self, to: &mut W, value: f32) -> io::Result<()> {
        self.settle(to, false)?;
        serde_json::ser::CompactFormatter.write_f32(to, value)
    }

    fn write_f64<W: ?Sized + Write>(&mut self, to: &mut W, value: f64) -> io::Result<()> {
        self.settle(to, false)?;
        serde_json::ser::CompactFormatter.write_f64(to, value)
    }

    fn begin_string<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.settle(to, false)?;
        to.write_all(b"\"")
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, to: &mut W, escape: CharEscape) -> io::Result<()> {
        serde_json::ser::CompactFormatter.write_char_escape(to, escape)
    }

    fn begin_array<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.settle(to, true)?;
        self.depth += 1;
        self.lists.push(List::default());
        to.write_all(b"[")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, _: &mut W, _: bool) -> io::Result<()> {
        self.pending = true;
        Ok(())
    }

    fn end_array<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.depth -= 1;
        if self.lists.pop().is_some_and(|list| list.spread) {
            self.newline(to)?;
        }
        to.write_all(b"]")
    }

    fn begin_object<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.settle(to, true)?;
        self.depth += 1;
        self.has_field = false;
        to.write_all(b"{")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        if !first {
            to.write_all(b",")?;
        }
        self.newline(to)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        to.write_all(b": ")
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_field = true;
        Ok(())
    }

    fn end_object<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.depth -= 1;
        if self.has_field {
            self.newline(to)?;
        }
        to.write_all(b"}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[test]
    fn plain_lists_stay_in_rows() {
        let value =
            json!({"a": [1, 2.5, "x\n\"", null, true], "b": [[1, 2], [], {}], "c": {"d": {}}, "e": []});
        let expected = "{\n  \"a\": [1, 2.5, \"x\\n\\\"\", null, true],\n  \"b\": [\n    [1, 2],\n    [],\n    {}\n  ],\n  \"c\": {\n    \"d\": {}\n  },\n  \"e\": []\n}\n";
        assert_eq!(to_json(&value).unwrap(), expected);
        let long: Vec<usize> = (0..25).collect();
        assert_eq!(to_json(&long).unwrap().lines().count(), 3);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 20, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
                proptest::collection::btree_map(any::<String>(), inner, 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn means_the_same_as_serde_json(value in any_json()) {
            let back: Value = serde_json::from_str(&to_json(&value).unwrap()).unwrap();
            prop_assert_eq!(back, value);
        }
    }
}
