//! The result matrix of a continual run.

use serde::{Deserialize, Serialize};

use crate::error::MetricsError;
use crate::metric::Metric;

/// `a[t][c]`: the metric (higher is better, usually AUROC) of class c measured after task t, for t = 0..=T.
///
/// Entries before the task of a class (t < task(c)) may hold values; they are ignored by every summary.
/// Serialised as `{"task_of_class": [...], "rows": [[...], ...]}`, undefined entries as `null`.
///
/// ```
/// use ccnf_metrics::{Metric, RMatrix};
///
/// let mut r = RMatrix::new(2, vec![0, 1])?; // two tasks, one class each
/// r.set(0, 0, Metric::of(0.9))?;
/// r.set(1, 0, Metric::of(0.5))?;
/// r.set(1, 1, Metric::of(1.0))?;
/// assert_eq!(r.get(1, 0).and_then(Metric::value), Some(0.5));
/// assert_eq!(r.get(0, 1).and_then(Metric::reason), Some("not evaluated"));
/// # Ok::<(), ccnf_metrics::MetricsError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct RMatrix {
    task_of_class: Vec<usize>,
    rows: Vec<Vec<Metric>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    task_of_class: Vec<usize>,
    rows: Vec<Vec<Metric>>,
}

impl TryFrom<Unchecked> for RMatrix {
    type Error = MetricsError;

    fn try_from(matrix: Unchecked) -> Result<Self, MetricsError> {
        Self::from_rows(matrix.rows, matrix.task_of_class)
    }
}

impl RMatrix {
    /// A matrix of `tasks` rows and one column per entry of `task_of_class` (the task, from 0, in which that
    /// class is learnt), with every entry undefined ("not evaluated").
    ///
    /// # Errors
    ///
    /// [`MetricsError::EmptyMatrix`], [`MetricsError::TaskOfClass`].
    pub fn new(tasks: usize, task_of_class: Vec<usize>) -> Result<Self, MetricsError> {
        let row = vec![Metric::undefined("not evaluated"); task_of_class.len()];
        Self::from_rows(vec![row; tasks], task_of_class)
    }

    /// A matrix from its rows, `[tasks, classes]`.
    ///
    /// # Errors
    ///
    /// [`MetricsError::EmptyMatrix`], [`MetricsError::RowLength`], [`MetricsError::TaskOfClass`].
    pub fn from_rows(rows: Vec<Vec<Metric>>, task_of_class: Vec<usize>) -> Result<Self, MetricsError> {
        let (tasks, classes) = (rows.len(), task_of_class.len());
        if tasks == 0 || classes == 0 {
            return Err(MetricsError::EmptyMatrix { tasks, classes });
        }
        if let Some((task, row)) = rows.iter().enumerate().find(|(_, row)| row.len() != classes) {
            return Err(MetricsError::RowLength { task, classes, found: row.len() });
        }
        if let Some((class, &task)) = task_of_class.iter().enumerate().find(|&(_, &task)| task >= tasks) {
            return Err(MetricsError::TaskOfClass { class, task, tasks });
        }
        Ok(Self { task_of_class, rows })
    }

    /// Number of tasks, T + 1.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.rows.len()
    }

    /// Number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.task_of_class.len()
    }

    /// The task in which each class is learnt, `[classes]`.
    #[must_use]
    pub fn task_of_class(&self) -> &[usize] {
        &self.task_of_class
    }

    /// The entries after one task, `[classes]`.
    #[must_use]
    pub fn row(&self, task: usize) -> Option<&[Metric]> {
        self.rows.get(task).map(Vec::as_slice)
    }

    /// The entry of a class after a task, `None` outside the matrix.
    #[must_use]
    pub fn get(&self, task: usize, class: usize) -> Option<&Metric> {
        self.rows.get(task)?.get(class)
    }

    /// Replaces the entry of a class after a task.
    ///
    /// # Errors
    ///
    /// [`MetricsError::NoSuchEntry`].
    pub fn set(&mut self, task: usize, class: usize, metric: Metric) -> Result<(), MetricsError> {
        let (tasks, classes) = (self.tasks(), self.classes());
        let entry = self.rows.get_mut(task).and_then(|row| row.get_mut(class));
        *entry.ok_or(MetricsError::NoSuchEntry { task, class, tasks, classes })? = metric;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_shapes_are_rejected() {
        assert_eq!(RMatrix::new(0, vec![]), Err(MetricsError::EmptyMatrix { tasks: 0, classes: 0 }));
        assert_eq!(
            RMatrix::new(2, vec![0, 2]),
            Err(MetricsError::TaskOfClass { class: 1, task: 2, tasks: 2 })
        );
        let ragged = vec![vec![Metric::of(1.0)], vec![]];
        assert_eq!(
            RMatrix::from_rows(ragged, vec![0]),
            Err(MetricsError::RowLength { task: 1, classes: 1, found: 0 })
        );
    }

    #[test]
    fn entries_outside_are_errors() -> Result<(), MetricsError> {
        let mut r = RMatrix::new(1, vec![0])?;
        assert_eq!(r.get(1, 0), None);
        assert!(matches!(r.set(0, 1, Metric::of(0.0)), Err(MetricsError::NoSuchEntry { .. })));
        Ok(())
    }

    #[test]
    fn round_trips_through_json_and_is_checked_on_the_way_in() -> Result<(), Box<dyn std::error::Error>> {
        let text = r#"{"task_of_class":[0,1],"rows":[[0.5,null],[0.25,1.0]]}"#;
        let r: RMatrix = serde_json::from_str(text)?;
        assert_eq!(serde_json::to_string(&r)?, text);
        assert!(serde_json::from_str::<RMatrix>(r#"{"task_of_class":[3],"rows":[[0.5]]}"#).is_err());
        Ok(())
    }
}
