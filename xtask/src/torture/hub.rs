//! A hub on loopback that has one model and takes its time.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

/// Any will do.
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What is sent at a time, and the pause after it: the tiny model then takes about a second.
const PIECE: usize = 16 << 10;
const PAUSE: Duration = Duration::from_millis(15);

pub(super) struct Hub {
    endpoint: String,
}

impl Hub {
    /// Serves the files of a folder as `org/tiny`, until this program ends.
    pub(super) fn open(model: &Path) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("no port on loopback")?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(model)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                files.insert(entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?);
            }
        }
        let files = Arc::new(files);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let files = Arc::clone(&files);
                // Whoever is killed does not listen to the end.
                std::thread::spawn(move || drop(serve(connection, &files)));
            }
        });
        Ok(Hub { endpoint })
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

fn serve(mut out: TcpStream, files: &BTreeMap<String, Vec<u8>>) -> std::io::Result<()> {
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
    if path.starts_with("/api/models/org/tiny/revision/") {
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
    let (end, whole) = ((from + body.len()).saturating_sub(1), content.len());
    write!(
        out,
        "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{end}/{whole}\r\n\
         ETag: \"{}\"\r\nX-Repo-Commit: {COMMIT}\r\n{close}",
        body.len(),
        // No hash of the content, like that of a small file: length and content are what is checked
        // here.
        name.replace('.', "-")
    )?;
    for piece in body.chunks(PIECE) {
        out.write_all(piece)?;
        std::thread::sleep(PAUSE);
    }
    Ok(())
}
