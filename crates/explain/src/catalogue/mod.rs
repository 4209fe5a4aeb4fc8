//! The closed catalogue of causes: what each is called, how it is recognised, what to do about it.
//!
//! An entry is recognised from what differs between two arms, exactly, before anything is run; whether it is a cause
//! is proved afterwards, by exchanging it.

/// Entries, each as a static, and `ALL` of them: `NAME (fault or choice, pervasive or not) "id": "title" => "remedy";`
macro_rules! causes {
    ($($(#[$doc:meta])* $name:ident ($kind:ident $(, $pervasive:ident)?) $id:literal: $title:literal
        => $remedy:literal;)*) => {
        $($(#[$doc])* pub(crate) static $name: &Fault = &Fault {
            id: $id,
            title: $title,
            remedy: $remedy,
            fault: causes!(@$kind),
            pervasive: causes!(@$($pervasive)?),
        };)*
        pub(super) static ALL: &[&Fault] = &[$($name),*];
    };
    (@fault) => { true };
    (@choice) => { false };
    (@pervasive) => { true };
    (@) => { false };
}

mod arithmetic;
mod config;
mod trace;
mod weights;

pub(crate) use arithmetic::{
    ATTENTION, CACHE, EMBEDDING, FORMAT, GQA, MASK, NORM_CONVENTION, NORM_ROUNDING, ORDER, OVERFLOW,
    POSITIONS, ROPE_LAYOUT, SCALE, of_variant,
};
pub(crate) use config::{ACTIVATION, EPS, ROPE_SCALING, ROPE_THETA, ROTARY_BUFFER, TEMPERATURE, WINDOW};
pub(crate) use trace::{
    ADAPTER_ACTIVE, ANGLES, BIAS, BRANCH, CACHE_EMPTY, CACHE_SHIFTED, COMPUTED_OTHERWISE, DROPOUT,
    GATED_PRODUCT, LAST_BITS, LAYER_UNRELATED, NORM_KIND, OUTPUT_CLAMPED, OUTPUT_MAPPED, OUTPUT_OFFSET,
    OUTPUT_REARRANGED, OUTPUT_ROUNDED, OUTPUT_SCALED, OUTPUT_ZERO, PARTIAL_ROTARY, PARTIAL_SUM,
    POSITION_BIAS, SOFT_CAP, SOFTMAX_KIND, TOKEN_IDS, VOCABULARY_MASKED, WIRING,
};
pub(crate) use weights::{
    EXCHANGED, FOLDED_PARTLY, FOLDED_TWICE, HEAD, LAYERS, NEURONS, OFFSET, PARTLY, QUANTISED, ROTATED,
    ROUNDED, SCALED, SIGNS, SPLIT, TRANSPOSED, TRUNCATED, TWICE, UNRELATED, of_statement,
};

/// One entry.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its name in records.
    pub id: &'static str,
    /// Its name in sentences.
    pub title: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
    /// Whether it is a fault, or a choice that both sides are free to make.
    pub fault: bool,
    /// Whether it happens to tensors as a class, so that all of them are one factor.
    pub pervasive: bool,
}

/// Every entry, for listings.
pub fn catalogue() -> Vec<&'static Fault> {
    [config::ALL, weights::ALL, arithmetic::ALL, trace::ALL].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_say_what_to_do() {
        let all = catalogue();
        for (i, fault) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|other| other.id != fault.id), "{}", fault.id);
            assert!(!fault.title.is_empty() && fault.remedy.ends_with('.'), "{}", fault.id);
            assert!(fault.id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
        }
        assert!(all.len() >= 30, "{}", all.len());
    }
}
