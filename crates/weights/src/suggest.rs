//! "Did you mean": the nearest of some known names.

/// The known name nearest to `name`, if it is near enough to be a slip of the pen.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).clamp(1, 12);
    known
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(name.len()) <= limit)
        // Leaving off the end is the commonest: `bfloat` is not `float`.
        .map(|candidate| (!candidate.starts_with(name), distance(name, candidate), candidate))
        .filter(|(_, d, _)| *d <= limit)
        .min()
        .map(|(_, _, candidate)| candidate)
}

/// Levenshtein's distance in bytes, by one row of the table at a time.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(x != y)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_levenshteins() {
        for (a, b, d) in
            [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("half", "halt", 1), ("ab", "ba", 2)]
        {
            assert_eq!(distance(a, b), d, "{a} {b}");
            assert_eq!(distance(b, a), d, "{b} {a}");
        }
    }

    #[test]
    fn only_near_names_are_offered() {
        let known = ["half", "float", "double", "bfloat16"];
        assert_eq!(nearest("halv", known), Some("half"));
        assert_eq!(nearest("bfloat", known), Some("bfloat16"));
        assert_eq!(nearest("quantize", known), None);
        assert_eq!(nearest("", known), None);
    }
}
