//! What a sequence of tasks did to accuracy: averages, forgetting, backward transfer.

use serde::{Deserialize, Serialize};

use crate::metric::Metric;
use crate::rmatrix::RMatrix;

/// Summary of an [`RMatrix`] `a[t][c]` with tasks t = 0..=T; all values are in the unit of its entries.
///
/// A class with an undefined value is left out of the means that need that value (see [`left_out`]); a mean
/// over no class is undefined.
///
/// [`left_out`]: Self::left_out
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContinualSummary {
    /// S_t = mean of `a[t][c]` over the classes learnt up to task t, `[tasks]`.
    pub per_task: Vec<Metric>,
    /// ACC_final = S_T.
    pub acc_final: Metric,
    /// ACC_avg = mean of S_t over t = 0..=T. Undefined if some S_t is.
    pub acc_avg: Metric,
    /// Forgetting measure (Chaudhry et al. 2018): mean over the classes learnt before task T of max over t =
    /// task(c)..T-1 of `a[t][c]`, minus `a[T][c]`. Positive = forgotten; negative (improved since) is not
    /// clipped. Needs every value of a class from its own task on; undefined for a single task.
    pub fm: Metric,
    /// Drop of the average below the base task: mean over t = 1..=T of S_0 - S_t. Also counts that later
    /// classes are harder. Undefined for a single task or if some S_t is.
    pub fm_base: Metric,
    /// Backward transfer (Lopez-Paz and Ranzato 2017) over the same classes as `fm`: mean of
    /// `a[T][c]` - `a[task(c)][c]`. Negative = forgotten.
    pub bwt: Metric,
    /// Classes with an undefined value at or after their own task, ascending: the means above miss them
    /// somewhere.
    pub left_out: Vec<usize>,
}

impl ContinualSummary {
    /// Name and reason of every undefined value, in the order of the fields (`per_task[t]`, `acc_final`,
    /// ...).
    #[must_use]
    pub fn undefined(&self) -> Vec<(String, &str)> {
        let per_task = self.per_task.iter().enumerate().map(|(t, metric)| (format!("per_task[{t}]"), metric));
        let scalars = [
            ("acc_final", &self.acc_final),
            ("acc_avg", &self.acc_avg),
            ("fm", &self.fm),
            ("fm_base", &self.fm_base),
            ("bwt", &self.bwt),
        ];
        per_task
            .chain(scalars.map(|(name, metric)| (name.to_owned(), metric)))
            .filter_map(|(name, metric)| Some((name, metric.reason()?)))
            .collect()
    }
}

/// Summarises a result matrix; the formulas stand at the fields of [`ContinualSummary`].
///
/// ```
/// use ccnf_metrics::{Metric, RMatrix, continual_summary};
///
/// let rows = vec![
///     vec![Metric::of(0.75), Metric::undefined("not learnt yet")],
///     vec![Metric::of(0.5), Metric::of(1.0)],
/// ];
/// let summary = continual_summary(&RMatrix::from_rows(rows, vec![0, 1])?);
/// assert_eq!(summary.acc_final.value(), Some(0.75));
/// assert_eq!(summary.fm.value(), Some(0.25));
/// assert_eq!(summary.bwt.value(), Some(-0.25));
/// assert_eq!(summary.fm_base.value(), Some(0.0));
/// # Ok::<(), ccnf_metrics::MetricsError>(())
/// ```
#[must_use]
pub fn continual_summary(r: &RMatrix) -> ContinualSummary {
    let per_task: Vec<Metric> = (0..r.tasks()).map(|task| task_mean(r, task)).collect();
    let acc_final = per_task.last().cloned().unwrap_or_else(|| Metric::undefined("no task"));
    let (acc_avg, fm_base) = over_tasks(&per_task);
    let (fm, bwt) = forgetting(r);
    let left_out = (0..r.classes()).filter(|&class| history(r, class).is_none()).collect();
    ContinualSummary { per_task, acc_final, acc_avg, fm, fm_base, bwt, left_out }
}

/// S_t.
fn task_mean(r: &RMatrix, task: usize) -> Metric {
    let seen = || r.row(task).into_iter().flatten().zip(r.task_of_class()).filter(|&(_, &own)| own <= task);
    mean(seen().filter_map(|(metric, _)| metric.value())).unwrap_or_else(|| {
        Metric::undefined(match seen().find_map(|(metric, _)| metric.reason()) {
            Some(reason) => format!("no class has a value after task {task}: {reason}"),
            None => format!("no class is learnt up to task {task}"),
        })
    })
}

/// ACC_avg and FM_base.
fn over_tasks(per_task: &[Metric]) -> (Metric, Metric) {
    let means: Result<Vec<f64>, Metric> = per_task
        .iter()
        .map(|metric| {
            metric.value().ok_or_else(|| Metric::undefined(metric.reason().unwrap_or("").to_owned()))
        })
        .collect();
    let acc_avg = match &means {
        Ok(means) => mean(means.iter().copied()).unwrap_or_else(|| Metric::undefined("no task")),
        Err(undefined) => undefined.clone(),
    };
    let fm_base = match means {
        _ if per_task.len() < 2 => single_task(),
        Ok(means) => mean(means[1..].iter().map(|later| means[0] - later)).unwrap_or_else(single_task),
        Err(undefined) => undefined,
    };
    (acc_avg, fm_base)
}

