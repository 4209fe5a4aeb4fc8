//! The folder that a run is written into: whole, or as it was before.
//!
//! While a run goes on, the folder is locked, and `.ulpscope-partial` in it holds what is finished
//! (see [`Partial`]). What is made at the end is made in `.ulpscope-XXXXXX`, which becomes
//! `.ulpscope-ready` when all of it is whole. Moving that into place is a matter of renames, and is
//! completed by the next run if this one is killed on the way.

mod inputs;
mod partial;
mod sweep;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use ulpscope_record::RunRecord;

pub(crate) use inputs::{Inputs, leads_somewhere};
pub(crate) use partial::Partial;
pub(crate) use sweep::sweep;

/// Where a whole run waits to be moved into place.
const READY: &str = ".ulpscope-ready";

/// The pages of a run.
const PAGES: [&str; 3] = ["summary.md", "report.md", "report.html"];

/// The file without which a folder holds no run.
const RECORD: &str = "record.json";

/// A folder that can be written. Folders that were made for it are removed again unless something
/// is put there.
pub(crate) struct Output {
    folder: PathBuf,
    /// Folders that were not there before, the innermost first.
    made: Vec<PathBuf>,
    /// Held while the run goes on, and given up by the system whatever happens to the process.
    _lock: Option<File>,
}

impl Output {
    /// Finds out before the work, not after it, that the folder can't be written, that another run
    /// is at it or that what it is to read is there.
    pub(crate) fn open(folder: &Path, inputs: &Inputs) -> Result<Self> {
        inputs.spare_folder(folder, is_written)?;
        if folder.is_file() {
            bail!(
                "--out {}: the folder can't be written: a file has that name; choose another",
                folder.display()
            );
        }
        let made = folder.ancestors().take_while(|f| !f.as_os_str().is_empty() && !f.exists());
        let mut output =
            Output { folder: folder.to_owned(), made: made.map(Path::to_owned).collect(), _lock: None };
        let unwritable = || format!("--out {}: the folder can't be written", folder.display());
        make_folder(folder)?;
        output._lock = match sweep::lock(folder) {
            sweep::Lock::Held(lock) => Some(lock),
            // Some file systems have no locks; what is written there is whole all the same.
            sweep::Lock::None => None,
            sweep::Lock::Taken => {
                output.made.clear();
                bail!(
                    "--out {}: another ulpscope is writing into this folder; wait until it has ended, or name another",
                    folder.display()
                );
            }
        };
        sweep::remove(folder, true);
        let ready = folder.join(READY);
        if ready.is_dir() {
            move_into(&ready, folder).with_context(|| {
                format!("--out {}: an earlier run waits in {READY} and can't be moved", folder.display())
            })?;
        }
        // Closing it would take a file descriptor, of which there may be none left.
        output.staging().and_then(|made| fs::remove_dir(made.keep())).with_context(unwritable)?;
        Ok(output)
    }

    /// What is kept of an unfinished run.
    pub(crate) fn partial(&self) -> PathBuf {
        self.folder.join(partial::FOLDER)
    }

    /// Writes record, pages and pictures. They are made in a folder beside their places and moved
    /// when all are whole, so that a full disk leaves neither half a run nor the pictures of one
    /// run beside the record of another.
    pub(crate) fn write(&self, record: &RunRecord, svg: bool) -> Result<()> {
        let write = || -> Result<()> {
            let staging = self.staging()?;
            fill(staging.path(), record, svg)?;
            fits(staging.path(), &self.folder)?;
            let ready = self.folder.join(READY);
            fs::rename(staging.keep(), &ready)?;
            Ok(move_into(&ready, &self.folder)?)
        };
        write().with_context(|| format!("--out {}: the run can't be written", self.folder.display()))?;
        // It is of no use any more, and of no harm if it can't be removed.
        _ = fs::remove_dir_all(self.partial());
        Ok(())
    }

    fn staging(&self) -> std::io::Result<tempfile::TempDir> {
        tempfile::Builder::new().prefix(sweep::PREFIX).tempdir_in(&self.folder)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        for folder in &self.made {
            // Fails where there is something in it, as it should.
            _ = fs::remove_dir(folder);
        }
    }
}

/// Makes the folder that `--out` names, unless it is there.
pub(crate) fn make_folder(folder: &Path) -> Result<()> {
    leads_somewhere(folder)?;
    fs::create_dir_all(folder)
        .with_context(|| format!("--out {}: the folder can't be written", folder.display()))
}

