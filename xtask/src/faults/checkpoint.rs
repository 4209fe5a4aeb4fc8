//! A copy of a small checkpoint with one thing changed.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// What is changed.
pub(crate) enum Change {
    /// One tensor of the state dict.
    Tensor { name: String, edit: Edit },
    /// One field of config.json.
    Field { key: String, value: Value },
}

/// What is done to a tensor.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Edit {
    FlipSign,
    FlipBit,
    ZeroRows,
    Times8,
    Negate,
    Shift,
    Constant,
    Random,
    SwapRows,
    PlusOne,
}

/// Writes `model` with `change` into the folder `other`, which is replaced.
pub(crate) fn changed(model: &Path, other: &Path, change: &Change) -> Result<()> {
    let copy = || -> std::io::Result<()> {
        if other.exists() {
            fs::remove_dir_all(other)?;
        }
        fs::create_dir_all(other)?;
        for file in ["config.json", "model.safetensors", "tokenizer.json"] {
            fs::copy(model.join(file), other.join(file))?;
        }
        Ok(())
    };
    copy().with_context(|| format!("copying {}", model.display()))?;
    match change {
        Change::Field { key, value } => {
            let path = other.join("config.json");
            let mut config: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
            config[key] = value.clone();
            fs::write(&path, config.to_string())?;
        }
        Change::Tensor { name, edit } => {
            let path = other.join("model.safetensors");
            let mut bytes = fs::read(&path)?;
            apply(&mut bytes, name, *edit)?;
            fs::write(&path, bytes)?;
        }
    }
    Ok(())
}

/// Changes a tensor in the bytes of a safetensors file: eight bytes of length, a JSON header, the data.
fn apply(bytes: &mut [u8], name: &str, edit: Edit) -> Result<()> {
    let length = bytes.first_chunk::<8>().map_or(0, |b| u64::from_le_bytes(*b)) as usize;
    let header: Value = serde_json::from_slice(bytes.get(8..8 + length).context("a header")?)?;
    let tensor = &header[name];
    if tensor["dtype"] != "F32" {
        bail!("{name} is not there in F32");
    }
    let offset = |i: usize| tensor["data_offsets"][i].as_u64().map(|o| o as usize + 8 + length);
    let range = offset(0).context("an offset")?..offset(1).context("an offset")?;
    let columns = tensor["shape"].as_array().and_then(|s| s.last()?.as_u64()).context("a shape")? as usize;
    let data = bytes.get_mut(range).context("data")?;
    let mut values: Vec<f32> =
        data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let middle = values.len() / 2 + 1;
    match edit {
        Edit::FlipSign => values[middle] = -values[middle],
        // The lowest bit of the exponent, which no rounding to 16 bits hides.
        Edit::FlipBit => values[middle] = f32::from_bits(values[middle].to_bits() ^ (1 << 23)),
        Edit::ZeroRows => values[..4 * columns].fill(0.0),
        Edit::Times8 => values.iter_mut().for_each(|x| *x *= 8.0),
        Edit::Negate => values.iter_mut().for_each(|x| *x = -*x),
        Edit::Shift => values.rotate_right(1),
        Edit::Constant => values.fill(0.25),
        Edit::Random => {
            let mut state = 1u64;
            for x in &mut values {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *x = ((state >> 40) as f32 / 16_777_216.0 - 0.5) * 0.1;
            }
        }
        Edit::SwapRows => (0..columns).for_each(|c| values.swap(columns + c, 5 * columns + c)),
        Edit::PlusOne => values.iter_mut().for_each(|x| *x += 1.0),
    }
    for (b, x) in data.chunks_exact_mut(4).zip(values) {
        b.copy_from_slice(&x.to_le_bytes());
    }
    Ok(())
}
