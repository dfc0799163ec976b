//! One row per class, each a tensor of its own, so that an optimiser can never move an older one.

use ccnf::prelude::*;

/// The class rows of one level.
pub struct ClassRows {
    scope: String,
    width: usize,
    role: Role,
    streams: Streams,
    rows: Vec<(String, Param)>,
}

impl ClassRows {
    /// No rows yet; those to come are trained.
    pub fn new(spec: &ConditionerSpec, width: usize) -> Self {
        ClassRows {
            scope: spec.scope.clone(),
            width,
            role: Role::Weight,
            streams: spec.streams,
            rows: vec![],
        }
    }

    /// No rows yet; those to come are fixed values.
    pub fn fixed(spec: &ConditionerSpec, width: usize) -> Self {
        ClassRows { role: Role::Buffer, ..ClassRows::new(spec, width) }
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
        let owner = Owner::Class(class.to_owned());
        let row = match self.role {
            Role::Weight => Param::weight(name, owner, values, 1, self.width)?,
            Role::Buffer => Param::buffer(name, owner, values, 1, self.width)?,
        };
        self.rows.push((class.to_owned(), row));
        Ok(())
    }

    /// The row of `class` is trained no more.
    pub fn fix(&mut self, class: &str) -> Result<()> {
        let row =
            self.rows.iter_mut().find(|(c, _)| c == class).map(|(_, r)| r).ok_or_else(|| unknown(class))?;
        *row = Param::buffer(row.name(), row.owner().clone(), row.to_vec(), 1, self.width)?;
        Ok(())
    }

    /// Removes the row of `class`.
    pub fn forget(&mut self, class: &str) -> Result<()> {
        let place = self.rows.iter().position(|(c, _)| c == class).ok_or_else(|| unknown(class))?;
        self.rows.remove(place);
        Ok(())
    }

    /// The known classes.
    pub fn classes(&self) -> Vec<String> {
        self.rows.iter().map(|(c, _)| c.clone()).collect()
    }

    /// The name of class number `class`.
    pub fn name(&self, class: usize) -> Option<&str> {
        self.rows.get(class).map(|(c, _)| c.as_str())
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

fn unknown(class: &str) -> Error {
    Error::new(ErrorKind::Contract, format!("class `{class}` has no row"))
}

impl Stateful for ClassRows {
    fn params(&self) -> Vec<&Param> {
        self.rows.iter().map(|(_, r)| r).collect()
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        self.rows.iter_mut().map(|(_, r)| r).collect()
    }
}
