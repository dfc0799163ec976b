//! How the class reaches the subnets: `embedding` (concatenated row), `prototype` (row computed from the class's mean token) and `film`
//! (modulated hidden layers).

mod embedding;
mod film;
mod prototype;
mod rows;

pub use embedding::{Embedding, EmbeddingConfig};
pub use film::{FilmConditioner, FilmConfig};
pub use prototype::{Prototype, PrototypeConfig};
pub use rows::ClassRows;
