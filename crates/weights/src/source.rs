//! Where a checkpoint comes from: a name goes in, a path on this machine comes out.
//!
//! A [`ModelRef`] is what a person types: a hub id, a directory, a `.gguf` file, or a GGUF inside a
//! Python package. [`locate`] turns it into a [`Located`] path, downloading if it has to;
//! [`locate_first`] tries several in order and remembers why each earlier one was not used, so that
//! a run can say which model it is about. Nothing here opens a checkpoint: a path that comes back
//! may still hold a broken file.
//!
//! Nothing is printed. Progress goes to a [`Progress`], for which `()` is the silent one.

mod digest;
mod error;
mod options;
mod progress;
mod reference;
mod secret;

use std::path::PathBuf;

pub use error::SourceError;
pub use options::Options;
pub use progress::Progress;
pub use reference::ModelRef;

pub(crate) use digest::{hex, sha256_of_file};
pub(crate) use reference::{check_hub_name, check_package, unsafe_name};
pub(crate) use secret::{Secret, one_line, without_credentials};

pub use ulpscope_record::Source;

/// A checkpoint on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The folder that holds `config.json`, or the `.gguf` file.
    pub path: PathBuf,
    /// What to call the model: the hub id, or the last part of the path.
    pub name: String,
    /// What kind of checkpoint it is.
    pub kind: Source,
    /// For a hub model the commit (40 hex digits) its files belong to, whatever branch was asked
    /// for; for a file from a package, the package's requirement; otherwise nothing.
    pub revision: Option<String>,
    /// One sentence for each reference that was tried before this one and could not be used.
    pub unavailable: Vec<String>,
}

/// Finds the checkpoint that `reference` names, downloading it where that is allowed.
///
/// # Errors
///
/// Whatever kept it from being found, see [`SourceError`]. Nothing half-written is left under a
/// name that a later run would take for a complete file.
///
/// ```
/// use ulpscope_weights::{ModelRef, Options, Source, locate};
///
/// let folder = tempfile::tempdir()?;
/// let reference = ModelRef::Directory(folder.path().to_path_buf());
/// let found = locate(&reference, &Options::default(), &mut ())?;
/// assert_eq!((found.kind, found.path.as_path()), (Source::Directory, folder.path()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn locate(
    reference: &ModelRef,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<Located, SourceError> {
    match reference {
        ModelRef::Hub { repo, revision } => {
            let snapshot = crate::hub::snapshot(repo, revision.as_deref(), options, progress)?;
            Ok(Located {
                path: snapshot.path,
                name: repo.clone(),
                kind: Source::Hub,
                revision: Some(snapshot.commit),
                unavailable: Vec::new(),
            })
        }
        ModelRef::Directory(path) | ModelRef::Gguf(path) => local(path, reference),
        ModelRef::Package { requirement, member, sha256 } => {
            let path = crate::package::member(requirement, member, sha256, options, progress)?;
            Ok(Located {
                name: last_part(&path),
                path,
                kind: Source::Gguf,
                revision: Some(requirement.clone()),
                unavailable: Vec::new(),
            })
        }
    }
}

/// Finds the first of `references` that can be had, in the order given.
///
/// # Errors
///
/// [`SourceError::NoneAvailable`] with a sentence for each reference if none can be had.
pub fn locate_first(
    references: &[ModelRef],
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<Located, SourceError> {
    let mut unavailable = Vec::new();
    for reference in references {
        match locate(reference, options, progress) {
            Ok(found) => return Ok(Located { unavailable, ..found }),
            Err(error) => unavailable.push(format!("{reference}: {error}")),
        }
    }
    Err(SourceError::NoneAvailable { attempts: unavailable })
}

fn local(path: &std::path::Path, reference: &ModelRef) -> Result<Located, SourceError> {
    let wants_file = matches!(reference, ModelRef::Gguf(_));
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            SourceError::NoSuchPath { path: path.to_path_buf(), target: path.read_link().ok() }
        }
        _ => SourceError::io("read", path, error),
    })?;
    if !metadata.is_file() && !metadata.is_dir() {
        let reason = "it is a device, pipe or socket, and no file";
        return Err(SourceError::io(
            "read",
            path,
            std::io::Error::new(std::io::ErrorKind::InvalidInput, reason),
        ));
    }
    if wants_file != metadata.is_file() {
        return Err(SourceError::WrongKind { path: path.to_path_buf(), wants_file });
    }
    let kind = if wants_file { Source::Gguf } else { Source::Directory };
    Ok(Located {
        path: path.to_path_buf(),
        name: last_part(path),
        kind,
        revision: None,
        unavailable: Vec::new(),
    })
}

/// The last part of a path as text; of `.` or `..`, the name of the folder it stands for.
fn last_part(path: &std::path::Path) -> String {
    let name = |path: &std::path::Path| path.file_name().map(|n| n.to_string_lossy().into_owned());
    name(path)
        .or_else(|| path.canonicalize().ok().and_then(|full| name(&full)))
        .unwrap_or_else(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_exists_is_used_and_the_others_are_accounted_for() {
        let folder = tempfile::tempdir().unwrap();
        let gguf = folder.path().join("a.gguf");
        std::fs::write(&gguf, b"GGUF").unwrap();
        let chain = [
            ModelRef::Directory(folder.path().join("missing")),
            ModelRef::Gguf(folder.path().to_path_buf()),
            ModelRef::Gguf(gguf.clone()),
            ModelRef::Directory(folder.path().to_path_buf()),
        ];
        let found = locate_first(&chain, &Options::default(), &mut ()).unwrap();
        assert_eq!((found.path, found.kind, found.name.as_str()), (gguf, Source::Gguf, "a.gguf"));
        assert_eq!(found.unavailable.len(), 2);
        assert!(found.unavailable[0].contains("does not exist"), "{:?}", found.unavailable);
        assert!(found.unavailable[1].contains("is a folder"), "{:?}", found.unavailable);
    }

    #[test]
    fn when_none_is_there_every_attempt_is_named() {
        let chain = [ModelRef::Directory("./nowhere-a".into()), ModelRef::Gguf("./nowhere-b.gguf".into())];
        let error = locate_first(&chain, &Options::default(), &mut ()).unwrap_err().to_string();
        assert!(error.contains("nowhere-a") && error.contains("nowhere-b.gguf"), "{error}");
        let nothing = locate_first(&[], &Options::default(), &mut ()).unwrap_err().to_string();
        assert!(nothing.contains("no model"), "{nothing}");
    }

    #[test]
    fn a_folder_is_called_by_its_name_even_when_given_as_a_dot() {
        let found = locate(&ModelRef::Directory(".".into()), &Options::default(), &mut ()).unwrap();
        let here = std::env::current_dir().unwrap();
        assert_eq!(found.name, here.file_name().unwrap().to_string_lossy());
    }
}
