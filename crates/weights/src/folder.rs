//! What a folder holds in place of a checkpoint, and what can be done with that.

use std::path::Path;

use ulpscope_record::text::shown;

use crate::WeightsError;
use crate::gguf::PartName;

/// Whether a file is there. A link that leads nowhere is neither there nor missing.
///
/// # Errors
/// [`WeightsError::Dangling`] for such a link.
pub(crate) fn there(path: &Path) -> Result<bool, WeightsError> {
    if path.exists() {
        return Ok(true);
    }
    match path.read_link() {
        Ok(target) => Err(WeightsError::Dangling { path: path.to_owned(), target }),
        Err(_) => Ok(false),
    }
}

/// A kind of file by its name, and what to do with it.
type Known<'k> = (&'k dyn Fn(&str) -> bool, &'static str);

/// What lies in a folder that has no weights that can be read, with the remedy; nothing if that is
/// nothing known.
pub(crate) fn instead(dir: &Path) -> Option<String> {
    let mut names: Vec<String> = (std::fs::read_dir(dir).ok()?)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    let find = |is: &dyn Fn(&str) -> bool| names.iter().find(|name| is(name));
    let all = |end: &str| names.iter().filter(|name| name.ends_with(end)).collect::<Vec<_>>();
    let known: [Known; 6] = [
        (
            &|name| name.starts_with("adapter_model.") || name == "adapter_config.json",
            "is of an adapter: merge it into its base model with PEFT's merge_and_unload(), and save_pretrained that",
        ),
        (
            &|name| name.starts_with("consolidated.") || name == "params.json",
            "is of Meta's and Mistral's own layout: take the files of Hugging Face's, or convert them with transformers",
        ),
        (
            &|name| name.starts_with("model-") && name.ends_with(".safetensors"),
            "is a shard: download model.safetensors.index.json, too",
        ),
        (
            &|name| name.starts_with("pytorch_model.") && (name.ends_with(".bin") || name.ends_with(".json")),
            "is of pickles, which are not read: load them with transformers and save_pretrained(safe_serialization=True)",
        ),
        (
            &|name| name.starts_with("tf_model.") || name.starts_with("flax_model."),
            "is of another framework: load it with transformers (from_tf, from_flax) and save_pretrained",
        ),
        (
            &|name| name.ends_with(".pth") || name.ends_with(".ckpt"),
            "is a pickle, which is not read: save its state dict as safetensors",
        ),
    ];
    let said = known.iter().find_map(|(is, what)| Some(format!("its {} {what}", shown(find(is)?))));
    let said = said.or_else(|| in_parts(&all(".gguf")));
    said.or_else(|| match (&all(".gguf")[..], &all(".safetensors")[..]) {
        ([one], _) => Some(format!("it holds {}: give the path of that file", shown(one))),
        ([first, ..], _) => {
            Some(format!("it holds GGUF files: give the path of one, such as {}", shown(first)))
        }
        ([], [one]) if *one != "model.safetensors" => Some(format!(
            "it holds {}, which transformers would not find: rename it model.safetensors",
            shown(one)
        )),
        _ => None,
    })
}

/// What to do with GGUF files that are parts of one; nothing if they are not.
fn in_parts(names: &[&String]) -> Option<String> {
    let first = names.first()?;
    let part = PartName::parse(first).filter(|part| part.count > 1)?;
    let same = |name: &&String| PartName::parse(name).is_some_and(|other| other.same_file(&part));
    if !names.iter().all(same) {
        return None;
    }
    let (held, count, first) = (names.len() as u64, part.count, shown(first));
    Some(if held == count {
        format!("it holds a GGUF file in {count} parts: give the path of one, such as {first}")
    } else {
        format!(
            "it holds {held} of the {count} parts of a GGUF file, such as {first}: download the others, too"
        )
    })
}
