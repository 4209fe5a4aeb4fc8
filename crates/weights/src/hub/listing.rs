//! What the hub says about a revision: its commit, and its files.

use std::collections::BTreeSet;

use hf_hub::{Repo, RepoType};
use serde::Deserialize;

use super::cache::is_commit;
use super::reach::{Unheard, unheard};
use super::request::Client;
use super::watch::{Lost, watched};
use crate::source::{Options, SourceError, unsafe_name};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const CONFIG: &str = "config.json";
/// Taken along where they exist.
const OPTIONAL: [&str; 4] =
    ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"];

/// The files of one commit.
#[derive(Debug)]
pub(super) struct Listing {
    /// The commit, 40 hexadecimal digits.
    pub(super) commit: String,
    repo: String,
    files: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
struct Answer {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
struct Sibling {
    rfilename: String,
    /// In bytes, where the hub says so.
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    lfs: Option<Lfs>,
}

#[derive(Debug, Deserialize)]
struct Lfs {
    #[serde(default)]
    sha256: Option<String>,
}

/// More bytes than the list of any repository has.
const LONGEST: u64 = 64 << 20;

/// What the hub answers to the question for its files.
struct Listed {
    status: u16,
    /// The hub's own word on what is missing.
    code: String,
    body: Vec<u8>,
}

/// Asks the hub which commit `revision` stands for now, and for its files.
pub(super) fn fetch(repo: &str, revision: &str, options: &Options) -> Result<Listing, SourceError> {
    let endpoint = options.shown_endpoint();
    let what = format!("the file list of {repo}");
    let listed = ask(repo, revision, options).map_err(|error| match error {
        Unheard::Stalled => SourceError::Stalled { what: what.clone(), waited: options.stall_timeout },
        Unheard::Nonsense(reason) => {
            SourceError::BadAnswer { endpoint: endpoint.clone(), what: what.clone(), reason }
        }
        Unheard::Unreachable(reason) => SourceError::Unreachable { endpoint: endpoint.clone(), reason },
    })?;
    match listed.status {
        200 => parse(repo, &listed.body, &endpoint),
        status @ (401 | 403) => Err(SourceError::Refused {
            endpoint,
            repo: repo.into(),
            status,
            token_sent: options.token.is_some(),
        }),
        404 => {
            let missing = match listed.code.as_str() {
                "RevisionNotFound" => format!("revision {revision} of {repo}"),
                "RepoNotFound" => format!("repository {repo}"),
                _ => format!("repository {repo}, or no revision {revision} of it"),
            };
            Err(SourceError::NotFound { endpoint, missing })
        }
        status => Err(SourceError::Status { endpoint, status, what }),
    }
}

/// All of it has to be there within the patience for a single byte of a file: a list is short.
fn ask(repo: &str, revision: &str, options: &Options) -> Result<Listed, Unheard> {
    let asked = Repo::with_revision(repo.into(), RepoType::Model, revision.into());
    let url = format!("{}/api/{}?blobs=true", options.endpoint, asked.api_url());
    let client = Client::new(options);
    let work = move |_| -> Result<Listed, ureq::Error> {
        let response = client.get(&url, None)?.response;
        let code = response.headers().get("x-error-code").and_then(|code| code.to_str().ok());
        let (status, code) = (response.status().as_u16(), code.unwrap_or_default().to_owned());
        let mut body = response.into_body();
        let body = match status {
            200 => body.with_config().limit(LONGEST).read_to_vec()?,
            _ => Vec::new(),
        };
        Ok(Listed { status, code, body })
    };
    match watched(options.stall_timeout, &mut |_| {}, work) {
        Ok(answered) => answered.map_err(|error| unheard(error, options)),
        Err(Lost::Stalled) => Err(Unheard::Stalled),
        Err(Lost::Failed) => Err(Unheard::Nonsense("it cannot be worked with".into())),
    }
}

fn parse(repo: &str, body: &[u8], endpoint: &str) -> Result<Listing, SourceError> {
    let bad = |reason: String| SourceError::BadAnswer {
        endpoint: endpoint.into(),
        what: format!("the file list of {repo}"),
        reason: crate::source::one_line(&reason),
    };
    // Bytes that are no UTF-8 turn into U+FFFD, which no file name may contain: so the error can
    // quote it.
    let answer: Answer =
        serde_json::from_str(&String::from_utf8_lossy(body)).map_err(|error| bad(error.to_string()))?;
    if !is_commit(&answer.sha) {
        return Err(bad(format!("{:?} is not a commit", answer.sha)));
    }
    for file in &answer.siblings {
        if let Some(reason) = unsafe_name(&file.rfilename) {
            return Err(SourceError::HostileName { repo: repo.into(), name: file.rfilename.clone(), reason });
        }
    }
    Ok(Listing { commit: answer.sha, repo: repo.into(), files: answer.siblings })
}

impl Listing {
    fn has(&self, name: &str) -> bool {
        self.files.iter().any(|file| file.rfilename == name)
    }

