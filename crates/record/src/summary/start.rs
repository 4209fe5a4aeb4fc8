//! Where an arm parts from the reference: at a site, nowhere, or nobody looked.

use crate::schema::{RunRecord, SiteDivergence};

/// What is known of where an arm parts from the reference on a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start<'a> {
    /// The first site that differs.
    At(&'a str),
    /// None of so many sites that were compared.
    Nowhere(usize),
    /// None differs, but the reference is not finite at some of them.
    Blind {
        /// Sites that were compared.
        compared: usize,
        /// Those at which the reference holds NaN or infinity.
        blind: usize,
        /// The first of those.
        first: &'a str,
    },
    /// No site was compared.
    Unseen,
}

impl Start<'_> {
    /// Where there is no site to name: why.
    pub fn words(&self) -> String {
        match self {
            Start::At(site) => (*site).to_owned(),
            Start::Nowhere(compared) => format!("none of the {compared} that were compared"),
            Start::Blind { compared, blind, first } => format!(
                "undecided: the reference holds NaN or infinity at {blind} of the {compared} that were compared, from \
                 {first} on"
            ),
            Start::Unseen => "not looked at: none was compared".to_owned(),
        }
    }
}

/// Where an arm parts from the reference on a prompt.
pub fn start<'a>(record: &'a RunRecord, arm: &str, prompt: usize) -> Start<'a> {
    let first = record.first.iter().find(|first| first.arm == arm && first.prompt == prompt);
    if let Some(site) = first.and_then(|first| first.site.as_deref()) {
        return Start::At(site);
    }
    let (mut compared, mut odd) = (0, Vec::new());
    for site in record.sites.iter().filter(|site| site.arm == arm && site.prompt == prompt) {
        compared += 1;
        odd.extend(site.is_blind().then_some(site.site.as_str()));
    }
    match odd.first() {
        _ if compared == 0 => Start::Unseen,
        Some(first) => Start::Blind { compared, blind: odd.len(), first },
        None => Start::Nowhere(compared),
    }
}

impl SiteDivergence {
    /// Whether the reference holds NaN or infinity here, next to which nothing is equal. Scores are
    /// minus infinity where they are masked.
    pub fn is_blind(&self) -> bool {
        self.nonfinite[0] > 0 && !self.site.ends_with(".scores")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_is_told_from_not_looked_at_and_from_no_number() {
        let mut record = RunRecord::from_json(include_str!("../../tests/small.json")).unwrap();
        assert_eq!(start(&record, "b", 0), Start::At("model.rotary_emb.cos"));
        record.first.iter_mut().for_each(|first| first.site = None);
        let compared = record.sites.len();
        assert_eq!(start(&record, "b", 0), Start::Nowhere(compared));
        record.sites[2].nonfinite = [1, 1];
        let first = record.sites[2].site.clone();
        assert_eq!(start(&record, "b", 0), Start::Blind { compared, blind: 1, first: &first });
        record.sites.clear();
        assert_eq!(start(&record, "b", 0), Start::Unseen);
    }
}
