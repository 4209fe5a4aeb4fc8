//! GGUF metadata, with errors that name the key.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anamnesis::{GgufMetadataArray, GgufMetadataValue};

use ulpscope_decoder::Family;

use crate::WeightsError;

/// The key-value table of one file, with typed access and errors that name the key.
pub(crate) struct Metadata {
    path: PathBuf,
    pub(super) values: HashMap<String, GgufMetadataValue>,
}

impl Metadata {
    pub(crate) fn new(path: &Path, values: HashMap<String, GgufMetadataValue>) -> Self {
        Metadata { path: path.to_owned(), values }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn wrong(&self, reason: String) -> WeightsError {
        WeightsError::Gguf { path: self.path.clone(), reason }
    }

    pub(super) fn unsupported(&self, key: &str, why: &str) -> WeightsError {
        let value = self.values.get(key).map_or_else(|| "absent".to_owned(), shorten);
        WeightsError::GgufUnsupported {
            path: self.path.clone(),
            key: key.to_owned(),
            value,
            why: why.to_owned(),
        }
    }

    fn mistyped(&self, key: &str, expected: &str) -> WeightsError {
        let value = self.values.get(key).map_or_else(|| "absent".to_owned(), shorten);
        self.wrong(format!("`{key}` is {value}, expected {expected}"))
    }

    pub(crate) fn string(&self, key: &str) -> Result<Option<&str>, WeightsError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(v) => v.as_string().map(Some).ok_or_else(|| self.mistyped(key, "a string")),
        }
    }

    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, WeightsError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(GgufMetadataValue::Bool(v)) => Ok(Some(*v)),
            Some(_) => Err(self.mistyped(key, "true or false")),
        }
    }

    /// A whole number. A list, as llama.cpp writes for values that may differ by layer, counts if
    /// all are equal.
    pub(crate) fn size(&self, key: &str) -> Result<Option<u64>, WeightsError> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        if let GgufMetadataValue::Array(list) = value {
            let all = integers(list).ok_or_else(|| self.mistyped(key, "whole numbers"))?;
            let layers = self.own("block_count");
            if let Some(n) = self.values.get(&layers).and_then(integer)
                && n != all.len() as u64
            {
                return Err(self.wrong(format!("`{key}` has {} entries, but `{layers}` is {n}", all.len())));
            }
            return match all.first() {
                Some(first) if all.iter().all(|n| n == first) => Ok(Some(*first)),
                _ => Err(self.unsupported(key, "it differs from layer to layer, which is not implemented")),
            };
        }
        integer(value).map(Some).ok_or_else(|| self.mistyped(key, "a whole number"))
    }

    pub(super) fn needed(&self, key: &str) -> Result<u64, WeightsError> {
        self.size(key)?.ok_or_else(|| self.wrong(format!("its metadata lacks `{key}`")))
    }

    /// A real number. One stored as f32 becomes the shortest decimal that rounds to it, so that the
    /// 1e-5 of a config.json is 1e-5 again and not 9.999999747378752e-6.
    pub(super) fn real(&self, key: &str) -> Result<Option<f64>, WeightsError> {
        let value = match self.values.get(key) {
            None => return Ok(None),
            Some(GgufMetadataValue::F32(v)) => v.to_string().parse().ok(),
            Some(GgufMetadataValue::F64(v)) => Some(*v),
            Some(other) => integer(other).map(|n| n as f64),
        };
        value.filter(|v: &f64| v.is_finite()).map(Some).ok_or_else(|| self.mistyped(key, "a finite number"))
    }

    pub(crate) fn strings(&self, key: &str) -> Result<Option<&[String]>, WeightsError> {
        self.array(key, "a list of strings", GgufMetadataArray::as_string_slice)
    }

    pub(crate) fn reals(&self, key: &str) -> Result<Option<&[f32]>, WeightsError> {
        self.array(key, "a list of f32 numbers", GgufMetadataArray::as_f32_slice)
    }

    pub(crate) fn token_types(&self, key: &str) -> Result<Option<&[i32]>, WeightsError> {
        self.array(key, "a list of i32 numbers", GgufMetadataArray::as_i32_slice)
    }

    fn array<'a, T: ?Sized>(
        &'a self,
        key: &str,
        expected: &str,
        get: impl Fn(&'a GgufMetadataArray) -> Option<&'a T>,
    ) -> Result<Option<&'a T>, WeightsError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(v) => v.as_array().and_then(get).map(Some).ok_or_else(|| self.mistyped(key, expected)),
        }
    }

    /// The family that `general.architecture` names.
    pub(crate) fn family(&self) -> Result<&'static Family, WeightsError> {
        const KEY: &str = "general.architecture";
        ulpscope_families::of_gguf(self.string(KEY)?.unwrap_or_default()).ok_or_else(|| {
            self.unsupported(
                KEY,
                &format!("known are {}", ulpscope_families::gguf_architectures().join(", ")),
            )
        })
    }

    /// A key of this architecture: `block_count` is `llama.block_count`.
    pub(super) fn own(&self, key: &str) -> String {
        let architecture = self.values.get("general.architecture").and_then(GgufMetadataValue::as_string);
        format!("{}.{key}", architecture.unwrap_or_default())
    }
}

fn integer(value: &GgufMetadataValue) -> Option<u64> {
    match value {
        GgufMetadataValue::U8(v) => Some((*v).into()),
        GgufMetadataValue::U16(v) => Some((*v).into()),
        GgufMetadataValue::U32(v) => Some((*v).into()),
        GgufMetadataValue::U64(v) => Some(*v),
        GgufMetadataValue::I8(v) => (*v).try_into().ok(),
        GgufMetadataValue::I16(v) => (*v).try_into().ok(),
        GgufMetadataValue::I32(v) => (*v).try_into().ok(),
        GgufMetadataValue::I64(v) => (*v).try_into().ok(),
        _ => None,
    }
}

fn integers(list: &GgufMetadataArray) -> Option<Vec<u64>> {
    match list {
        GgufMetadataArray::U32(v) => Some(v.iter().map(|n| (*n).into()).collect()),
        GgufMetadataArray::I32(v) => v.iter().map(|n| (*n).try_into().ok()).collect(),
        GgufMetadataArray::U64(v) => Some(v.clone()),
        GgufMetadataArray::I64(v) => v.iter().map(|n| (*n).try_into().ok()).collect(),
        _ => None,
    }
}

fn shorten(value: &GgufMetadataValue) -> String {
    match value {
        GgufMetadataValue::String(s) => {
            format!("`{}`", s.chars().take(40).collect::<String>().escape_debug())
        }
        GgufMetadataValue::Bool(v) => v.to_string(),
        GgufMetadataValue::F32(v) => v.to_string(),
        GgufMetadataValue::F64(v) => v.to_string(),
        GgufMetadataValue::Array(list) => format!("a list of {}", list.len()),
        other => integer(other).map_or_else(|| "a negative number".to_owned(), |n| n.to_string()),
    }
}
