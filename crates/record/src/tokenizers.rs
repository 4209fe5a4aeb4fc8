//! How else the texts of a run could have become ids.

use serde::{Deserialize, Serialize};

/// A second reading of the prompts' texts, beside the one whose ids were run: the reference's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenizerComparison {
    /// The arm whose tokenizer it is.
    pub arm: String,
    /// The class of transformers that reads the arm's folder otherwise than its tokenizer.json;
    /// null for the arm's own tokenizer.
    pub class: Option<String>,
    /// Texts that were read both ways.
    pub texts: usize,
    /// Where they part, for each text for which they do.
    pub partings: Vec<Parting>,
    /// How the two vocabularies compare; null where they were not.
    pub vocabulary: Option<VocabularyDifference>,
    /// Why there was no second reading, where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_compared: Option<String>,
}

/// Where two readings of a text part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parting {
    /// Index of the prompt.
    pub prompt: usize,
    /// Position of the first token that differs.
    pub at: usize,
    /// The first ids from there on, of the reading that was run and of the other one; fewer, or
    /// none, where a reading ends.
    pub ids: [Vec<u32>; 2],
    /// These ids as text, each by its own tokenizer.
    pub tokens: [Vec<String>; 2],
    /// Ids of the whole text.
    pub lengths: [usize; 2],
}

/// Two vocabularies beside each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VocabularyDifference {
    /// Tokens of the reference and of the arm.
    pub sizes: [usize; 2],
    /// Tokens that both have, with other ids.
    pub other_ids: usize,
    /// Tokens that only the reference has, and only the arm.
    pub alone: [usize; 2],
}

impl Parting {
    /// Ids that are kept of each reading.
    pub const KEPT: usize = 4;

    /// Where two readings of the text of a prompt part; `None` if they do not. `spelled` gives ids
    /// of the first (0) or the second (1) as text.
    pub fn of(
        prompt: usize,
        [ours, theirs]: [&[u32]; 2],
        spelled: impl Fn(usize, &[u32]) -> Vec<String>,
    ) -> Option<Self> {
        if ours == theirs {
            return None;
        }
        let at = ours.iter().zip(theirs).take_while(|(a, b)| a == b).count();
        let ids = [ours, theirs].map(|ids| ids[at..ids.len().min(at + Self::KEPT)].to_vec());
        let tokens = [0, 1].map(|side| spelled(side, &ids[side]));
        Some(Parting { prompt, at, ids, tokens, lengths: [ours.len(), theirs.len()] })
    }
}

impl TokenizerComparison {
    /// Whether the two are known to read otherwise: these texts, or the tokens that both have.
    pub fn differs(&self) -> bool {
        !self.partings.is_empty() || self.vocabulary.is_some_and(|vocabulary| vocabulary.other_ids > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_part_at_the_first_id_that_differs_or_where_one_ends() {
        let spelled = |_, ids: &[u32]| ids.iter().map(u32::to_string).collect();
        let of = |a: &[u32], b: &[u32]| Parting::of(0, [a, b], spelled);
        assert_eq!(of(&[1, 2], &[1, 2]), None);
        let parting = of(&[7, 1, 2, 3, 4, 5], &[7, 9]).unwrap();
        assert_eq!((parting.at, parting.lengths), (1, [6, 2]));
        assert_eq!(parting.ids, [vec![1, 2, 3, 4], vec![9]]);
        assert_eq!(parting.tokens[1], ["9"]);
        let shorter = of(&[7], &[7, 9]).unwrap();
        assert_eq!((shorter.at, shorter.ids), (1, [vec![], vec![9]]));
    }
}
