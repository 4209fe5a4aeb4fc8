//! The first look: both arms, the reference in other orders of summation, and how both arms go on.

use ulpscope_compare::{
    CompareError, Findings, Keep, Made, Mix, NamedArm, Observed, Plan, Step, Subject, Watch, observe_keeping,
};
use ulpscope_decoder::Accumulation;
use ulpscope_record::{Decision, Floor, Origin};

use crate::arms::continuation;
use crate::arms::decisions::decisions;
use crate::floor;

/// What was observed before anything was exchanged.
pub(crate) struct Baseline {
    pub(crate) observed: Observed,
    pub(crate) findings: Findings,
    /// Sites beyond the noise, no cause entered yet.
    pub(crate) origins: Vec<Origin>,
    pub(crate) floor: Floor,
    /// Subjects that are the reference in another order.
    pub(crate) orders: Vec<usize>,
    pub(crate) decisions: Vec<Decision>,
    /// Why nothing was continued, if it should have been.
    pub(crate) too_large: Option<String>,
}

impl Baseline {
    pub(crate) fn at(
        plan: &Plan,
        continued: usize,
        keep: &mut dyn Keep,
        progress: impl FnMut(Step),
    ) -> Result<Baseline, CompareError> {
        let (a, b) = (&plan.arms[0], &plan.arms[1]);
        let mut experiment = plan.experiment();
        let own = a.semantics.base.accumulation;
        let mut orders: Vec<(usize, String, Accumulation)> = Vec::new();
        for order in if a.sums_in_order(&plan.device) { floor::orders(own) } else { Vec::new() } {
            let mut semantics = a.semantics.clone();
            semantics.base.accumulation = order;
            let name = format!("{}, {order}", a.name);
            orders.push((experiment.subjects.len(), name.clone(), order));
            experiment.subjects.push(Subject {
                name,
                made: Made::Mix(Mix::copy(0)),
                compute: None,
                semantics,
                against: vec![0],
                watch: Watch::Introduced,
            });
        }
        let too_large = continuation::too_large(plan).filter(|_| continued > 0);
        experiment.keep = continued > 0 && too_large.is_none();
        let mut observed = observe_keeping(&experiment, keep, progress)?;
        let other_orders: Vec<Accumulation> = orders.iter().map(|(.., order)| *order).collect();
        let mut models = std::mem::take(&mut observed.models);
        if experiment.keep && models.is_empty() {
            // Everything was known already, and nothing was loaded.
            let load = |arm: &NamedArm| arm.arm.load(&plan.device).map(|(model, _)| model);
            models = plan.arms.iter().map(load).collect::<Result<_, _>>()?;
        }
        let continuations = continuation::continuations(plan, &models, &other_orders, continued);
        drop(models);
        let findings = Findings::of(plan, &observed);
        let same_order = own == b.semantics.base.accumulation;
        let origins = floor::origins(&b.name, same_order, &observed, &orders);
        let mut floor = floor::floor(&observed, &orders, findings.sites.len());
        floor.shapes.extend(floor::of_other_shape(own, &observed, &orders));
        floor.shapes.extend(continuations.iter().filter_map(|c| c.shape.clone()));
        let orders: Vec<usize> = orders.into_iter().map(|(subject, ..)| subject).collect();
        let decisions = decisions(&observed, &orders, plan.prompts.len(), &continuations);
        Ok(Baseline { observed, findings, origins, floor, orders, decisions, too_large })
    }

    /// Elements of activations that are no numbers, in either arm.
    pub(crate) fn nonfinite(&self) -> [u64; 2] {
        self.findings.sites.iter().fold([0; 2], |sum, s| [sum[0] + s.nonfinite[0], sum[1] + s.nonfinite[1]])
    }
}
