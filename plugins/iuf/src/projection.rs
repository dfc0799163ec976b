//! The projection of gradients to directions that earlier tasks do not use.

use ccnf::dfdx::prelude::TryMatMul;
use ccnf::prelude::*;
use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::{Accum, Mat as Matrix, MatMut, MatRef, Par, linalg::matmul::matmul};

/// Eigenvalues, falling, and eigenvectors (as rows, `[d, d]`) of `H^T H`; `rows` are the values of `H`, `[n, d]` row-major.
///
/// The eigenvectors are an orthonormal basis whatever `n` is: where `H` has less than full rank the rest is completed.
pub(crate) fn eigen<'a>(rows: impl Iterator<Item = &'a f32>, d: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    let h: Vec<f64> = rows.map(|v| f64::from(*v)).collect();
    let mut gram = vec![0.0; d * d];
    let matrix = MatRef::from_row_major_slice(h.as_slice(), h.len() / d.max(1), d);
    let target = MatMut::from_row_major_slice_mut(&mut gram, d, d);
    matmul(target, Accum::Replace, matrix.transpose(), matrix, 1.0, Par::Seq);
    let (mut values, mut vectors) = (Diag::<f64>::zeros(d), Matrix::<f64>::zeros(d, d));
    let params = Default::default();
    let scratch = self_adjoint_evd_scratch::<f64>(d, ComputeEigenvectors::Yes, Par::Seq, params);
    let mut memory = MemBuffer::new(scratch);
    // One thread: the result must not depend on their number.
    self_adjoint_evd(
        MatRef::from_row_major_slice(gram.as_slice(), d, d),
        values.as_mut(),
        Some(vectors.as_mut()),
        Par::Seq,
        MemStack::new(&mut memory),
        params,
    )
    .map_err(|e| Error::new(ErrorKind::NonFinite, format!("an eigendecomposition failed: {e:?}")))?;
    let falling = (0..d).rev();
    let eigenvalues = falling.clone().map(|i| values.column_vector()[i]).collect();
    let eigenvectors = falling.flat_map(|i| (0..d).map(move |j| (i, j))).map(|(i, j)| vectors[(j, i)]);
    Ok((eigenvalues, eigenvectors.collect()))
}

/// `w_i = ln(i + 1) / ln d`, i = 0..d: 0 for the strongest old direction, 1 for the weakest (spec section 7).
pub fn ramp(d: usize) -> Vec<f64> {
    (0..d).map(|i| ((i + 1) as f64).ln() / (d as f64).ln()).collect()
}

/// `P = V diag(w) V^T` of one layer (spec section 7).
///
/// `H = U S V^T` has a row per training image seen so far: the layer's output averaged over the image's tokens, not centred. `G' = P G`
/// takes the strongest direction of `H` out of a gradient and lets the weakest pass. The published update needs at least `d` rows; here
/// missing directions are completed to a basis, and as the weakest they pass best.
#[derive(Debug, Clone)]
pub struct Basis {
    matrix: Mat,
    singular_values: Vec<f64>,
}

impl Basis {
    /// From the rows of `H`, `[n, d]`, with the weights `w` (see [`ramp`]).
    pub fn new<'a>(rows: impl Iterator<Item = &'a f32>, d: usize, weights: &[f64]) -> Result<Basis> {
        let (eigenvalues, v) = eigen(rows, d)?;
        let scaled: Vec<f64> =
            v.chunks_exact(d).zip(weights).flat_map(|(row, w)| row.iter().map(move |v| v * w)).collect();
        let mut p = vec![0.0; d * d];
        matmul(
            MatMut::from_row_major_slice_mut(&mut p, d, d),
            Accum::Replace,
            MatRef::from_row_major_slice(v.as_slice(), d, d).transpose(),
            MatRef::from_row_major_slice(scaled.as_slice(), d, d),
            1.0,
            Par::Seq,
        );
        let singular_values = eigenvalues.iter().map(|l| l.max(0.0).sqrt()).collect();
        Ok(Basis { matrix: mat(p.iter().map(|v| *v as f32).collect(), d, d)?, singular_values })
    }

    /// `P G` for a gradient of a weight `[d, inputs]` or, with one input, of a bias.
    pub fn project(&self, gradient: Vec<f32>) -> Result<Vec<f32>> {
        let d = self.singular_values.len();
        let inputs = gradient.len() / d.max(1);
        let projected = self.matrix.clone().try_matmul(mat(gradient, d, inputs)?);
        Ok(projected.map_err(crate::layers::device_error)?.as_vec())
    }

    /// The singular values of `H`, falling.
    pub fn singular_values(&self) -> &[f64] {
        &self.singular_values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: &[f32], b: &[f32]) {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).for_each(|(a, b)| assert!((a - b).abs() < 1e-5, "{a} is not {b}"));
    }

    #[test]
    fn with_all_weights_one_a_gradient_stays_as_it_is() {
        let s = Streams::new(1);
        for n in [3, 20] {
            let rows = s.normal("rows", n * 6);
            let gradient = s.normal("gradient", 6 * 4);
            let basis = Basis::new(rows.iter(), 6, &[1.0; 6]).unwrap();
            close(&basis.project(gradient.clone()).unwrap(), &gradient);
        }
    }

    #[test]
    fn the_strongest_direction_is_taken_out_and_an_unused_one_passes() {
        // Rows along (3, 4) / 5, and some along the second direction of the plane.
        let rows = [3.0, 4.0, 0.0, 6.0, 8.0, 0.0, 0.4, -0.3, 0.0];
        let basis = Basis::new(rows.iter(), 3, &ramp(3)).unwrap();
        close(&basis.project(vec![0.6, 0.8, 0.0]).unwrap(), &[0.0; 3]);
        close(&basis.project(vec![0.0, 0.0, 2.0]).unwrap(), &[0.0, 0.0, 2.0]);
        let half = 2f32.ln() / 3f32.ln();
        close(&basis.project(vec![0.8, -0.6, 0.0]).unwrap(), &[0.8 * half, -0.6 * half, 0.0]);
        assert!((basis.singular_values()[0] - 125f64.sqrt()).abs() < 1e-9);
    }

    #[test]
    fn fewer_rows_than_columns_are_completed_to_a_basis() {
        let rows = [1.0, 0.0, 0.0, 0.0];
        let basis = Basis::new(rows.iter(), 4, &[0.0, 1.0, 1.0, 1.0]).unwrap();
        close(&basis.project(vec![5.0, 1.0, 2.0, 3.0]).unwrap(), &[0.0, 1.0, 2.0, 3.0]);
    }
}
