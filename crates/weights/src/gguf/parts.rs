//! A model in several GGUF files, as llama.cpp's `gguf-split` and its converter write them.
//!
//! Every part says which one it is, of how many, and how many tensors all of them hold. What is
//! said of the model is said in the first part alone; a tensor is in any one of them, at an offset
//! of that file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anamnesis::GgufTensorInfo;
use ulpscope_record::text::shown;

use super::metadata::Metadata;
use crate::WeightsError;
use crate::map::Map;

const NUMBER: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";

/// A GGUF file whose front matter has been read: a whole model, or a part of one.
pub(super) struct Part {
    pub(super) map: Map,
    pub(super) metadata: Metadata,
    pub(super) tensors: Vec<GgufTensorInfo>,
}

/// How the parts of a file are reached.
pub(super) trait Folder {
    fn holds(&self, path: &Path) -> Result<bool, WeightsError>;
    fn read(&self, path: &Path) -> Result<Part, WeightsError>;
}

/// What the name of a part says: `NAME-00002-of-00003.gguf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartName {
    /// What comes before the numbers, and what comes after them.
    around: [String; 2],
    /// From 1.
    number: u64,
    /// At least 1.
    pub(crate) count: u64,
}

impl PartName {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (stem, end) = name.split_at_checked(name.len().checked_sub(".gguf".len())?)?;
        let (rest, count) = stem.rsplit_once("-of-")?;
        let (start, number) = rest.rsplit_once('-')?;
        let digits = |text: &str| {
            let five = text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<u64>().ok().filter(|_| five)
        };
        let (number, count) = (digits(number)?, digits(count)?);
        let found = PartName { around: [start.to_owned(), end.to_owned()], number, count };
        (end.eq_ignore_ascii_case(".gguf") && (1..=count).contains(&number)).then_some(found)
    }

    fn of(path: &Path) -> Option<Self> {
        Self::parse(path.file_name()?.to_str()?)
    }

    /// Whether both are names of parts of one file.
    pub(crate) fn same_file(&self, other: &Self) -> bool {
        (&self.around, self.count) == (&other.around, other.count)
    }

    fn sibling(&self, number: u64) -> String {
        let [start, end] = &self.around;
        format!("{start}-{number:05}-of-{:05}{end}", self.count)
    }
}

/// What the metadata of a part say of it.
struct Split {
    /// From 1, as in the name.
    number: u64,
    count: u64,
    /// In all parts together.
    tensors: u64,
}

impl Split {
    /// `None` for a file that is a whole model.
    fn of(metadata: &Metadata) -> Result<Option<Self>, WeightsError> {
        let Some(count) = metadata.size(COUNT)? else { return Ok(None) };
        let number = metadata.size(NUMBER)?;
        if count <= 1 && number.unwrap_or(0) == 0 {
            return Ok(None);
        }
        let number = number.map_or_else(|| metadata.needed(NUMBER), Ok)?;
        if number >= count {
            let reason = format!(
                "its `{NUMBER}` is {number} where `{COUNT}` is {count}, and parts are counted from 0; \
                 download it again"
            );
            return Err(wrong(metadata.path(), reason));
        }
        Ok(Some(Split { number: number + 1, count, tensors: metadata.needed(TENSORS)? }))
    }
}

fn wrong(path: &Path, reason: String) -> WeightsError {
    WeightsError::GgufParts { path: path.to_owned(), reason }
}

/// A file and, if it is a part, all others that belong to it, the first part first.
pub(super) fn gather(given: Part, folder: &impl Folder) -> Result<Vec<Part>, WeightsError> {
    let path = given.map.path().to_owned();
    let Some(split) = Split::of(&given.metadata)? else { return Ok(vec![given]) };
    let paths = places(&path, &split, folder)?;
    let mut given = Some(given);
    let mut parts = Vec::new();
    for place in &paths {
        let known = given.take_if(|_| *place == path);
        parts.push(known.map_or_else(|| folder.read(place), Ok)?);
    }
    check_numbers(&parts, &path)?;
    check_tensors(&parts, &path, split.tensors)?;
    Ok(parts)
}

