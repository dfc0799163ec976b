//! What a class has of its own in a subnet.

use ccnf::dfdx::prelude::HasShape;
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// What a class of a later stage gets of its own in a subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PrivateConfig {
    /// Nothing.
    None,
    /// Low-rank adapters on the weights of all layers.
    LowRank,
    /// Copies of the weights and biases of all layers.
    Copy,
}

/// Power iterations for the largest singular value of an adapter: more than its rank of at most 64 needs.
const ITERATIONS: usize = 256;

/// The private part of one linear layer `W x + b`, owned by the class:
///
/// * an adapter `W + c A B^T` (Hu et al. 2022) with `A` (`[out, r]`, 0 at the start) and `B` (`[in, r]`, uniform in `+-1/sqrt(in)`), where
///   `c = min(1, cap / sigma)` and `sigma` is the largest singular value of `A B^T`; the bias is the shared one;
/// * or a copy of `W` and `b` as they are used.
enum PrivateLayer {
    Adapter { a: Param, b: Param, cap: f32 },
    Copy { weight: Param, bias: Param },
}

impl PrivateLayer {
    fn tensors(&self) -> [&Param; 2] {
        match self {
            PrivateLayer::Adapter { a, b, .. } => [a, b],
            PrivateLayer::Copy { weight, bias } => [weight, bias],
        }
    }
    fn tensors_mut(&mut self) -> [&mut Param; 2] {
        match self {
            PrivateLayer::Adapter { a, b, .. } => [a, b],
            PrivateLayer::Copy { weight, bias } => [weight, bias],
        }
    }
}

/// The private parts of all layers of a subnet, for one class.
pub(crate) struct PrivatePart {
    class: String,
    layers: Vec<PrivateLayer>,
}

/// Shape and place of an adapter.
pub(crate) struct Adapters<'a> {
    pub(crate) rank: usize,
    pub(crate) cap: f32,
    pub(crate) streams: &'a Streams,
}

impl PrivatePart {
    /// Without layers.
    pub(crate) fn new(class: &str) -> Self {
        PrivatePart { class: class.to_owned(), layers: vec![] }
    }

    /// The class it belongs to.
    pub(crate) fn class(&self) -> &str {
        &self.class
    }

    /// Adds an adapter of the next layer, whose shared weight is `[out, inp]`.
    pub(crate) fn push_adapter(
        &mut self,
        scope: &str,
        (out, inp): (usize, usize),
        of: &Adapters<'_>,
    ) -> Result<()> {
        let rank = of.rank.min(out).min(inp);
        let name = |what: &str| format!("{scope}.private.{}.lin{}.{what}", self.class, self.layers.len());
        let owner = || Owner::Class(self.class.clone());
        let bound = 1.0 / (inp.max(1) as f32).sqrt();
        let values = of.streams.uniform(&name("b"), inp * rank, bound);
        let a = Param::weight(name("a"), owner(), vec![0.0; out * rank], out, rank)?;
        let b = Param::weight(name("b"), owner(), values, inp, rank)?;
        self.layers.push(PrivateLayer::Adapter { a, b, cap: of.cap });
        Ok(())
    }

    /// Adds a copy of the next layer.
    pub(crate) fn push_copy(&mut self, scope: &str, weight: &Var, bias: &Var) -> Result<()> {
        let copy = |what: &str, of: &Var| {
            let (rows, cols) = *of.shape();
            let name = format!("{scope}.private.{}.lin{}.{what}", self.class, self.layers.len());
            Param::weight(name, Owner::Class(self.class.clone()), of.as_vec(), rows, cols)
        };
        let (weight, bias) = (copy("weight", weight)?, copy("bias", bias)?);
        self.layers.push(PrivateLayer::Copy { weight, bias });
        Ok(())
    }

    /// Weight and bias of layer `i` for the class; `shared` are those of the shared layer.
    pub(crate) fn layer(&self, i: usize, shared: impl FnOnce() -> Result<(Var, Var)>) -> Result<(Var, Var)> {
        match self.layers.get(i) {
            None => shared(),
            Some(PrivateLayer::Copy { weight, bias }) => Ok((weight.var(), bias.var())),
            Some(PrivateLayer::Adapter { a, b, cap }) => {
                let (weight, bias) = shared()?;
                Ok((weight + adapter(a, b, *cap)?, bias))
            }
        }
    }
}

impl Stateful for PrivatePart {
    fn params(&self) -> Vec<&Param> {
        self.layers.iter().flat_map(PrivateLayer::tensors).collect()
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        self.layers.iter_mut().flat_map(PrivateLayer::tensors_mut).collect()
    }
}

/// `c A B^T`, `[out, in]`.
fn adapter(a: &Param, b: &Param, cap: f32) -> Result<Var> {
    let product = ops::linear(&a.var(), &b.var(), None)?;
    if cap == 0.0 {
        return Ok(product);
    }
    // With its singular vectors as constants the gradient of sigma = u^T M v is exact: they are stationary.
    match singular_vectors(a, b)? {
        None => Ok(product),
        Some((u, v)) => Ok(ops::spectral_scale(&(product * (1.0 / cap)), &u, &v, true)? * cap),
    }
}

/// The left and right singular vector of the largest singular value of `A B^T`; `None` for 0.
///
/// `A B^T B A^T u = sigma^2 u` with `u = A q` says `(B^T B)(A^T A) q = sigma^2 q`, an iteration on `r` values.
fn singular_vectors(a: &Param, b: &Param) -> Result<Option<(Mat, Mat)>> {
    let ((out, r), inp) = (a.shape(), b.shape().0);
    let (av, bv) = (a.to_vec(), b.to_vec());
    let (gram_a, gram_b) = (gram(&av, r), gram(&bv, r));
    let mut q = vec![1.0 / (r as f64).sqrt(); r];
    for _ in 0..ITERATIONS {
        q = unit(&times(&gram_b, &times(&gram_a, &q)));
    }
    let rows = |m: &[f32], q: &[f64]| -> Vec<f64> {
        let dot = |row: &[f32]| row.iter().zip(q).map(|(m, q)| f64::from(*m) * q).sum();
        m.chunks_exact(r.max(1)).map(dot).collect()
    };
    let (u, v) = (unit(&rows(&av, &q)), unit(&rows(&bv, &times(&gram_a, &q))));
    if u.iter().all(|x| *x == 0.0) {
        return Ok(None);
    }
    let single = |x: Vec<f64>| x.into_iter().map(|v| v as f32).collect::<Vec<f32>>();
    Ok(Some((mat(single(u), 1, out)?, mat(single(v), 1, inp)?)))
}

/// `M^T M` of a matrix with `r` columns.
fn gram(m: &[f32], r: usize) -> Vec<f64> {
    let mut sum = vec![0.0; r * r];
    for row in m.chunks_exact(r.max(1)) {
        for (sums, x) in sum.chunks_exact_mut(r).zip(row) {
            sums.iter_mut().zip(row).for_each(|(s, y)| *s += f64::from(*x) * f64::from(*y));
        }
    }
    sum
}

fn times(m: &[f64], q: &[f64]) -> Vec<f64> {
    m.chunks_exact(q.len().max(1)).map(|row| row.iter().zip(q).map(|(m, q)| m * q).sum()).collect()
}

/// `v / |v|`; 0 stays 0.
fn unit(v: &[f64]) -> Vec<f64> {
    let n = v.iter().map(|x| x * x).sum::<f64>().sqrt();
    v.iter().map(|x| if n > 0.0 { x / n } else { 0.0 }).collect()
}
