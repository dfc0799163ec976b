//! Products that fill the picture.

pub(super) mod aluminium;
pub(super) mod canvas;
pub(super) mod granite;
pub(super) mod pine;
