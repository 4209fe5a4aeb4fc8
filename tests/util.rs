//! A folder of its own for each test, and the binary with nothing of the caller's environment in
//! it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A path below `tests/fixtures`, as text.
pub(crate) fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name);
    let path = path.canonicalize().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    path.to_str().expect("the checkout's path is UTF-8").to_owned()
}

/// The model that most tests are about.
pub(crate) fn tiny() -> String {
    fixture("tiny-llama")
}

/// A temporary folder: where the binary runs, and where it may write.
pub(crate) struct Dir(TempDir);

impl Dir {
    pub(crate) fn new() -> Self {
        Dir(tempfile::tempdir().unwrap())
    }

    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    /// The same as text, for arguments.
    pub(crate) fn text(&self, name: &str) -> String {
        self.join(name).to_str().unwrap().to_owned()
    }

    /// Every file and folder below, sorted, folders with a `/` at the end.
    pub(crate) fn listing(&self) -> Vec<String> {
        fn walk(folder: &Path, prefix: &str, found: &mut Vec<String>) {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
                if entry.file_type().unwrap().is_dir() {
                    walk(&entry.path(), &format!("{name}/"), found);
                    found.push(format!("{name}/"));
                } else {
                    found.push(name);
                }
            }
        }
        let mut found = Vec::new();
        walk(self.0.path(), "", &mut found);
        found.sort();
        found
    }

    /// The command, to be run in this folder. Its home does not exist, and it may not ask the hub.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ulpscope"));
        command.current_dir(self.0.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        for (name, folder) in [("HOME", "home"), ("XDG_CACHE_HOME", "home/cache"), ("HF_HOME", "home/hf")] {
            command.env(name, Path::new("/nonexistent").join(folder));
        }
        command.env("HF_HUB_OFFLINE", "1");
        command
    }

    /// Runs the binary with these arguments.
    pub(crate) fn run<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> Run {
        let args: Vec<String> = args.into_iter().map(|a| a.as_ref().to_owned()).collect();
        let output = self.command().args(&args).output().unwrap();
        Run::new(args, output)
    }
}

/// Runs the binary in a folder that is thrown away.
pub(crate) fn ulpscope<S: AsRef<str>>(args: impl IntoIterator<Item = S>) -> Run {
    Dir::new().run(args)
}

/// A finished run of the binary. What is asserted of it shows both streams when it does not hold.
#[derive(Debug)]
pub(crate) struct Run {
    args: Vec<String>,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn new(args: Vec<String>, output: Output) -> Self {
        Run {
            args,
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
        }
    }

    #[track_caller]
    pub(crate) fn check(&self, holds: bool, what: &str) {
        let short: Vec<String> = self.args.iter().map(|a| a.chars().take(200).collect()).collect();
        assert!(
            holds,
            "{what}\n$ ulpscope {short:?}\nstatus {:?}\n--- stdout\n{}\n--- stderr\n{}",
            self.code, self.stdout, self.stderr
        );
    }

    /// It succeeded and had nothing to complain about.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.check(self.code == Some(0), "status 0 expected");
        self.check(self.stderr.is_empty(), "an empty stderr expected");
        self
    }

    /// It failed with one line that has each of these in it, and printed nothing else.
    #[track_caller]
    pub(crate) fn fails(self, parts: &[&str]) -> Self {
        self.check(self.code == Some(1), "status 1 expected");
        self.check(self.stdout.is_empty(), "an empty stdout expected");
        self.check(self.stderr.starts_with("ulpscope: "), "the error begins with the program's name");
        self.check(self.stderr.trim_end().lines().count() == 1, "one line of error expected");
        self.check(!self.stderr.contains("panicked"), "no panic expected");
        for part in parts {
            self.check(self.stderr.contains(part), &format!("an error with `{part}` expected"));
        }
        self
    }

    /// It did what was asked, and says in one line why that is no verdict.
    #[track_caller]
    pub(crate) fn undecided(self, parts: &[&str]) -> Self {
        self.check(self.code == Some(4), "status 4 expected");
        self.check(self.stderr.trim_end().lines().count() == 1, "one line of stderr expected");
        for part in parts {
            self.check(self.stderr.contains(part), &format!("`{part}` expected on stderr"));
        }
        self
    }

    /// It was called wrongly, and says how.
    #[track_caller]
    pub(crate) fn misused(self, parts: &[&str]) -> Self {
        self.check(self.code == Some(2), "status 2 expected");
        self.check(self.stdout.is_empty(), "an empty stdout expected");
        for part in parts {
            self.check(self.stderr.contains(part), &format!("an error with `{part}` expected"));
        }
        self
    }

    /// The explanation of a run that succeeded and printed its record.
    #[track_caller]
    pub(crate) fn explanation(self) -> Value {
        self.ok().json()["explanation"].clone()
    }

    /// Its output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let json = serde_json::from_str(&self.stdout);
        self.check(json.is_ok(), "JSON on stdout expected");
        json.unwrap()
    }
}

