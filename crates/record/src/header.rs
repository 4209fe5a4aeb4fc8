//! What parsers overlook in the headers of files that others wrote.

use std::collections::HashSet;
use std::fmt;

use safetensors::SafeTensorError;
use serde::Deserializer as _;
use serde::de::{IgnoredAny, MapAccess, Visitor};

use crate::kind::{Wanted, told};
use crate::text::shown;

/// A name that the header of a safetensors file has twice. Parsers take the last of them, and none
/// says so; nothing if it is no such file.
///
/// ```
/// use ulpscope_record::header::name_twice;
///
/// let file = |json: &str| [&(json.len() as u64).to_le_bytes()[..], json.as_bytes()].concat();
/// assert_eq!(name_twice(&file(r#"{"a": 1, "b": {"b": 2}, "a": 3}"#)), Some("a".to_owned()));
/// assert_eq!(name_twice(&file(r#"{"a": 1, "b": {"a": 2}}"#)), None);
/// assert_eq!(name_twice(b"{}"), None);
/// ```
pub fn name_twice(file: &[u8]) -> Option<String> {
    let (length, rest) = file.split_first_chunk()?;
    let json = rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    struct Names(Option<String>);
    impl<'de> Visitor<'de> for Names {
        type Value = Option<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut seen = HashSet::new();
            while let Some((name, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                if let Some(twice) = seen.replace(name) {
                    self.0.get_or_insert(twice);
                }
            }
            Ok(self.0)
        }
    }
    serde_json::Deserializer::from_slice(json).deserialize_map(Names(None)).ok()?
}

/// Why a safetensors file can't be read, of which its parser says this: that it is something else,
/// or what is wrong with it, with the numbers in it.
pub fn unread(error: &SafeTensorError, file: &[u8]) -> String {
    told(file, Wanted::Safetensors, || explain(error, file))
}

/// What the format's own checks found, in a sentence with the numbers in it.
fn explain(error: &SafeTensorError, file: &[u8]) -> String {
    let declared = file.get(..8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
    let held = file.len();
    match error {
        SafeTensorError::HeaderTooSmall if held == 0 => "it is empty".into(),
        SafeTensorError::HeaderTooSmall => {
            format!("it has {held} bytes, fewer than the 8 that say how long its header is")
        }
        SafeTensorError::HeaderTooLarge => {
            format!("it announces a header of {declared} bytes; 100 MB is the limit")
        }
        SafeTensorError::InvalidHeaderLength => {
            format!(
                "it announces a header of {declared} bytes, but has {held} bytes in all; was it cut short?"
            )
        }
        SafeTensorError::InvalidHeader(_) => "its header is not UTF-8".into(),
        SafeTensorError::InvalidHeaderDeserialization(e) => {
            format!("its header is not the JSON expected: {}", shown(&e.to_string()))
        }
        SafeTensorError::InvalidOffset(name) => {
            format!(
                "tensor `{}` does not begin where the one before it ends (a hole, an overlap or a negative length)",
                shown(name)
            )
        }
        SafeTensorError::TensorInvalidInfo => {
            "a tensor's shape and dtype do not fill the bytes it is given".into()
        }
        SafeTensorError::MetadataIncompleteBuffer => {
            format!("its tensors do not end where the file does ({held} bytes); was it cut short?")
        }
        SafeTensorError::ValidationOverflow => "a tensor's size overflows".into(),
        other => shown(&other.to_string()),
    }
}
