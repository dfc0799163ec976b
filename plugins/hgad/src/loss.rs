//! The terms of the loss.

use crate::mixture::Mixture;
use ccnf::dfdx::prelude::*;
use ccnf::prelude::*;
use ccnf::tensor::softplus;
use std::f32::consts::TAU;

/// The phase of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The inter-class terms only.
    Inter,
    /// All terms.
    Full,
}

/// The terms for a batch of tokens, each a mean over the tokens; `d_k = |z - mu_k|^2`, `sg` stops the gradient.
#[derive(Debug, Clone)]
pub struct Losses {
    /// `L_g = -(1/D) [LSE_k(-d_k / 2 + ln pi_k) + J]`.
    pub inter: Scalar,
    /// `L_mi = sum_k yt_k [log_softmax_k(-d_k / 2 + sg(ln pi)) - sg(ln pi_k)]` with smoothed labels `yt`; to be maximised.
    pub information: Scalar,
    /// `L_e = -sum_k q_k ln q_k`, `q = softmax_k(-d_k / 2)`.
    pub entropy: Scalar,
    /// In [`Phase::Full`]: `L_intra = -(1/D) [A_y + J]`.
    pub intra: Option<Scalar>,
    /// In [`Phase::Full`]: `L_z = -ln sigmoid((1/D) [A_y + J - (D/2) ln 2 pi])`.
    pub logistic: Option<Scalar>,
    /// Under a teacher, beside the total: `mean |z - teacher's z|^2 / D`.
    pub distillation: Option<Scalar>,
}

impl Losses {
    /// `L_g - information_weight * L_mi + L_e (+ L_intra + L_z)`.
    pub fn total(&self, information_weight: f32) -> Scalar {
        let mut total =
            self.inter.clone() - self.information.clone() * information_weight + self.entropy.clone();
        for term in self.intra.iter().chain(&self.logistic) {
            total = total + term.clone();
        }
        total
    }

    /// The terms with their names and values.
    pub fn values(&self) -> Vec<(&'static str, f32)> {
        let value = |s: &Scalar| s.as_vec().first().copied().unwrap_or(f32::NAN);
        let mut all = vec![
            ("inter", value(&self.inter)),
            ("mutual_information", value(&self.information)),
            ("entropy", value(&self.entropy)),
        ];
        all.extend(self.intra.iter().map(|s| ("intra", value(s))));
        all.extend(self.logistic.iter().map(|s| ("logistic", value(s))));
        all.extend(self.distillation.iter().map(|s| ("distillation", value(s))));
        all
    }
}

/// The terms for latents `z` (`[N, D]`) with log-determinants `J` (`log_det`, `[N]`) of tokens of the classes `class` (indices of the
/// mixture's classes). Smoothed labels are `1 - smoothing + smoothing / K` for the class and `smoothing / K` elsewhere.
///
/// Gradients: the inter-class weights are trained by `L_g` only, the main centres by `L_g`, `L_mi` and `L_e`, offsets and intra-class
/// weights by `L_intra` and `L_z`, the latents by all terms.
pub fn losses(
    mixture: &Mixture,
    z: &Var,
    log_det: &VarVec,
    class: &Index,
    smoothing: f32,
    phase: Phase,
) -> Result<Losses> {
    let (n, d) = *z.shape();
    let k = mixture.classes().len();
    if let Some(c) = class.iter().find(|c| **c as usize >= k) {
        return Err(Error::new(ErrorKind::Contract, format!("a token of class {c}, but {k} are known")));
    }
    let per_dim = 1.0 / d as f32;
    let logits = mixture.inter_logits(z, k)?;
    let shape = *logits.shape();
    let log_pi = mixture.log_inter()?;
    let stopped = constant(&mat(log_pi.as_vec(), 1, k)?);
    let with = |prior: Var| {
        let prior = prior.reshape_like(&(k,)).broadcast_like::<_, Axis<0>>(&shape);
        (logits.clone() + prior).logsumexp::<(usize,), Axis<1>>()
    };
    let inter = (with(log_pi) + log_det.clone()).mean::<Rank0, _>() * -per_dim;

    // The labels add up to 1, so `ln pi` cancels outside of the sum over classes.
    let mut labels = vec![smoothing / k as f32; n * k];
    class.iter().enumerate().for_each(|(n, c)| labels[n * k + *c as usize] += 1.0 - smoothing);
    let own = (logits.clone() * constant(&mat(labels, n, k)?)).sum::<(usize,), Axis<1>>();
    let information = (own - with(stopped)).mean::<Rank0, _>();

    let log_q = logits.log_softmax::<Axis<1>>();
    let entropy = (log_q.clone().exp() * log_q).sum::<(usize,), Axis<1>>().mean::<Rank0, _>() * -1.0;

    if phase == Phase::Inter {
        return Ok(Losses { inter, information, entropy, intra: None, logistic: None, distillation: None });
    }
    let joint = mixture.intra_log_density(z, class)? + log_det.clone();
    let intra = joint.clone().mean::<Rank0, _>() * -per_dim;
    let log_likelihood = joint - 0.5 * d as f32 * TAU.ln();
    let logistic = softplus(log_likelihood * -per_dim).mean::<Rank0, _>();
    Ok(Losses {
        inter,
        information,
        entropy,
        intra: Some(intra),
        logistic: Some(logistic),
        distillation: None,
    })
}
