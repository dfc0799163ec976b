//! The binary as people run it, in folders of its own.

mod bad_input;
mod model_configs;
mod place;
mod plugins;
mod real_images;
mod runs;
mod suites;
