//! GGUF files, as llama.cpp writes them.
//!
//! Parsing and dequantisation are `anamnesis`'s, always with f32 output: its bf16 default would
//! round. What is done here is what a comparison with Hugging Face's model needs: names, the order
//! of dimensions, the order of query and key rows, a `config.json`, a tokenizer.

mod blocks;
mod config;
mod metadata;
mod parts;
mod rules;
mod tokenizer;
mod unpermute;

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Seek};
use std::path::Path;

use anamnesis::{GgufFrontMatter, GgufTensorInfo, GgufType, parse_gguf_front_matter_from_reader};
use serde_json::Value;
use ulpscope_decoder::{Architecture, Family};
use ulpscope_floats::{DType, Floats};
use ulpscope_record::kind::{Wanted, told};

use crate::folder::there;
use crate::guard::guarded;
use crate::map::{Map, open};
use crate::{StoredTensor, Tokenizer, WeightsError};
use metadata::Metadata;
pub(crate) use parts::PartName;
use parts::{Folder, Part, gather};
pub(crate) use rules::QWEN2;
use unpermute::HalfSplit;

/// llama.cpp's form of `llama3` scaling: a divisor for every rotary frequency.
const ROPE_FREQS: &str = "rope_freqs.weight";

/// A mapped GGUF file, or all parts of one, whose front matter has been read.
pub(crate) struct Gguf {
    /// One for each part, in their order.
    maps: Vec<Map>,
    /// Those of the first part, which are those of the model.
    metadata: Metadata,
    family: &'static Family,
    /// By the file's own names; once they are [named](Gguf::name_parameters) by PyTorch's, but for
    /// what has none there.
    tensors: BTreeMap<String, Entry>,
    rope_factors: Option<Vec<f32>>,
    ignored: Vec<String>,
}

struct Entry {
    /// Which of the files holds it.
    part: usize,
    info: GgufTensorInfo,
    /// Row-major, the reverse of what the file lists.
    shape: Vec<usize>,
    /// How its rows are put back into Hugging Face's order.
    order: Option<HalfSplit>,
}

impl Gguf {
    /// The memory maps behind it, one for each part.
    pub(crate) fn maps(&self) -> &[Map] {
        &self.maps
    }

    /// Opens a file and, if it is a part of a model, all parts.
    pub(crate) fn open(path: &Path) -> Result<Self, WeightsError> {
        Self::of(gather(OnDisk.read(path)?, &OnDisk)?)
    }

    /// Files of which a test has only the bytes; the first is the one that is opened.
    #[cfg(test)]
    pub(crate) fn held(files: &[(&Path, &[u8])]) -> Result<Self, WeightsError> {
        Self::of(gather(Held(files).read(files[0].0)?, &Held(files))?)
    }

    fn of(parts: Vec<Part>) -> Result<Self, WeightsError> {
        let mut maps = Vec::new();
        let mut model = None;
        let mut listed = Vec::new();
        for (part, Part { map, metadata, tensors }) in parts.into_iter().enumerate() {
            maps.push(map);
            model.get_or_insert(metadata);
            listed.extend(tensors.into_iter().map(|info| (part, info)));
        }
        let metadata = model.expect("there is the part that was opened");
        let family = metadata.family()?;
        let (tensors, rope_factors, ignored) = (BTreeMap::new(), None, Vec::new());
        let mut gguf = Gguf { maps, metadata, family, tensors, rope_factors, ignored };
        for (part, info) in listed {
            let shape = info.shape.iter().rev().copied().collect();
            let entry = Entry { part, shape, order: None, info };
            let own = entry.info.name.clone();
            if own == ROPE_FREQS {
                let factors = gguf.values(&entry)?.to_f32();
                if let Some(bad) = factors.iter().find(|f| !(f.is_finite() && **f > 0.0)) {
                    return Err(gguf
                        .metadata
                        .wrong(format!("`{ROPE_FREQS}` holds {bad}; a divisor must be positive")));
                }
                gguf.rope_factors = Some(factors);
            } else if is_ignored(&own) {
                gguf.ignored.push(own);
            } else if gguf.tensors.insert(own.clone(), entry).is_some() {
                return Err(gguf.metadata.wrong(format!("tensor `{own}` is there twice")));
            }
        }
        Ok(gguf)
    }

    /// What config.json would say.
    pub(crate) fn config_json(&self) -> Result<Value, WeightsError> {
        let shape = |name: &str| self.tensors.get(name).map(|e| e.shape.as_slice());
        config::config_json(&self.metadata, self.family, &shape)
    }

