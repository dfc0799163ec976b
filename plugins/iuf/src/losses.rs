//! The losses beside the semantic compression.

use ccnf::dfdx::prelude::{Axis, HasShape, Rank0, SumTo};
use ccnf::prelude::*;

/// `L_rec`: the mean of `(F^ - F)^2` over all values (spec section 5).
pub fn reconstruction_loss(reconstructed: &Var, features: &Var) -> Result<Scalar> {
    Ok(ops::mean_square(&(reconstructed.clone() - features.clone()))?)
}

/// `L_cls`: the mean over the images of `-ln softmax(logits)[class]`; `logits` is `[images, classes]` (spec section 5).
pub fn cross_entropy(logits: &Var, class: &[usize]) -> Result<Scalar> {
    let (n, k) = *logits.shape();
    if let Some(c) = class.iter().find(|c| **c >= k) {
        return Err(Error::new(ErrorKind::Contract, format!("class {c} of {k} logits")));
    }
    if class.len() != n || n == 0 {
        return Err(Error::new(ErrorKind::Contract, format!("{} classes for {n} images", class.len())));
    }
    let mut target = vec![0.0; n * k];
    class.iter().enumerate().for_each(|(i, c)| target[i * k + c] = -1.0 / n as f32);
    let log = logits.clone().log_softmax::<Axis<1>>();
    Ok((log * constant(&mat(target, n, k)?)).sum::<Rank0, _>())
}
