//! The folder that a run is written into: whole, or as it was before.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ulpscope_record::RunRecord;

/// A folder that can be written. Folders that were made for it are removed again unless something is put there.
pub(crate) struct Output {
    folder: PathBuf,
    /// Folders that were not there before, the innermost first.
    made: Vec<PathBuf>,
}

impl Output {
    /// Finds out before the work, not after it, that the folder can't be written.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        if folder.is_file() {
            bail!(
                "--out {}: the folder can't be written: a file has that name; choose another",
                folder.display()
            );
        }
        let made = folder.ancestors().take_while(|f| !f.as_os_str().is_empty() && !f.exists());
        let output = Output { folder: folder.to_owned(), made: made.map(Path::to_owned).collect() };
        fs::create_dir_all(folder)
            .and_then(|()| output.staging()?.close())
            .with_context(|| format!("--out {}: the folder can't be written", folder.display()))?;
        Ok(output)
    }

    /// Writes record, pages and pictures. They are made in a folder beside their places and moved when all are
    /// whole, so that a full disk leaves neither half a run nor the pictures of one run beside the record of another.
    pub(crate) fn write(&self, record: &RunRecord, svg: bool) -> Result<()> {
        let write = || -> Result<()> {
            let staging = self.staging()?;
            fill(staging.path(), record, svg)?;
            Ok(move_into(staging.path(), &self.folder)?)
        };
        write().with_context(|| format!("--out {}: the run can't be written", self.folder.display()))
    }

    fn staging(&self) -> std::io::Result<tempfile::TempDir> {
        tempfile::Builder::new().prefix(".ulpscope-").tempdir_in(&self.folder)
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

fn fill(folder: &Path, record: &RunRecord, svg: bool) -> Result<()> {
    for prompt in 0..record.prompts.len() {
        let folder = if prompt == 0 { folder.to_owned() } else { folder.join(format!("prompt-{prompt}")) };
        let options = ulpscope_plot::Options { svg, layer: 0, prompt };
        ulpscope_plot::draw_all(record, &folder, &options)?;
    }
    let pages = [
        ("summary.md", ulpscope_record::markdown(record)),
        ("report.md", ulpscope_report::markdown(record)),
        ("report.html", ulpscope_report::html(record)),
    ];
    for (name, page) in pages {
        ulpscope_record::file::replace(&folder.join(name), page.as_bytes())
            .with_context(|| format!("{name} can't be written"))?;
    }
    Ok(record.write(folder.join("record.json"))?)
}

/// Moves files, those in subfolders first, the record last: where it is, everything is.
fn move_into(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(from)?.map(|e| Ok(e?.path())).collect::<std::io::Result<_>>()?;
    entries.sort_by_key(|path| (!path.is_dir(), path.ends_with("record.json"), path.clone()));
    for path in entries {
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            fs::create_dir_all(&target)?;
            move_into(&path, &target)?;
        } else {
            fs::rename(&path, &target)?;
        }
    }
    Ok(())
}
