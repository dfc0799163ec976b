//! Every plugin of the project. The linker drops a crate that nobody names, and with it the components it registers: a program
//! that wants them says `use ccnf_bundle as _;`.

#[cfg(feature = "flow")]
use ccnf_plugin_conditioners as _;
#[cfg(any(feature = "flow", feature = "hgad"))]
use ccnf_plugin_couplings as _;
#[cfg(feature = "datasets")]
use ccnf_plugin_datasets as _;
#[cfg(feature = "encoders")]
use ccnf_plugin_encoders as _;
#[cfg(feature = "flow")]
use ccnf_plugin_flow as _;
#[cfg(feature = "gaussian")]
use ccnf_plugin_gaussian as _;
#[cfg(feature = "hgad")]
use ccnf_plugin_hgad as _;
#[cfg(feature = "iuf")]
use ccnf_plugin_iuf as _;
#[cfg(feature = "patch-memory")]
use ccnf_plugin_patch_memory as _;
#[cfg(feature = "flow")]
use ccnf_plugin_regularizers as _;
#[cfg(feature = "scorers")]
use ccnf_plugin_scorers as _;
#[cfg(feature = "strategies")]
use ccnf_plugin_strategies as _;
