//! A hub on loopback that has one model and takes its time, or has manners that no hub should have.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

/// Any will do.
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What is sent at a time, and the pause after it: the tiny model then takes about a second.
const PIECE: usize = 16 << 10;
const PAUSE: Duration = Duration::from_millis(15);

pub(super) struct Hub {
    endpoint: String,
    tokens: Arc<AtomicUsize>,
}

/// What a hub does that it should not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Nothing, but it takes its time.
    Slow,
    /// Nothing at all.
    Good,
    /// It redirects the question for the list, or that for a file, to another port.
    ListElsewhere,
    FilesElsewhere,
    /// It redirects to itself.
    Round,
    /// Its list, or its files, have no end.
    EndlessList,
    EndlessFiles,
    /// Its files are announced with another size.
    Announced(u64),
    /// It sends another part than it was asked for.
    Shifted,
    /// It answers what is no answer.
    Nonsense,
}

impl Hub {
    /// Serves the files of a folder as `org/tiny`, until this program ends.
    pub(super) fn open(model: &Path) -> Result<Self> {
        Self::with_manner(model, Manner::Slow, "")
    }

    /// The same, with a manner, and where it redirects to.
    pub(super) fn with_manner(model: &Path, manner: Manner, elsewhere: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("no port on loopback")?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(model)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                files.insert(entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?);
            }
        }
        let shared = Arc::new((files, manner, elsewhere.to_owned()));
        let tokens = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&tokens);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (shared, counted) = (Arc::clone(&shared), Arc::clone(&counted));
                // Whoever is killed does not listen to the end.
                std::thread::spawn(move || drop(serve(connection, &shared, &counted)));
            }
        });
        Ok(Hub { endpoint, tokens })
    }

    /// Requests that came with a token.
    pub(super) fn tokens(&self) -> usize {
        self.tokens.load(Ordering::Relaxed)
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

type Shared = (BTreeMap<String, Vec<u8>>, Manner, String);

fn serve(mut out: TcpStream, shared: &Shared, tokens: &AtomicUsize) -> std::io::Result<()> {
    let (files, manner, elsewhere) = shared;
    let mut path = String::new();
    let mut start = 0;
    for line in BufReader::new(out.try_clone()?).lines() {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if path.is_empty() {
            path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        }
        if line.starts_with("authorization:") {
            tokens.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(range) = line.strip_prefix("range: bytes=") {
            let mut ends = range.split('-').map(|end| end.trim().parse::<usize>().ok());
            start = ends.next().flatten().unwrap_or(0);
            if ends.next().flatten() == Some(0) {
                // The question for the size.
                start = usize::MAX;
            }
        }
    }
    let close = "Connection: close\r\n\r\n";
    let list = path.starts_with("/api/models/org/tiny/revision/");
    if *manner == Manner::Nonsense {
        return write!(out, "HTTP/1.1 200 OK\r\n{close}\u{1b}[2J<html>");
    }
    let away = if list { Manner::ListElsewhere } else { Manner::FilesElsewhere };
    if *manner == away || *manner == Manner::Round {
        let to = if *manner == Manner::Round { "" } else { elsewhere };
        return write!(
            out,
            "HTTP/1.1 302 Found\r\nLocation: {to}{path}\r\nX-Repo-Commit: {COMMIT}\r\nX-Linked-ETag: \"{}\"\r\n\
             Content-Length: 0\r\n{close}",
            path.rsplit('/').next().unwrap_or_default().replace('.', "-")
        );
    }
    if list && *manner == Manner::EndlessList {
        write!(out, "HTTP/1.1 200 OK\r\n{close}")?;
        loop {
            out.write_all(&[b' '; PIECE])?;
        }
    }
    if list {
        let names: Vec<String> = files.keys().map(|name| format!("{{\"rfilename\":\"{name}\"}}")).collect();
        let body = format!("{{\"sha\":\"{COMMIT}\",\"siblings\":[{}]}}", names.join(","));
        return write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{close}{body}", body.len());
    }
    let name = path.strip_prefix(&format!("/org/tiny/resolve/{COMMIT}/"));
    let Some((name, content)) = name.and_then(|name| files.get_key_value(name)) else {
        return write!(out, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n{close}");
    };
    let body = match start {
        usize::MAX => &content[..content.len().min(1)],
        start => content.get(start..).unwrap_or_default(),
    };
    let from = content.len() - if start == usize::MAX { content.len() } else { body.len() };
    let (end, mut whole) = ((from + body.len()).saturating_sub(1), content.len() as u64);
    if let Manner::Announced(size) = manner {
        whole = *size;
    }
    let from = if *manner == Manner::Shifted && body.len() > 1 { from + 1 } else { from };
    let endless = *manner == Manner::EndlessFiles && body.len() > 1;
    let length = if endless { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    write!(
        out,
        "HTTP/1.1 206 Partial Content\r\n{length}Content-Range: bytes {from}-{end}/{whole}\r\n\
         ETag: \"{}\"\r\nX-Repo-Commit: {COMMIT}\r\n{close}",
        // No hash of the content, like that of a small file: length and content are what is checked
        // here.
        name.replace('.', "-")
    )?;
    if endless {
        loop {
            out.write_all(body)?;
        }
    }
    for piece in body.chunks(PIECE) {
        out.write_all(piece)?;
        if *manner == Manner::Slow {
            std::thread::sleep(PAUSE);
        }
    }
    Ok(())
}
