//! Sentences, all of them: made from typed values, at the end.

pub(crate) mod arms;
mod factor;
pub(crate) mod findings;
pub(crate) mod judgement;
pub(crate) mod logits;
mod provenance;
mod reading;
pub(crate) mod trace;

/// Names with commas between them.
pub(crate) fn listed(names: &[String]) -> String {
    names.join(", ")
}

/// A size with two digits: `0.0014`, `53`, `3.8e-9`, and 0 for exactly nothing.
pub(crate) fn short(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        x if !(1e-3..1e4).contains(&x.abs()) => format!("{x:.1e}"),
        x => {
            let digits = (1 - x.abs().log10().floor() as i32).max(0) as usize;
            format!("{x:.digits$}")
        }
    }
}

/// Causes, and remedies, that a judgement names; the others are in the list of causes.
const LISTED: usize = 6;
/// Limits that it names.
const LIMITS: usize = 3;

/// A text with a capital at its beginning.
pub(crate) fn opening(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

/// Names of a list that are shown.
const NAMES: usize = 4;

/// The first names of a list, and how many more.
pub(crate) fn first_names<S: AsRef<str>>(names: &[S]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMES).map(AsRef::as_ref).collect();
    let more = names.len().saturating_sub(NAMES);
    shown.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}

/// A number for people: to four decimals, or four digits where it is very small or large.
pub(crate) fn number(x: f64) -> String {
    if x == 0.0 || !x.is_finite() || (1e-3..1e9).contains(&x.abs()) {
        return ((x * 1e4).round() / 1e4).to_string();
    }
    let text = format!("{x:.3e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    format!("{}e{exponent}", digits.trim_end_matches('0').trim_end_matches('.'))
}

/// A site whose shape is not what so many tokens make.
pub(crate) fn wrong_shape(site: &str, [theirs, ours]: &[Vec<usize>; 2], tokens: usize) -> String {
    let shape = |shape: &[usize]| {
        let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
        format!("[{}]", sizes.join(", "))
    };
    let (theirs, ours) = (shape(theirs), shape(ours));
    format!("{site} has the shape {theirs}, where {tokens} tokens of this model make {ours}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let all = [0.22, 1e-6, 30.0, 0.0, 500_000.0, -1.5e-5, f64::NEG_INFINITY, 1.702_04];
        let wanted = ["0.22", "1e-6", "30", "0", "500000", "-1.5e-5", "-inf", "1.702"];
        assert_eq!(all.map(number), wanted);
    }

    #[test]
    fn of_many_names_the_first_are_shown() {
        assert_eq!(first_names(&["a", "b"]), "a, b");
        assert_eq!(first_names(&["a", "b", "c", "d", "e", "f"]), "a, b, c, d and 2 more");
    }
}
