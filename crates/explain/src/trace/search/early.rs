//! Formulas that are tried before anything is run: those that hold at other sites of the kind, and
//! those of autocast.

use ulpscope_compare::{CompareError, Reference};
use ulpscope_decoder::{Op, Site};
use ulpscope_floats::DType;

use super::{Search, Spot};
use crate::causes;
use crate::layer_groups::class;
use crate::trace::evidence::{Claim, Evidence, Key};
use crate::trace::formula::{At, autocast, formula};
use crate::trace::found::{Found, Shown};

impl Search<'_, '_> {
    /// Enters the formula that is likely at a site, if it gives the trace's values.
    pub(super) fn early(&mut self, spot: Spot) -> Result<bool, CompareError> {
        let Spot { site, setting, now, .. } = spot;
        if self.follows_from_cache(site) {
            return Ok(true);
        }
        let kind = class(&site.to_string());
        // All norms of a model are one kind of operation.
        let alike = |other: &Site| {
            class(&other.to_string()) == kind || site.op() == Op::Norm && other.op() == Op::Norm
        };
        let known: Vec<Key> = (self.outcome.found.iter())
            .filter(|f| f.shown == Shown::Formula && f.sites.iter().any(alike))
            .map(|f| f.claim.key.clone())
            .collect();
        let wide = |r: &Reference| r.activations.get(&site).is_some_and(|x| x.values.dtype() == DType::F32);
        if known.is_empty() && !self.references.iter().any(wide) {
            return Ok(false);
        }
        let (model, attention) = (&setting.architecture, setting.semantics.base.attention);
        let at = At::read_all(site, model, attention, self.references, &now.taught, &mut self.parts)?;
        let wide = at.as_ref().is_some_and(autocast::applies);
        let Some(at) = at.filter(|_| wide || !known.is_empty()) else { return Ok(false) };
        let Some(found) = (if wide { autocast::wide(&at) } else { formula(&at) }) else { return Ok(false) };
        let mut claim = Claim::at_site(found.kind, site, Evidence::Fact(found.finding));
        match known.into_iter().find(|key| key.cause == found.kind.id) {
            Some(key) => claim.key = key,
            None if wide => claim.key.place.clear(),
            None => return Ok(false),
        }
        self.recognised(claim, site, Shown::Formula);
        Ok(true)
    }

    /// Whether a site reads a cached prefix that went wrong in an earlier block: what later blocks
    /// cached follows from that, and was not recorded.
    fn follows_from_cache(&mut self, site: Site) -> bool {
        let reads = matches!(site.op(), Op::Scores | Op::Softmax | Op::Mix);
        let wrong = |f: &&Found| {
            f.claim.kind == causes::CACHED_PREFIX
                && f.sites.first().is_some_and(|first| first.layer() < site.layer())
        };
        let Some(known) = self.outcome.found.iter().find(wrong).filter(|_| reads) else { return false };
        let key = known.claim.key.clone();
        let evidence = known.claim.evidence.clone();
        let claim = Claim { key, ..Claim::at_site(causes::CACHED_PREFIX, site, evidence) };
        self.recognised(claim, site, Shown::Formula);
        true
    }
}
