//! The loss of one step.

use crate::defects::{DefectsConfig, telling_apart};
use crate::flow::Flow;
use crate::groups::Conditions;
use ccnf::dfdx::prelude::{HasShape, MeanTo, Rank0};
use ccnf::prelude::*;

/// One term of the loss, with the value it had.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    /// The term's name: `nll` or a regulariser's.
    pub name: &'static str,
    /// Its weight in the total.
    pub weight: f32,
    /// Its value, unweighted.
    pub value: f32,
}

/// Everything that was computed for a step.
pub struct StepLosses {
    /// What is minimised.
    pub total: Scalar,
    /// The terms.
    pub terms: Vec<Term>,
    /// The flow's output.
    pub output: FlowOutput,
}

impl StepLosses {
    /// Adds `weight * mean |z - target|^2 / D` (distillation).
    pub fn keep_near(&mut self, target: &Var, weight: f32) -> Result<()> {
        let term = ops::mean_square(&(self.output.z.clone() - target.clone()))?;
        let value = term.as_vec().first().copied().unwrap_or(f32::NAN);
        self.terms.push(Term { name: "distillation", weight, value });
        self.total = self.total.clone() + term * weight;
        Ok(())
    }

    /// Adds the term of painted defects; `defective` holds their tokens' `log p`, `[M]`.
    pub(crate) fn tell_apart(&mut self, defective: &VarVec, config: &DefectsConfig) {
        let term = telling_apart(&self.output.log_prob, defective, self.output.dim, config);
        let value = term.as_vec().first().copied().unwrap_or(f32::NAN);
        self.terms.push(Term { name: "defects", weight: config.weight, value });
        self.total = self.total.clone() + term * config.weight;
    }
}

/// The flow's output for tokens `x` of the classes `classes` (indices of known classes; `class` is each token's entry there), with the
/// likelihood under `negatives` (indices of known classes, one per token) if given.
///
/// `log p(x|y) = log N(z; 0, I) + J`; both forwards use the same weights.
pub fn flow_output(
    flow: &Flow,
    x: &Var,
    classes: &[usize],
    class: &Index,
    position: &Index,
    negatives: Option<&[u32]>,
) -> Result<FlowOutput> {
    let conditions = flow.condition(classes, class, position)?;
    output_under(flow, x, &conditions, (class, classes.len()), position, negatives)
}

/// [`flow_output`] under other conditions; `class` is each token's class within the step and their number.
pub(crate) fn output_under(
    flow: &Flow,
    x: &Var,
    conditions: &Conditions,
    (class, classes): (&Index, usize),
    position: &Index,
    negatives: Option<&[u32]>,
) -> Result<FlowOutput> {
    let dim = x.shape().1;
    let forward = flow.forward(x, conditions)?;
    let log_prior = flow.log_prior(&forward.z)?;
    let log_prob = log_prior.clone() + forward.log_det.clone();
    let log_prob_negative = match negatives {
        None => None,
        Some(n) => {
            let mut known: Vec<usize> = n.iter().map(|c| *c as usize).collect();
            known.sort_unstable();
            known.dedup();
            let entry = n.iter().map(|c| known.partition_point(|k| *k < *c as usize) as u32).collect();
            let conditions = flow.condition(&known, &entry, position)?;
            let f = flow.forward(x, &conditions)?;
            Some(flow.log_prior(&f.z)? + f.log_det)
        }
    };
    Ok(FlowOutput {
        dim,
        z: forward.z,
        log_det: forward.log_det,
        log_prior,
        log_prob,
        log_prob_negative,
        log_scales: forward.log_scales,
        class: flow.latent_classes(class)?,
        classes,
    })
}

/// `log N(z; 0, I) = -|z|^2/2 - (D/2) ln 2 pi` per row.
pub fn log_prior(z: &Var) -> Result<VarVec> {
    let constant = 0.5 * z.shape().1 as f32 * std::f32::consts::TAU.ln();
    Ok(ops::square_sum(z)? * -0.5 - constant)
}

/// `L = L_g + sum of weight * penalty`, `L_g = -(1/D) E[log p(x|y)]`. Terms of weight 0 are left out.
pub fn step_loss(output: FlowOutput, regularizers: &[Box<dyn Regularizer>]) -> Result<StepLosses> {
    let nll = output.log_prob.clone().mean::<Rank0, _>() * (-1.0 / output.dim as f32);
    let value = |s: &Scalar| s.as_vec().first().copied().unwrap_or(f32::NAN);
    let mut terms = vec![Term { name: "nll", weight: 1.0, value: value(&nll) }];
    let mut total = nll;
    for r in regularizers.iter().filter(|r| r.weight() > 0.0) {
        if let Some(p) = r.penalty(&output)? {
            terms.push(Term { name: r.name(), weight: r.weight(), value: value(&p) });
            total = total + p * r.weight();
        }
    }
    Ok(StepLosses { total, terms, output })
}
