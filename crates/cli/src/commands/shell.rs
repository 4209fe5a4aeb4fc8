//! `ulpscope completions` and `ulpscope man`: what shells and packagers want of a command.

use anyhow::{Context, Result};
use clap::CommandFactory;

use crate::args::{Args, CompletionsArgs, ManArgs};
use crate::commands::{Outcome, print};
use crate::output::leads_somewhere;

/// A script on stdout that completes subcommands, options, and those values that are a choice or a
/// path.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "ulpscope", &mut script);
    print(&String::from_utf8(script).context("the script is no UTF-8")?)?;
    Ok(Outcome::Done)
}

/// A page for the command and one for each subcommand: `ulpscope.1`, `ulpscope-compare.1`.
pub(crate) fn man(args: &ManArgs) -> Result<Outcome> {
    let folder = &args.out;
    leads_somewhere(folder)?;
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Args::command(), folder))
        .with_context(|| format!("{}: the manual pages can't be written there", folder.display()))?;
    Ok(Outcome::Done)
}
