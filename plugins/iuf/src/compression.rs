//! Semantic compression: small directions of the decoder's features are driven to zero, so that later classes find room.

use crate::config::CompressionMode;
use crate::projection::eigen;
use ccnf::dfdx::prelude::{HasShape, Rank0, SumTo};
use ccnf::prelude::*;
use std::collections::BTreeMap;

/// Rows that a queue holds at most.
pub const SEMANTIC_QUEUE: usize = 768;
/// The oldest rows that are dropped at once when there are more.
const DROPPED: usize = 48;

/// The queues of `L_sc`, one per semantic feature: rows of earlier steps of the epoch (spec section 5).
#[derive(Debug, Clone, Default)]
pub struct Compression {
    queues: Vec<Vec<f32>>,
}

/// The singular values of a queue with the step's rows.
#[derive(Debug, Clone)]
pub struct Spectrum {
    /// Falling.
    pub singular_values: Vec<f64>,
    /// How many have a share below the threshold.
    pub below: usize,
}

/// The loss of one step.
pub struct CompressionLoss {
    /// `L_sc`.
    pub loss: Scalar,
    /// One per semantic feature.
    pub spectra: Vec<Spectrum>,
}

impl Compression {
    /// Empties the queues: at the start of an epoch.
    pub fn clear(&mut self) {
        self.queues.clear();
    }

    /// Appends a step's rows, `[images, d]` per semantic feature; more than 768 rows lose the oldest 48.
    pub fn push(&mut self, semantic: &[Var]) {
        self.queues.resize(semantic.len(), vec![]);
        for (queue, rows) in self.queues.iter_mut().zip(semantic) {
            let d = rows.shape().1.max(1);
            queue.extend(rows.as_vec());
            while queue.len() > SEMANTIC_QUEUE * d {
                queue.drain(..DROPPED * d);
            }
        }
    }

    /// `L_sc` of a step's rows together with those of the queues, which are constants (spec section 5):
    ///
    /// ```text
    /// A = [queue; rows] (n x d),   A = U diag(s) V^T,   r_i = s_i / sum(s),   L = sum of the r_i below `threshold`
    /// ```
    ///
    /// and the mean of `L` over the features. With `off`, the released behaviour, the rows are constants too. The decomposition is not
    /// differentiated: `s_i = u_i^T A v_i` with `u_i`, `v_i` constant has the same gradient where singular values are distinct.
    pub fn loss(&self, semantic: &[Var], threshold: f64, mode: CompressionMode) -> Result<CompressionLoss> {
        let (mut total, mut spectra) = (ccnf::tensor::constant_scalar(0.0)?, vec![]);
        for (k, rows) in semantic.iter().enumerate() {
            let queue = self.queues.get(k).map_or(&[][..], Vec::as_slice);
            let (loss, gradient, spectrum) = decompose(queue, &rows.as_vec(), rows.shape().1, threshold)?;
            let share = 1.0 / semantic.len() as f32;
            let rows = match mode {
                CompressionMode::On => rows.clone(),
                CompressionMode::Off => crate::layers::detached(rows)?,
            };
            // A line with the loss's value and gradient.
            let (n, d) = *rows.shape();
            let line = (rows * constant(&mat(gradient, n, d)?)).sum::<Rank0, _>();
            let at = line.as_vec().first().copied().unwrap_or(f32::NAN);
            total = total + (line + (loss as f32 - at)) * share;
            spectra.push(spectrum);
        }
        Ok(CompressionLoss { loss: total, spectra })
    }

    /// The queues, for a checkpoint.
    pub(crate) fn state(&self) -> BTreeMap<String, StoredTensor> {
        let store = |(k, rows): (usize, &Vec<f32>)| {
            let tensor = StoredTensor { owner: Owner::Shared, shape: (1, rows.len()), values: rows.clone() };
            (format!("compression.queue{k}"), tensor)
        };
        self.queues.iter().enumerate().map(store).collect()
    }

    /// Puts queues back.
    pub(crate) fn restore(&mut self, state: &BTreeMap<String, StoredTensor>) {
        self.queues = (0..)
            .map_while(|k| state.get(&format!("compression.queue{k}")))
            .map(|t| t.values.clone())
            .collect();
    }
}

