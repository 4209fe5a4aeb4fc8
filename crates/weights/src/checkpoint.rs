//! A checkpoint on disk: which parameters there are, and how to reach them.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::Value;
use ulpscope_decoder::Architecture;
use ulpscope_floats::DType;

use crate::error::Mismatch;
use crate::folder::{instead, there};
use crate::form::Form;
use crate::gguf::Gguf;
use crate::hashes::{cached_as, sha256_of_map};
use crate::map::{Map, open, read_json};
use crate::shards::Shards;
use crate::source::sha256_of_file;
use crate::stamp::Stamp;
use crate::suggest::nearest;
use crate::{StoredTensor, Tokenizer, WeightsError};

/// How a checkpoint lies on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// A directory in Hugging Face layout.
    Directory,
    /// A GGUF file, in one part or several.
    Gguf,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Format::Directory => "directory",
            Format::Gguf => "gguf",
        })
    }
}

/// An opened checkpoint: headers read and checked, tensors mapped and not yet touched.
///
/// ```
/// use std::path::Path;
/// use ulpscope_weights::Checkpoint;
///
/// let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tiny-llama");
/// let checkpoint = Checkpoint::open(&dir)?;
/// let embedding = checkpoint.tensor("model.embed_tokens.weight")?;
/// assert_eq!(embedding.shape, [checkpoint.architecture().vocab, checkpoint.architecture().width]);
/// # Ok::<(), ulpscope_weights::WeightsError>(())
/// ```
pub struct Checkpoint {
    path: PathBuf,
    source: Source,
    config_json: Value,
    /// As it is stored.
    own: Architecture,
    /// As it is seen.
    architecture: Architecture,
    form: Form,
    names: Vec<String>,
    files: Vec<PathBuf>,
    /// Those of them that are not mapped, as they were when they were opened.
    stamps: Vec<Stamp>,
    ignored: Vec<String>,
    /// The folder in which hashes of files are remembered.
    hashes: Option<PathBuf>,
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parameters = self.names.len();
        f.debug_struct("Checkpoint")
            .field("path", &self.path)
            .field("format", &self.format())
            .field("parameters", &parameters)
            .finish_non_exhaustive()
    }
}

enum Source {
    Directory(Shards),
    Gguf(Box<Gguf>),
}

