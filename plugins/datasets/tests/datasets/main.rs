//! The rules of the datasets, on small folders and on real images.

mod btad;
mod common;
mod folder;
mod mvtec;
mod real_images;
mod registry;
mod synthetic;
mod visa;
