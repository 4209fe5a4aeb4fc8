//! Sentences, all of them: made from typed values, at the end.

pub(crate) mod arms;
mod factor;
pub(crate) mod judgement;
mod provenance;

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

/// A sentence's beginning: the path of a module stays as it is.
pub(crate) fn opening(text: &str) -> String {
    if text.split(' ').next().is_some_and(|word| word.contains(['.', '_'])) {
        return text.to_owned();
    }
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}
