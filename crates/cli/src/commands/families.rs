//! `ulpscope families`: what is read, and how it was verified.

use anyhow::Result;
use serde_json::json;
use ulpscope_families::ALL;

use crate::args::FamiliesArgs;
use crate::commands::{Outcome, print, print_json};

pub(crate) fn run(args: &FamiliesArgs) -> Result<Outcome> {
    // A family whose GGUF files another one reads has none of its own.
    let own = |i: usize| ALL[..i].iter().all(|other| other.gguf.architecture != ALL[i].gguf.architecture);
    if args.json {
        let families: Vec<_> = ALL.iter().enumerate().map(|(i, family)| json!({
            "model_type": family.model_type, "class": family.class, "gguf": family.gguf.architecture,
            "gguf_read_as": if own(i) { family.model_type } else { as_which(family.gguf.architecture) },
            "verified": family.verified,
        })).collect();
        print_json(&json!({ "families": families }))?;
        return Ok(Outcome::Done);
    }
    let mut text = format!("{:<12} {:<26} {:<10} verified by\n", "model_type", "class", "GGUF");
    for (i, family) in ALL.iter().enumerate() {
        let gguf = match own(i) {
            true => family.gguf.architecture.to_owned(),
            false => format!("as {}", as_which(family.gguf.architecture)),
        };
        text += &format!("{:<12} {:<26} {gguf:<10} {}\n", family.model_type, family.class, family.verified);
    }
    print(&text)?;
    Ok(Outcome::Done)
}

/// The family that reads GGUF files of this architecture.
fn as_which(architecture: &str) -> &'static str {
    ulpscope_families::of_gguf(architecture).map_or("", |family| family.model_type)
}
