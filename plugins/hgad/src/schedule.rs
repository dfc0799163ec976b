//! Learning rate and phases over the steps of a stage.

use crate::loss::Phase;

/// A stage is cut into this many equal parts, the method's meta epochs.
const EPOCHS: u64 = 25;
/// Of which so many make the ramp and the first phase.
const RAMP: u64 = 2;

/// The phase of step `step` of `steps`: the first 2 of 25 parts are without the intra-class terms.
pub fn phase(step: u64, steps: u64) -> Phase {
    if step * EPOCHS < RAMP * steps { Phase::Inter } else { Phase::Full }
}

/// The learning rate of step `step` of `steps`: over the first 2 of 25 parts linear from `base / 10`, then constant within a part and
/// from part to part a cosine from `base` to `base / 1000`.
pub fn learning_rate(base: f64, step: u64, steps: u64) -> f64 {
    let floor = base * 1e-3;
    let cosine = |epoch: f64| {
        let turn = std::f64::consts::PI * epoch / EPOCHS as f64;
        floor + (base - floor) * (1.0 + turn.cos()) / 2.0
    };
    if phase(step, steps) == Phase::Inter {
        let done = (step * EPOCHS) as f64 / (RAMP * steps) as f64;
        let from = base / 10.0;
        return from + done * (cosine(RAMP as f64) - from);
    }
    cosine((step * EPOCHS / steps.max(1)).min(EPOCHS) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_phase_is_eight_percent_of_the_steps() {
        let first = (0..400).filter(|s| phase(*s, 400) == Phase::Inter).count();
        assert_eq!(first, 32);
        assert_eq!(phase(0, 1), Phase::Inter);
        assert_eq!(phase(32, 400), Phase::Full);
    }

    #[test]
    fn the_rate_rises_in_the_ramp_and_never_afterwards() {
        let rates: Vec<f64> = (0..250).map(|s| learning_rate(2e-3, s, 250)).collect();
        assert_eq!(rates[0], 2e-4);
        assert!(rates[..20].windows(2).all(|w| w[0] < w[1]));
        assert!(rates[20..].windows(2).all(|w| w[0] >= w[1]));
        assert!(rates[249] > 2e-6 && rates[249] < 1e-5);
    }
}