/// FM and BWT, over the same classes.
fn forgetting(r: &RMatrix) -> (Metric, Metric) {
    let last_task = r.tasks().saturating_sub(1);
    if last_task == 0 {
        return (single_task(), single_task());
    }
    let earlier: Vec<usize> =
        (0..r.classes()).filter(|&class| r.task_of_class()[class] < last_task).collect();
    let (mut drops, mut transfers) = (Vec::new(), Vec::new());
    for history in earlier.iter().filter_map(|&class| history(r, class)) {
        if let [first, .., last] = history[..] {
            let best = history[..history.len() - 1].iter().copied().fold(f64::NEG_INFINITY, f64::max);
            drops.push(best - last);
            transfers.push(last - first);
        }
    }
    let undefined = || {
        Metric::undefined(if earlier.is_empty() {
            "no class is learnt before the last task"
        } else {
            "no class of an earlier task has all its values"
        })
    };
    (mean(drops.into_iter()).unwrap_or_else(undefined), mean(transfers.into_iter()).unwrap_or_else(undefined))
}

/// The values of a class from its own task to the last, or `None` if one of them is undefined.
fn history(r: &RMatrix, class: usize) -> Option<Vec<f64>> {
    (r.task_of_class()[class]..r.tasks()).map(|task| r.get(task, class)?.value()).collect()
}

fn single_task() -> Metric {
    Metric::undefined("undefined for a single task")
}

fn mean(values: impl Iterator<Item = f64>) -> Option<Metric> {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| Metric::of(sum / count as f64))
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;
    use crate::error::MetricsError;

    fn summary(rows: &[&[f64]], task_of_class: &[usize]) -> Result<ContinualSummary, MetricsError> {
        let rows = rows.iter().map(|row| row.iter().map(|&value| Metric::of(value)).collect()).collect();
        Ok(continual_summary(&RMatrix::from_rows(rows, task_of_class.to_vec())?))
    }

    fn close(metric: &Metric, expected: f64) {
        assert_abs_diff_eq!(metric.value().unwrap_or(f64::NAN), expected, epsilon = 1e-12);
    }

    const NONE: f64 = f64::NAN;

    #[test]
    fn three_tasks_by_hand() -> Result<(), MetricsError> {
        let s = summary(&[&[0.8, NONE, NONE], &[0.9, 0.6, NONE], &[0.7, 0.5, 1.0]], &[0, 1, 2])?;
        close(&s.per_task[1], 0.75);
        close(&s.acc_final, 2.2 / 3.0);
        close(&s.acc_avg, (0.8 + 0.75 + 2.2 / 3.0) / 3.0);
        close(&s.fm, ((0.9 - 0.7) + (0.6 - 0.5)) / 2.0);
        close(&s.bwt, ((0.7 - 0.8) + (0.5 - 0.6)) / 2.0);
        close(&s.fm_base, (0.05 + 0.8 - 2.2 / 3.0) / 2.0);
        assert_eq!(s.left_out, [0; 0]);
        Ok(())
    }

    #[test]
    fn values_before_the_task_of_a_class_are_ignored() -> Result<(), MetricsError> {
        let lower = summary(&[&[0.8, NONE], &[0.7, 0.6]], &[0, 1])?;
        assert_eq!(summary(&[&[0.8, 0.99], &[0.7, 0.6]], &[0, 1])?, lower);
        Ok(())
    }

    #[test]
    fn forgetting_is_negative_when_old_classes_improve() -> Result<(), MetricsError> {
        let s = summary(&[&[0.6, NONE], &[0.8, 0.9]], &[0, 1])?;
        close(&s.fm, -0.2);
        close(&s.bwt, 0.2);
        Ok(())
    }

    #[test]
    fn a_single_task_has_no_forgetting() -> Result<(), MetricsError> {
        let s = summary(&[&[0.9, 0.7]], &[0, 0])?;
        close(&s.acc_final, 0.8);
        close(&s.acc_avg, 0.8);
        let names: Vec<String> = s.undefined().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["fm", "fm_base", "bwt"]);
        assert_eq!(s.fm.reason(), Some("undefined for a single task"));
        Ok(())
    }

    #[test]
    fn undefined_classes_are_left_out_of_every_mean() -> Result<(), MetricsError> {
        let with = summary(&[&[0.8, NONE, NONE], &[0.6, NONE, 0.9]], &[0, 0, 1])?;
        let without = summary(&[&[0.8, NONE], &[0.6, 0.9]], &[0, 1])?;
        assert_eq!(with.left_out, [1]);
        assert_eq!(ContinualSummary { left_out: vec![], ..with }, without);
        Ok(())
    }

    #[test]
    fn a_class_with_a_gap_counts_where_it_has_a_value_but_not_in_forgetting() -> Result<(), MetricsError> {
        let s = summary(&[&[0.8, 0.4], &[0.6, NONE], &[0.5, 0.1]], &[0, 0])?;
        close(&s.per_task[0], 0.6);
        close(&s.per_task[1], 0.6);
        close(&s.fm, 0.8 - 0.5);
        close(&s.bwt, 0.5 - 0.8);
        assert_eq!(s.left_out, [1]);
        Ok(())
    }

    #[test]
    fn a_task_without_a_value_makes_the_averages_over_tasks_undefined() -> Result<(), MetricsError> {
        let s = summary(&[&[NONE, NONE], &[NONE, 0.9]], &[0, 1])?;
        close(&s.acc_final, 0.9);
        for metric in [&s.acc_avg, &s.fm_base] {
            assert!(metric.reason().is_some_and(|reason| reason.contains("after task 0")), "{metric}");
        }
        assert_eq!(s.fm.reason(), Some("no class of an earlier task has all its values"));
        Ok(())
    }

    #[test]
    fn classes_of_the_last_task_alone_have_no_forgetting() -> Result<(), MetricsError> {
        let s = summary(&[&[NONE], &[0.9]], &[1])?;
        assert_eq!(s.fm.reason(), Some("no class is learnt before the last task"));
        assert_eq!(s.per_task[0].reason(), Some("no class is learnt up to task 0"));
        Ok(())
    }
}
