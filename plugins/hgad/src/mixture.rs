//! The hierarchical Gaussian mixture of one level.

use ccnf::dfdx::prelude::*;
use ccnf::prelude::*;
use ccnf::tensor::ops::{Activation, Layer};
use std::f32::consts::TAU;
use std::ops::Range;

/// The tensors of one class; each is one of its own, so that an optimiser that trains one class cannot move another.
struct ClassMixture {
    class: String,
    /// Main centre, `[1, D]`.
    mu: Param,
    /// Offsets of the further intra-class centres, `[M - 1, D]`.
    deltas: Param,
    /// Inter-class weight before the softmax, `[1, 1]`.
    phi_inter: Param,
    /// Intra-class weights before the softmax, `[1, M]`.
    phi_intra: Param,
}

/// A logit that `exp` turns into 0 beside any other.
const NEVER: f32 = -1e30;

/// Per class `k` a main centre `mu_k` with weight `pi = softmax(phi_inter)`, and `M` intra-class centres with weights
/// `omega_k = softmax(phi_intra_k)`: `sg(mu_k)` and `sg(mu_k) + delta_km`. All components have unit covariance. `sg` stops the gradient.
///
/// A class's tensors are owned by the class; growing leaves all older ones bit for bit.
pub struct Mixture {
    scope: String,
    dim: usize,
    intra: usize,
    streams: Streams,
    classes: Vec<ClassMixture>,
}

impl Mixture {
    /// A mixture without classes in `dim` dims, with `intra >= 2` centres per class. Tensors are called `scope.*.CLASS`.
    pub fn new(scope: &str, dim: usize, intra: usize, streams: Streams) -> Self {
        Mixture { scope: scope.to_owned(), dim, intra, streams, classes: vec![] }
    }

    /// The classes, in the order of growth.
    pub fn classes(&self) -> Vec<String> {
        self.classes.iter().map(|c| c.class.clone()).collect()
    }

    /// Adds a class with its main centre. The offsets start standard normal, the intra-class weights at 0, the inter-class weight at the
    /// mean of the others, which keeps the softmax near uniform.
    pub fn grow(&mut self, class: &str, centre: Vec<f32>) -> Result<()> {
        if self.classes.iter().any(|c| c.class == class) {
            return Err(Error::new(ErrorKind::Contract, format!("class `{class}` is already known")));
        }
        let (d, m) = (self.dim, self.intra);
        let name = |what: &str| format!("{}.{what}.{class}", self.scope);
        let weight = |what: &str, values: Vec<f32>, rows: usize, cols: usize| {
            Param::weight(name(what), Owner::Class(class.to_owned()), values, rows, cols)
        };
        let old: Vec<f32> = self.classes.iter().flat_map(|c| c.phi_inter.to_vec()).collect();
        let phi = old.iter().sum::<f32>() / old.len().max(1) as f32;
        let offsets = self.streams.normal(&name("mu_deltas"), (m - 1) * d);
        let fresh = ClassMixture {
            class: class.to_owned(),
            mu: weight("mu", centre, 1, d)?,
            deltas: weight("mu_deltas", offsets, m - 1, d)?,
            phi_inter: weight("phi_inter", vec![phi], 1, 1)?,
            phi_intra: weight("phi_intra", vec![0.0; m], 1, m)?,
        };
        self.classes.push(fresh);
        Ok(())
    }

    /// Lets gradient steps change the tensors of the classes for which `which` is true, and no others.
    pub fn set_trainable(&mut self, which: impl Fn(&str) -> bool) {
        for c in &mut self.classes {
            let on = which(&c.class);
            [&mut c.mu, &mut c.deltas, &mut c.phi_inter, &mut c.phi_intra]
                .into_iter()
                .for_each(|p| p.set_trainable(on));
        }
    }

    fn some(&self, classes: Range<usize>) -> Result<&[ClassMixture]> {
        let n = self.classes.len();
        self.classes.get(classes.clone()).filter(|c| !c.is_empty()).ok_or_else(|| {
            Error::new(ErrorKind::Contract, format!("classes {classes:?} of {n} that a mixture knows"))
        })
    }

    /// `-|z - mu_k|^2 / 2` for the first `classes` classes, `[N, classes]`.
    pub fn inter_logits(&self, z: &Var, classes: usize) -> Result<Var> {
        let mus: Vec<Var> = self.some(0..classes)?.iter().map(|c| c.mu.var()).collect();
        let mus = ops::stack_rows(&mus)?;
        let bias = (ops::square_sum(&mus)? * -0.5).reshape_like(&(1, classes));
        let products = ops::linear(z, &mus, Some(&bias))?;
        let shape = *products.shape();
        Ok(products - (ops::square_sum(z)? * 0.5).broadcast_like::<_, Axis<1>>(&shape))
    }

