//! `bench --cuda`: the benches of this program built with the feature `cuda`.

use super::peer::root;
use crate::Result;
use std::process::Command;

/// Whether tensors are on a GPU in this build.
pub(crate) const BUILT: bool = cfg!(feature = "cuda");

/// What a peer is told to compute on.
pub(crate) const DEVICE: &str = if BUILT { "cuda" } else { "cpu" };

/// Whether this build runs the bench: on a GPU only the benches whose work is done by tensors.
pub(crate) fn in_this_build(name: &str) -> bool {
    !BUILT || name.starts_with("train_step.") || name == "hgad_step"
}

/// Builds this program with the feature `cuda`, in the environment of `tools/cuda-build`, and runs it with the same arguments.
pub(crate) fn start_anew() -> Result<()> {
    let gpus = Command::new("nvidia-smi").arg("--list-gpus").output();
    if !gpus.is_ok_and(|o| o.status.success() && !o.stdout.is_empty()) {
        return Err("--cuda needs a GPU: nvidia-smi is missing or lists none (without one, tools/cuda-build compiles and links the \
                    CUDA build)"
            .into());
    }
    let status = Command::new(root().join("tools/cuda-build"))
        .args(["--run", "cargo", "run", "--release", "--package", "xtask", "--features", "cuda", "--"])
        .args(std::env::args_os().skip(1))
        .current_dir(root())
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("the benches with the feature `cuda` failed: {status}").into())
    }
}
