//! A Hugging Face hub on loopback, small and misbehaving on demand.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sha2::{Digest, Sha256};
use ulpscope_weights::{Located, ModelRef, Options, Source, SourceError, locate};

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub(crate) const TOKEN: &str = "hf_top_secret";
pub(crate) const WEIGHTS: &str = "model.safetensors";

/// What the server has and how it behaves.
#[derive(Clone, Default)]
pub(crate) struct State {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Further names in the listing, with nothing behind them.
    pub(crate) listed: Vec<Vec<u8>>,
    /// Answer to the listing: status and `X-Error-Code`.
    pub(crate) refuse: Option<(u16, &'static str)>,
    /// The same for files.
    pub(crate) refuse_files: Option<u16>,
    /// Close the connection after so many bytes of the weights, so many times.
    pub(crate) cut: Option<(usize, usize)>,
    /// Send bodies without a length, so that the end is where the connection closes.
    pub(crate) lengthless: bool,
    /// Stop sending after so many bytes of the weights, and keep the connection.
    pub(crate) stall: Option<usize>,
    /// Wait so long before sending the weights.
    pub(crate) pause: Duration,
    /// Accept connections and say nothing.
    pub(crate) silent: bool,
    /// Redirect to large files on another host.
    pub(crate) elsewhere: Option<String>,
    /// Redirect the question for the listing to another host.
    pub(crate) list_elsewhere: Option<String>,
    /// Send this file without a length and without an end.
    pub(crate) endless: Option<&'static str>,
    /// Announce this size for the file.
    pub(crate) announced: Option<(&'static str, u64)>,
    /// Announce sizes in the listing, each of so many bytes.
    pub(crate) listed_size: Option<u64>,
    /// Say that what is sent begins so many bytes later.
    pub(crate) shifted: usize,
    /// Announce this etag for the weights.
    pub(crate) etag: Option<String>,
    pub(crate) requests: Vec<String>,
}

/// A running server and a cache of its own.
pub(crate) struct Hub {
    state: Arc<Mutex<State>>,
    endpoint: String,
    cache: tempfile::TempDir,
}

impl Hub {
    pub(crate) fn new(files: BTreeMap<String, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State { files, ..State::default() }));
        let (shared, own) = (Arc::clone(&state), endpoint.clone());
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (shared, own) = (Arc::clone(&shared), own.clone());
                std::thread::spawn(move || drop(serve(connection, &shared, &own)));
            }
        });
        Self { state, endpoint, cache: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn tiny() -> Self {
        let folder = fixture();
        let files = ["config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json"];
        let read = |file: &&str| (file.to_string(), fs::read(folder.join(file)).unwrap());
        let mut files: BTreeMap<_, _> = files.iter().map(read).collect();
        files.insert("README.md".into(), b"not needed".to_vec());
        Self::new(files)
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            cache: Some(self.cache.path().to_path_buf()),
            endpoint: self.endpoint.clone(),
            token: Some(TOKEN.into()),
            stall_timeout: Duration::from_secs(5),
            ..Options::default()
        }
    }

    pub(crate) fn locate(&self) -> Result<Located, SourceError> {
        self.locate_at(None)
    }

    pub(crate) fn locate_at(&self, revision: Option<&str>) -> Result<Located, SourceError> {
        locate(&model(revision), &self.options(), &mut ())
    }

    /// The error of a run, which must neither give away the token nor leave anything half-done.
    pub(crate) fn error(&self) -> SourceError {
        let error = self.locate().unwrap_err();
        for shown in [error.to_string(), format!("{error:?}")] {
            assert!(!shown.contains(TOKEN), "{shown}");
        }
        self.assert_whole();
        error
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.cache.path().join("models--org--tiny")
    }

    /// Every blob must be a whole file of the server, and every name in a snapshot must lead to its
    /// file.
    pub(crate) fn assert_whole(&self) {
        let files = self.state().files.clone();
        for (path, _) in walk(&self.repository().join("blobs")) {
            let content = fs::read(&path).unwrap();
            assert!(files.values().any(|file| *file == content), "{} is no whole file", path.display());
        }
        for (path, name) in walk(&self.repository().join("snapshots").join(COMMIT)) {
            assert_eq!(fs::read(&path).unwrap(), files[&name], "{name}");
        }
    }

    pub(crate) fn assert_complete(&self, found: &Located) {
        assert_eq!(found.revision.as_deref(), Some(COMMIT));
        assert_eq!((found.kind, found.name.as_str()), (Source::Hub, "org/tiny"));
        let state = self.state().clone();
        for (name, content) in state.files.iter().filter(|(name, _)| *name != "README.md") {
            assert!(fs::read(found.path.join(name)).unwrap() == *content, "{name} differs");
        }
        self.assert_whole();
        assert!(!self.repository().join("ulpscope-partial").exists());
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state().requests)
    }
}

pub(crate) fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tiny-llama")
}

pub(crate) fn model(revision: Option<&str>) -> ModelRef {
    ModelRef::Hub { repo: "org/tiny".into(), revision: revision.map(Into::into) }
}

/// Each file below a folder, with its path relative to it.
pub(crate) fn walk(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().unwrap().is_dir() {
            found
                .extend(walk(&entry.path()).into_iter().map(|(path, rest)| (path, format!("{name}/{rest}"))));
        } else {
            found.push((entry.path(), name));
        }
    }
    found
}

pub(crate) fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|b| format!("{b:02x}")).collect()
}