    /// `ln pi`, `[1, K]`.
    pub fn log_inter(&self) -> Result<Var> {
        let k = self.classes.len();
        let phi: Vec<Var> = self.some(0..k)?.iter().map(|c| c.phi_inter.var()).collect();
        Ok(ops::stack_rows(&phi)?.reshape_like(&(1, k)).log_softmax::<Axis<1>>())
    }

    /// The intra-class centres of some classes, `[classes * M, D]`, and per centre `c` the constant `ln omega - |c|^2 / 2`,
    /// `[1, classes * M]`. The main centres take no gradient.
    fn intra(&self, classes: Range<usize>) -> Result<(Var, Var)> {
        let (d, m) = (self.dim, self.intra);
        let some = self.some(classes)?;
        let k = some.len();
        let main = some.iter().flat_map(|c| c.mu.to_vec().repeat(m)).collect();
        let deltas: Vec<Var> = some.iter().map(|c| c.deltas.var().reshape_like(&(1, (m - 1) * d))).collect();
        let none = constant(&mat(vec![0.0; k * d], k, d)?);
        let offsets = (none, ops::stack_rows(&deltas)?).concat_along(Axis::<1>);
        let centres = (offsets + constant(&mat(main, k, m * d)?)).reshape_like(&(k * m, d));
        let phi: Vec<Var> = some.iter().map(|c| c.phi_intra.var()).collect();
        let log_weights = ops::stack_rows(&phi)?.log_softmax::<Axis<1>>().reshape_like(&(1, k * m));
        let squares = (ops::square_sum(&centres)? * -0.5).reshape_like(&(1, k * m));
        Ok((centres, log_weights + squares))
    }

    /// `A_y = LSE_m(-|z - mu_ym|^2 / 2 + ln omega_ym)` under each token's class `y`, `[N]`.
    pub fn intra_log_density(&self, z: &Var, class: &Index) -> Result<VarVec> {
        let (k, m) = (self.classes.len(), self.intra);
        let (weight, bias) = self.intra(0..k)?;
        // One product with the centres of all classes; the table of a token's class leaves only its own.
        let own = (0..k * k * m).map(|i| if i % (k * m) / m == i / (k * m) { 0.0 } else { NEVER }).collect();
        let own = RowTable { table: constant(&mat(own, k, k * m)?), index: Some(class.clone()) };
        let tables = vec![RowTable { table: bias, index: None }, own];
        let logits =
            ops::chain(z, &[Layer { weight, tables, activation: Activation::Identity, film: None }])?;
        Ok(logits.logsumexp::<(usize,), Axis<1>>() - ops::square_sum(z)? * 0.5)
    }

    /// `ln p(z | class) = A - (D/2) ln 2 pi` of every row of `z`. Has the same bits whatever other classes are known.
    pub fn log_density(&self, z: &Mat, class: usize) -> Result<Vec<f32>> {
        let (weight, bias) = self.intra(class..class + 1)?;
        let z = constant(z);
        let logits = ops::linear(&z, &weight, Some(&bias))?;
        let density = logits.logsumexp::<(usize,), Axis<1>>() - ops::square_sum(&z)? * 0.5;
        let constant = 0.5 * self.dim as f32 * TAU.ln();
        Ok(density.as_vec().iter().map(|a| a - constant).collect())
    }

    /// `sum_k q_k ln q_k` with `q = softmax_k(-|z - mu_k|^2 / 2)` over the first `classes` classes, per row of `z`: minus the entropy, in
    /// nats. The inter-class weights take no part.
    pub fn negative_entropy(&self, z: &Mat, classes: usize) -> Result<Vec<f32>> {
        let log_q = self.inter_logits(&constant(z), classes)?.log_softmax::<Axis<1>>();
        Ok((log_q.clone().exp() * log_q).sum::<(usize,), Axis<1>>().as_vec())
    }
}

impl Stateful for Mixture {
    fn params(&self) -> Vec<&Param> {
        self.classes.iter().flat_map(|c| [&c.mu, &c.deltas, &c.phi_inter, &c.phi_intra]).collect()
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        self.classes
            .iter_mut()
            .flat_map(|c| [&mut c.mu, &mut c.deltas, &mut c.phi_inter, &mut c.phi_intra])
            .collect()
    }
}
