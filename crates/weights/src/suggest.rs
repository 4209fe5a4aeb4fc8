//! "Did you mean": the nearest of some known names.

/// The known name nearest to `name`, if it is near enough to be a slip of the pen.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).clamp(1, 12);
    known
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(name.len()) <= limit)
        // Leaving off the end is the commonest: `bfloat` is not `float`.
        .map(|candidate| (!candidate.starts_with(name), strsim::levenshtein(name, candidate), candidate))
        .filter(|(_, d, _)| *d <= limit)
        .min()
        .map(|(_, _, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_names_are_offered() {
        let known = ["half", "float", "double", "bfloat16"];
        assert_eq!(nearest("halv", known), Some("half"));
        assert_eq!(nearest("bfloat", known), Some("bfloat16"));
        assert_eq!(nearest("quantize", known), None);
        assert_eq!(nearest("", known), None);
    }
}
