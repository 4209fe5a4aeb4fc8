//! What parsers overlook in the headers of files that others wrote.

use std::collections::HashSet;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{IgnoredAny, MapAccess, Visitor};

/// A name that the header of a safetensors file has twice. Parsers take the last of them, and none says so; nothing if it is no
/// such file.
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
