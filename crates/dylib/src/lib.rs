//! Forces the core and all that it depends on into one shared library. It has no items of its own.

use ccnf_core as _;
use ccnf_data as _;
use ccnf_tensor as _;
use safetensors as _;
use tempfile as _;
use tracing as _;
