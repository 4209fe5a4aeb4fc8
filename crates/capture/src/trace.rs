//! Trace files: the activations of one arm for one prompt, on disk.
//!
//! A trace is a safetensors file. Its keys are sites, each tensor is bit for bit what the arm held,
//! and `__metadata__` says where it comes from: `model`, `recipe`, `attention`, `ids` (a JSON
//! list), whatever else the writer knows. A file that a PyTorch hook script writes with module
//! paths as keys is a trace too.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use ulpscope_floats::{DType, Floats};
use ulpscope_record::file::{open, replace};
use ulpscope_record::header::{name_twice, unread};
use ulpscope_record::text::shown;

use crate::probes::Activation;

/// The activations of one arm for one prompt. Keys are names: a foreign trace may have others than
/// our sites.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// Where it comes from.
    pub about: BTreeMap<String, String>,
    /// Activations by name of site.
    pub activations: BTreeMap<String, Activation>,
    /// Tensors in the file that are no floating-point numbers, and were skipped.
    pub skipped: Vec<String>,
}

/// Why a trace could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file can't be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no safetensors file, or a broken one.
    #[error("{} is no trace: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Trace {
    /// Reads a trace.
    ///
    /// # Errors
    /// [`TraceError`] names the file and what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, TraceError> {
        let mut bytes = Vec::new();
        open(path)
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .map_err(|source| TraceError::Io { path: path.to_owned(), source })?;
        Self::parse(path, &bytes)
    }

    /// Reads the bytes of the trace at `path`.
    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, TraceError> {
        let format = |reason: String| TraceError::Format { path: path.to_owned(), reason };
        if let Some(name) = name_twice(bytes) {
            return Err(format(format!("its header has `{}` twice; record it again", shown(&name))));
        }
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| format(unread(&e, bytes)))?;
        let file = SafeTensors::deserialize(bytes).map_err(|e| format(unread(&e, bytes)))?;
        let mut trace = Trace::default();
        trace.about.extend(header.metadata().clone().unwrap_or_default());
        for (name, view) in file.tensors() {
            match format_of(view.dtype()) {
                Some(dtype) => {
                    let values = Floats::from_bytes(dtype, view.data()).into_owned();
                    trace.activations.insert(name, Activation { shape: view.shape().to_vec(), values });
                }
                None => trace.skipped.push(name),
            }
        }
        trace.skipped.sort();
        Ok(trace)
    }

    /// The token ids that the trace says it is of; `None` if it does not say, or says something
    /// else than a list.
    pub fn ids(&self) -> Option<Vec<u32>> {
        serde_json::from_str(self.about.get("ids")?).ok()
    }

    /// Writes the trace: to a temporary file beside `path`, which then takes its name.
    ///
    /// # Errors
    /// [`TraceError::Io`], also where a device, a pipe or a socket stands at `path`; nothing is
    /// left behind.
    pub fn write(&self, path: &Path) -> Result<(), TraceError> {
        let views = self.activations.iter().map(|(name, a)| {
            let dtype = match a.values.dtype() {
                DType::F64 => Dtype::F64,
                DType::F32 => Dtype::F32,
                DType::Bf16 => Dtype::BF16,
                DType::F16 => Dtype::F16,
            };
            let view =
                TensorView::new(dtype, a.shape.clone(), a.values.bytes()).expect("shape and values agree");
            (name.as_str(), view)
        });
        let about: HashMap<String, String> = self.about.clone().into_iter().collect();
        let mut bytes = safetensors::serialize(views, Some(about))
            .map_err(|e| TraceError::Format { path: path.to_owned(), reason: e.to_string() })?;
        sort_header(&mut bytes);
        replace(path, &bytes).map_err(|source| TraceError::Io { path: path.to_owned(), source })
    }
}

/// Puts the header's keys in order: `serialize` takes metadata from a hash map, in another order on
/// every run, and the same trace is to be the same file.
fn sort_header(bytes: &mut [u8]) {
    type Header = BTreeMap<String, BTreeMap<String, serde_json::Value>>;
    let Some((length, rest)) = bytes.split_first_chunk_mut() else { return };
    let Some(header) = rest.get_mut(..u64::from_le_bytes(*length) as usize) else { return };
    let sorted = serde_json::from_slice::<Header>(header).and_then(|h| serde_json::to_vec(&h));
    // The same entries have the same length; what is left is the padding that aligns the data.
    if let Ok(sorted) = sorted
        && sorted.len() <= header.len()
    {
        header.fill(b' ');
        header[..sorted.len()].copy_from_slice(&sorted);
    }
}

