//! The invertible linear coupling.

use ccnf::dfdx::prelude::{Axes2, Axis, BroadcastTo, HasShape, Rank0, SumTo};
use ccnf::prelude::*;
use ccnf::tensor::ops::{Activation, Layer};
use serde::{Deserialize, Serialize};

/// Config of the `linear` coupling, which has no keys.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LinearConfig {}

/// `y = W x + V c + b` with `W = L U`, `L` lower triangular with ones on its diagonal, `U` upper triangular with `exp(s)` on its; `c` is
/// the class row, then the position code. `ln|det| = sum of s`, the same for all tokens. It starts as the identity, to the last bit.
///
/// Its latent is a Gaussian with one covariance for all classes: behind class-private whitening a second, shared one, whose use is to be
/// trained against painted defects. There is no subnet, so nothing that FiLM could modulate.
///
/// The log-scales that a `scale` penalty sees are `s`. There is no warm-up.
///
/// Source: Kingma & Dhariwal 2018 (Glow), the invertible 1x1 convolution in its LU form, without the fixed permutation.
pub struct Linear {
    /// `[D, D]`: `L` below the diagonal, `s` on it, `U` above it.
    weight: Param,
    /// `V`, `[D, condition]`; none without a condition.
    shift: Option<Param>,
    /// `b`, `[1, D]`.
    bias: Param,
    /// Which entries of `weight` are below the diagonal, on it, above it: ones there.
    below: Mat,
    diagonal: Mat,
    above: Mat,
    baked: bool,
}

impl Linear {
    /// Builds one block.
    pub fn new(_config: LinearConfig, build: &Build<'_, CouplingSpec>) -> Result<Self> {
        use std::cmp::Ordering;
        let d = build.dim;
        let condition = build.class_width + build.position_width;
        let name = |what: &str| format!("{}.{what}", build.scope);
        let zeros = |what: &str, rows: usize, cols: usize| {
            Param::weight(name(what), Owner::Shared, vec![0.0; rows * cols], rows, cols)
        };
        let ones = |side: Ordering| {
            let at = |k: usize| f32::from(u8::from((k % d).cmp(&(k / d)) == side));
            mat((0..d * d).map(at).collect(), d, d)
        };
        Ok(Linear {
            weight: zeros("weight", d, d)?,
            shift: if condition > 0 { Some(zeros("shift", d, condition)?) } else { None },
            bias: zeros("bias", 1, d)?,
            below: ones(Ordering::Less)?,
            diagonal: ones(Ordering::Equal)?,
            above: ones(Ordering::Greater)?,
            baked: false,
        })
    }

    /// The log-scales `s`, alone on the diagonal, `[D, D]`.
    fn log_scales(&self) -> Var {
        self.weight.var() * constant(&self.diagonal)
    }

    /// `W`, `[D, D]`.
    fn product(&self) -> Result<Var> {
        let one = constant(&self.diagonal);
        let lower = self.weight.var() * constant(&self.below) + one.clone();
        let upper = self.weight.var() * constant(&self.above) + self.log_scales().exp() * one;
        // `linear` multiplies by a transpose.
        let transposed = ops::linear(&constant(&self.diagonal), &upper, None)?;
        Ok(ops::linear(&lower, &transposed, None)?)
    }

    /// `V c + b` as tables: the bias with the class's part, and the position's.
    fn offset(&self, condition: &BlockCondition) -> Result<Vec<RowTable>> {
        let bias = self.bias.var();
        let Some(shift) = &self.shift else { return Ok(vec![RowTable { table: bias, index: None }]) };
        let width = |t: &Option<RowTable>| t.as_ref().map_or(0, |t| t.table.shape().1);
        let parts = ops::split_cols(&shift.var(), &[width(&condition.class), width(&condition.position)])?;
        let class = match &condition.class {
            Some(c) => {
                RowTable { table: ops::linear(&c.table, &parts[0], Some(&bias))?, index: c.index.clone() }
            }
            None => RowTable { table: bias, index: None },
        };
        let position = condition.position.as_ref().map(|p| {
            Ok::<_, Error>(RowTable {
                table: ops::linear(&p.table, &parts[1], None)?,
                index: p.index.clone(),
            })
        });
        std::iter::once(Ok(class)).chain(position).collect()
    }

    fn layer(&self, condition: &BlockCondition) -> Result<Layer> {
        let tables = self.offset(condition)?;
        Ok(Layer { weight: self.product()?, tables, activation: Activation::Identity, film: None })
    }
}

impl Coupling for Linear {
    baked_is_a_mark!();

    fn hidden(&self) -> Vec<usize> {
        vec![]
    }

    fn mixes(&self) -> bool {
        true
    }

