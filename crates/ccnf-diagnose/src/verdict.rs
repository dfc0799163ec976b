//! What the intervals of a swap test say, in words.

use crate::variants::Difference;
use serde::{Deserialize, Serialize};

/// Which part of the model causes the loss of the first classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// There is no loss beyond the uncertainty of the test images.
    NoLoss,
    /// The flow.
    Flow,
    /// What the model has of the classes: mixture, rows, layers.
    ClassPart,
    /// Both of them.
    Both,
    /// The intervals do not say.
    Undecided,
}

/// An effect counts where its interval is above 0 and it is at least this part of the loss: with many test images an interval excludes 0
/// for effects that explain nothing.
const LEAST_PART: f64 = 0.1;

/// The contrasts of the swap test. `F` and `C` stand for the flow and the class part, 0 and T for the state after the first and after the
/// last stage.
pub(crate) struct Contrasts<'a> {
    /// `F0 C0 - FT CT`.
    pub(crate) loss: &'a Difference,
    /// `F0 C0 - FT C0`: the new flow alone.
    pub(crate) flow_alone: &'a Difference,
    /// `F0 C0 - F0 CT`: the new class part alone.
    pub(crate) class_alone: &'a Difference,
    /// `F0 CT - FT CT`: the old flow put back.
    pub(crate) flow_back: &'a Difference,
    /// `FT C0 - FT CT`: the old class part put back.
    pub(crate) class_back: &'a Difference,
}

fn bounds(d: &Difference) -> Option<(f64, f64, f64)> {
    Some((d.difference.value?, d.low.value?, d.high.value?))
}

fn said(d: &Difference) -> String {
    match bounds(d) {
        Some((v, low, high)) => format!("{v:+.3} (95 % interval {low:+.3} to {high:+.3})"),
        None => format!("undefined ({})", d.difference.reason.as_deref().unwrap_or("no value")),
    }
}

/// The cause of the loss and the sentences that say so; `class_part` is what the class part is called.
pub(crate) fn cause(c: &Contrasts<'_>, class_part: &str) -> (Cause, String) {
    let Some((loss, low, high)) = bounds(c.loss) else {
        let text = format!("Undecided: the loss is {}.", said(c.loss));
        return (Cause::Undecided, text);
    };
    let first = format!(
        "Between the first and the last stage the mean image AUROC of the first classes changes by {:+.3} (95 % interval {:+.3} to {:+.3}).",
        0.0 - loss,
        0.0 - high,
        0.0 - low
    );
    if low <= 0.0 {
        return (
            Cause::NoLoss,
            format!(
                "{first} There is no loss beyond the uncertainty of the test images, so nothing to explain."
            ),
        );
    }
    let counts = |d: &Difference| bounds(d).is_some_and(|(v, low, _)| low > 0.0 && v >= LEAST_PART * loss);
    let flow = counts(c.flow_alone) || counts(c.flow_back);
    let class = counts(c.class_alone) || counts(c.class_back);
    let effects = format!(
        "Putting back the first flow gives {}, putting back the first {class_part} {}. In the first model the last flow alone costs {}, the \
         last {class_part} alone {}.",
        said(c.flow_back),
        said(c.class_back),
        said(c.flow_alone),
        said(c.class_alone)
    );
    let (cause, verdict) = match (flow, class) {
        (true, false) => (Cause::Flow, "The loss is caused by the change of the flow.".to_owned()),
        (false, true) => (Cause::ClassPart, format!("The loss is caused by the change of the {class_part}.")),
        (true, true) => (Cause::Both, format!("The loss is caused by both, the flow and the {class_part}.")),
        (false, false) => {
            (Cause::Undecided, "The intervals do not say which part causes the loss.".to_owned())
        }
    };
    (cause, format!("{first} {effects} {verdict}"))
}

