//! The building blocks: linear layers, normalisation, attention, feed-forward.

use ccnf::dfdx::prelude::{Axis, BroadcastTo, HasShape, MeanTo, TrySub};
use ccnf::prelude::*;
use ccnf::rand::Rng;
use ccnf::tensor::ops::{AttentionSplit, Dropout};
use ccnf::tensor::rand::RngCore;

/// Whether a forward pass trains, and where its randomness comes from: dropout and jitter are on only with a source.
pub struct Noise<'a> {
    /// The rate of every dropout.
    pub dropout: f32,
    /// The source; `None` where images are scored.
    pub source: Option<&'a mut dyn RngCore>,
}

impl Noise<'_> {
    /// No noise: scoring.
    pub fn none() -> Noise<'static> {
        Noise { dropout: 0.0, source: None }
    }

    /// The next dropout, if there is any.
    pub fn dropout(&mut self) -> Option<Dropout> {
        let source = self.source.as_mut().filter(|_| self.dropout > 0.0)?;
        Some(Dropout { rate: self.dropout, seed: source.next_u64() })
    }

    /// `x` under the next dropout.
    pub fn drop(&mut self, x: Var) -> Result<Var> {
        match self.dropout() {
            None => Ok(x),
            Some(d) => Ok(ops::dropout(&x, d)?),
        }
    }
}

/// The values of `v` as a constant: no gradient flows through. It is a tensor of its own, since `dfdx` computes the gradients of both
/// operands of a product, and a constant that shared its identity with `v` would hand its gradient on.
pub(crate) fn detached(v: &Var) -> Result<Var> {
    let (rows, cols) = *v.shape();
    Ok(constant(&mat(v.as_vec(), rows, cols)?))
}

/// `y = x W^T + b`; `W` is `[out, in]`, `b` `[1, out]`.
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Param,
    bias: Option<Param>,
}
parts!(Linear { weight, bias });

impl Linear {
    /// Uniform weights in `[-bound, bound)`, bias 0.
    pub fn uniform(
        name: &str,
        (inp, out): (usize, usize),
        bound: f64,
        bias: bool,
        s: &Streams,
    ) -> Result<Self> {
        let weight = format!("{name}.weight");
        let values = s.uniform(&weight, out * inp, bound as f32);
        let bias = bias.then(|| Param::weight(format!("{name}.bias"), Owner::Shared, vec![0.0; out], 1, out));
        Ok(Linear {
            weight: Param::weight(weight, Owner::Shared, values, out, inp)?,
            bias: bias.transpose()?,
        })
    }

    /// Xavier uniform (Glorot & Bengio 2010): bound `sqrt(6 / (in + out))`, bias 0.
    pub fn xavier(name: &str, (inp, out): (usize, usize), s: &Streams) -> Result<Self> {
        Linear::uniform(name, (inp, out), (6.0 / (inp + out) as f64).sqrt(), true, s)
    }

    /// `W`.
    pub fn weight(&self) -> &Param {
        &self.weight
    }

    /// `b`.
    pub fn bias(&self) -> Option<&Param> {
        self.bias.as_ref()
    }

    /// `[N, in] -> [N, out]`.
    pub fn forward(&self, x: &Var) -> Result<Var> {
        Ok(ops::linear(x, &self.weight.var(), self.bias.as_ref().map(Param::var).as_ref())?)
    }

    /// `max(x W^T + b, 0)`.
    pub fn forward_relu(&self, x: &Var) -> Result<Var> {
        let tables = self.bias.iter().map(|b| RowTable { table: b.var(), index: None }).collect();
        let layer =
            ops::Layer { weight: self.weight.var(), tables, activation: ops::Activation::Relu, film: None };
        Ok(ops::chain(x, &[layer])?)
    }
}

/// Layer normalisation with gain (start 1) and offset (start 0), `[1, d]` each; epsilon 1e-5.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    weight: Param,
    bias: Param,
}
parts!(LayerNorm { weight, bias });

impl LayerNorm {
    /// The normalisation of rows of `d` values.
    pub fn new(name: &str, d: usize) -> Result<Self> {
        Ok(LayerNorm {
            weight: Param::weight(format!("{name}.weight"), Owner::Shared, vec![1.0; d], 1, d)?,
            bias: Param::weight(format!("{name}.bias"), Owner::Shared, vec![0.0; d], 1, d)?,
        })
    }

    /// Normalises every row.
    pub fn forward(&self, x: &Var) -> Result<Var> {
        Ok(ops::layer_norm(x, &self.weight.var(), &self.bias.var(), 1e-5)?)
    }
}

/// Multi-head attention with projections of query, key, value and result, each `[d, d]` with bias.
#[derive(Debug, Clone)]
pub struct MultiHead {
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    heads: usize,
}
parts!(MultiHead { query, key, value, out });

impl MultiHead {
    /// Ordinary linear layers: Xavier bounds.
    pub fn new(name: &str, d: usize, heads: usize, s: &Streams) -> Result<Self> {
        MultiHead::with_bound(name, d, heads, (6.0 / (2 * d) as f64).sqrt(), s)
    }

    /// Query, key and value as parts of one fused `[3 d, d]` matrix: the bound of that matrix, `sqrt(6 / 4 d)`.
    pub fn fused(name: &str, d: usize, heads: usize, s: &Streams) -> Result<Self> {
        MultiHead::with_bound(name, d, heads, (6.0 / (4 * d) as f64).sqrt(), s)
    }

    fn with_bound(name: &str, d: usize, heads: usize, bound: f64, s: &Streams) -> Result<Self> {
        let part = |what: &str| Linear::uniform(&format!("{name}.{what}"), (d, d), bound, true, s);
        let (query, key, value) = (part("query")?, part("key")?, part("value")?);
        Ok(MultiHead { query, key, value, out: Linear::xavier(&format!("{name}.out"), (d, d), s)?, heads })
    }