/// Where the parts are, by the name of one of them.
fn places(path: &Path, split: &Split, folder: &impl Folder) -> Result<Vec<PathBuf>, WeightsError> {
    let Split { number, count, .. } = split;
    let Some(name) = PartName::of(path) else {
        let reason = format!(
            "it is part {number} of {count}, but the others cannot be found by its name; rename it \
             NAME-{number:05}-of-{count:05}.gguf, and the others alike"
        );
        return Err(wrong(path, reason));
    };
    let place = |number| path.with_file_name(name.sibling(number));
    // A part that was renamed is not to be downloaded again.
    let renamed = name.number != *number && name.count == *count && !folder.holds(&place(*number))?;
    if name.count != *count || renamed {
        return Err(contradicts(path, split, &name));
    }
    let paths: Vec<PathBuf> = (1..=*count).map(place).collect();
    let mut missing = Vec::new();
    for place in &paths {
        if place != path && !folder.holds(place)? {
            missing.push(place);
        }
    }
    match missing[..] {
        [] => Ok(paths),
        [first, ..] => {
            let (gone, first) = (missing.len(), said(first));
            let reason =
                format!("missing beside it: {gone} of {count} parts, first `{first}`; download them, too");
            Err(wrong(path, reason))
        }
    }
}

/// Each part is the one that its name says, and of the same file as the first.
fn check_numbers(parts: &[Part], given: &Path) -> Result<(), WeightsError> {
    let mut splits = Vec::new();
    for part in parts {
        let Some(split) = Split::of(&part.metadata)? else {
            let reason = format!(
                "its metadata do not say that it is a part, as those of `{}` do; download it again",
                said(given)
            );
            return Err(wrong(part.map.path(), reason));
        };
        splits.push((part.map.path(), split));
    }
    let Some((first, of_first)) = splits.first() else { return Ok(()) };
    for (place, (path, split)) in (1..).zip(&splits) {
        let Some(name) = PartName::of(path) else { continue };
        if split.count != name.count {
            return Err(contradicts(path, split, &name));
        }
        if split.tensors != of_first.tensors {
            let reason = format!(
                "its `{TENSORS}` is {}, but {} in `{}`, so that one of them is of another file; download it again",
                split.tensors,
                of_first.tensors,
                said(first)
            );
            return Err(wrong(path, reason));
        }
        if split.number != place {
            let number = split.number;
            let twin = (1..).zip(&splits).find(|(at, (_, other))| *at == number && other.number == number);
            return Err(match twin {
                None => contradicts(path, split, &name),
                Some((_, (twin, _))) => wrong(
                    path,
                    format!(
                        "its metadata say that it is part {number}, which `{}` is already; \
                         download part {place} of {} again",
                        said(twin),
                        split.count
                    ),
                ),
            });
        }
    }
    Ok(())
}

/// No tensor is in two parts, and none is missing.
fn check_tensors(parts: &[Part], given: &Path, expected: u64) -> Result<(), WeightsError> {
    let mut seen: HashMap<&str, &Path> = HashMap::new();
    for part in parts {
        for info in &part.tensors {
            if let Some(other) = seen.insert(&info.name, part.map.path()) {
                let (name, other) = (shown(&info.name), said(other));
                let reason = format!("tensor `{name}` is also in `{other}`; download both again");
                return Err(wrong(part.map.path(), reason));
            }
        }
    }
    if seen.len() as u64 != expected {
        let reason = format!(
            "all {} parts hold {} tensors, but `{TENSORS}` is {expected}; download them again",
            parts.len(),
            seen.len()
        );
        return Err(wrong(given, reason));
    }
    Ok(())
}

fn contradicts(path: &Path, split: &Split, name: &PartName) -> WeightsError {
    let reason = format!(
        "its metadata say that it is part {} of {}, but its name says part {} of {}; rename it, or download it again",
        split.number, split.count, name.number, name.count
    );
    wrong(path, reason)
}

fn said(path: &Path) -> String {
    shown(&path.file_name().unwrap_or_default().to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parts_are_told_from_others() {
        let name = PartName::parse("a-of-b-00002-of-00003.GGUF").unwrap();
        assert_eq!((name.number, name.count), (2, 3));
        assert_eq!(name.sibling(1), "a-of-b-00001-of-00003.GGUF");
        assert!(name.same_file(&PartName::parse("a-of-b-00003-of-00003.GGUF").unwrap()));
        assert!(!name.same_file(&PartName::parse("a-of-b-00002-of-00004.GGUF").unwrap()));
        for other in [
            "",
            ".gguf",
            "é.gguf",
            "a.gguf",
            "a-00004-of-00003.gguf",
            "a-00000-of-00003.gguf",
            "a-0002-of-00003.gguf",
            "a-+0002-of-00003.gguf",
            "a-00002-of-000003.gguf",
            "a-00002-of-00003.ggux",
            "00002-of-00003.gguf",
            "a-00002-of-00003",
        ] {
            assert_eq!(PartName::parse(other), None, "{other}");
        }
    }
}
