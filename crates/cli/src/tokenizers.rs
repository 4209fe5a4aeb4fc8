//! Whether another tokenizer would have given other ids.

use std::collections::HashMap;

use ulpscope_record::{Parting, Prompt, TokenizerComparison, VocabularyDifference};
use ulpscope_weights::WeightsError;

use crate::model::Opened;

/// Every other reading of the texts, which the first prompts are of: by the class that transformers
/// reads the first model's folder with, where that differs, and by the second model's tokenizer.
pub(crate) fn compare(
    models: &[Opened],
    arms: [&str; 2],
    texts: &[String],
    prompts: &[Prompt],
) -> Vec<TokenizerComparison> {
    let by_class = of_class(&models[0], arms[0], texts, prompts);
    let by_second = models.get(1).and_then(|second| of_model([&models[0], second], arms[1], texts, prompts));
    by_class.into_iter().chain(by_second).collect()
}

/// Of a prompt, as many ids of another reading as were run of its own.
fn run<'a>(prompt: &Prompt, ids: &'a [u32]) -> &'a [u32] {
    if prompt.cut { &ids[..ids.len().min(prompt.ids.len())] } else { ids }
}

fn of_class(model: &Opened, arm: &str, texts: &[String], prompts: &[Prompt]) -> Option<TokenizerComparison> {
    let tokenizer = model.tokenizer().as_ref().ok().filter(|_| !texts.is_empty())?;
    let mut class = None;
    let mut partings = Vec::new();
    for (index, (text, prompt)) in texts.iter().zip(prompts).enumerate() {
        // What cannot be read this way is said where it is read the other way.
        let Ok(Some((name, ids))) = tokenizer.otherwise(text) else { continue };
        let ids = [&prompt.ids, run(prompt, &ids)];
        partings.extend(Parting::of(index, ids, |_, ids| model.tokens(ids)));
        class = Some(name.to_owned());
    }
    let texts = texts.len();
    (!partings.is_empty()).then(|| TokenizerComparison {
        arm: arm.to_owned(),
        class,
        texts,
        partings,
        vocabulary: None,
        not_compared: None,
    })
}

fn of_model(
    [first, second]: [&Opened; 2],
    arm: &str,
    texts: &[String],
    prompts: &[Prompt],
) -> Option<TokenizerComparison> {
    let mut other = TokenizerComparison {
        arm: arm.to_owned(),
        class: None,
        texts: texts.len(),
        partings: Vec::new(),
        vocabulary: None,
        not_compared: None,
    };
    let (ours, theirs) = match (first.tokenizer(), second.tokenizer()) {
        (Ok(ours), Ok(theirs)) => (ours, theirs),
        // Without texts, none was wanted.
        _ if texts.is_empty() => return None,
        (Err(error), _) | (_, Err(error)) => {
            other.not_compared = Some(error.to_string());
            return Some(other);
        }
    };
    let read: Result<Vec<Vec<u32>>, WeightsError> = texts.iter().map(|text| theirs.encode(text)).collect();
    match read {
        Ok(read) => {
            for (index, (ids, prompt)) in read.iter().zip(prompts).enumerate() {
                let ids = [&prompt.ids, run(prompt, ids)];
                other.partings.extend(Parting::of(index, ids, |side, ids| [first, second][side].tokens(ids)));
            }
        }
        Err(error) => other.not_compared = Some(error.to_string()),
    }
    other.vocabulary = Some(vocabularies(&ours.vocabulary(), &theirs.vocabulary()));
    Some(other)
}

fn vocabularies(a: &HashMap<String, u32>, b: &HashMap<String, u32>) -> VocabularyDifference {
    let both = || a.iter().filter_map(|(token, id)| Some((*id, *b.get(token)?)));
    let common = both().count();
    VocabularyDifference {
        sizes: [a.len(), b.len()],
        other_ids: both().filter(|(a, b)| a != b).count(),
        alone: [a.len() - common, b.len() - common],
    }
}