    fn forward(&self, x: &Var, condition: &BlockCondition) -> Result<CouplingOutput> {
        let n = x.shape().0;
        let y = ops::chain(x, &[self.layer(condition)?])?;
        let scales = self.log_scales();
        // One row of `s` for every token.
        let ones = mat(vec![1.0; x.shape().1], 1, x.shape().1)?;
        let row = ops::linear(&constant(&ones), &scales, None)?;
        let log_scale = ops::gather_rows(&row, &vec![0u32; n].into())?;
        let log_det = scales.sum::<Rank0, Axes2<0, 1>>().broadcast_like::<(usize,), Axis<0>>(&(n,));
        Ok(CouplingOutput { y, log_det, log_scale: Some(log_scale) })
    }

    fn inverse(&self, y: &Mat, condition: &BlockCondition) -> Result<Mat> {
        let (n, d) = *y.shape();
        // The offset of every token is what the block makes of zeros.
        let zeros = mat(vec![0.0; n * d], n, d)?;
        let offset = ops::chain(&constant(&zeros), &[self.layer(condition)?])?.as_vec();
        let mut x: Vec<f32> = y.as_vec().iter().zip(offset).map(|(y, o)| y - o).collect();
        let w = self.weight.to_vec();
        // Forward through `L`, then backward through `U`, each row of which begins with `exp(s)`.
        let dot = |row: usize, x: &[f32], of: std::ops::Range<usize>| -> f64 {
            of.map(|j| f64::from(w[row * d + j]) * f64::from(x[j])).sum()
        };
        for x in x.chunks_exact_mut(d) {
            for i in 0..d {
                x[i] = (f64::from(x[i]) - dot(i, x, 0..i)) as f32;
            }
            for i in (0..d).rev() {
                let rest = f64::from(x[i]) - dot(i, x, i + 1..d);
                x[i] = (rest * f64::from(-w[i * d + i]).exp()) as f32;
            }
        }
        Ok(mat(x, n, d)?)
    }
}

impl Stateful for Linear {
    fn params(&self) -> Vec<&Param> {
        [&self.weight, &self.bias].into_iter().chain(&self.shift).collect()
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        [&mut self.weight, &mut self.bias].into_iter().chain(&mut self.shift).collect()
    }
}

ccnf::register_component!(
    Coupling,
    "linear",
    LinearConfig,
    Linear::new,
    "invertible linear map (LU form) with a shift by class and position"
);

#[cfg(test)]
mod tests {
    use super::*;
    use ccnf::core::{Config, build};
    use serde_json::json;

    fn built(class_width: usize) -> Box<dyn Coupling> {
        let root =
            Config::from_json("test", &json!({ "coupling": { "kind": "linear" } })).unwrap().root().unwrap();
        let grid = Grid { height: 1, width: 1 };
        let (position_width, warmup_steps, streams) = (0, 0, Streams::new(1));
        let scope = "block0".into();
        let spec = CouplingSpec { scope, dim: 2, grid, class_width, position_width, warmup_steps, streams };
        build::<dyn Coupling>(&root.child("coupling"), &spec).unwrap()
    }

    fn condition(class: Option<RowTable>) -> BlockCondition {
        BlockCondition { class, position: None, film: vec![], private: None }
    }

    #[test]
    fn a_new_block_is_the_identity_to_the_last_bit() {
        let block = built(3);
        let (x, rows) = (Streams::new(2).normal("x", 10), Streams::new(3).normal("rows", 6));
        let index = Some(vec![0, 1, 1, 0, 0].into());
        let class = RowTable { table: constant(&mat(rows, 2, 3).unwrap()), index };
        let out = block.forward(&constant(&mat(x.clone(), 5, 2).unwrap()), &condition(Some(class))).unwrap();
        assert_eq!(out.y.as_vec(), x);
        assert_eq!(out.log_det.as_vec(), [0.0; 5]);
    }

    #[test]
    fn the_matrix_is_the_product_of_its_triangles() {
        let mut block = built(0);
        // L = [1 0; 3 1], U = [2 5; 0 1/2]: W = [2 5; 6 15.5], det 1.
        let half = 2f32.ln();
        block.params_mut()[0].set(vec![half, 5.0, 3.0, -half]).unwrap();
        block.params_mut()[1].set(vec![0.25, -1.0]).unwrap();
        let x = constant(&mat(vec![1.0, 0.0, 0.0, 1.0, 2.0, -1.0], 3, 2).unwrap());
        let out = block.forward(&x, &condition(None)).unwrap();
        let expected = [2.25, 5.0, 5.25, 14.5, -0.75, -4.5];
        let close =
            |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(close(&out.y.as_vec(), &expected), "{:?}", out.y.as_vec());
        assert!(close(&out.log_det.as_vec(), &[0.0; 3]));
        assert!(close(&out.log_scale.unwrap().as_vec(), &[half, -half, half, -half, half, -half]));
        let back = block.inverse(&mat(expected.to_vec(), 3, 2).unwrap(), &condition(None)).unwrap();
        assert!(close(&back.as_vec(), &x.as_vec()), "{:?}", back.as_vec());
    }
}
