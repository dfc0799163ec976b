//! Tensors, gradients, parameters, optimisers and randomness of the framework, on top of `dfdx`.
//!
//! * [`Var`] is a matrix whose gradient tracking is switched at run time ([`SwitchTape`]), so that traits stay
//!   object-safe and training and scoring run one `forward`.
//! * [`ops`] holds the operations that are slow or wrong in `dfdx`, each with a twin composed of plain `dfdx` operations.
//! * [`Param`] is a named, owned tensor; [`Adam`] updates the trainable ones; [`SpectralNorm`] bounds a weight.
//! * [`Streams`] derives every random number from one seed and a name.
//!
//! Shapes are written `[rows, columns]`, row-major; tokens are rows.

mod adam;
mod error;
mod finite;
pub mod ops;
mod param;
mod random;
mod spectral;
mod tape;

pub use adam::{Adam, AdamSettings, Moments};
pub use dfdx;
pub use error::{Result, TensorError};
pub use finite::check_finite;
pub use param::{Owner, Param, Role, TensorHash};
pub use rand;
pub use random::{Stream, Streams};
pub use spectral::{SpectralMode, SpectralNorm};
pub use tape::{Grads, SwitchTape, gradients, is_recording};

use dfdx::prelude::{NoneTape, Rank0, Tensor, TensorFromVec};

/// The device of all tensors: the CPU, or CUDA with the cargo feature `cuda`.
#[cfg(not(feature = "cuda"))]
pub type Dev = dfdx::tensor::Cpu;
/// The device of all tensors: the CPU, or CUDA with the cargo feature `cuda`.
#[cfg(feature = "cuda")]
pub type Dev = dfdx::tensor::Cuda;

/// A matrix without gradient tracking: parameters, data.
pub type Mat = Tensor<(usize, usize), f32, Dev, NoneTape>;
/// A matrix that may be tracked; see [`SwitchTape`].
pub type Var = Tensor<(usize, usize), f32, Dev, SwitchTape>;
/// A vector that may be tracked, usually one value per token.
pub type VarVec = Tensor<(usize,), f32, Dev, SwitchTape>;
/// A scalar that may be tracked: losses.
pub type Scalar = Tensor<Rank0, f32, Dev, SwitchTape>;

/// The device handle: one per thread, because a CUDA stream belongs to its thread.
pub fn device() -> Dev {
    thread_local! {
        static DEVICE: Dev = Dev::default();
    }
    DEVICE.with(Dev::clone)
}

/// Waits until the device has done all work that this thread gave it; at once on the CPU. For timing: CUDA kernels run on while the
/// call that started them has returned.
pub fn synchronize() -> Result<()> {
    use dfdx::prelude::Synchronize;
    device().try_synchronize().map_err(|e| TensorError::device("synchronize", e))
}

/// What components with tensors must be: usable from several threads on the CPU. CUDA tensors stay in their thread.
#[cfg(not(feature = "cuda"))]
pub trait Shareable: Send + Sync {}
#[cfg(not(feature = "cuda"))]
impl<T: Send + Sync + ?Sized> Shareable for T {}
/// What components with tensors must be: usable from several threads on the CPU. CUDA tensors stay in their thread.
#[cfg(feature = "cuda")]
pub trait Shareable {}
#[cfg(feature = "cuda")]
impl<T: ?Sized> Shareable for T {}

/// A matrix from row-major values.
pub fn mat(values: Vec<f32>, rows: usize, cols: usize) -> Result<Mat> {
    if values.len() != rows * cols {
        return Err(TensorError::shape(
            "mat",
            format!("{rows} x {cols} values"),
            format!("{} values", values.len()),
        ));
    }
    device().try_tensor_from_vec(values, (rows, cols)).map_err(|e| TensorError::device("mat", e))
}

/// A matrix as a constant: no gradient is computed for it.
pub fn constant(m: &Mat) -> Var {
    use dfdx::prelude::PutTape;
    m.clone().put_tape(SwitchTape::Off)
}

/// A matrix as a tracked leaf (while a recording is active).
pub fn tracked(m: &Mat) -> Var {
    m.retaped::<SwitchTape>()
}

/// A vector of constants.
pub fn constant_vec(values: Vec<f32>) -> Result<VarVec> {
    use dfdx::prelude::PutTape;
    let n = values.len();
    let t = device().try_tensor_from_vec(values, (n,)).map_err(|e| TensorError::device("constant_vec", e))?;
    Ok(t.put_tape(SwitchTape::Off))
}

/// A constant scalar.
pub fn constant_scalar(value: f32) -> Result<Scalar> {
    use dfdx::prelude::PutTape;
    let t = device()
        .try_tensor_from_vec(vec![value], ())
        .map_err(|e| TensorError::device("constant_scalar", e))?;
    Ok(t.put_tape(SwitchTape::Off))
}