/// What a refit says: `recovered` is the last flow with the refit against the last model, `over_identity` the last flow with the refit
/// against the same refit without any flow.
pub(crate) fn refit(recovered: &Difference, over_identity: &Difference, cause: Cause) -> String {
    if cause == Cause::NoLoss {
        return "There is no loss that a refit could recover.".into();
    }
    let (Some((_, low, _)), Some((_, control, _))) = (bounds(recovered), bounds(over_identity)) else {
        return format!("The refit says nothing: its effect is {}.", said(recovered));
    };
    let effect = format!(
        "A Gaussian per class refitted on the last flow's latents changes the score by {}",
        said(recovered)
    );
    let against = format!("against the same Gaussian without any flow it is {}", said(over_identity));
    match (low > 0.0, control > 0.0) {
        (false, _) => format!("{effect}; {against}. The refit does not recover the loss."),
        (true, true) => {
            format!(
                "{effect}; {against}. It recovers more than no flow at all: the last flow still carries what the old classes need."
            )
        }
        (true, false) => format!(
            "{effect}; {against}. That is not above the control, so the recovery is no evidence that the flow remembers the old classes."
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::part::number;
    use ccnf_engine::Number;

    fn d(value: f64, half: f64) -> Difference {
        let n = number;
        Difference {
            name: "d".into(),
            first: "a".into(),
            second: "b".into(),
            difference: n(value),
            standard_error: n(half / 2.0),
            low: n(value - half),
            high: n(value + half),
        }
    }

    fn found(loss: (f64, f64), alone: [(f64, f64); 2], back: [(f64, f64); 2]) -> (Cause, String) {
        let [loss, flow_alone, class_alone, flow_back, class_back] =
            [loss, alone[0], alone[1], back[0], back[1]].map(|(v, half)| d(v, half));
        let contrasts = Contrasts {
            loss: &loss,
            flow_alone: &flow_alone,
            class_alone: &class_alone,
            flow_back: &flow_back,
            class_back: &class_back,
        };
        cause(&contrasts, "mixture")
    }

    #[test]
    fn the_cause_is_the_part_whose_interval_is_above_zero() {
        // As HGAD trained task by task gives them.
        let flow = found((0.223, 0.03), [(0.223, 0.03), (0.002, 0.004)], [(0.221, 0.03), (0.0, 0.003)]);
        assert_eq!(flow.0, Cause::Flow);
        assert!(flow.1.contains("caused by the change of the flow"), "{}", flow.1);
        let mixture = found((0.2, 0.03), [(0.0, 0.01), (0.2, 0.03)], [(0.0, 0.01), (0.2, 0.03)]);
        assert_eq!(mixture.0, Cause::ClassPart);
        // Each alone does all the damage and neither repairs it alone.
        let both = found((0.2, 0.03), [(0.2, 0.03), (0.19, 0.03)], [(0.0, 0.01), (0.0, 0.01)]);
        assert_eq!(both.0, Cause::Both);
        let wide = found((0.2, 0.03), [(0.1, 0.2), (0.1, 0.2)], [(0.1, 0.2), (0.1, 0.2)]);
        assert_eq!(wide.0, Cause::Undecided);
    }

    #[test]
    fn a_sure_but_tiny_effect_explains_nothing() {
        let found = found((0.2, 0.01), [(0.2, 0.01), (0.004, 0.001)], [(0.2, 0.01), (0.004, 0.001)]);
        assert_eq!(found.0, Cause::Flow);
    }

    #[test]
    fn without_a_loss_there_is_nothing_to_explain() {
        let none = found((0.01, 0.02), [(0.01, 0.001); 2], [(0.01, 0.001); 2]);
        assert_eq!(none.0, Cause::NoLoss);
        assert!(refit(&d(0.1, 0.01), &d(0.1, 0.01), none.0).contains("no loss"));
    }

    #[test]
    fn recovery_counts_only_above_the_control() {
        let of = |recovered, control| refit(&d(recovered, 0.02), &d(control, 0.02), Cause::Flow);
        assert!(of(0.2, -0.01).contains("no evidence"));
        assert!(of(0.2, 0.05).contains("still carries"));
        assert!(of(0.01, 0.05).contains("does not recover"));
    }

    #[test]
    fn what_is_undefined_decides_nothing() {
        let mut none = d(0.0, 0.0);
        none.difference = Number::undefined("no anomalous sample");
        let contrasts = Contrasts {
            loss: &none,
            flow_alone: &none,
            class_alone: &none,
            flow_back: &none,
            class_back: &none,
        };
        let (cause, text) = cause(&contrasts, "rows");
        assert_eq!(cause, Cause::Undecided);
        assert!(text.contains("no anomalous sample"), "{text}");
        assert!(refit(&none, &none, cause).contains("no anomalous sample"));
    }
}
