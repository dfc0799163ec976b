//! The router `prototype`.

use ccnf::prelude::*;
use faer::linalg::triangular_inverse::invert_lower_triangular;
use faer::{Mat as Matrix, Par, Side};
use serde::{Deserialize, Serialize};

/// Config of [`PrototypeRouter`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PrototypeRouterConfig {
    /// The part `s`, in (0, 1], of the covariance that is replaced by its diagonal.
    pub shrinkage: f64,
}

impl Default for PrototypeRouterConfig {
    fn default() -> Self {
        PrototypeRouterConfig { shrinkage: 0.2 }
    }
}

/// The class whose prototype is nearest in the Mahalanobis distance of the within-class covariance; it needs no likelihood.
///
/// ```text
/// v = [mean over tokens of level 0, of level 1, …]              one vector of D = sum of channels per image
/// S = sum over first-stage images of (v - m_y)(v - m_y)^T / n   m_y: the mean of the vectors of the image's class
/// C = (1-s) S + s diag(S) + 1e-6 t I = L L^T                    t: mean over dims of the total variance (1 where it is 0)
/// d^2(x, y) = (v - m_y)^T C^-1 (v - m_y) = |u - p_y|^2          u = L^-1 (v - c), p_y = L^-1 (m_y - c)
/// ```
///
/// `c` is the mean of all first-stage images. `L^-1` (`router.whitening`, `[D, D]`) and `c` (`router.center`, `[1, D]`) are shared
/// and stay as the first stage made them; `p_y` (`router.prototype.<class>`, `[1, D]`) belongs to class `y` and is the mean over its
/// training images. A class that is trained on again gets a new prototype. With one image per class `S` is 0 and the distance
/// Euclidean.
///
/// Shrinking to the diagonal, not to a multiple of the identity, keeps routes the same when a channel is scaled.
pub struct PrototypeRouter {
    shrinkage: f64,
    levels: Vec<LevelSpec>,
    dim: usize,
    center: Param,
    whitening: Param,
    prototypes: Vec<(String, Param)>,
}

/// Part of the mean total variance that is added to the diagonal, so that constant channels have a distance too.
const RIDGE: f64 = 1e-6;

impl PrototypeRouter {
    /// The router; fails for a shrinkage out of range.
    pub fn new(config: PrototypeRouterConfig, build: &Build<RouterSpec>) -> Result<Self> {
        if !(config.shrinkage > 0.0 && config.shrinkage <= 1.0) {
            return Err(build.error("shrinkage", "must be in (0, 1]"));
        }
        let dim: usize = build.levels.iter().map(|l| l.channels).sum();
        let identity = (0..dim * dim).map(|k| if k / dim == k % dim { 1.0 } else { 0.0 }).collect();
        Ok(PrototypeRouter {
            shrinkage: config.shrinkage,
            levels: build.levels.clone(),
            dim,
            center: Param::buffer("router.center", Owner::Shared, vec![0.0; dim], 1, dim)?,
            whitening: Param::buffer("router.whitening", Owner::Shared, identity, dim, dim)?,
            prototypes: vec![],
        })
    }

    fn add(&mut self, class: &str) -> Result<()> {
        let (name, owner) = (format!("router.prototype.{class}"), Owner::Class(class.to_owned()));
        let prototype = Param::buffer(name, owner, vec![0.0; self.dim], 1, self.dim)?;
        self.prototypes.push((class.to_owned(), prototype));
        Ok(())
    }

    /// `v`: the mean token of every level.
    fn vector(&self, image: &dyn ImageFeatures) -> Result<Vec<f64>> {
        let mut v = Vec::with_capacity(self.dim);
        for (l, level) in self.levels.iter().enumerate() {
            let values = image.level(l)?;
            if level.is_empty() || values.len() != level.len() {
                let (n, wanted) = (values.len(), level.len());
                let message = format!("an image has {n} values at level `{}`, not {wanted}", level.name);
                return Err(Error::new(ErrorKind::Encoder, message));
            }
            let mut sum = vec![0.0f64; level.channels];
            for token in values.chunks_exact(level.channels) {
                sum.iter_mut().zip(token).for_each(|(s, x)| *s += f64::from(*x));
            }
            v.extend(sum.into_iter().map(|s| s / level.tokens() as f64));
        }
        check_finite("a mean feature", || "the router `prototype`".into(), &narrow(&v))?;
        Ok(v)
    }

    /// `L^-1 (v - c)`.
    fn whitened(&self, v: &[f64]) -> Vec<f64> {
        let (center, whitening) = (self.center.to_vec(), self.whitening.to_vec());
        let residual: Vec<f64> = v.iter().zip(&center).map(|(v, c)| v - f64::from(*c)).collect();
        let row = |(i, w): (usize, &[f32])| -> f64 {
            w[..=i].iter().zip(&residual).map(|(w, r)| f64::from(*w) * r).sum()
        };
        whitening.chunks_exact(self.dim.max(1)).enumerate().map(row).collect()
    }