    /// Attention within `groups` groups of rows.
    pub fn forward(
        &self,
        [query, key, value]: [&Var; 3],
        groups: usize,
        dropout: Option<Dropout>,
    ) -> Result<Var> {
        let (q, k, v) = (self.query.forward(query)?, self.key.forward(key)?, self.value.forward(value)?);
        let split = AttentionSplit { groups, heads: self.heads };
        self.out.forward(&ops::attention(&q, &k, &v, split, dropout)?)
    }
}

/// Two linear layers with ReLU and dropout between them: `d -> hidden -> d`.
#[derive(Debug, Clone)]
pub struct FeedForward {
    first: Linear,
    second: Linear,
}
parts!(FeedForward { first, second });

impl FeedForward {
    /// Xavier weights.
    pub fn new(name: &str, d: usize, hidden: usize, s: &Streams) -> Result<Self> {
        let first = Linear::xavier(&format!("{name}.linear1"), (d, hidden), s)?;
        Ok(FeedForward { first, second: Linear::xavier(&format!("{name}.linear2"), (hidden, d), s)? })
    }

    /// `[N, d] -> [N, d]`.
    pub fn forward(&self, x: &Var, noise: &mut Noise<'_>) -> Result<Var> {
        let hidden = noise.drop(self.first.forward_relu(x)?)?;
        self.second.forward(&hidden)
    }

    /// The second layer, whose gradients later stages project.
    pub fn second(&self) -> &Linear {
        &self.second
    }
}

/// Which statistics a [`BatchNorm`] uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalisation {
    /// Those of the rows at hand.
    Batch,
    /// The running ones.
    Running,
}

/// Batch normalisation of columns (Ioffe & Szegedy 2015): epsilon 1e-5, momentum 0.1; the running variance is the unbiased one.
#[derive(Debug, Clone)]
pub struct BatchNorm {
    weight: Param,
    bias: Param,
    mean: Param,
    var: Param,
}
parts!(BatchNorm { weight, bias, mean, var });

/// Mean and biased variance of the columns of a batch, and its rows: what the running statistics take up once an update was made.
pub struct BatchMoments {
    mean: Vec<f32>,
    var: Vec<f32>,
    rows: usize,
}

impl BatchNorm {
    /// The normalisation of `d` columns.
    pub fn new(name: &str, d: usize) -> Result<Self> {
        let weight =
            |what: &str, v: f32| Param::weight(format!("{name}.{what}"), Owner::Shared, vec![v; d], 1, d);
        let buffer = |what: &str, v: f32| {
            Param::buffer(format!("{name}.running_{what}"), Owner::Shared, vec![v; d], 1, d)
        };
        Ok(BatchNorm {
            weight: weight("weight", 1.0)?,
            bias: weight("bias", 0.0)?,
            mean: buffer("mean", 0.0)?,
            var: buffer("var", 1.0)?,
        })
    }

    /// Normalises columns; returns the batch's moments where it used them.
    pub fn forward(&self, x: &Var, by: Normalisation) -> Result<(Var, Option<BatchMoments>)> {
        let shape = *x.shape();
        let index: Index = vec![0u32; shape.0].into();
        let row = |v: Var| ops::gather_rows(&v, &index);
        let (centred, var, moments) = match by {
            Normalisation::Running => {
                let centred = x.clone().try_sub(row(self.mean.var())?).map_err(device_error)?;
                (centred, row(self.var.var())?, None)
            }
            Normalisation::Batch => {
                let mean = x.clone().mean::<(usize,), Axis<0>>();
                let centred = x.clone() - mean.clone().broadcast_like::<_, Axis<0>>(&shape);
                let var = centred.clone().square().mean::<(usize,), Axis<0>>();
                let moments = BatchMoments { mean: mean.as_vec(), var: var.as_vec(), rows: shape.0 };
                (centred, var.broadcast_like::<_, Axis<0>>(&shape), Some(moments))
            }
        };
        let y = centred / (var + 1e-5).sqrt() * row(self.weight.var())? + row(self.bias.var())?;
        Ok((y, moments))
    }

    /// Moves the running statistics by a tenth towards those of a batch.
    pub fn observe(&mut self, batch: &BatchMoments) -> Result<()> {
        let unbiased = batch.rows as f32 / (batch.rows.max(2) - 1) as f32;
        let moved = |old: &Param, new: &[f32], factor: f32| -> Vec<f32> {
            old.to_vec().iter().zip(new).map(|(o, n)| 0.9 * o + 0.1 * factor * n).collect()
        };
        self.mean.set(moved(&self.mean, &batch.mean, 1.0))?;
        Ok(self.var.set(moved(&self.var, &batch.var, unbiased))?)
    }
}

/// The mean of the rows of each of `groups` groups: `[groups * n, d] -> [groups, d]`. A group's mean does not depend on the others.
pub fn group_means(x: &Var, groups: usize) -> Result<Var> {
    use ccnf::dfdx::prelude::ReshapeTo;
    let (n, d) = *x.shape();
    let by_group = x.clone().try_reshape_like(&(groups, n / groups.max(1), d)).map_err(device_error)?;
    by_group.try_mean::<(usize, usize), Axis<1>>().map_err(device_error)
}

pub(crate) fn device_error(e: impl std::fmt::Debug) -> Error {
    Error::new(ErrorKind::Contract, format!("the device failed: {e:?}"))
}

/// Uniform values in `[0, 1)`.
pub(crate) fn unit_uniform(s: &Streams, name: &str, n: usize) -> Vec<f32> {
    let mut rng = s.stream(name, 0);
    (0..n).map(|_| rng.r#gen::<f32>()).collect()
}
