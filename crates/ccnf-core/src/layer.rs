//! Class-private invertible layers between the standardised features and the flow.

use crate::encoder::LevelSpec;
use crate::error::Result;
use crate::state::Stateful;
use ccnf_tensor::{Shareable, Streams};

/// What a layer's constructor gets.
#[derive(Debug, Clone)]
pub struct LayerSpec {
    /// Prefix of the tensor names: `level0.layer1`.
    pub scope: String,
    /// The maps that the layer takes and gives: `height * width` tokens of `channels` dims.
    pub level: LevelSpec,
    /// Random streams.
    pub streams: Streams,
}

/// An invertible map of a level's whole feature map, fitted in closed form per class, registered as kind `layer`.
///
/// A map is `[height][width][channels]`, row-major; several maps follow each other. The log-determinant of a map is the sum of its
/// tokens' parts; a layer whose determinant belongs to the map as a whole gives every token the same part.
///
/// Contract:
/// - all tensors belong to one class: fitting a class leaves the tensors of the others bit for bit, and what it gives depends on
///   the class's own maps alone;
/// - the shapes of a class's tensors depend on the settings and the level only, so that a checkpoint can be read into [`add`](Self::add);
/// - `inverse(forward(x))` is `x` within `1e-3 max(1, |x|)`; the log-determinant is exact;
/// - a map's result has the same bits in any company.
pub trait ClassLayer: Stateful + Shareable {
    /// A layer with the same settings and no classes: what is fitted on a part of the images for held-out statistics.
    fn empty(&self) -> Box<dyn ClassLayer>;
    /// The known classes, in the order in which they were added.
    fn classes(&self) -> &[String];
    /// Adds a class under which the layer is not yet usable: it is fitted, or its tensors are loaded, next.
    fn add(&mut self, class: &str) -> Result<()>;
    /// Fits a known class on its maps, at least one, each of `level.len()` values; a fitted class is fitted anew.
    fn fit(&mut self, class: &str, maps: &[&[f32]]) -> Result<()>;
    /// Maps of class number `class`, in place; adds each token's part of `ln |det dy/dx|` to `log_det`, `[maps][tokens]`.
    fn forward(&self, class: usize, maps: &mut [f32], log_det: &mut [f32]) -> Result<()>;
    /// The inverse of [`forward`](Self::forward), in place.
    fn inverse(&self, class: usize, maps: &mut [f32]) -> Result<()>;
}

crate::component_kind!(ClassLayer, "layer", LayerSpec);