fn format_of(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F64 => Some(DType::F64),
        Dtype::F32 => Some(DType::F32),
        Dtype::BF16 => Some(DType::Bf16),
        Dtype::F16 => Some(DType::F16),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use ulpscope_fuzzing::{Random, Target};

    use super::*;

    #[global_allocator]
    static ALLOCATOR: ulpscope_fuzzing::Counting = ulpscope_fuzzing::Counting;

    fn trace() -> Trace {
        let values = Floats::from(vec![1.0f32, f32::NAN, -0.0, f32::INFINITY]).cast(DType::Bf16);
        let mut trace = Trace::default();
        trace.about.insert("recipe".to_owned(), "load(bf16)".to_owned());
        trace.activations.insert("lm_head".to_owned(), Activation { shape: vec![1, 2, 2], values });
        trace
    }

    #[test]
    fn a_trace_is_read_back_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.safetensors");
        trace().write(&path).unwrap();
        let read = Trace::read(&path).unwrap();
        assert_eq!(read.about, trace().about);
        let (a, b) = (&read.activations["lm_head"], &trace().activations["lm_head"]);
        assert_eq!((a.values.bytes(), &a.shape), (b.values.bytes(), &b.shape));
    }

    #[test]
    fn the_same_trace_is_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut trace = trace();
        trace.about.extend((0..20).map(|i| (format!("key {i}"), "\"é\n".repeat(i))));
        let write = |name: &str| {
            let path = folder.path().join(name);
            trace.write(&path).unwrap();
            (std::fs::read(&path).unwrap(), Trace::read(&path).unwrap())
        };
        let ((first, read), (second, _)) = (write("a"), write("b"));
        assert!(first == second);
        assert_eq!(read.about, trace.about);
        assert_eq!(read.activations["lm_head"].values.bytes(), trace.activations["lm_head"].values.bytes());
    }

    #[cfg(unix)]
    #[test]
    fn a_socket_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(trace().write(&path).unwrap_err().to_string().contains("device, pipe or socket"));
        assert!(!path.metadata().unwrap().is_file());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn broken_traces_are_refused_with_their_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.safetensors");
        trace().write(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for len in 0..whole.len() {
            std::fs::write(&path, &whole[..len]).unwrap();
            let error = Trace::read(&path).unwrap_err().to_string();
            assert!(error.contains("t.safetensors"), "{error}");
        }
        let cut = Trace::read(&path).unwrap_err().to_string();
        assert!(cut.ends_with("was it cut short?"), "{cut}");
        // Two tensors under one name, of which parsers take the last.
        let mut two = trace();
        for name in ["a.first", "a.other"] {
            let values = Floats::from(vec![0.5f32]);
            two.activations.insert(name.to_owned(), Activation { shape: vec![1], values });
        }
        two.write(&path).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let other = bytes.windows(7).position(|name| name == b"a.other").unwrap();
        bytes[other..other + 7].copy_from_slice(b"a.first");
        std::fs::write(&path, bytes).unwrap();
        let error = Trace::read(&path).unwrap_err().to_string();
        assert!(error.contains("has `a.first` twice"), "{error}");
        assert!(Trace::read(&folder.path().join("absent")).is_err());
        assert!(trace().write(&folder.path().join("no/such/folder/t")).is_err());
    }

    /// Makes the length before the header what the header has.
    fn set_header_length(bytes: &mut [u8], _: &mut Random) {
        if let Some(end) = bytes.windows(2).rposition(|pair| pair == b"}}").filter(|end| *end >= 8) {
            bytes[..8].copy_from_slice(&(end as u64 - 6).to_le_bytes());
        }
    }

    #[test]
    fn fuzz_trace() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.safetensors");
        let seed = |trace: Trace| {
            trace.write(&path).unwrap();
            std::fs::read(&path).unwrap()
        };
        let mut two = trace();
        let values = Floats::from(vec![0.5f64]);
        two.activations.insert("x".to_owned(), Activation { shape: vec![1], values });
        Target::new("trace", env!("CARGO_MANIFEST_DIR"))
            .seed(seed(trace()))
            .seed(seed(two))
            .words(&[
                "\"dtype\":\"F32\"",
                "BF16",
                "I64",
                "F8_E4M3",
                "\"shape\":[",
                "\"data_offsets\":[0,",
                "__metadata__",
            ])
            .repair(set_header_length)
            .run(|input| {
                let trace = Trace::parse(&path, input).map_err(|e| e.to_string())?;
                for (name, activation) in &trace.activations {
                    let elements = activation.shape.iter().product::<usize>();
                    assert_eq!(activation.values.len(), elements, "{name}");
                }
                Ok(format!("{} skipped", "x".repeat(trace.skipped.len().min(3))))
            });
    }
}
