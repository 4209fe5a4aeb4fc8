//! What a file really is, where it is not what its name says.

/// What was to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// JSON in UTF-8.
    Json,
    /// Tensors in safetensors' format.
    Safetensors,
    /// A GGUF file.
    Gguf,
}

/// What bytes are that could not be read as what was wanted, told by how they begin, and what to do
/// about it. `None` if nothing is known that begins so.
///
/// ```
/// use ulpscope_record::kind::{Wanted, kind};
///
/// assert!(kind(b"<!DOCTYPE html><title>Sign in</title>", Wanted::Json).unwrap().starts_with("it is a web page"));
/// assert_eq!(kind(b"{\"schema\": 1", Wanted::Json), None);
/// ```
pub fn kind(content: &[u8], wanted: Wanted) -> Option<&'static str> {
    let begins = |with: &[u8]| content.starts_with(with);
    let binary: [(&[u8], &str); 11] = [
        (
            b"version https://git-lfs.github.com/spec/",
            "it is a git-lfs pointer, not the file itself; `git lfs pull` fetches that",
        ),
        (
            b"PK\x03\x04",
            "it is a zip archive, as PyTorch's pickles are; load it with transformers and save_pretrained(safe_serialization=True), or unpack it",
        ),
        (b"GGUF", "it is a GGUF file; give it a name that ends with .gguf, and that path"),
        (b"\x1f\x8b", "it is compressed with gzip; unpack it"),
        (b"\x28\xb5\x2f\xfd", "it is compressed with zstd; unpack it"),
        (b"\xfd7zXZ\x00", "it is compressed with xz; unpack it"),
        (b"BZh", "it is compressed with bzip2; unpack it"),
        (b"\x89HDF\r\n\x1a\n", "it is an HDF5 file, as Keras writes them; convert it to safetensors"),
        (b"\xff\xfe", "it is text in UTF-16; save it as UTF-8"),
        (b"\xfe\xff", "it is text in UTF-16; save it as UTF-8"),
        (b"\xef\xbb\xbf", "it begins with a byte order mark, which JSON must not have; save it without"),
    ];
    if let Some((_, kind)) = binary.iter().find(|(start, _)| begins(start)) {
        return (wanted != Wanted::Gguf || !begins(b"GGUF")).then_some(kind);
    }
    if matches!(content, [0x80, 2..=5, ..]) {
        return Some(
            "it is a pickle; load it with transformers and save_pretrained(safe_serialization=True)",
        );
    }
    if content.len() >= 64 && content[..64].iter().all(|byte| *byte == 0) {
        return Some("it begins with zeros, as a download does that was not finished; fetch it again");
    }
    // A header's length, and then the header.
    if content.len() > 9 && content[8] == b'{' && content[4..8] == [0; 4] {
        return (wanted != Wanted::Safetensors)
            .then_some("it is a safetensors file; give it a name that ends with .safetensors");
    }
    if wanted != Wanted::Json && content.first() == Some(&b'{') {
        return Some("it is JSON, as an index or an error is; fetch the file itself");
    }
    let text = content[..content.len().min(256)].trim_ascii_start().to_ascii_lowercase();
    if text.starts_with(b"<!doctype html") || text.starts_with(b"<html") {
        return Some("it is a web page, as is saved where a download asks to sign in; fetch the file itself");
    }
    if text.starts_with(b"<?xml") {
        return Some("it is XML, as an error of a file server is; fetch the file itself");
    }
    let refusals: [&[u8]; 4] =
        [b"entry not found", b"access to model", b"repository not found", b"invalid username"];
    refusals.iter().any(|start| text.starts_with(start)).then_some(
        "it is the hub's refusal, saved in place of the file; ask for access if the model is gated, and fetch it again",
    )
}

/// Why bytes could not be read: they are something else than was wanted, or the reader's own error.
pub fn told(content: &[u8], wanted: Wanted, reader: impl FnOnce() -> String) -> String {
    kind(content, wanted).map_or_else(reader, str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_is_none_of_these() {
        for content in [&b""[..], b"{", b"{\"a\": 1}", b"[]", b"\x10\0\0\0\0\0\0", &[0; 8], b"null", b"entry"]
        {
            assert_eq!(kind(content, Wanted::Json), None, "{content:?}");
        }
    }

    #[test]
    fn what_is_not_is_told_with_what_to_do() {
        let cases: [(&[u8], &str); 10] = [
            (b"PK\x03\x04\x14", "zip"),
            (b"\x80\x02}q", "pickle"),
            (b"GGUF\x03", "GGUF"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"\xff\xfe{\0", "UTF-16"),
            (b"\n <HTML lang=en>", "web page"),
            (b"Entry not found", "hub"),
            (b"<?xml version='1.0'?><Error>", "XML"),
            (&[0; 100], "zeros"),
            (b"\x08\0\0\0\0\0\0\0{}      ", "safetensors"),
        ];
        for (content, part) in cases {
            let found = kind(content, Wanted::Json).unwrap();
            assert!(found.contains(part) && found.contains("; "), "{found}");
        }
        // What is broken of its own kind is no other.
        assert_eq!(kind(b"GGUF\x03", Wanted::Gguf), None);
        assert_eq!(kind(b"\x08\0\0\0\0\0\0\0{}      ", Wanted::Safetensors), None);
        assert!(kind(b"{\"error\": 1}", Wanted::Safetensors).unwrap().contains("JSON"));
    }
}