    /// The sha256 that the listing announces for a file, lower-case, where it does.
    pub(super) fn sha256(&self, name: &str) -> Option<String> {
        let file = self.files.iter().find(|file| file.rfilename == name)?;
        Some(file.lfs.as_ref()?.sha256.as_ref()?.to_ascii_lowercase())
    }

    /// What the listing says that files come to, in bytes.
    pub(super) fn size<'a>(&self, names: impl Iterator<Item = &'a str>) -> u64 {
        let names: BTreeSet<&str> = names.collect();
        let wanted = self.files.iter().filter(|file| names.contains(file.rfilename.as_str()));
        wanted.filter_map(|file| file.size).fold(0, u64::saturating_add)
    }

    /// The files beside the weights.
    pub(super) fn small_files(&self) -> impl Iterator<Item = &'static str> + '_ {
        [CONFIG].into_iter().chain(OPTIONAL).filter(|name| self.has(name))
    }

    /// The files one would have wanted and this commit does not have.
    pub(super) fn absent_files(&self) -> impl Iterator<Item = &'static str> + '_ {
        OPTIONAL.into_iter().filter(|name| !self.has(name))
    }

    /// The files that hold the weights: the single one if there is one, as transformers has it,
    /// else the shards, for which `read_index` fetches and reads the index.
    pub(super) fn weight_files(
        &self,
        read_index: impl FnOnce(&str) -> Result<BTreeSet<String>, SourceError>,
    ) -> Result<BTreeSet<String>, SourceError> {
        let none = |reason: String| {
            Err(SourceError::NoCheckpoint { repo: self.repo.clone(), commit: self.commit.clone(), reason })
        };
        let ggufs: Vec<&str> =
            self.files.iter().map(|f| f.rfilename.as_str()).filter(|f| f.ends_with(".gguf")).collect();
        let sharded = self.has(INDEX);
        if !self.has(SINGLE) && !sharded {
            return match ggufs.first() {
                Some(first) => none(format!(
                    "has only GGUF files; choose one, `hf download {} {first}`, and give the path it prints",
                    self.repo
                )),
                None => {
                    none(format!("has neither {SINGLE} nor {INDEX}; choose a repository with safetensors"))
                }
            };
        }
        if !self.has(CONFIG) {
            return none(format!("has no {CONFIG}, so it is not a transformers checkpoint"));
        }
        if self.has(SINGLE) {
            return Ok(BTreeSet::from([SINGLE.to_owned()]));
        }
        let shards = read_index(INDEX)?;
        match shards.iter().find(|shard| !self.has(shard)) {
            Some(missing) => none(format!("is incomplete: its index names {missing}, which is not there")),
            None => Ok(shards),
        }
    }
}

#[cfg(test)]
mod tests {
    use ulpscope_fuzzing::Target;

    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn listing(files: &[&str]) -> Result<Listing, SourceError> {
        let siblings: Vec<_> = files.iter().map(|f| serde_json::json!({ "rfilename": f })).collect();
        let body = serde_json::json!({ "sha": COMMIT, "siblings": siblings, "tags": ["x"] });
        parse("org/name", body.to_string().as_bytes(), "http://h")
    }

    fn no_index(_: &str) -> Result<BTreeSet<String>, SourceError> {
        panic!("the index is not needed")
    }

