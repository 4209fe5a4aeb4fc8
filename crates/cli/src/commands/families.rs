//! `ulpscope families`: what is read, and how it was verified.

use anyhow::Result;
use serde_json::json;
use ulpscope_decoder::Family;
use ulpscope_families::{ALL, of_gguf};

use crate::args::FamiliesArgs;
use crate::commands::{Outcome, print, print_json};

pub(crate) fn run(args: &FamiliesArgs) -> Result<Outcome> {
    // A GGUF may say that it is of another family, which reads it.
    let reader = |family: &Family| of_gguf(family.gguf.architecture).map_or("", |reader| reader.model_type);
    if args.json {
        let families: Vec<_> = ALL
            .iter()
            .map(|family| {
                let keys = family.known_keys();
                json!({
                    "model_type": family.model_type, "class": family.class, "gguf": family.gguf.architecture,
                    "gguf_read_as": reader(family), "verified": family.verified,
                    "config_keys": {
                        "read": keys.read, "without_effect": keys.without_effect, "refused_if_in_name": keys.suspect,
                    },
                })
            })
            .collect();
        print_json(&json!({ "families": families }))?;
        return Ok(Outcome::Done);
    }
    let mut text = format!("{:<12} {:<26} {:<10} verified by\n", "model_type", "class", "GGUF");
    for family in ALL {
        let gguf = match reader(family) {
            own if own == family.model_type => family.gguf.architecture.to_owned(),
            other => format!("as {other}"),
        };
        text += &format!("{:<12} {:<26} {gguf:<10} {}\n", family.model_type, family.class, family.verified);
    }
    print(&text)?;
    Ok(Outcome::Done)
}
