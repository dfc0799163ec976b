//! The layer `whitening`.

use crate::cells::Layout;
use crate::config::WhiteningConfig;
use crate::gaussian::ClassGaussian;
use crate::input::Scaling;
use ccnf::prelude::*;

/// `y = L^-1 (x - mean)` with `S = L L^T`: each token's distance to its class, in a basis in which the class's tokens are a unit sphere.
///
/// Mean and covariance `S` are those of [`Mahalanobis`](crate::Mahalanobis), fitted by the same code, with the same modes and
/// shrinkage; the log-determinant of a token is `-ln det S / 2`. So the standard normal density of `y` is the Gaussian of that
/// detector, and a flow behind the layer models what that Gaussian leaves.
pub struct Whitening {
    scope: String,
    settings: WhiteningConfig,
    level: LevelSpec,
    layout: Layout,
    classes: Vec<String>,
    gaussians: Vec<ClassGaussian>,
}

impl Whitening {
    /// The layer; fails for keys out of range.
    pub fn new(config: WhiteningConfig, build: &Build<LayerSpec>) -> Result<Self> {
        config.check(build)?;
        Ok(Whitening::with(config, &build.scope, &build.level))
    }

    fn with(settings: WhiteningConfig, scope: &str, level: &LevelSpec) -> Self {
        let layout = Layout::new(&settings, level);
        let (scope, level) = (scope.to_owned(), level.clone());
        Whitening { scope, settings, level, layout, classes: vec![], gaussians: vec![] }
    }
}

impl ClassLayer for Whitening {
    fn empty(&self) -> Box<dyn ClassLayer> {
        Box::new(Whitening::with(self.settings, &self.scope, &self.level))
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn add(&mut self, class: &str) -> Result<()> {
        refuse_known(class, &self.classes)?;
        self.gaussians.push(ClassGaussian::new(&self.scope, class, &self.layout)?);
        self.classes.push(class.to_owned());
        Ok(())
    }

    fn fit(&mut self, class: &str, maps: &[&[f32]]) -> Result<()> {
        let c = checked_fit(class, &self.classes, maps, &self.level)?;
        let (layout, input) = (&self.layout, Scaling::identity(self.layout.dim));
        self.gaussians[c].fit(maps, layout, &input, &self.settings)
    }

    fn forward(&self, class: usize, maps: &mut [f32], log_det: &mut [f32]) -> Result<()> {
        checked_maps(class, self.classes.len(), maps, Some(log_det), &self.level)?;
        self.gaussians[class].forward(maps, log_det, &self.layout);
        Ok(())
    }

    fn inverse(&self, class: usize, maps: &mut [f32]) -> Result<()> {
        checked_maps(class, self.classes.len(), maps, None, &self.level)?;
        self.gaussians[class].inverse(maps, &self.layout);
        Ok(())
    }
}

/// Fails for a class that is known already.
pub(crate) fn refuse_known(class: &str, classes: &[String]) -> Result<()> {
    if classes.iter().any(|c| c == class) {
        return Err(Error::new(ErrorKind::Contract, format!("a layer was given the class `{class}` twice")));
    }
    Ok(())
}

/// The number of a class that is to be fitted on `maps`.
pub(crate) fn checked_fit(
    class: &str,
    classes: &[String],
    maps: &[&[f32]],
    level: &LevelSpec,
) -> Result<usize> {
    let contract = |message: String| Err(Error::new(ErrorKind::Contract, message));
    let Some(c) = classes.iter().position(|c| c == class) else {
        return contract(format!("a layer was to be fitted for the class `{class}`, which was never added"));
    };
    if maps.is_empty() {
        return contract(format!("a layer was to be fitted for the class `{class}` without images"));
    }
    for map in maps {
        if level.is_empty() || map.len() != level.len() {
            return contract(format!(
                "a map has {} values at level `{}`, not {}",
                map.len(),
                level.name,
                level.len()
            ));
        }
        check_finite("a feature", || format!("level `{}` of class `{class}`", level.name), *map)?;
    }
    Ok(c)
}

/// Fails for a class that is not there and for maps of another size.
pub(crate) fn checked_maps(
    class: usize,
    classes: usize,
    maps: &[f32],
    log_det: Option<&[f32]>,
    level: &LevelSpec,
) -> Result<()> {
    let contract = |message: String| Err(Error::new(ErrorKind::Contract, message));
    if class >= classes {
        return contract(format!("a layer was asked for class {class} of {classes}"));
    }
    if level.is_empty() || !maps.len().is_multiple_of(level.len()) {
        return contract(format!(
            "a layer got {} values at level `{}`, not maps of {}",
            maps.len(),
            level.name,
            level.len()
        ));
    }
    let tokens = maps.len() / level.len() * level.tokens();
    match log_det {
        Some(l) if l.len() != tokens => {
            contract(format!("a layer got {} log-determinants for {tokens} tokens", l.len()))
        }
        _ => Ok(()),
    }
}

impl Stateful for Whitening {
    fn params(&self) -> Vec<&Param> {
        self.gaussians.iter().flat_map(|g| g.params()).collect()
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        self.gaussians.iter_mut().flat_map(|g| g.params_mut()).collect()
    }
}

ccnf::register_component!(
    ClassLayer,
    "whitening",
    WhiteningConfig,
    Whitening::new,
    "a class's tokens whitened: pooled, with position means, per region or per position"
);
