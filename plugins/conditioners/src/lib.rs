//! How the class reaches the subnets: `embedding` (concatenated row) and `film` (modulated hidden layers).

mod embedding;
mod film;
mod rows;

pub use embedding::{Embedding, EmbeddingConfig};
pub use film::{FilmConditioner, FilmConfig};
pub use rows::ClassRows;