    #[test]
    fn the_single_file_is_preferred_and_the_rest_left_alone() {
        let listing = listing(&[
            "README.md",
            CONFIG,
            SINGLE,
            INDEX,
            "model-00001-of-00002.safetensors",
            "tokenizer.json",
            "adapter_model.safetensors",
        ])
        .unwrap();
        assert_eq!(listing.small_files().collect::<Vec<_>>(), [CONFIG, "tokenizer.json"]);
        assert_eq!(listing.absent_files().collect::<Vec<_>>(), OPTIONAL[1..]);
        assert_eq!(listing.weight_files(no_index).unwrap(), BTreeSet::from([SINGLE.to_owned()]));
    }

    #[test]
    fn shards_come_from_the_index_and_must_be_listed() {
        let both = listing(&[CONFIG, INDEX, "a.safetensors", "b.safetensors"]).unwrap();
        let shards = BTreeSet::from(["a.safetensors".to_owned(), "b.safetensors".to_owned()]);
        assert_eq!(both.weight_files(|_| Ok(shards.clone())).unwrap(), shards);
        let one = listing(&[CONFIG, INDEX, "a.safetensors"]).unwrap();
        let error = one.weight_files(|_| Ok(shards.clone())).unwrap_err().to_string();
        assert!(error.contains("b.safetensors"), "{error}");
    }

    #[test]
    fn what_cannot_be_used_is_explained() {
        let reason = |files: &[&str]| listing(files).unwrap().weight_files(no_index).unwrap_err().to_string();
        assert!(reason(&[CONFIG, "m.Q4.gguf"]).contains("hf download org/name m.Q4.gguf"));
        assert!(reason(&[CONFIG, "pytorch_model.bin"]).contains("neither model.safetensors"));
        assert!(reason(&[SINGLE]).contains("no config.json"));
    }

    #[test]
    fn hostile_names_and_other_answers_are_refused() {
        for name in ["../../x", "/etc/x", "a\\..\\b", "a//b"] {
            let error = listing(&[CONFIG, name]).unwrap_err().to_string();
            assert!(error.contains(&format!("{name:?}")), "{error}");
        }
        let bytes = format!("{{\"sha\":\"{COMMIT}\",\"siblings\":[{{\"rfilename\":\"a\u{1}b\"}}]}}");
        let latin: Vec<u8> = bytes.bytes().map(|b| if b == 1 { 0xe9 } else { b }).collect();
        let error = parse("org/name", &latin, "http://h").unwrap_err().to_string();
        assert!(error.contains("not valid UTF-8"), "{error}");
        for body in ["<html>", "{}", r#"{"sha":"../x","siblings":[]}"#] {
            let error = parse("org/name", body.as_bytes(), "http://h").unwrap_err();
            assert!(matches!(error, SourceError::BadAnswer { .. }), "{error}");
        }
    }

    /// What a listing lets through can be joined to a folder.
    #[test]
    fn fuzz_hub_listing() {
        let seed = |files: &str| format!(r#"{{"sha":"{COMMIT}","siblings":[{files}]}}"#);
        let (config, index) =
            (r#"{"rfilename":"config.json"}"#, r#"{"rfilename":"model.safetensors.index.json"}"#);
        Target::new("hub-listing", env!("CARGO_MANIFEST_DIR"))
            .seed(seed(&format!(r#"{config},{{"rfilename":"model.safetensors","lfs":{{"sha256":"AB"}}}}"#)))
            .seed(seed(&format!(r#"{config},{index},{{"rfilename":"x/y"}}"#)))
            .seed(seed(r#"{"rfilename":"a.gguf","lfs":null}"#))
            .words(&[
                "\"rfilename\"",
                "\"siblings\"",
                "\"sha\"",
                "\"lfs\"",
                "../",
                "/",
                "\\\\",
                "\\u0000",
                ".gguf",
            ])
            .text()
            .run(|input| {
                let listing = parse("org/name", input, "http://h").map_err(|e| e.to_string())?;
                assert!(is_commit(&listing.commit));
                for file in &listing.files {
                    let path = std::path::Path::new(&file.rfilename);
                    let inside = path.components().all(|c| matches!(c, std::path::Component::Normal(_)));
                    assert!(inside && !file.rfilename.contains(['\\', '\0']), "{:?}", file.rfilename);
                    listing.sha256(&file.rfilename);
                }
                let files = listing.weight_files(|_| Ok(BTreeSet::from(["x/y".to_owned()])));
                Ok(files.map_or_else(|e| e.to_string(), |f| format!("{} files", "x".repeat(f.len().min(3)))))
            });
    }
}
