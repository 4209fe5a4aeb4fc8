//! The same comparison many times in one process: `soak MODEL FIRST COUNT`.
//!
//! Prints the process's memory after FIRST comparisons and after COUNT, in kilobytes, and whether
//! all found the same. `cargo xtask torture load` runs it.
#![allow(clippy::print_stdout, reason = "an example prints")]

use burn::tensor::Device;
use ulpscope_capture::Pattern;
use ulpscope_compare::{NamedArm, Plan, compare};
use ulpscope_decoder::Semantics;
use ulpscope_weights::{Arm, Checkpoint};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, model, first, count] = &args[..] else { return Err("soak MODEL FIRST COUNT".into()) };
    let (first, count): (usize, usize) = (first.parse()?, count.parse()?);
    let mut found: Option<String> = None;
    let (mut early, mut same) = (0, true);
    for done in 1..=count {
        // Everything anew, as a program would that is asked again and again.
        let checkpoint = Checkpoint::open(model.as_ref())?;
        let arm = |name: &str, recipe: &str| -> Result<_, Box<dyn std::error::Error>> {
            let arm = Arm::new(&checkpoint, recipe.parse()?);
            Ok(NamedArm { name: name.to_owned(), arm, semantics: Semantics::default() })
        };
        let plan = Plan {
            arms: vec![arm("a", "load(bf16)")?, arm("b", "load(f32).to(bf16)")?],
            prompts: vec![vec![1, 17, 250], vec![5; 16]],
            sites: Pattern::all(),
            device: Device::flex(),
            longest_watched: usize::MAX,
        };
        let text = format!("{:?}", compare(&plan, |_| ())?);
        same &= *found.get_or_insert_with(|| text.clone()) == text;
        if done == first {
            early = resident()?;
        }
    }
    println!("{early} {} {same}", resident()?);
    Ok(())
}

/// Memory that is really there, in kilobytes; 0 where the system does not tell.
fn resident() -> std::io::Result<u64> {
    if !cfg!(target_os = "linux") {
        return Ok(0);
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or(0))
}
