//! What a generated product is, and the list of them.

use super::flaw::Flaw;
use super::geometry::{Rgb, V2, v2};
use super::noise::{Rng, uniform};
use super::{objects, textures};

/// One specimen with its natural variation already drawn.
pub(super) trait Product {
    /// The colour of the picture at `p`, antialiased for pixels of side `px`.
    fn color(&self, p: V2, px: f32) -> Rgb;

    /// How far `p` lies on the product (1) and not beside it (0): surface defects end at its outline.
    fn cover(&self, _p: V2, _px: f32) -> f32 {
        1.0
    }

    /// Damages the specimen. A defect of its structure changes it and returns `None`; a surface defect is returned.
    fn damage(&mut self, kind: &str, rng: &mut Rng, strength: f32) -> Option<Flaw>;

    /// A random place on the product, away from the border of the picture.
    fn anchor(&self, rng: &mut Rng) -> V2 {
        let mut at = v2(0.0, 0.0);
        for _ in 0..64 {
            at = v2(uniform(rng, -0.8, 0.8), uniform(rng, -0.8, 0.8));
            if self.cover(at, 0.1) > 0.99 {
                break;
            }
        }
        at
    }
}

/// A class of generated products.
pub(super) struct Class {
    pub(super) name: &'static str,
    pub(super) defects: &'static [&'static str],
    pub(super) build: fn(&mut Rng) -> Box<dyn Product>,
}

/// All classes by name. The names are chosen so that textures and objects alternate in this order too.
pub(super) const CLASSES: &[Class] = &[
    Class { name: "aluminium", defects: textures::aluminium::DEFECTS, build: textures::aluminium::build },
    Class { name: "bolt", defects: objects::bolt::DEFECTS, build: objects::bolt::build },
    Class { name: "canvas", defects: textures::canvas::DEFECTS, build: textures::canvas::build },
    Class { name: "capsule", defects: objects::capsule::DEFECTS, build: objects::capsule::build },
    Class { name: "granite", defects: textures::granite::DEFECTS, build: textures::granite::build },
    Class { name: "pcb", defects: objects::pcb::DEFECTS, build: objects::pcb::build },
    Class { name: "pine", defects: textures::pine::DEFECTS, build: textures::pine::build },
    Class { name: "sprocket", defects: objects::sprocket::DEFECTS, build: objects::sprocket::build },
];
