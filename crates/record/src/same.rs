//! What differs between two records.

use crate::schema::RunRecord;
use serde_json::Value;

/// Differences that are spelt out before the rest is only counted.
pub const SPELT_OUT: usize = 20;

/// What differs between two records apart from their provenance and failed conditions: the path of
/// each field with both values.
///
/// Empty when the runs found the same, bit for bit (`-0.0` is not `0.0`, NaN is NaN). At most
/// [`SPELT_OUT`] are spelt out; a last line then says how many more there are.
pub fn differences(a: &RunRecord, b: &RunRecord) -> Vec<String> {
    let mut found = Found::default();
    match (serde_json::to_value(a), serde_json::to_value(b)) {
        (Ok(Value::Object(mut a)), Ok(Value::Object(mut b))) => {
            for record in [&mut a, &mut b] {
                record.remove("provenance");
                if let Some(Value::Object(settings)) = record.get_mut("settings") {
                    settings.remove("failed");
                }
            }
            found.compare("", &Value::Object(a), &Value::Object(b));
        }
        // Plain fields and string keys alone always have a JSON value; a wrong answer would be
        // worse than an odd one.
        _ => found.note("the records cannot be written as JSON".to_owned()),
    }
    if found.count > SPELT_OUT {
        found.lines.push(format!("and {} more", found.count - SPELT_OUT));
    }
    found.lines
}

#[derive(Default)]
struct Found {
    lines: Vec<String>,
    count: usize,
}

impl Found {
    fn note(&mut self, line: String) {
        self.count += 1;
        if self.count <= SPELT_OUT {
            self.lines.push(line);
        }
    }

    fn compare(&mut self, path: &str, a: &Value, b: &Value) {
        match (a, b) {
            (Value::Object(a), Value::Object(b)) => {
                let at = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                for (key, value) in a {
                    match b.get(key) {
                        Some(other) => self.compare(&at(key), value, other),
                        None => self.note(format!("{}: {} against nothing", at(key), short(value))),
                    }
                }
                for (key, value) in b.iter().filter(|(key, _)| !a.contains_key(*key)) {
                    self.note(format!("{}: nothing against {}", at(key), short(value)));
                }
            }
            (Value::Array(a), Value::Array(b)) => {
                if a.len() != b.len() {
                    self.note(format!("{path}: {} entries against {}", a.len(), b.len()));
                }
                for (index, (a, b)) in a.iter().zip(b).enumerate() {
                    let name = common_name(a, b).map_or(String::new(), |name| format!(" {name}"));
                    self.compare(&format!("{path}[{index}{name}]"), a, b);
                }
            }
            // Numbers are compared as they are written: equality would take -0.0 for 0.0.
            (Value::Number(x), Value::Number(y)) if x.to_string() == y.to_string() => {}
            (Value::Number(_), Value::Number(_)) => self.note(format!("{path}: {a} against {b}")),
            _ if a == b => {}
            _ => self.note(format!("{path}: {} against {}", short(a), short(b))),
        }
    }
}

/// What two entries of a list are both about, which tells a reader more than an index.
fn common_name<'a>(a: &'a Value, b: &Value) -> Option<&'a str> {
    ["site", "name"].iter().find_map(|key| {
        let name = a.get(key)?.as_str()?;
        (b.get(key)?.as_str()? == name).then_some(name)
    })
}

fn short(value: &Value) -> String {
    const MAX_CHARACTERS: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(MAX_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> RunRecord {
        RunRecord::from_json(include_str!("../tests/small.json")).unwrap()
    }

    #[test]
    fn provenance_does_not_count() {
        let (a, mut b) = (small(), small());
        b.provenance.elapsed_s = 17.0;
        b.provenance.cpu = "another".to_owned();
        assert_eq!(differences(&a, &b), Vec::<String>::new());
    }

    #[test]
    fn names_the_field_the_site_and_both_values() {
        let (a, mut b) = (small(), small());
        b.sites[1].difference.mean_abs = 0.5;
        b.logits[0].allclose = true;
        b.weights.identical = 272;
        b.model.revision = None;
        let found = differences(&a, &b);
        assert_eq!(
            found,
            [
                "logits[0].allclose: false against true",
                "model.revision: \"main\" against null",
                "sites[1 model.layers.0].mean_abs: 0.000021 against 0.5",
                "weights.identical: 273 against 272",
            ]
        );
    }

    #[test]
    fn bits_count_but_nan_is_nan() {
        let (mut a, mut b) = (small(), small());
        a.logits[0].kl = f64::NAN;
        b.logits[0].kl = -f64::NAN;
        assert!(differences(&a, &b).is_empty());
        a.logits[0].mean_abs = 0.0;
        b.logits[0].mean_abs = -0.0;
        assert_eq!(differences(&a, &b), ["logits[0].mean_abs: 0.0 against -0.0"]);
    }

    #[test]
    fn missing_entries_and_absent_fields_are_told() {
        let (a, mut b) = (small(), small());
        b.sites.pop();
        b.settings.experiment = None;
        assert_eq!(
            differences(&a, &b),
            ["settings.experiment: \"load-vs-cast\" against nothing", "sites: 3 entries against 2"]
        );
        assert_eq!(differences(&b, &a)[0], "settings.experiment: nothing against \"load-vs-cast\"",);
    }

    #[test]
    fn the_rest_is_counted() {
        let (mut a, mut b) = (small(), small());
        a.prompts[0].ids = (0..50).collect();
        b.prompts[0].ids = (100..150).collect();
        let found = differences(&a, &b);
        assert_eq!(found.len(), SPELT_OUT + 1);
        assert_eq!(found.last().unwrap(), "and 30 more");
    }
}