impl Checkpoint {
    /// Opens a directory in Hugging Face layout, or a `.gguf` file. Of a GGUF file in parts, any
    /// part opens all.
    ///
    /// Only headers are read. Every parameter that the configuration asks for must be there with
    /// its shape, and nothing else, but for what transformers ignores too (see
    /// [`Checkpoint::ignored`]).
    ///
    /// # Errors
    /// [`WeightsError`] says which file, what was found and what to do about it.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let meta = std::fs::metadata(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                there(path).err().unwrap_or_else(|| WeightsError::NotFound { path: path.to_owned() })
            }
            _ => WeightsError::io(path, e),
        })?;
        if meta.is_dir() {
            Self::open_directory(path)
        } else if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf")) {
            Self::open_gguf(path)
        } else {
            Err(WeightsError::NotACheckpoint { path: path.to_owned() })
        }
    }

    fn open_directory(dir: &Path) -> Result<Self, WeightsError> {
        let config_path = dir.join("config.json");
        if !there(&config_path)? {
            return Err(WeightsError::NoConfig { dir: dir.to_owned(), instead: instead(dir) });
        }
        // Before it is read: what is written between the two is noticed then, and not overlooked.
        let mut stamps = vec![Stamp::read(&config_path)?];
        let tokenizer_path = dir.join("tokenizer.json");
        if there(&tokenizer_path)? {
            // It is hashed even where token ids make it needless, and a pipe would be waited for
            // without end.
            open(&tokenizer_path)?;
            stamps.push(Stamp::read(&tokenizer_path)?);
        }
        let config_json = read_json(&config_path)?;
        let own = read_config(&config_path, &config_json)?;
        Self::of_shards(dir, config_json, own, Shards::open(dir)?, stamps)
    }

    pub(crate) fn of_shards(
        dir: &Path,
        config_json: Value,
        own: Architecture,
        mut shards: Shards,
        mut stamps: Vec<Stamp>,
    ) -> Result<Self, WeightsError> {
        for parameter in own.parameters() {
            if let Some(disk) = parameter.param.disk {
                shards.rename(disk, &parameter.name);
            }
        }
        let mut ignored = settle_head(dir, &own, &mut shards)?;
        // Checkpoints from before 2023 stored this buffer; transformers computes it and skips what
        // is stored.
        ignored.extend(shards.names().filter(|n| n.ends_with("rotary_emb.inv_freq")).map(str::to_owned));
        let stored = shards.names().filter_map(|n| Some((n, shards.entry(n)?.shape.as_slice())));
        let names = check(dir, &own, stored, &ignored)?;
        for name in &names {
            if let Some(entry) = shards.entry(name) {
                shards.dtype(name, entry)?;
            }
        }
        stamps.extend(shards.index().map(Stamp::read).transpose()?);
        let extra = [dir.join("config.json"), dir.join("tokenizer.json")];
        let files =
            extra.into_iter().filter(|p| p.exists()).chain(shards.files().map(Path::to_owned)).collect();
        let source = Source::Directory(shards);
        let opened = Self::opened(dir, source, config_json, own, names, ignored);
        Ok(Checkpoint { files, stamps, ..opened })
    }

    fn open_gguf(path: &Path) -> Result<Self, WeightsError> {
        Self::of_gguf(path, Gguf::open(path)?)
    }

    pub(crate) fn of_gguf(path: &Path, mut gguf: Gguf) -> Result<Self, WeightsError> {
        let config_json = gguf.config_json()?;
        let own = read_config(path, &config_json)?;
        gguf.name_parameters(&own)?;
        let names = check(path, &own, gguf.shapes(), &[])?;
        gguf.check_parameters(&own)?;
        let ignored = gguf.ignored();
        let files = gguf.maps().iter().map(|map| map.path().to_owned()).collect();
        let source = Source::Gguf(Box::new(gguf));
        Ok(Checkpoint { files, ..Self::opened(path, source, config_json, own, names, ignored) })
    }

    /// As it was written, with no file to hash yet.
    fn opened(
        path: &Path,
        source: Source,
        config_json: Value,
        own: Architecture,
        names: Vec<String>,
        ignored: Vec<String>,
    ) -> Self {
        Checkpoint {
            path: path.to_owned(),
            source,
            config_json,
            architecture: own.clone(),
            own,
            form: Form::default(),
            names,
            files: Vec::new(),
            stamps: Vec::new(),
            ignored,
            hashes: None,
        }
    }

    /// The directory or file that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Directory or GGUF.
    pub fn format(&self) -> Format {
        match self.source {
            Source::Directory(_) => Format::Directory,
            Source::Gguf(_) => Format::Gguf,
        }
    }

    /// `config.json`, or what it would be for a GGUF file, from its metadata.
    pub fn config_json(&self) -> &Value {
        &self.config_json
    }

    /// The architecture, in the form that [`Checkpoint::write_like`] asked for.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// The parameters' names in the order of PyTorch's state dict, a tied `lm_head.weight` left
    /// out.
    pub fn names(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).collect()
    }

    /// One parameter. From a directory it is borrowed from the memory map if its alignment allows;
    /// a GGUF's block types are turned into f32, and its query and key rows put back into Hugging
    /// Face's order.
    ///
    /// # Errors
    /// [`WeightsError::UnknownParameter`], or [`WeightsError::Changed`] if the file was rewritten
    /// meanwhile.
    pub fn tensor(&self, name: &str) -> Result<StoredTensor<'_>, WeightsError> {
        let found = match &self.source {
            Source::Directory(shards) => shards
                .entry(name)
                .filter(|_| !self.ignored.iter().any(|n| n == name))
                .map(|entry| shards.tensor(name, entry)),
            Source::Gguf(gguf) => gguf.tensor(name),
        };
        match found {
            Some(tensor) => tensor.map(|tensor| self.form.written(tensor)),
            None => self.form.absent(name, self.auto_dtype()).ok_or_else(|| {
                let suggestion = nearest(name, self.names()).map(str::to_owned);
                WeightsError::UnknownParameter { name: name.to_owned(), suggestion }
            }),
        }
    }

    /// Has this checkpoint seen in the form of another model where that computes the same: with
    /// biases, of zeros, that the other has and this one has not, and with each key and value head
    /// as often as the other has it. Says what was done, a sentence each; nothing where the forms
    /// are alike, or no form of this one is like the other's.
    ///
    /// [`StoredTensor::stored`] of such a bias is `absent`. [`Checkpoint::config_json`] stays that
    /// of the file.
    pub fn write_like(&mut self, other: &Architecture) -> Vec<String> {
        self.architecture = self.own.clone();
        let (form, said) = Form::like(&mut self.architecture, other);
        self.form = form;
        self.names = self.architecture.parameters().into_iter().map(|p| p.name).collect();
        said
    }

    /// What `dtype="auto"` resolves to: the format that config.json names, else that of the first
    /// tensor stored. For GGUF it is f32, as in transformers.
    pub fn auto_dtype(&self) -> DType {
        let stored = || match &self.source {
            Source::Directory(shards) => shards.names().find_map(|n| shards.dtype(n, shards.entry(n)?).ok()),
            Source::Gguf(_) => None,
        };
        match self.format() {
            Format::Gguf => DType::F32,
            Format::Directory => self.architecture.dtype.or_else(stored).unwrap_or(DType::F32),
        }
    }

    /// The files that the result depends on: configuration, tokenizer, shard index, weights.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Checks that every file is still the one that was opened, so that what was computed belongs
    /// to it and to its hash.
    ///
    /// # Errors
    /// [`WeightsError::Changed`] or [`WeightsError::Replaced`] with what happened to which file.
    pub fn unchanged(&self) -> Result<(), WeightsError> {
        self.stamps.iter().try_for_each(Stamp::check)?;
        self.maps().iter().try_for_each(Map::check)
    }

    fn maps(&self) -> &[Map] {
        match &self.source {
            Source::Directory(shards) => shards.maps(),
            Source::Gguf(gguf) => gguf.maps(),
        }
    }

    /// A text that another checkpoint does not have, nor this one once a byte of it was written to:
    /// where its files are, how long, when they changed last. Cheaper than a hash, and of no use on
    /// another machine.
    pub fn stamp(&self) -> String {
        let stamps = self.stamps.iter().chain(self.maps().iter().map(Map::stamp));
        stamps.map(Stamp::to_string).collect::<Vec<_>>().join("; ")
    }

    /// Gives back the memory that the memory maps take up. What is borrowed from them stays good:
    /// it is read again when it is looked at again.
    pub fn release(&self) {
        self.maps().iter().for_each(|map| map.release(0..map.all().len()));
    }

    /// Has [`Checkpoint::sha256`] remember the hashes of large files in a folder, and believe those
    /// that it remembers: for as long as a file's device, inode, length and times of change are
    /// what they were. On Unix only.
    pub fn remember_hashes(&mut self, folder: Option<PathBuf>) {
        self.hashes = folder;
    }

    /// The SHA-256 of every file, as lower-case hex, with its name relative to the checkpoint's
    /// directory.
    ///
    /// # Errors
    /// [`WeightsError::Io`] if a file can't be read to its end, another error if it was changed, or
    /// is not what the hub's cache calls it.
    pub fn sha256(&self) -> Result<Vec<(String, String)>, WeightsError> {
        Ok(self.sha256_while(|| true)?.unwrap_or_default())
    }

    /// [`Checkpoint::sha256`], for as long as that is wanted: `None` if it no longer was. Reading a
    /// large model takes long.
    ///
    /// # Errors
    /// As [`Checkpoint::sha256`].
    pub fn sha256_while(
        &self,
        wanted: impl Fn() -> bool + Sync,
    ) -> Result<Option<Vec<(String, String)>>, WeightsError> {
        // Shards side by side. The other files are small.
        let maps = self.maps();
        let notes = self.hashes.as_deref();
        let of_maps: Option<Vec<_>> =
            maps.par_iter().map(|map| sha256_of_map(map, notes, &wanted)).collect::<Result<_, _>>()?;
        let Some(of_maps) = of_maps else { return Ok(None) };
        let hash_of = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mapped = maps.iter().position(|map| map.path() == path).map(|i| of_maps[i].clone());
            let hash = mapped.map_or_else(|| sha256_of_file(path).map_err(|e| WeightsError::io(path, e)), Ok);
            let found = hash?;
            match cached_as(path) {
                Some(name) if name != found => {
                    Err(WeightsError::Misnamed { path: path.clone(), name, found })
                }
                _ => Ok((name, found)),
            }
        };
        self.files.iter().map(hash_of).collect::<Result<_, _>>().map(Some)
    }

    /// The tokenizer, from `tokenizer.json` or from GGUF metadata.
    ///
    /// # Errors
    /// [`WeightsError::Tokenizer`] if there is none, or none that can be used.
    pub fn tokenizer(&self) -> Result<Tokenizer, WeightsError> {
        match &self.source {
            Source::Directory(_) => {
                Tokenizer::of_directory(&self.path, self.own.family.tokenizer, &self.config_json)
            }
            Source::Gguf(gguf) => gguf.tokenizer(),
        }
    }

    /// Stored tensors that are not used, and that transformers does not use either: the
    /// `rotary_emb.inv_freq` of old checkpoints, and an `lm_head.weight` that repeats a tied
    /// embedding.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// For a GGUF with a `rope_freqs.weight`: the numbers, one per pair of head dimensions, by
    /// which each rotary frequency is *divided* (llama.cpp's form of `llama3` scaling).
    pub fn rope_factors(&self) -> Option<&[f32]> {
        match &self.source {
            Source::Directory(_) => None,
            Source::Gguf(gguf) => gguf.rope_factors(),
        }
    }
}