/// The record of `compare` with these arguments.
#[track_caller]
pub(crate) fn record<S: AsRef<str>>(args: impl IntoIterator<Item = S>) -> Value {
    let args = args.into_iter().map(|a| a.as_ref().to_owned());
    ulpscope(["compare".to_owned(), "--json".to_owned()].into_iter().chain(args)).ok().json()
}

/// A number of a record, where NaN and infinities are words.
#[track_caller]
pub(crate) fn number(value: &Value) -> f64 {
    match value.as_str() {
        Some("NaN") => f64::NAN,
        Some("inf") => f64::INFINITY,
        Some("-inf") => f64::NEG_INFINITY,
        _ => value.as_f64().unwrap_or_else(|| panic!("{value} is no number of a record")),
    }
}

#[track_caller]
pub(crate) fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}

/// The entry of a list whose fields have these values.
#[track_caller]
pub(crate) fn entry<'a>(values: &'a Value, fields: &[(&str, Value)]) -> &'a Value {
    let fits = |v: &&Value| fields.iter().all(|(name, value)| v[*name] == *value);
    list(values).iter().find(fits).unwrap_or_else(|| panic!("no entry with {fields:?}"))
}

/// One tensor of a safetensors file.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) dtype: safetensors::Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

impl Stored {
    pub(crate) fn f32(shape: &[usize], values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        Stored { dtype: safetensors::Dtype::F32, shape: shape.to_vec(), bytes }
    }

    /// Its values, if it has f32 or bf16.
    pub(crate) fn values(&self) -> Vec<f64> {
        let wide = |bits: u32| f64::from(f32::from_bits(bits));
        match self.dtype {
            safetensors::Dtype::F32 => {
                self.bytes.chunks_exact(4).map(|b| wide(u32::from_le_bytes(b.try_into().unwrap()))).collect()
            }
            safetensors::Dtype::BF16 => self
                .bytes
                .chunks_exact(2)
                .map(|b| wide(u32::from(u16::from_le_bytes(b.try_into().unwrap())) << 16))
                .collect(),
            other => panic!("{other:?} is not read here"),
        }
    }
}

/// The tensors and the metadata of a safetensors file.
pub(crate) fn tensors(path: impl AsRef<Path>) -> (BTreeMap<String, Stored>, BTreeMap<String, String>) {
    let bytes = fs::read(path).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let stored = |view: safetensors::tensor::TensorView| Stored {
        dtype: view.dtype(),
        shape: view.shape().to_vec(),
        bytes: view.data().to_vec(),
    };
    let tensors = file.tensors().into_iter().map(|(name, view)| (name, stored(view))).collect();
    (tensors, header.metadata().clone().unwrap_or_default().into_iter().collect())
}

/// Writes tensors as a safetensors file.
pub(crate) fn write_tensors(path: impl AsRef<Path>, tensors: &BTreeMap<String, Stored>) {
    write_trace(path, tensors, &BTreeMap::new());
}

/// Writes tensors as a safetensors file with metadata, if there is any.
pub(crate) fn write_trace(
    path: impl AsRef<Path>,
    tensors: &BTreeMap<String, Stored>,
    about: &BTreeMap<String, String>,
) {
    let about = (!about.is_empty()).then(|| about.clone().into_iter().collect());
    let views = tensors.iter().map(|(name, t)| {
        let view = safetensors::tensor::TensorView::new(t.dtype, t.shape.clone(), &t.bytes);
        (name, view.unwrap())
    });
    fs::write(path, safetensors::serialize(views, about).unwrap()).unwrap();
}

/// A checkpoint in memory, read from a fixture, to be changed and written elsewhere.
pub(crate) struct Checkpoint {
    pub(crate) config: Value,
    pub(crate) tensors: BTreeMap<String, Stored>,
}

impl Checkpoint {
    pub(crate) fn tiny() -> Self {
        Self::read(&tiny())
    }

    /// That of a folder.
    pub(crate) fn read(folder: &str) -> Self {
        let folder = PathBuf::from(folder);
        let config = serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap();
        Checkpoint { config, tensors: tensors(folder.join("model.safetensors")).0 }
    }

    /// Writes it into a new folder of `dir`, beside the tiny model's tokenizer, and gives that
    /// folder's path.
    pub(crate) fn write(&self, dir: &Dir, name: &str) -> String {
        let folder = dir.join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("config.json"), self.config.to_string()).unwrap();
        fs::copy(Path::new(&tiny()).join("tokenizer.json"), folder.join("tokenizer.json")).unwrap();
        write_tensors(folder.join("model.safetensors"), &self.tensors);
        dir.text(name)
    }

    /// Changes the values of a tensor in f32.
    pub(crate) fn edit(&mut self, tensor: &str, change: impl FnOnce(&mut [f32])) {
        let stored = self.tensors.get_mut(tensor).unwrap();
        let mut values: Vec<f32> = stored.values().into_iter().map(|x| x as f32).collect();
        change(&mut values);
        *stored = Stored::f32(&stored.shape, &values);
    }

    /// Overwrites one element of a tensor in f32.
    pub(crate) fn set(&mut self, tensor: &str, index: usize, value: f32) {
        self.tensors.get_mut(tensor).unwrap().bytes[4 * index..4 * index + 4]
            .copy_from_slice(&value.to_le_bytes());
    }
}
