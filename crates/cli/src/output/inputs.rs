//! What a command reads, which nothing that it writes may take the place of.

use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Result, bail};
use ulpscope_record::text::printable;
use ulpscope_weights::{ModelRef, Options};

/// What is read, by the paths that links lead to.
#[derive(Default)]
pub(crate) struct Inputs {
    folders: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

impl Inputs {
    /// Models as they are named on the command line. What names none is an error that others give.
    pub(crate) fn of_models<'a>(sources: impl IntoIterator<Item = &'a String>) -> Self {
        let (mut inputs, options) = (Inputs::default(), Options::from_env());
        for reference in sources.into_iter().filter_map(|source| source.parse::<ModelRef>().ok()) {
            match reference {
                ModelRef::Gguf(path) => inputs.add_file(&path),
                ModelRef::Directory(path) => inputs.add_folder(&path),
                ModelRef::Hub { repo, .. } => {
                    let cached = |cache: &PathBuf| cache.join(format!("models--{}", repo.replace('/', "--")));
                    options.cache.as_ref().map(cached).iter().for_each(|folder| inputs.add_folder(folder));
                }
                _ => options.packages.iter().for_each(|folder| inputs.add_folder(folder)),
            }
        }
        inputs
    }

    /// Further files.
    pub(crate) fn and(mut self, files: &[PathBuf]) -> Self {
        files.iter().for_each(|file| self.add_file(file));
        self
    }

    fn add_file(&mut self, file: &Path) {
        self.files.extend(file.canonicalize());
    }

    /// A folder, and the files that links in it lead to.
    fn add_folder(&mut self, folder: &Path) {
        self.folders.push(led_to(folder));
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            self.files.extend(entry.path().canonicalize().into_iter().filter(|path| path.is_file()));
        }
        // Of a snapshot in the hub's cache, all of the repository is what must stay.
        let repository = |part: &&Path| {
            let name = part.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("models--") && part.join("blobs").is_dir()
        };
        self.folders.extend(led_to(folder).ancestors().find(repository).map(Path::to_owned));
    }

    /// Refuses to write a file over what is read, or among it.
    pub(crate) fn spare_file(&self, out: &Path) -> Result<()> {
        leads_somewhere(out)?;
        self.spare_folder_of(out)?;
        if let Some(file) = self.files.iter().find(|file| is_same(file, out)) {
            bail!("--out {}: that is {}, which is read; name another file", quoted(out), quoted(file));
        }
        Ok(())
    }

    /// Refuses to write files of some names into a folder, if it is being read or one of them is.
    pub(crate) fn spare_folder(&self, out: &Path, written: impl Fn(&Path) -> bool) -> Result<()> {
        leads_somewhere(out)?;
        self.spare_folder_of(out)?;
        let folder = led_to(out);
        // Pictures of further prompts lie one folder below.
        let within = |file: &Path| file.ancestors().skip(1).take(2).any(|parent| parent == folder);
        if let Some(file) = self.files.iter().find(|file| within(file) && written(file)) {
            bail!(
                "--out {}: {} in it is read, and would be written over; name another folder",
                quoted(out),
                quoted(file)
            );
        }
        Ok(())
    }

    fn spare_folder_of(&self, out: &Path) -> Result<()> {
        let path = led_to(out);
        match self.folders.iter().find(|folder| path.starts_with(folder)) {
            Some(folder) if path == **folder => {
                bail!("--out {}: that is what is read; name a place outside of it", quoted(out))
            }
            Some(folder) => {
                bail!(
                    "--out {}: it lies in {}, which is read; name a place outside of it",
                    quoted(out),
                    quoted(folder)
                )
            }
            None => Ok(()),
        }
    }
}

/// Refuses a place behind a link that leads nowhere: the system says that such a file exists.
pub(crate) fn leads_somewhere(out: &Path) -> Result<()> {
    let lost = |path: &&Path| path.is_symlink() && !path.exists();
    if let Some(link) = out.ancestors().find(lost) {
        bail!(
            "--out {}: it can't be written: the link {} leads nowhere; make what it leads to, or name another place",
            quoted(out),
            quoted(link)
        );
    }
    Ok(())
}

fn quoted(path: &Path) -> String {
    printable(&path.to_string_lossy()).into_owned()
}

/// Where a path leads, of which the last parts need not be there yet.
fn led_to(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut led = PathBuf::new();
    for part in whole.components() {
        match part {
            Component::ParentDir => _ = led.pop(),
            part => led.push(part),
        }
        led = led.canonicalize().unwrap_or(led);
    }
    led
}

/// Whether two paths lead to one file, by whatever names.
fn is_same(file: &Path, out: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let place = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
        place(out).is_some_and(|found| place(file) == Some(found))
    }
    #[cfg(not(unix))]
    {
        led_to(out) == file
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_name_of_an_input_is_an_output() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir_all(at("w/sub")).unwrap();
        for name in ["w/model.safetensors", "elsewhere", "notes.txt", "summary.md"] {
            fs::write(at(name), "x").unwrap();
        }
        symlink(at("elsewhere"), at("w/linked")).unwrap();
        symlink(at("w"), at("to_w")).unwrap();
        symlink(at("gone"), at("dangling")).unwrap();
        fs::hard_link(at("w/model.safetensors"), at("hard")).unwrap();
        let model = at("w").display().to_string();
        let inputs = Inputs::of_models([&model]).and(&[at("notes.txt"), at("summary.md")]);
        for name in [
            "w/model.safetensors",
            "w/new",
            "w/sub/new",
            "w/new/deeper",
            "new/../w/x",
            "to_w/new",
            "to_w/sub/../model.safetensors",
            "elsewhere",
            "hard",
            "notes.txt",
            "dangling",
        ] {
            assert!(inputs.spare_file(&at(name)).is_err(), "{name}");
        }
        for name in ["w", "w/sub", "w/new", "to_w", "to_w/new", "w/../w", "dangling"] {
            assert!(inputs.spare_folder(&at(name), |_| false).is_err(), "{name}");
        }
        for name in ["new", "w2", "w2/w", "new/../w2"] {
            inputs.spare_file(&at(name)).unwrap();
            inputs.spare_folder(&at(name), |_| true).unwrap();
        }
        let page = |file: &Path| file.ends_with("summary.md");
        assert!(inputs.spare_folder(root.path(), page).is_err());
        inputs.spare_folder(root.path(), |file| file.ends_with("report.md")).unwrap();
    }
}
