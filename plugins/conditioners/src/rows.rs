//! One row per class, each a tensor of its own, so that an optimiser can never move an older one.

use ccnf::prelude::*;

/// The class rows of one level.
pub struct ClassRows {
    scope: String,
    width: usize,
    streams: Streams,
    rows: Vec<(String, Param)>,
}

impl ClassRows {
    /// No rows yet.
    pub fn new(spec: &ConditionerSpec, width: usize) -> Self {
        ClassRows { scope: spec.scope.clone(), width, streams: spec.streams, rows: vec![] }
    }

    /// Length of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Adds the row of `class`.
    pub fn grow(&mut self, class: &str, init: &RowInit) -> Result<()> {
        if self.rows.iter().any(|(c, _)| c == class) {
            return Err(Error::new(ErrorKind::Contract, format!("class `{class}` is already known")));
        }
        let name = format!("{}.row.{class}", self.scope);
        let values = match init {
            RowInit::Random => self.streams.normal(&name, self.width),
            RowInit::Values(v) if v.len() == self.width => v.clone(),
            RowInit::Values(v) => {
                return Err(Error::new(
                    ErrorKind::Contract,
                    format!("a class row has {} values, not {}", self.width, v.len()),
                ));
            }
        };
        let row = Param::weight(name, Owner::Class(class.to_owned()), values, 1, self.width)?;
        self.rows.push((class.to_owned(), row));
        Ok(())
    }

    /// The known classes.
    pub fn classes(&self) -> Vec<String> {
        self.rows.iter().map(|(c, _)| c.clone()).collect()
    }

    fn row(&self, class: usize) -> Result<&Param> {
        self.rows.get(class).map(|(_, r)| r).ok_or_else(|| {
            Error::new(ErrorKind::Contract, format!("class number {class} of {} known ones", self.rows.len()))
        })
    }

    /// The values of a row.
    pub fn values(&self, class: usize) -> Result<Vec<f32>> {
        Ok(self.row(class)?.to_vec())
    }

    /// Replaces the values of a row.
    pub fn set(&mut self, class: usize, values: Vec<f32>) -> Result<()> {
        self.row(class)?;
        Ok(self.rows[class].1.set(values)?)
    }

    /// The rows of `classes` as one table, `[classes, width]`.
    pub fn table(&self, classes: &[usize]) -> Result<Var> {
        let rows = classes.iter().map(|c| Ok(self.row(*c)?.var())).collect::<Result<Vec<_>>>()?;
        Ok(ops::stack_rows(&rows)?)
    }
}

impl Stateful for ClassRows {
    fn params(&self) -> Vec<&Param> {
        self.rows.iter().map(|(_, r)| r).collect()
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        self.rows.iter_mut().map(|(_, r)| r).collect()
    }
}
