//! Products that lie in the picture.

pub(super) mod bolt;
pub(super) mod capsule;
pub(super) mod pcb;
mod pcb_layout;
pub(super) mod sprocket;
