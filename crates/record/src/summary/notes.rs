//! What is said about other readings of the texts, and about what traces say of themselves.

use crate::schema::RunRecord;
use crate::text::{plural, shortened, shown};
use crate::tokenizers::{Parting, TokenizerComparison};

/// What is to be said before anything else, a sentence or two for each: where tokenizers are known
/// to differ, since the ids of one of them were run in every arm, and where a trace says to be of
/// something else than what it was compared with.
pub fn said_first(record: &RunRecord) -> Vec<String> {
    let differ = record.tokenizers.iter().filter(|other| other.differs());
    differ.map(|other| words_in(record, other)).chain(claims(record)).collect()
}

/// The same, with what is known of tokenizers that give the same, or could not be compared.
pub fn notes(record: &RunRecord) -> Vec<String> {
    record.tokenizers.iter().map(|other| words_in(record, other)).chain(claims(record)).collect()
}

fn claims(record: &RunRecord) -> impl Iterator<Item = String> {
    record.contradicted.iter().map(|claim| {
        let [said, ours] = [&claim.said, &claim.compared_with].map(|text| shown(&shortened(text, 60)));
        let trace = shown(&shortened(&claim.trace, 60));
        format!("{trace} says that its {} is \"{said}\"; it was compared with \"{ours}\".", claim.key)
    })
}

fn words_in(record: &RunRecord, other: &TokenizerComparison) -> String {
    tokenizer_words(record.arms.first().map_or("a", |arm| &arm.name), other)
}

/// What is known of one tokenizer, beside that of the arm `reference`.
pub fn tokenizer_words(reference: &str, other: &TokenizerComparison) -> String {
    let (whose, run) = match &other.class {
        Some(class) => (
            format!("transformers' {class}, which reads the folder of {},", other.arm),
            "its tokenizer.json".to_owned(),
        ),
        None => (format!("{}'s tokenizer", other.arm), format!("{reference}'s")),
    };
    if let Some(why) = &other.not_compared {
        return format!("{whose} was not compared with {run}: {why}.");
    }
    let mut said = Vec::new();
    match other.partings.first() {
        Some(first) => {
            said.push(format!("{whose} gives other ids than {run}: {}", parted(first, other.texts)));
            let more = other.partings.len() - 1;
            if more > 0 {
                said.push(format!("So it does for {} more.", plural(more, "prompt")));
            }
            said.push(format!("The ids of {run} were run in every arm."));
        }
        None if other.texts > 0 => {
            said.push(format!("{whose} gives the same ids as {run} for {}.", plural(other.texts, "text")));
        }
        None => {}
    }
    if let Some(vocabulary) = &other.vocabulary {
        let [a, b] = vocabulary.alone;
        said.push(match vocabulary.other_ids {
            0 if (a, b) == (0, 0) => format!("Both have the same {} tokens.", vocabulary.sizes[0]),
            count => format!(
                "Of the vocabularies' tokens, {count} have other ids, {a} are only {reference}'s and {b} only {}'s.",
                other.arm
            ),
        });
    }
    said.join(" ")
}

fn parted(first: &Parting, texts: usize) -> String {
    let side = |side: usize| match first.ids[side].first() {
        Some(id) => {
            let token = first.tokens[side].first().map_or("", String::as_str);
            format!("{id} (\"{}\")", shown(&shortened(token, 20)))
        }
        None => "the end".to_owned(),
    };
    let prompt = if texts > 1 { format!("prompt {}, ", first.prompt) } else { String::new() };
    format!("{prompt}token {} is {} and not {}.", first.at, side(1), side(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizers::VocabularyDifference;

    fn with(other: TokenizerComparison) -> RunRecord {
        let mut record = RunRecord::from_json(include_str!("../../tests/small.json")).unwrap();
        record.tokenizers = vec![other];
        record
    }

    fn equal() -> TokenizerComparison {
        TokenizerComparison {
            arm: "b".into(),
            class: None,
            texts: 1,
            partings: Vec::new(),
            vocabulary: Some(VocabularyDifference { sizes: [9, 9], other_ids: 0, alone: [0, 0] }),
            not_compared: None,
        }
    }

    #[test]
    fn what_differs_is_told_with_both_tokens() {
        let record = with(equal());
        assert!(said_first(&record).is_empty());
        let said = "b's tokenizer gives the same ids as a's for 1 text. Both have the same 9 tokens.";
        assert_eq!(notes(&record), [said]);

        let ids = [vec![314], vec![31, 7]];
        let tokens = [vec![" is".into()], vec![" i".into(), "s\n".into()]];
        let parting = Parting { prompt: 0, at: 2, ids, tokens, lengths: [3, 4] };
        let mut other = TokenizerComparison { partings: vec![parting], ..equal() };
        let said = "b's tokenizer gives other ids than a's: token 2 is 31 (\" i\") and not 314 (\" is\"). \
                    The ids of a's were run in every arm. Both have the same 9 tokens.";
        assert_eq!(said_first(&with(other.clone())), [said]);
        other.class = Some("Qwen2Tokenizer".into());
        other.partings[0].ids[0].clear();
        assert!(said_first(&with(other))[0].contains("token 2 is 31 (\" i\") and not the end"));
    }

    #[test]
    fn exchanged_tokens_are_told_where_no_text_has_them() {
        let mut other = equal();
        other.vocabulary.as_mut().unwrap().other_ids = 2;
        let told = said_first(&with(other.clone())).remove(0);
        assert!(told.contains("same ids as a's for 1 text") && told.contains("2 have other ids"), "{told}");
        (other.vocabulary, other.not_compared) = (None, Some("it has no tokenizer.json".into()));
        assert_eq!(
            notes(&with(other)),
            ["b's tokenizer was not compared with a's: it has no tokenizer.json."]
        );
    }
}