    /// Names parameters as PyTorch does. What has no such name stays under its own, to be reported
    /// as surplus.
    pub(crate) fn name_parameters(&mut self, of: &Architecture) -> Result<(), WeightsError> {
        for parameter in of.parameters() {
            let Some(mut entry) = self.tensors.remove(&parameter.gguf()) else { continue };
            let heads = parameter.param.rows.rotated().filter(|_| self.family.gguf.permuted);
            let rows = entry.shape.first().copied().unwrap_or(0);
            entry.order = heads.map(|heads| HalfSplit { half: rows / heads / 2 });
            if self.tensors.insert(parameter.name, entry).is_some() {
                let own = parameter.param.gguf.as_str();
                return Err(self
                    .metadata
                    .wrong(format!("tensor `{own}` is there twice, once by PyTorch's name")));
            }
        }
        Ok(())
    }

    pub(crate) fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(name, entry)| (name.as_str(), entry.shape.as_slice()))
    }

    pub(crate) fn ignored(&self) -> Vec<String> {
        self.ignored.clone()
    }

    pub(crate) fn rope_factors(&self) -> Option<&[f32]> {
        self.rope_factors.as_deref()
    }

    pub(crate) fn tokenizer(&self) -> Result<Tokenizer, WeightsError> {
        Tokenizer::of(self.metadata.path(), || tokenizer::build(&self.metadata))
    }

    /// Whether every tensor can be turned into numbers, and the rotary divisors fit.
    pub(crate) fn check_parameters(&self, of: &Architecture) -> Result<(), WeightsError> {
        for (name, entry) in &self.tensors {
            let integer =
                matches!(entry.info.dtype, GgufType::I8 | GgufType::I16 | GgufType::I32 | GgufType::I64);
            if integer || entry.info.byte_len.is_none() {
                return Err(WeightsError::StoredDType {
                    file: self.maps[entry.part].path().to_owned(),
                    name: name.clone(),
                    dtype: entry.info.dtype.to_string(),
                    accepted: "F64, F32, BF16, F16 or a quantised block type",
                });
            }
            let (row, block) = (entry.shape.last().copied().unwrap_or(0), entry.info.dtype.block_size());
            if !row.is_multiple_of(block) {
                let kind = entry.info.dtype;
                let reason =
                    format!("`{name}` has rows of {row} numbers, which {kind} blocks of {block} cannot fill");
                return Err(self.metadata.wrong(reason));
            }
        }
        let half = of.ropes[0].width / 2;
        match &self.rope_factors {
            Some(f) if f.len() != half => {
                Err(self.metadata.wrong(format!("`{ROPE_FREQS}` holds {} numbers, expected {half}", f.len())))
            }
            _ => Ok(()),
        }
    }

    /// One parameter; `None` if there is none of this name.
    pub(crate) fn tensor(&self, name: &str) -> Option<Result<StoredTensor<'_>, WeightsError>> {
        let entry = self.tensors.get(name)?;
        let stored = match entry.info.dtype {
            GgufType::F64 => DType::F64.to_string(),
            GgufType::F32 => DType::F32.to_string(),
            GgufType::BF16 => DType::Bf16.to_string(),
            GgufType::F16 => DType::F16.to_string(),
            other => other.to_string(),
        };
        Some(self.values(entry).map(|values| StoredTensor {
            name: name.to_owned(),
            shape: entry.shape.clone(),
            stored,
            values,
        }))
    }

    fn values(&self, entry: &Entry) -> Result<Floats<'_>, WeightsError> {
        let Entry { info, shape, order, part } = entry;
        let map = &self.maps[*part];
        let wrong = |reason| WeightsError::Gguf { path: map.path().to_owned(), reason };
        let whole = || Some((usize::try_from(info.data_offset).ok()?, usize::try_from(info.byte_len?).ok()?));
        let (start, length) = whole().ok_or_else(|| wrong(format!("`{}` has no size", info.name)))?;
        let bytes = map.bytes(start..start.saturating_add(length))?;
        let dtype = match info.dtype {
            GgufType::F64 => DType::F64,
            GgufType::F32 => DType::F32,
            GgufType::BF16 => DType::Bf16,
            GgufType::F16 => DType::F16,
            block => {
                let row = shape.last().copied().unwrap_or(0);
                let rows = shape.iter().rev().skip(1).product();
                return blocks::dequantise(bytes, block, rows, row, *order)
                    .map(Floats::from)
                    .map_err(|e| wrong(format!("`{}`: {e}", info.name)));
            }
        };
        let values = Floats::from_bytes(dtype, bytes);
        Ok(match order {
            Some(order) => order.undo(values, shape.iter().skip(1).product()),
            None => values,
        })
    }
}

