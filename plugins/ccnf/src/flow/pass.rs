//! Tokens through the blocks of a flow, and back.

use super::{Block, Flow, FlowForward};
use crate::config::Mixing;
use crate::groups::Conditions;
use ccnf::dfdx::prelude::HasShape;
use ccnf::prelude::*;

impl Flow {
    fn order(mix: &Param) -> Index {
        mix.to_vec().iter().map(|v| *v as u32).collect()
    }

    /// Tokens to latents. `visit` sees the output of every block (for diagnosis).
    pub fn forward_with(
        &self,
        x: &Var,
        conditions: &Conditions,
        mut visit: impl FnMut(usize, &Var) -> Result<()>,
    ) -> Result<FlowForward> {
        let zero = ccnf::tensor::constant_vec(vec![0.0; x.shape().0])?;
        let all = FlowForward { z: x.clone(), log_det: zero, log_scales: vec![] };
        let (shared, private) = self.blocks.split_at(match conditions.is_split() {
            true => self.first_private,
            false => self.blocks.len(),
        });
        let mut all = self.run(0, shared, all, &conditions.blocks, &mut visit)?;
        if private.is_empty() {
            return Ok(all);
        }
        let first = shared.len();
        let parts = conditions.each(first, |rows, conditions| {
            let (z, log_det) = (ops::gather_rows(&all.z, rows)?, Conditions::pick(&all.log_det, rows)?);
            self.run(first, private, FlowForward { z, log_det, log_scales: vec![] }, conditions, &mut visit)
        })?;
        let scales = parts.first().map_or(0, |p| p.log_scales.len());
        for s in 0..scales {
            let parts = parts.iter().filter_map(|p| p.log_scales.get(s).cloned()).collect();
            all.log_scales.push(conditions.join(parts)?);
        }
        let (z, log_det) = parts.into_iter().map(|p| (p.z, p.log_det)).unzip();
        Ok(FlowForward { z: conditions.join(z)?, log_det: conditions.join_values(log_det)?, ..all })
    }

    /// Goes on through `blocks`, of which the first has the number `first`.
    fn run(
        &self,
        first: usize,
        blocks: &[Block],
        mut at: FlowForward,
        conditions: &[BlockCondition],
        visit: &mut impl FnMut(usize, &Var) -> Result<()>,
    ) -> Result<FlowForward> {
        // Log-determinants of the tokens before each Haar step.
        let mut finer = Vec::new();
        for (b, (block, condition)) in blocks.iter().zip(conditions).enumerate() {
            if self.scales.begins(first + b) {
                at.z = ops::haar(&at.z, self.scales.grid(finer.len()))?;
                let none = ccnf::tensor::constant_vec(vec![0.0; at.z.shape().0])?;
                finer.push(std::mem::replace(&mut at.log_det, none));
            }
            let out = block.coupling.forward(&at.z, condition)?;
            at.log_det = at.log_det + out.log_det;
            at.log_scales.extend(out.log_scale);
            at.z = match (&block.mix, self.mixing) {
                (Some(mix), Mixing::Rotation) => ops::linear(&out.y, &constant(mix.value()), None)?,
                (Some(mix), Mixing::Permutation) => ops::permute_cols(&out.y, &Self::order(mix))?,
                _ => out.y,
            };
            visit(first + b, &at.z)?;
        }
        while let Some(before) = finer.pop() {
            at.log_det = before + self.scales.spread_once(at.log_det, finer.len() + 1)?;
        }
        Ok(at)
    }

    /// Tokens to latents.
    pub fn forward(&self, x: &Var, conditions: &Conditions) -> Result<FlowForward> {
        self.forward_with(x, conditions, |_, _| Ok(()))
    }

    /// Latents to tokens.
    pub fn inverse(&self, z: &Mat, conditions: &Conditions) -> Result<Mat> {
        if !conditions.is_split() {
            return self.back(&self.blocks, z.clone(), &conditions.blocks);
        }
        let (shared, private) = self.blocks.split_at(self.first_private);
        let parts = conditions.each(shared.len(), |rows, conditions| {
            let part = ops::gather_rows(&constant(z), rows)?;
            self.back(private, mat(part.as_vec(), rows.len(), self.level.channels)?, conditions)
        })?;
        self.back(shared, conditions.join_matrices(&parts)?, &conditions.blocks)
    }

    /// Back through `blocks`.
    fn back(&self, blocks: &[Block], z: Mat, conditions: &[BlockCondition]) -> Result<Mat> {
        let mut h = z;
        // Only a flow without private blocks has Haar steps; then these are all its blocks.
        for (b, (block, condition)) in blocks.iter().zip(conditions).enumerate().rev() {
            let (n, d) = *h.shape();
            let v = match (&block.mix, self.mixing) {
                (Some(mix), Mixing::Rotation) => {
                    // v_row = y_row R, because R is orthogonal.
                    let r = mix.to_vec();
                    let transposed = (0..d * d).map(|k| r[(k % d) * d + k / d]).collect();
                    let v = ops::linear(&constant(&h), &constant(&mat(transposed, d, d)?), None)?;
                    mat(v.as_vec(), n, d)?
                }
                (Some(mix), Mixing::Permutation) => {
                    let order = Self::order(mix);
                    let mut back = vec![0u32; d];
                    order.iter().enumerate().for_each(|(j, from)| back[*from as usize] = j as u32);
                    mat(ops::permute_cols(&constant(&h), &back.into())?.as_vec(), n, d)?
                }
                _ => h,
            };
            h = block.coupling.inverse(&v, condition)?;
            if self.scales.begins(b) {
                let fine = ops::haar_inverse(&constant(&h), self.scales.grid(self.scales.depth(b) - 1))?;
                h = mat(fine.as_vec(), 4 * n, d / 4)?;
            }
        }
        Ok(h)
    }
}
