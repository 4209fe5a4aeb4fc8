//! A checkpoint with something changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use super::edit::Edit;
use super::numbers::{BF16, F16, f16_bits, f16_value};

/// What is changed.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Nothing: the same in another folder.
    Copy,
    /// One tensor of the state dict.
    Tensor { name: String, edit: Edit },
    /// All matrices of the blocks.
    Linears(Edit),
    /// All tensors.
    All(Edit),
    /// One field of config.json.
    Field { key: &'static str, value: Value },
    /// A field that is no longer there.
    NoField(&'static str),
    /// Tensors under each other's names.
    Swap(String, String),
    /// A tensor under another name as well.
    Double { from: String, to: String },
    /// A tensor that is no longer there.
    NoTensor(&'static str),
    /// The tensors of two layers exchanged.
    SwapLayers(usize, usize),
    /// One layer in the place of another.
    CopyLayer { from: usize, to: usize },
    /// Each layer from this one on is what the next one was.
    SkipLayer(usize),
    /// The input norm of a layer multiplied into the projections that read it.
    FoldNorm(usize),
    /// Every tensor in this format.
    Store(&'static str),
    /// In so many files.
    Shards(usize),
    /// Last name first, and something in the header that no tensor is.
    Reversed,
    /// A tensor that old checkpoints have and nothing reads.
    OldBuffer,
}

struct Tensor {
    dtype: String,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

struct Checkpoint {
    config: Value,
    tensors: BTreeMap<String, Tensor>,
    files: usize,
    reversed: bool,
}

/// Writes the model in the folder `model` with `changes` into the folder `other`, which is
/// replaced.
pub(crate) fn write(model: &Path, other: &Path, changes: &[Change]) -> Result<()> {
    let mut checkpoint = Checkpoint::read(model)?;
    for change in changes {
        checkpoint.change(change).with_context(|| format!("{change:?}"))?;
    }
    let prepare = || -> std::io::Result<()> {
        if other.exists() {
            fs::remove_dir_all(other)?;
        }
        fs::create_dir_all(other)?;
        let tokenizer = "tokenizer.json";
        if model.join(tokenizer).exists() {
            fs::copy(model.join(tokenizer), other.join(tokenizer))?;
        }
        Ok(())
    };
    prepare().with_context(|| format!("preparing {}", other.display()))?;
    checkpoint.write(other)
}

impl Checkpoint {
    fn read(dir: &Path) -> Result<Self> {
        let config = fs::read_to_string(dir.join("config.json"));
        let config = config.with_context(|| format!("{} has no config.json", dir.display()))?;
        let mut tensors = BTreeMap::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "safetensors") {
                let bytes = fs::read(&path)?;
                tensors.extend(read(&bytes).with_context(|| path.display().to_string())?);
            }
        }
        Ok(Checkpoint { config: serde_json::from_str(&config)?, tensors, files: 1, reversed: false })
    }

    fn write(&self, dir: &Path) -> Result<()> {
        fs::write(dir.join("config.json"), self.config.to_string())?;
        let mut names: Vec<&String> = self.tensors.keys().collect();
        if self.reversed {
            names.reverse();
        }
        let mut index = Map::new();
        let size = names.len().div_ceil(self.files);
        for (i, group) in names.chunks(size).enumerate() {
            let file = match self.files {
                1 => "model.safetensors".to_owned(),
                files => format!("model-{:05}-of-{files:05}.safetensors", i + 1),
            };
            let mut header = Map::new();
            if self.reversed {
                header.insert("__metadata__".to_owned(), json!({ "format": "pt", "written": "otherwise" }));
            }
            let mut offset = 0;
            for name in group {
                let Tensor { dtype, shape, bytes } = &self.tensors[*name];
                let offsets = [offset, offset + bytes.len()];
                offset += bytes.len();
                let said = json!({ "dtype": dtype, "shape": shape, "data_offsets": offsets });
                header.insert((*name).clone(), said);
                index.insert((*name).clone(), Value::from(file.clone()));
            }
            let mut header = Value::Object(header).to_string().into_bytes();
            header.resize(header.len().next_multiple_of(8), b' ');
            let mut out = (header.len() as u64).to_le_bytes().to_vec();
            out.append(&mut header);
            group.iter().for_each(|name| out.extend_from_slice(&self.tensors[*name].bytes));
            fs::write(dir.join(file), out)?;
        }
        if self.files > 1 {
            let index = json!({ "metadata": {}, "weight_map": index });
            fs::write(dir.join("model.safetensors.index.json"), index.to_string())?;
        }
        Ok(())
    }

    fn change(&mut self, change: &Change) -> Result<()> {
        match change {
            Change::Copy => {}
            Change::Tensor { name, edit } => self.edit(name, *edit)?,
            Change::Linears(edit) => {
                let matrices = |(name, t): (&String, &Tensor)| {
                    (name.contains("layers.") && t.shape.len() == 2).then(|| name.clone())
                };
                let names: Vec<String> = self.tensors.iter().filter_map(matrices).collect();
                names.iter().try_for_each(|name| self.edit(name, *edit))?;
            }
            Change::All(edit) => {
                let names: Vec<String> = self.tensors.keys().cloned().collect();
                names.iter().try_for_each(|name| self.edit(name, *edit))?;
            }
            Change::Field { key, value } => self.config[*key] = value.clone(),
            Change::NoField(key) => {
                self.config.as_object_mut().context("an object")?.remove(*key).context("the field")?;
            }
            Change::Swap(one, other) => self.swap(one, other)?,
            Change::Double { from, to } => {
                let Tensor { dtype, shape, bytes } = self.tensor(from)?;
                let copy = Tensor { dtype: dtype.clone(), shape: shape.clone(), bytes: bytes.clone() };
                self.tensors.insert(to.clone(), copy);
            }
            Change::NoTensor(name) => {
                self.tensors.remove(*name).with_context(|| format!("{name} is not there"))?;
            }
            Change::SwapLayers(one, other) => {
                for name in self.layer(*one) {
                    let twin = name.replace(&layer(*one), &layer(*other));
                    self.swap(&name, &twin)?;
                }
            }
            Change::CopyLayer { from, to } => {
                for name in self.layer(*from) {
                    let to = name.replace(&layer(*from), &layer(*to));
                    self.change(&Change::Double { from: name, to })?;
                }
            }
            Change::SkipLayer(first) => {
                let mut from = first + 1;
                while !self.layer(from).is_empty() {
                    self.change(&Change::CopyLayer { from, to: from - 1 })?;
                    from += 1;
                }
            }
            Change::FoldNorm(of) => {
                let norm = format!("{}input_layernorm.weight", layer(*of));
                let factors = self.tensor(&norm)?.values()?;
                self.tensor(&norm)?.set(&vec![1.0; factors.len()]);
                for projection in ["q_proj", "k_proj", "v_proj"] {
                    let tensor = self.tensor(&format!("{}self_attn.{projection}.weight", layer(*of)))?;
                    let mut values = tensor.values()?;
                    values.iter_mut().enumerate().for_each(|(i, x)| *x *= factors[i % factors.len()]);
                    tensor.set(&values);
                }
            }
            Change::Store(dtype) => {
                for tensor in self.tensors.values_mut() {
                    let values = tensor.values()?;
                    tensor.dtype = (*dtype).to_owned();
                    tensor.set(&values);
                }
            }
            Change::Shards(files) => self.files = *files,
            Change::Reversed => self.reversed = true,
            Change::OldBuffer => {
                let mut buffer = Tensor { dtype: "F32".to_owned(), shape: vec![8], bytes: Vec::new() };
                buffer.set(&[1.0; 8]);
                self.tensors.insert("model.layers.0.self_attn.rotary_emb.inv_freq".to_owned(), buffer);
            }
        }
        Ok(())
    }

    fn tensor(&mut self, name: &str) -> Result<&mut Tensor> {
        self.tensors.get_mut(name).with_context(|| format!("{name} is not there"))
    }

    fn edit(&mut self, name: &str, edit: Edit) -> Result<()> {
        let tensor = self.tensor(name)?;
        let columns = if tensor.shape.len() == 2 { tensor.shape[1] } else { 1 };
        let mut values = tensor.values()?;
        // Vectors are one row for what works row by row in blocks.
        let columns = if tensor.shape.len() == 1 && edit.in_blocks() { values.len() } else { columns };
        edit.apply(&mut values, columns, seed(name));
        tensor.set(&values);
        Ok(())
    }

    fn swap(&mut self, one: &str, other: &str) -> Result<()> {
        let first = self.tensors.remove(one).with_context(|| format!("{one} is not there"))?;
        let second = self.tensors.insert(other.to_owned(), first);
        self.tensors.insert(one.to_owned(), second.with_context(|| format!("{other} is not there"))?);
        Ok(())
    }

    /// The names of a layer's tensors.
    fn layer(&self, index: usize) -> Vec<String> {
        self.tensors.keys().filter(|name| name.starts_with(&layer(index))).cloned().collect()
    }
}

/// A number of its own for each tensor.
fn seed(name: &str) -> u64 {
    name.bytes().fold(7, |hash: u64, b| hash.wrapping_mul(31).wrapping_add(u64::from(b)))
}

fn layer(index: usize) -> String {
    format!("model.layers.{index}.")
}

/// A safetensors file: eight bytes of length, a JSON header, the data.
fn read(bytes: &[u8]) -> Result<Vec<(String, Tensor)>> {
    let length = bytes.first_chunk::<8>().map_or(0, |b| u64::from_le_bytes(*b)) as usize;
    let header: Map<String, Value> = serde_json::from_slice(bytes.get(8..8 + length).context("a header")?)?;
    let tensors = header.into_iter().filter(|(name, _)| name != "__metadata__");
    let tensor = |(name, said): (String, Value)| {
        let offset = |i: usize| said["data_offsets"][i].as_u64().map(|o| o as usize + 8 + length);
        let range = offset(0).context("an offset")?..offset(1).context("an offset")?;
        let data = bytes.get(range).context("data")?.to_vec();
        let shape = serde_json::from_value(said["shape"].clone())?;
        let dtype = said["dtype"].as_str().context("a dtype")?.to_owned();
        Ok((name, Tensor { dtype, shape, bytes: data }))
    };
    tensors.map(tensor).collect()
}

impl Tensor {
    fn values(&self) -> Result<Vec<f32>> {
        let pairs = || self.bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
        Ok(match self.dtype.as_str() {
            "F32" => {
                self.bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
            }
            "BF16" => pairs().map(|bits| f32::from_bits(u32::from(bits) << 16)).collect(),
            "F16" => pairs().map(f16_value).collect(),
            other => bail!("{other} is not read here"),
        })
    }

    /// Other values in the same format, rounded to nearest.
    fn set(&mut self, values: &[f32]) {
        let bf16 = |x: f32| if x.is_nan() { 0x7fc0 } else { (BF16.nearest(x).to_bits() >> 16) as u16 };
        self.bytes = match self.dtype.as_str() {
            "BF16" => values.iter().flat_map(|x| bf16(*x).to_le_bytes()).collect(),
            "F16" => values.iter().flat_map(|x| f16_bits(F16.nearest(*x)).to_le_bytes()).collect(),
            _ => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        };
    }
}