    /// Fits `c` and `L^-1` to the vectors of the first stage, class by class.
    fn fit(&mut self, classes: &[Vec<Vec<f64>>]) -> Result<()> {
        let d = self.dim;
        let n = classes.iter().map(Vec::len).sum::<usize>().max(1) as f64;
        let center = mean(classes.iter().flatten(), d);
        let mut s = vec![0.0f64; d * d];
        for vectors in classes {
            let m = mean(vectors.iter(), d);
            for v in vectors {
                let r: Vec<f64> = v.iter().zip(&m).map(|(v, m)| v - m).collect();
                for (row, a) in s.chunks_exact_mut(d.max(1)).zip(&r) {
                    row.iter_mut().zip(&r).for_each(|(s, b)| *s += a * b / n);
                }
            }
        }
        let square = |v: &Vec<f64>| -> f64 { v.iter().zip(&center).map(|(v, c)| (v - c) * (v - c)).sum() };
        let total = classes.iter().flatten().map(square).sum::<f64>() / (n * d.max(1) as f64);
        let ridge = RIDGE * if total > 0.0 { total } else { 1.0 };
        let covariance = Matrix::from_fn(d, d, |i, j| {
            if i == j { s[i * d + i] + ridge } else { (1.0 - self.shrinkage) * s[i * d + j] }
        });
        let factor = covariance.llt(Side::Lower).map_err(|_| {
            Error::new(ErrorKind::NonFinite, "the within-class covariance of the mean features has no factor")
                .help("check the features: values this large overflow when squared")
        })?;
        let mut inverse = Matrix::zeros(d, d);
        invert_lower_triangular(inverse.as_mut(), factor.L(), Par::Seq);
        let whitening: Vec<f32> =
            (0..d * d).map(|k| if k % d > k / d { 0.0 } else { inverse[(k / d, k % d)] as f32 }).collect();
        check_finite("the whitening", || "the router `prototype`".into(), &whitening)?;
        self.center.set(narrow(&center))?;
        Ok(self.whitening.set(whitening)?)
    }

    /// `d^2` to the prototype of every class.
    fn distances(&self, classes: &[String], image: &dyn ImageFeatures) -> Result<Vec<f64>> {
        let u = self.whitened(&self.vector(image)?);
        let distance = |(k, class): (usize, &String)| {
            // The classes are usually those of the prototypes, in the same order.
            let same = self.prototypes.get(k).filter(|(name, _)| name == class);
            let found = same.or_else(|| self.prototypes.iter().find(|(name, _)| name == class));
            let (_, prototype) = found.ok_or_else(|| {
                let message = format!("the router `prototype` has not seen the class `{class}`");
                Error::new(ErrorKind::Contract, message)
            })?;
            let p = prototype.to_vec();
            Ok(u.iter().zip(&p).map(|(u, p)| (u - f64::from(*p)) * (u - f64::from(*p))).sum())
        };
        classes.iter().enumerate().map(distance).collect()
    }
}

fn mean<'a>(vectors: impl Iterator<Item = &'a Vec<f64>>, dim: usize) -> Vec<f64> {
    let (mut n, mut sum) = (0usize, vec![0.0; dim]);
    for v in vectors {
        n += 1;
        sum.iter_mut().zip(v).for_each(|(s, v)| *s += v);
    }
    sum.into_iter().map(|s| s / n.max(1) as f64).collect()
}

fn narrow(v: &[f64]) -> Vec<f32> {
    v.iter().map(|v| *v as f32).collect()
}

impl Ranking for PrototypeRouter {
    fn rank(&self, classes: &[String], features: &dyn ImageFeatures) -> Result<Vec<usize>> {
        let distances = self.distances(classes, features)?;
        let mut order: Vec<usize> = (0..classes.len()).collect();
        order.sort_by(|a, b| distances[*a].total_cmp(&distances[*b]));
        Ok(order)
    }
}

impl Router for PrototypeRouter {
    fn route(&self, input: &RouteInput<'_>) -> Result<usize> {
        self.rank(input.classes, input.features)?
            .first()
            .copied()
            .ok_or_else(|| Error::new(ErrorKind::Contract, "the router `prototype` was given no classes"))
    }

    fn needs_likelihoods(&self) -> bool {
        false
    }

    fn ranking(&self) -> Option<&dyn Ranking> {
        Some(self)
    }

    fn observe(&mut self, view: &TrainView) -> Result<()> {
        let mut classes = Vec::new();
        for class in view.classes() {
            let vectors = class.images().iter().map(|i| self.vector(i.as_ref())).collect::<Result<_>>();
            classes.push(vectors.at(|| format!("class `{}`", class.name()))?);
        }
        if self.prototypes.is_empty() {
            self.fit(&classes)?;
        }
        for (class, vectors) in view.classes().iter().zip(&classes) {
            let prototype = narrow(&self.whitened(&mean(vectors.iter(), self.dim)));
            if !self.prototypes.iter().any(|(name, _)| name == class.name()) {
                self.add(class.name())?;
            }
            let own = self.prototypes.iter_mut().find(|(name, _)| name == class.name());
            own.map_or(Ok(()), |(_, p)| p.set(prototype))?;
        }
        Ok(())
    }

    fn prepare(&mut self, classes: &[String]) -> Result<()> {
        self.prototypes.clear();
        classes.iter().try_for_each(|c| self.add(c))
    }
}

impl Stateful for PrototypeRouter {
    fn params(&self) -> Vec<&Param> {
        [&self.center, &self.whitening].into_iter().chain(self.prototypes.iter().map(|(_, p)| p)).collect()
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        let shared = [&mut self.center, &mut self.whitening];
        shared.into_iter().chain(self.prototypes.iter_mut().map(|(_, p)| p)).collect()
    }
}

ccnf::register_component!(
    Router,
    "prototype",
    PrototypeRouterConfig,
    PrototypeRouter::new,
    "the class with the nearest mean feature vector (Mahalanobis); needs no likelihoods"
);
