//! The table in capture.py of where each family's blocks show what, against the description of the
//! families.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use ulpscope_decoder::Hook;

const BEGIN: &str = "# <layers>\n";
const END: &str = "# </layers>\n";

/// The hooks of each family, with those that have the same together.
fn groups() -> Vec<(Vec<&'static str>, Vec<Hook>)> {
    let mut groups: Vec<(Vec<&str>, Vec<Hook>)> = Vec::new();
    for family in ulpscope_families::ALL {
        let config = json!({
            "model_type": family.model_type, "vocab_size": 8, "hidden_size": 8, "intermediate_size": 8,
            "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4,
        });
        let hooks = ulpscope_families::read(&config).unwrap().layers[0].hooks();
        match groups.iter_mut().find(|(_, theirs)| *theirs == hooks) {
            Some((families, _)) => families.push(family.model_type),
            None => groups.push((vec![family.model_type], hooks)),
        }
    }
    groups
}

/// The literal of the script, a hook to a line.
fn literal() -> String {
    let group = |(families, hooks): &(Vec<&str>, Vec<Hook>)| {
        let line = |hook: &Hook| format!("  {}", json!([hook.site, hook.how.to_string(), hook.module]));
        let lines: Vec<String> = hooks.iter().map(line).collect();
        format!(" {{\"families\": {}, \"hooks\": [\n{}\n ]}}", json!(families), lines.join(",\n"))
    };
    let groups: Vec<String> = groups().iter().map(group).collect();
    format!("LAYERS = json.loads(\"\"\"\n[\n{}\n]\n\"\"\")\n", groups.join(",\n"))
}

#[test]
fn the_scripts_table_is_that_of_the_families() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/capture.py");
    let script = fs::read_to_string(&path).unwrap();
    let (before, rest) = script.split_once(BEGIN).unwrap();
    let (theirs, after) = rest.split_once(END).unwrap();
    let ours = literal();
    if theirs == ours {
        return;
    }
    if std::env::var_os("ULPSCOPE_UPDATE").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{ours}{END}{after}")).unwrap();
        return;
    }
    panic!(
        "the table in {} is not that of the families. \
         `ULPSCOPE_UPDATE=1 cargo test --workspace --test script` writes it anew; it should be\n{ours}",
        path.display()
    );
}

#[test]
fn the_table_is_json_and_names_every_family_once() {
    let text = literal();
    let json: Value = serde_json::from_str(text.split("\"\"\"").nth(1).unwrap()).unwrap();
    let mut named: Vec<&str> = json
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["families"].as_array().unwrap())
        .map(|family| family.as_str().unwrap())
        .collect();
    let mut all: Vec<&str> = ulpscope_families::ALL.iter().map(|family| family.model_type).collect();
    named.sort_unstable();
    all.sort_unstable();
    assert_eq!(named, all);
}