/// Whether a run writes a file of this name.
fn is_written(file: &Path) -> bool {
    let names = PAGES.iter().any(|name| file.ends_with(name));
    names || file.ends_with(RECORD) || ulpscope_plot::is_figure(file)
}

fn fill(folder: &Path, record: &RunRecord, svg: bool) -> Result<()> {
    let draw = |prompt: usize| {
        let folder = if prompt == 0 { folder.to_owned() } else { folder.join(format!("prompt-{prompt}")) };
        let layer = ulpscope_record::summary::first_layer(record);
        let options = ulpscope_plot::Options { svg, layer, prompt, arm: None };
        ulpscope_plot::draw_all(record, &folder, &options).map(drop)
    };
    let (pictures, pages) = rayon::join(
        || (0..record.prompts.len()).into_par_iter().try_for_each(draw),
        || write_pages(folder, record),
    );
    pictures?;
    pages
}

/// The record and the pages that are made of it.
fn write_pages(folder: &Path, record: &RunRecord) -> Result<()> {
    let pages =
        [ulpscope_record::markdown(record), ulpscope_report::markdown(record), ulpscope_report::html(record)];
    for (name, page) in PAGES.into_iter().zip(pages) {
        ulpscope_record::file::replace(&folder.join(name), page.as_bytes())
            .with_context(|| format!("{name} can't be written"))?;
    }
    Ok(record.write(folder.join(RECORD))?)
}

/// Checks that no folder stands where a file belongs, nor the reverse: once something is moved, all
/// of it has to be.
fn fits(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let from = entry?.path();
        let target = to.join(from.file_name().unwrap_or_default());
        match (from.is_dir(), target.is_dir(), target.exists()) {
            (false, true, _) => bail!("{} is a folder, where a file belongs", target.display()),
            (true, false, true) => bail!("{} is a file, where a folder belongs", target.display()),
            (true, true, _) => fits(&from, &target)?,
            _ => {}
        }
    }
    Ok(())
}

/// Moves a whole run into place. The record of an earlier run goes first and the new one comes
/// last: where there is a record, everything beside it belongs to it.
fn move_into(ready: &Path, folder: &Path) -> std::io::Result<()> {
    let record = ready.join(RECORD);
    if record.exists() {
        match fs::remove_file(folder.join(RECORD)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        forget_pictures(folder)?;
        move_all(ready, folder)?;
        fs::rename(record, folder.join(RECORD))?;
    }
    fs::remove_dir_all(ready)
}

/// Removes the pictures of an earlier run, of which there may be more than the new one has. What
/// else lies there stays.
fn forget_pictures(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_prefix("prompt-"));
        if path.is_file() && ulpscope_plot::is_figure(&path) {
            fs::remove_file(&path)?;
        } else if path.is_dir() && number.is_some_and(|n| n.parse::<u32>().is_ok()) {
            forget_pictures(&path)?;
            // Fails where there is something else in it, as it should.
            _ = fs::remove_dir(&path);
        }
    }
    Ok(())
}

fn move_all(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            fs::create_dir_all(&target)?;
            move_all(&path, &target)?;
        } else if !path.ends_with(RECORD) {
            fs::rename(&path, &target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The files of a folder with their content.
    fn listing(folder: &Path) -> Vec<String> {
        let mut found: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                format!("{name}: {}", fs::read_to_string(&path).unwrap_or_else(|_| "folder".to_owned()))
            })
            .collect();
        found.sort();
        found
    }

    #[test]
    fn a_move_that_was_interrupted_is_completed_wherever_it_was() {
        for moved in 0..=3 {
            let folder = tempfile::tempdir().unwrap();
            let (to, ready) = (folder.path(), folder.path().join(READY));
            fs::create_dir(&ready).unwrap();
            for (i, name) in ["a.png", "b.png", RECORD].into_iter().enumerate() {
                fs::write(to.join(name), "old").unwrap();
                fs::write(ready.join(name), "new").unwrap();
                if i < moved {
                    fs::rename(ready.join(name), to.join(name)).unwrap();
                }
            }
            let output = Output::open(to, &Inputs::default()).unwrap();
            assert_eq!(listing(to), ["a.png: new", "b.png: new", "record.json: new"], "{moved} were moved");
            drop(output);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_has_one_run_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("run");
        let first = Output::open(&to, &Inputs::default()).unwrap();
        let error = Output::open(&to, &Inputs::default()).err().unwrap().to_string();
        assert!(error.contains("another ulpscope is writing into this folder"), "{error}");
        assert!(to.is_dir(), "the second does not take the first one's folder away");
        drop(first);
        assert!(!to.exists());
        drop(Output::open(&to, &Inputs::default()).unwrap());
    }
}
