//! From per-class log-likelihoods to anomaly scores and routes.
//!
//! | kind | name | formula |
//! |---|---|---|
//! | scorer | `likelihood` | [`Likelihood`]: `S = -l_y / D` |
//! | scorer | `likelihood-entropy` | [`LikelihoodEntropy`]: `S = -l_y / D + lambda * H(q)` |
//! | router | `given` | [`GivenRouter`]: the class that the caller names |
//! | router | `likelihood` | [`LikelihoodRouter`]: the class of the highest mean log-likelihood, of all or of a shortlist |
//! | router | `prototype` | [`PrototypeRouter`]: the class of the nearest mean feature vector |
//!
//! `l_y` is `log p(x | y)` of a token in nats, `D` the number of channels of its level.

mod given_router;
mod likelihood;
mod likelihood_entropy;
mod likelihood_router;
mod posterior;
mod prototype_router;

pub use given_router::{GivenRouter, GivenRouterConfig};
pub use likelihood::{Likelihood, LikelihoodConfig};
pub use likelihood_entropy::{
    EntropyClasses, LikelihoodEntropy, LikelihoodEntropyConfig, NamedTemperature, Temperature,
};
pub use likelihood_router::{LikelihoodRouter, LikelihoodRouterConfig};
pub use posterior::{TARGET_ENTROPY, choose_temperature, entropy};
pub use prototype_router::{PrototypeRouter, PrototypeRouterConfig};
