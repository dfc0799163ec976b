//! Images and maps: decoding, resizing, interpolation, heat maps, and a generated dataset.
//!
//! * [`decode_image`] and [`decode_mask`] turn files into pixels, with limits and errors that name the file.
//! * [`resize`] and [`centre_crop`] prepare images as the reference implementations of the field do.
//! * [`FloatMap`] holds anomaly maps; [`pool_features`] smooths feature maps; [`position_code`] tells where a cell is.
//! * [`overlay`] draws anomaly maps for people.
//! * [`synthetic`] renders product photos with exact defect masks.

pub mod cache;
mod decode;
mod folder;
mod maps;
mod overlay;
mod position;
mod resize;
pub mod synthetic;

pub use decode::*;
pub use folder::*;
pub use maps::*;
pub use overlay::*;
pub use position::*;
pub use resize::*;
