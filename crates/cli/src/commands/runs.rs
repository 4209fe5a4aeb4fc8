//! Finished runs, as people name them.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use ulpscope_record::RunRecord;

/// The record of a run that is named by its folder or by the record itself, and where it was found.
pub(crate) fn read(run: &Path) -> Result<(PathBuf, RunRecord)> {
    if !run.exists() {
        bail!(
            "{}: there is no such run; give the folder that --out named, or its record.json",
            run.display()
        );
    }
    let path = if run.is_dir() { run.join("record.json") } else { run.to_owned() };
    if !path.exists() {
        bail!(
            "{} holds no record.json: no run was finished there; `ulpscope compare MODEL --out {}` makes one",
            run.display(),
            run.display()
        );
    }
    let record = RunRecord::read(&path)?;
    Ok((path, record))
}
