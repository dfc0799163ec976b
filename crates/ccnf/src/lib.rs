//! What a plugin author depends on: traits, registry macros, tensors and image operations in one crate.
//!
//! `serde` and `schemars` are part of it: a config derives their traits with `crate = "ccnf::…"` and the plugin needs no other crate.
//! `plugins/template` has a small component of every kind.
//!
//! ```
//! use ccnf::prelude::*;
//! use ccnf::serde::{Deserialize, Serialize};
//!
//! /// Config of the regulariser: every key has a default.
//! #[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
//! #[serde(crate = "ccnf::serde", deny_unknown_fields, default)]
//! #[schemars(crate = "ccnf::schemars")]
//! struct MeanConfig {
//!     /// Weight in the loss.
//!     weight: f32,
//! }
//! impl Default for MeanConfig {
//!     fn default() -> Self {
//!         MeanConfig { weight: 0.1 }
//!     }
//! }
//!
//! struct Mean(f32);
//! impl Mean {
//!     fn new(config: MeanConfig, _: &Build<RegularizerSpec>) -> Result<Self> {
//!         Ok(Mean(config.weight))
//!     }
//! }
//! impl Regularizer for Mean {
//!     fn name(&self) -> &'static str {
//!         "mean"
//!     }
//!     fn weight(&self) -> f32 {
//!         self.0
//!     }
//!     fn penalty(&self, output: &FlowOutput) -> Result<Option<Scalar>> {
//!         use ccnf::dfdx::prelude::*;
//!         Ok(Some(output.z.clone().mean::<Rank0, _>().square()))
//!     }
//! }
//! ccnf::register_component!(Regularizer, "mean", MeanConfig, Mean::new, "keeps the mean latent at zero");
//! # fn main() {
//! assert!(ccnf::core::list_all().iter().any(|c| c.name == "mean"));
//! # }
//! ```

pub mod abi;

// Without a name the shared library would not be linked.
#[cfg(feature = "dynamic")]
use ccnf_dylib as _;

pub use ccnf_core as core;
pub use ccnf_core::{
    component_kind, inventory, register_component, schemars, serde, serde_json, stateful, stateless,
};
pub use ccnf_data as data;
pub use ccnf_tensor as tensor;
pub use ccnf_tensor::dfdx;
pub use ccnf_tensor::rand;
pub use tracing;

// The registration macros name these paths.
#[doc(hidden)]
pub use ccnf_core::{Build, ComponentKind, Entry};
pub use ccnf_core::{
    ClassLayer, Conditioner, Coupling, Dataset, Detector, Encoder, Regularizer, Router, Scorer, Stateful,
    Strategy, ccnf_tensor,
};

/// Everything a component needs, in one `use`.
pub mod prelude {
    pub use ccnf_core::{
        BlockCondition, Build, Candidate, ClassLayer, Component, Conditioner, ConditionerSpec, Coupling,
        CouplingOutput, CouplingSpec, Dataset, DatasetIndex, DatasetSpec, Detector, DetectorSpec,
        Distillation, EncodedImage, Encoder, EncoderInput, EncoderSpec, Error, ErrorKind, FlowOutput,
        FusionConfig, ImageFeatures, ImageScores, ImageSource, ImageTerm, LayerSpec, LevelMap, LevelNorm,
        LevelSpec, LikelihoodScoring, LogLikelihood, Mask, MaskSource, Negative, OpenedImage, PaintedImage,
        Peers, Ranking, Regularizer, RegularizerSpec, Result, ResultExt, RgbImage, RouteInput, Router,
        RouterSpec, RowInit, RowMix, ScoreRequest, Scorer, ScorerSpec, Section, Shortlist, Snapshot, Stage,
        Stateful, StepReport, StoredTensor, Strategy, StrategySpec, TokenLikelihoods, TrainClass, TrainScope,
        TrainView, Update, UpdateRule, Values, unknown_class, update, update_with,
    };
    pub use ccnf_tensor::dfdx::prelude::HasShape;
    pub use ccnf_tensor::ops;
    pub use ccnf_tensor::ops::{Film, Grid, Index, RowTable};
    pub use ccnf_tensor::{
        Adam, Grads, Mat, Owner, Param, Role, Scalar, SpectralMode, SpectralNorm, Streams, Var, VarVec,
        check_finite, constant, gradients, mat, tracked,
    };
    pub use schemars::JsonSchema;
}