fn serve(connection: TcpStream, shared: &Mutex<State>, endpoint: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line.trim().is_empty() {
            break;
        }
        head.push(line.trim().to_owned());
    }
    let header = |name: &str| {
        let found = head.iter().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")));
        found.map(|line| line[name.len() + 1..].trim().to_owned())
    };
    let path = head[0].split(' ').nth(1).unwrap_or_default().to_owned();
    let range = header("range").and_then(|range| {
        let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some((from.parse::<usize>().ok()?, to.parse::<usize>().ok()))
    });
    let state = {
        let mut state = shared.lock().unwrap();
        let authorized = match header("authorization") {
            Some(value) if value == format!("Bearer {TOKEN}") => " with token",
            Some(_) => " with something else",
            None => "",
        };
        let start = range.map_or(0, |(from, _)| from);
        let what = if range.is_some_and(|(_, to)| to.is_some()) { "HEAD" } else { "GET" };
        state.requests.push(format!("{what} {path} from {start}{authorized}"));
        state.clone()
    };
    if state.silent {
        while shared.lock().unwrap().silent {
            std::thread::sleep(Duration::from_millis(10));
        }
        return Ok(());
    }
    let mut out = connection;
    if path.starts_with("/api/models/org/tiny/revision/") {
        if let Some((status, code)) = state.refuse {
            return write!(
                out,
                "HTTP/1.1 {status} No\r\nX-Error-Code: {code}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
        if let Some(at) = &state.list_elsewhere {
            let close = "Content-Length: 0\r\nConnection: close";
            return write!(out, "HTTP/1.1 302 Found\r\nLocation: {at}{path}\r\n{close}\r\n\r\n");
        }
        let body = listing(&state);
        write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
        return out.write_all(&body);
    }
    let prefix = format!("/org/tiny/resolve/{COMMIT}/");
    let (name, delivered) = match (path.strip_prefix(&prefix), path.strip_prefix("/cdn/")) {
        (Some(name), _) => (name, !name.ends_with(".safetensors")),
        (_, Some(name)) => (name, true),
        _ => ("", true),
    };
    let Some(content) = state.files.get(name).filter(|_| state.refuse_files.is_none()) else {
        let status = state.refuse_files.unwrap_or(404);
        return write!(out, "HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let etag = state.etag.filter(|_| name == WEIGHTS).unwrap_or_else(|| match delivered {
        // Files outside of large-file storage carry a git hash, which says nothing to us.
        true if !name.ends_with(".safetensors") => sha256(content)[..40].to_owned(),
        _ => sha256(content),
    });
    let common = format!("X-Repo-Commit: {COMMIT}\r\nConnection: close\r\n");
    if !delivered {
        // Large files are elsewhere, as on the hub.
        let at = state.elsewhere.as_deref().unwrap_or(endpoint);
        return write!(
            out,
            "HTTP/1.1 302 Found\r\nLocation: {at}/cdn/{name}\r\nX-Linked-Etag: \"{etag}\"\r\n\
             ETag: \"other\"\r\nContent-Length: 0\r\n{common}\r\n"
        );
    }
    let (from, to) = range.unwrap_or((0, None));
    let to = to.unwrap_or(content.len() - 1).min(content.len() - 1);
    if from > to {
        return write!(out, "HTTP/1.1 416 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let body = &content[from..=to];
    let announced = state.announced.filter(|(file, _)| *file == name).map(|(_, size)| size);
    let whole = announced.unwrap_or(content.len() as u64);
    let endless = state.endless == Some(name) && body.len() > 1;
    let said = from + if body.len() > 1 { state.shifted } else { 0 };
    write!(
        out,
        "HTTP/1.1 206 Partial\r\nContent-Range: bytes {said}-{to}/{whole}\r\nETag: \"{etag}\"\r\n{common}"
    )?;
    if !(endless || state.lengthless && body.len() > 1) {
        write!(out, "Content-Length: {}\r\n", body.len())?;
    }
    write!(out, "\r\n")?;
    if endless {
        loop {
            out.write_all(body)?;
        }
    }
    let weights = name == WEIGHTS && body.len() > 1;
    if weights {
        std::thread::sleep(state.pause);
    }
    if let (Some((after, times)), true) = (state.cut, weights) {
        shared.lock().unwrap().cut = (times > 1).then_some((after, times - 1));
        return out.write_all(&body[..after.min(body.len())]);
    }
    if let (Some(after), true) = (state.stall, weights) {
        out.write_all(&body[..after])?;
        out.flush()?;
        while shared.lock().unwrap().stall.is_some() {
            std::thread::sleep(Duration::from_millis(10));
        }
        return Ok(());
    }
    out.write_all(body)
}

fn listing(state: &State) -> Vec<u8> {
    let mut body = format!("{{\"id\":\"org/tiny\",\"sha\":\"{COMMIT}\",\"siblings\":[").into_bytes();
    let names = state.files.keys().map(|name| name.clone().into_bytes());
    for (i, name) in names.chain(state.listed.iter().cloned()).enumerate() {
        body.extend_from_slice(if i > 0 { b",{\"rfilename\":\"" } else { b"{\"rfilename\":\"" });
        body.extend(name.iter().flat_map(|&b| if b == b'\\' { vec![b, b] } else { vec![b] }));
        let size = state.listed_size.map_or(String::new(), |size| format!(",\"size\":{size}"));
        body.extend_from_slice(format!("\"{size}}}").as_bytes());
    }
    body.extend_from_slice(b"]}");
    body
}
