//! The safetensors files of a directory: one, or several under an index.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors};
use serde_json::Value;
use ulpscope_floats::{DType, Floats};
use ulpscope_record::header::{name_twice, unread};
use ulpscope_record::text::shown;

use crate::folder::{instead, there};
use crate::map::{Map, read_json};
use crate::source::unsafe_name;
use crate::{StoredTensor, WeightsError};

pub(crate) const SINGLE: &str = "model.safetensors";
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// What a header says about one tensor.
pub(crate) struct Entry {
    shard: usize,
    dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    range: Range<usize>,
}

/// All tensors of a directory, mapped, none read.
pub(crate) struct Shards {
    maps: Vec<Map>,
    tensors: BTreeMap<String, Entry>,
    /// The shard index, if there is one.
    index: Option<PathBuf>,
}

impl Shards {
    /// Maps the files and reads their headers. Like transformers, a `model.safetensors` comes
    /// before an index.
    pub(crate) fn open(dir: &Path) -> Result<Self, WeightsError> {
        let (single, index) = (dir.join(SINGLE), dir.join(INDEX));
        let mut shards = Shards { maps: Vec::new(), tensors: BTreeMap::new(), index: None };
        if there(&single)? {
            shards.add(Map::open(&single)?)?;
        } else if there(&index)? {
            let weight_map = read_index(&index)?;
            let files: BTreeSet<&String> = weight_map.values().collect();
            let mut missing = Vec::new();
            for file in &files {
                if !there(&dir.join(file))? {
                    missing.push(*file);
                }
            }
            if let [first, ..] = missing[..] {
                let reason = format!(
                    "{} of {} shards that it lists are missing, first `{first}`; download them, too",
                    missing.len(),
                    files.len()
                );
                return Err(WeightsError::ShardIndex { path: index, reason });
            }
            for file in files {
                shards.add(Map::open(&dir.join(file))?)?;
            }
            for (name, file) in &weight_map {
                let wrong = match shards.tensors.get(name) {
                    None => format!("it lists tensor `{}` in `{file}`, which does not hold it", shown(name)),
                    Some(entry) if shards.maps[entry.shard].path() != dir.join(file) => {
                        format!("it lists tensor `{}` in `{file}`, but another shard holds it", shown(name))
                    }
                    Some(_) => continue,
                };
                return Err(WeightsError::ShardIndex { path: index, reason: wrong });
            }
            shards.index = Some(index);
        } else {
            return Err(WeightsError::NoWeights { dir: dir.to_owned(), instead: instead(dir) });
        }
        Ok(shards)
    }

    /// One file, of which a test has only the bytes.
    #[cfg(test)]
    pub(crate) fn held(path: &Path, bytes: &[u8]) -> Result<Self, WeightsError> {
        let mut shards = Shards { maps: Vec::new(), tensors: BTreeMap::new(), index: None };
        shards.add(Map::held(path, bytes))?;
        Ok(shards)
    }

    fn add(&mut self, map: Map) -> Result<(), WeightsError> {
        let header = |reason| WeightsError::Header { file: map.path().to_owned(), reason };
        if let Some(name) = name_twice(map.all()) {
            let name = shown(&name);
            return Err(header(format!("its header has tensor `{name}` twice; write the file again")));
        }
        let (length, metadata) =
            SafeTensors::read_metadata(map.all()).map_err(|e| header(unread(&e, map.all())))?;
        let shard = self.maps.len();
        for (name, info) in metadata.tensors() {
            let (start, end) = info.data_offsets;
            let range = 8 + length + start..8 + length + end;
            let entry = Entry { shard, dtype: info.dtype, shape: info.shape.clone(), range };
            if let Some(first) = self.tensors.insert(name.clone(), entry) {
                let other = self.maps[first.shard].path().display().to_string();
                return Err(header(format!("tensor `{}` is also in `{other}`", shown(&name))));
            }
        }
        self.maps.push(map);
        Ok(())
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    pub(crate) fn entry(&self, name: &str) -> Option<&Entry> {
        self.tensors.get(name)
    }

    /// Lets `from` be found as `to`.
    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        if let Some(entry) = self.tensors.remove(from) {
            self.tensors.insert(to.to_owned(), entry);
        }
    }

    /// The memory maps of the safetensors files.
    pub(crate) fn maps(&self) -> &[Map] {
        &self.maps
    }

    /// The index, if there is one.
    pub(crate) fn index(&self) -> Option<&Path> {
        self.index.as_deref()
    }

    /// The index and the safetensors files.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.index.as_deref().into_iter().chain(self.maps.iter().map(Map::path))
    }

    /// The format of a tensor, if it is one that a parameter may have.
    pub(crate) fn dtype(&self, name: &str, entry: &Entry) -> Result<DType, WeightsError> {
        match entry.dtype {
            Dtype::F64 => Ok(DType::F64),
            Dtype::F32 => Ok(DType::F32),
            Dtype::BF16 => Ok(DType::Bf16),
            Dtype::F16 => Ok(DType::F16),
            other => Err(WeightsError::StoredDType {
                file: self.maps[entry.shard].path().to_owned(),
                name: name.to_owned(),
                dtype: format!("{other:?}"),
                accepted: "F64, F32, BF16 or F16",
            }),
        }
    }

    /// A tensor, borrowed from the map where its alignment allows.
    pub(crate) fn tensor(&self, name: &str, entry: &Entry) -> Result<StoredTensor<'_>, WeightsError> {
        let dtype = self.dtype(name, entry)?;
        let values = Floats::from_bytes(dtype, self.bytes(entry)?);
        Ok(StoredTensor {
            name: name.to_owned(),
            shape: entry.shape.clone(),
            stored: dtype.to_string(),
            values,
        })
    }

    /// Whether two tensors have the same format, shape and bits.
    pub(crate) fn same(&self, a: &Entry, b: &Entry) -> Result<bool, WeightsError> {
        Ok(a.dtype == b.dtype && a.shape == b.shape && self.bytes(a)? == self.bytes(b)?)
    }

    fn bytes(&self, entry: &Entry) -> Result<&[u8], WeightsError> {
        self.maps[entry.shard].bytes(entry.range.clone())
    }
}

/// Reads `weight_map`, refusing names that would lead out of the directory.
fn read_index(path: &Path) -> Result<BTreeMap<String, String>, WeightsError> {
    weight_map(path, &read_json(path)?)
}

pub(crate) fn weight_map(path: &Path, index: &Value) -> Result<BTreeMap<String, String>, WeightsError> {
    let wrong = |reason: String| WeightsError::ShardIndex { path: path.to_owned(), reason };
    let map = index
        .get("weight_map")
        .and_then(Value::as_object)
        .ok_or_else(|| wrong("it has no `weight_map`".into()))?;
    if map.is_empty() {
        return Err(wrong("its `weight_map` is empty".into()));
    }
    map.iter()
        .map(|(name, file)| {
            let file = file
                .as_str()
                .ok_or_else(|| wrong(shown(&format!("the file of `{name}` is {file}, not a name"))))?;
            let mut parts = Path::new(file).components();
            let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
            // No file system has names of more than 255 bytes, and an error must be able to quote
            // it.
            let fits = file.len() <= 255 && unsafe_name(file).is_none() && !file.contains('/');
            if !plain || !fits || !file.ends_with(".safetensors") {
                let file = shown(file);
                return Err(wrong(format!(
                    "`{file}` is not the plain name of a .safetensors file beside it"
                )));
            }
            Ok((name.clone(), file.to_owned()))
        })
        .collect()
}
