//! The rows of a batch by the class whose private parts they use.

use ccnf::dfdx::prelude::{Axis, HasShape, ReshapeTo, TryConcatAlong};
use ccnf::prelude::*;
use std::sync::Arc;

/// The condition of a batch of tokens for every block of a flow, and which tokens use whose private parts.
pub struct Conditions {
    pub(crate) blocks: Vec<BlockCondition>,
    /// Empty where all tokens go through the blocks together.
    groups: Vec<Group>,
}

/// Tokens that go through the private blocks together.
struct Group {
    class: Option<Arc<str>>,
    rows: Index,
}

impl Conditions {
    /// Conditions `blocks` of tokens whose entries in `owners` (the class with private parts, or `None`) are `token`. The blocks from
    /// `first` on have private parts.
    pub(crate) fn new(
        mut blocks: Vec<BlockCondition>,
        owners: &[Option<Arc<str>>],
        token: &Index,
        first: usize,
    ) -> Self {
        let private = owners.iter().any(Option::is_some) && first < blocks.len();
        let mut rows: Vec<(Option<Arc<str>>, Vec<u32>)> = Vec::new();
        for (n, entry) in token.iter().enumerate().filter(|_| private) {
            let class = owners.get(*entry as usize).cloned().flatten();
            match rows.iter_mut().find(|(c, _)| *c == class) {
                Some((_, rows)) => rows.push(n as u32),
                None => rows.push((class, vec![n as u32])),
            }
        }
        if let [(class, _)] = rows.as_slice() {
            blocks[first..].iter_mut().for_each(|b| b.private.clone_from(class));
            rows.clear();
        }
        let groups = rows.into_iter().map(|(class, rows)| Group { class, rows: rows.into() }).collect();
        Conditions { blocks, groups }
    }

    /// Whether the tokens have to be split.
    pub(crate) fn is_split(&self) -> bool {
        !self.groups.is_empty()
    }

    /// Runs `blocks` on the rows `x` of each group by itself, under the conditions of the blocks from `first` on; the results are in the
    /// order of the groups.
    pub(crate) fn each<T>(
        &self,
        first: usize,
        mut run: impl FnMut(&Index, &[BlockCondition]) -> Result<T>,
    ) -> Result<Vec<T>> {
        let one = |group: &Group| {
            let of = |block: &BlockCondition| restricted(block, group);
            let conditions: Vec<BlockCondition> =
                self.blocks.get(first..).unwrap_or_default().iter().map(of).collect();
            run(&group.rows, &conditions)
        };
        self.groups.iter().map(one).collect()
    }

    /// One value per row of the batch, for the rows of a group.
    pub(crate) fn pick(values: &VarVec, rows: &Index) -> Result<VarVec> {
        let n = values.shape().0;
        let picked = ops::gather_rows(&values.clone().reshape_like(&(n, 1)), rows)?;
        Ok(picked.reshape_like(&(rows.len(),)))
    }

    /// Puts the rows of the groups back in the order of the batch.
    pub(crate) fn join(&self, parts: Vec<Var>) -> Result<Var> {
        let mut parts = parts.into_iter();
        let Some(mut all) = parts.next() else {
            return Err(Error::new(ErrorKind::Contract, "a batch without groups cannot be joined"));
        };
        for part in parts {
            all = (all, part)
                .try_concat_along(Axis::<0>)
                .map_err(|e| Error::new(ErrorKind::Tensor, format!("{e:?}")))?;
        }
        match self.places() {
            None => Ok(all),
            Some(places) => Ok(ops::gather_rows(&all, &places)?),
        }
    }

    /// [`join`](Self::join) of one value per row.
    pub(crate) fn join_values(&self, parts: Vec<VarVec>) -> Result<VarVec> {
        let column = |v: VarVec| {
            let n = v.shape().0;
            v.reshape_like(&(n, 1))
        };
        let all = self.join(parts.into_iter().map(column).collect())?;
        let n = all.shape().0;
        Ok(all.reshape_like(&(n,)))
    }

    /// [`join`](Self::join) of matrices without gradient.
    pub(crate) fn join_matrices(&self, parts: &[Mat]) -> Result<Mat> {
        let joined = self.join(parts.iter().map(constant).collect())?;
        let (n, d) = *joined.shape();
        Ok(mat(joined.as_vec(), n, d)?)
    }

    /// Where each row of the batch is when the groups stand one after the other; `None` where that is its place.
    fn places(&self) -> Option<Index> {
        let order = || self.groups.iter().flat_map(|g| g.rows.iter().copied());
        if order().enumerate().all(|(n, row)| n as u32 == row) {
            return None;
        }
        let mut places = vec![0; order().count()];
        order().enumerate().for_each(|(n, row)| places[row as usize] = n as u32);
        Some(places.into())
    }
}

/// The condition of a block for the rows of a group alone; the tables stay whole.
fn restricted(block: &BlockCondition, group: &Group) -> BlockCondition {
    let table = |t: &RowTable| RowTable {
        table: t.table.clone(),
        index: t.index.as_ref().map(|i| group.rows.iter().map(|row| i[*row as usize]).collect()),
    };
    BlockCondition {
        class: block.class.as_ref().map(table),
        position: block.position.as_ref().map(table),
        film: block.film.iter().map(|f| Film { rows: table(&f.rows), ..f.clone() }).collect(),
        private: group.class.clone(),
    }
}