/// Reads the config.json at `path`, or the one that the GGUF file there amounts to.
pub(crate) fn read_config(path: &Path, json: &Value) -> Result<Architecture, WeightsError> {
    ulpscope_families::read(json).map_err(|source| WeightsError::Config { path: path.to_owned(), source })
}

/// Decides what a tied model's stored `lm_head.weight` is, as transformers' `tie_weights` does: a
/// repetition, or the only copy of the embedding.
fn settle_head(dir: &Path, of: &Architecture, shards: &mut Shards) -> Result<Vec<String>, WeightsError> {
    if !of.tied {
        return Ok(Vec::new());
    }
    let (head, embedding) = (of.head_weight(), of.embedding_weight());
    match (shards.entry(head), shards.entry(embedding)) {
        (None, _) => Ok(Vec::new()),
        (Some(_), None) => {
            shards.rename(head, embedding);
            Ok(Vec::new())
        }
        (Some(first), Some(second)) if shards.same(first, second)? => Ok(vec![head.to_owned()]),
        (Some(_), Some(_)) => Err(WeightsError::TiedButDifferent { path: dir.to_owned() }),
    }
}

/// Compares what is stored with what the model needs and returns its parameters' names in order;
/// one error lists every difference.
fn check<'a>(
    path: &Path,
    of: &Architecture,
    stored: impl Iterator<Item = (&'a str, &'a [usize])>,
    ignored: &[String],
) -> Result<Vec<String>, WeightsError> {
    let stored: std::collections::BTreeMap<&str, &[usize]> = stored.collect();
    let wanted = of.parameters();
    let names: BTreeSet<&str> = wanted.iter().map(|p| p.name.as_str()).collect();
    let mut mismatch = Mismatch::default();
    mismatch.surplus.extend(
        stored
            .keys()
            .filter(|n| !names.contains(**n) && !ignored.iter().any(|i| i == *n))
            .map(|n| (*n).to_owned()),
    );
    for (name, shape) in wanted.iter().map(|p| (&p.name, &p.param.shape)) {
        match stored.get(name.as_str()) {
            // The search for a similar name is quadratic; a message shows only a few.
            None if mismatch.missing.len() < 8 => {
                let near = nearest(name, mismatch.surplus.iter().map(String::as_str)).map(str::to_owned);
                mismatch.missing.push((name.clone(), near));
            }
            None => mismatch.missing.push((name.clone(), None)),
            Some(got) if got != shape => mismatch.misshapen.push((name.clone(), shape.clone(), got.to_vec())),
            Some(_) => {}
        }
    }
    if mismatch.is_empty() {
        Ok(wanted.into_iter().map(|p| p.name).collect())
    } else {
        Err(WeightsError::Parameters { path: path.to_owned(), mismatch })
    }
}