/// Tensors that llama.cpp stores in old files and does not read.
fn is_ignored(name: &str) -> bool {
    name.starts_with("blk.") && name.ends_with(".attn_rot_embd.weight")
}

/// Files as they lie on disk.
struct OnDisk;

impl Folder for OnDisk {
    fn holds(&self, path: &Path) -> Result<bool, WeightsError> {
        there(path)
    }

    fn read(&self, path: &Path) -> Result<Part, WeightsError> {
        read_part(Map::open(path)?, open(path)?)
    }
}

#[cfg(test)]
struct Held<'f>(&'f [(&'f Path, &'f [u8])]);

#[cfg(test)]
impl Folder for Held<'_> {
    fn holds(&self, path: &Path) -> Result<bool, WeightsError> {
        Ok(self.0.iter().any(|(file, _)| *file == path))
    }

    fn read(&self, path: &Path) -> Result<Part, WeightsError> {
        let (path, bytes) = self.0.iter().find(|(file, _)| *file == path).unwrap();
        read_part(Map::held(path, bytes), std::io::Cursor::new(*bytes))
    }
}

fn read_part(map: Map, file: impl Read + Seek) -> Result<Part, WeightsError> {
    let front = read_front_matter(&map, file)?;
    let metadata = Metadata::new(map.path(), front.metadata);
    check_end(&map, &metadata, &front.tensor_infos)?;
    Ok(Part { map, metadata, tensors: front.tensor_infos })
}

/// Refuses a file that goes on behind its tensors: with another alignment than it was written with,
/// every tensor would be read from the wrong place.
fn check_end(map: &Map, metadata: &Metadata, tensors: &[GgufTensorInfo]) -> Result<(), WeightsError> {
    let alignment = metadata.size("general.alignment")?.unwrap_or(32);
    let ends = tensors.iter().map(|info| Some(info.data_offset.saturating_add(info.byte_len?)));
    // Of tensors of unknown formats, which are refused later, the end is not known.
    let Some(end) = ends.collect::<Option<Vec<u64>>>().and_then(|ends| ends.into_iter().max()) else {
        return Ok(());
    };
    match (map.all().len() as u64).saturating_sub(end) {
        rest if rest < alignment => Ok(()),
        rest => Err(metadata.wrong(format!(
            "{rest} bytes follow its last tensor; was it written with another `general.alignment` than {alignment}?"
        ))),
    }
}

/// Reads everything before the tensors, and nothing of them.
///
/// The parser is young and its input may be anything; a panic in it becomes an error like any
/// other. (None was seen in a hundred thousand damaged files, but a crash here would take a whole
/// run with it.)
fn read_front_matter(map: &Map, file: impl Read + Seek) -> Result<GgufFrontMatter, WeightsError> {
    let wrong = |reason: String| WeightsError::Gguf { path: map.path().to_owned(), reason };
    let front = guarded(|| parse_gguf_front_matter_from_reader(file))
        .map_err(|panic| wrong(format!("its parser failed on it ({panic})")))?
        .map_err(|e| wrong(told(map.all(), Wanted::Gguf, || e.to_string())))?;
    let mut seen = HashMap::new();
    for info in &front.tensor_infos {
        if seen.insert(info.name.as_str(), ()).is_some() {
            return Err(wrong(format!("tensor `{}` is there twice", info.name.escape_debug())));
        }
    }
    Ok(front)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every block type, with random bits in its blocks, against the values that llama.cpp's own
    /// `gguf` package gives.
    #[test]
    fn every_block_type_is_bit_equal_to_the_reference() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
        let mut gguf = Gguf::open(&fixtures.join("quants.gguf")).unwrap();
        let expected = std::fs::read(fixtures.join("quants.safetensors")).unwrap();
        let expected = safetensors::SafeTensors::deserialize(&expected).unwrap();
        assert!(expected.len() >= 20);
        assert_eq!(gguf.tensors.len(), expected.len());
        for (name, view) in expected.iter() {
            assert_eq!(gguf.tensors[name].shape, view.shape(), "{name}");
            let values = Floats::from(gguf.values(&gguf.tensors[name]).unwrap().to_f32());
            assert!(values.bytes() == view.data(), "{name} differs");
            // Row by row, as for a permuted tensor, it is the same rows.
            gguf.tensors.get_mut(name).unwrap().order = Some(HalfSplit { half: 1 });
            let again = Floats::from(gguf.values(&gguf.tensors[name]).unwrap().to_f32());
            assert!(again == values, "{name} differs row by row");
        }
    }
}