/// The loss of one feature and its gradient with respect to `rows`.
///
/// With `below` the indices under the threshold, `S = sum(s)` and `B` the part of `S` below: `dL/ds_i = ([i below] S - B) / S^2`, and
/// `dL/dA = sum_i dL/ds_i u_i v_i^T = A sum_i (dL/ds_i / s_i) v_i v_i^T`. Directions with `s_i = 0` have no `u_i` and get no gradient.
fn decompose(queue: &[f32], rows: &[f32], d: usize, threshold: f64) -> Result<(f64, Vec<f32>, Spectrum)> {
    let n = (queue.len() + rows.len()) / d.max(1);
    let (eigenvalues, v) = eigen(queue.iter().chain(rows), d)?;
    let singular_values: Vec<f64> = eigenvalues.iter().take(n.min(d)).map(|l| l.max(0.0).sqrt()).collect();
    let sum: f64 = singular_values.iter().sum();
    if sum == 0.0 {
        return Ok((0.0, vec![0.0; rows.len()], Spectrum { singular_values, below: 0 }));
    }
    let is_below = |s: f64| s / sum < threshold;
    let small: f64 = singular_values.iter().filter(|s| is_below(**s)).sum();
    // What rounding leaves of a zero.
    let zero = singular_values[0] * 1e-8;
    let factors: Vec<f64> = singular_values
        .iter()
        .map(|s| {
            let slope = (if is_below(*s) { sum } else { 0.0 } - small) / (sum * sum);
            if *s > zero { slope / s } else { 0.0 }
        })
        .collect();
    let mut gradient = Vec::with_capacity(rows.len());
    for row in rows.chunks_exact(d) {
        let mut g = vec![0.0f64; d];
        for (i, factor) in factors.iter().enumerate() {
            let along: f64 = (0..d).map(|j| f64::from(row[j]) * v[i * d + j]).sum();
            g.iter_mut().zip(&v[i * d..(i + 1) * d]).for_each(|(g, v)| *g += factor * along * v);
        }
        gradient.extend(g.iter().map(|g| *g as f32));
    }
    let below = singular_values.iter().filter(|s| is_below(**s)).count();
    Ok((small / sum, gradient, Spectrum { singular_values, below }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnf_testkit::finite_difference_error;

    fn rows(n: usize, d: usize) -> Vec<f32> {
        let values = Streams::new(3).normal("rows", n * d);
        values.iter().enumerate().map(|(i, v)| v * 0.5f32.powi((i % d) as i32)).collect()
    }

    #[test]
    fn the_gradient_equals_finite_differences_with_and_without_a_queue() {
        let (n, d) = (7, 5);
        let start = rows(n, d);
        for queued in [0, 4] {
            let mut compression = Compression::default();
            if queued > 0 {
                compression.push(&[constant(&mat(rows(queued, d), queued, d).unwrap())]);
            }
            // Between the shares, so that no difference moves one over the threshold.
            let loss = |v: &Var| {
                Ok::<_, Error>(compression.loss(std::slice::from_ref(v), 0.08, CompressionMode::On)?.loss)
            };
            let leaf = mat(start.clone(), n, d).unwrap();
            let (_, (), mut grads) = gradients(|| Ok::<_, Error>((loss(&tracked(&leaf))?, ()))).unwrap();
            let gradient = grads.of(&leaf).unwrap();
            assert!(gradient.iter().any(|g| g.abs() > 1e-4));
            let error = finite_difference_error(&start, &gradient, &Streams::new(1), |values| {
                let v = constant(&mat(values.to_vec(), n, d).unwrap());
                f64::from(loss(&v).unwrap().as_vec()[0])
            });
            assert!(error < 1e-3, "off by {error}");
        }
    }

    #[test]
    fn off_has_the_value_and_no_gradient() {
        let leaf = mat(rows(6, 4), 6, 4).unwrap();
        let run = |mode| {
            let (value, (), mut grads) = gradients(|| {
                Ok::<_, Error>((Compression::default().loss(&[tracked(&leaf)], 0.1, mode)?.loss, ()))
            })
            .unwrap();
            (value, grads.of(&leaf).unwrap())
        };
        let (on, off) = (run(CompressionMode::On), run(CompressionMode::Off));
        assert_eq!(on.0, off.0);
        assert!(on.0 > 0.0 && on.1 != off.1 && off.1.iter().all(|g| *g == 0.0));
    }

    #[test]
    fn the_queue_drops_the_oldest_rows() {
        let mut compression = Compression::default();
        let block = |value: f32| constant(&mat(vec![value; 500], 500, 1).unwrap());
        compression.push(&[block(1.0)]);
        compression.push(&[block(2.0)]);
        let queue = &compression.queues[0];
        // 1000 rows lose 48 at a time until no more than 768 are left.
        assert_eq!((queue.len(), queue.iter().filter(|v| **v == 1.0).count()), (760, 260));
    }

    #[test]
    fn a_queue_comes_back_from_a_checkpoint() {
        let mut compression = Compression::default();
        compression
            .push(&[constant(&mat(vec![1.0, 2.0], 1, 2).unwrap()), constant(&mat(vec![3.0], 1, 1).unwrap())]);
        let mut again = Compression::default();
        again.restore(&compression.state());
        assert_eq!(again.queues, compression.queues);
    }
}
