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
mod eigen;
mod error;
mod finite;
pub mod ops;
mod param;
mod random;
mod softplus;
mod spectral;
mod tape;

pub use adam::{Adam, AdamSettings, Moments};
pub use dfdx;
pub use eigen::leading_eigenvectors;
pub use error::{Result, TensorError};
pub use finite::check_finite;
pub use param::{Owner, Param, Role, TensorHash};
pub use rand;
pub use random::{Stream, Streams};
pub use softplus::softplus;
pub use spectral::{SpectralMode, SpectralNorm};
pub use tape::{Grads, SwitchTape, gradients, is_recording};

use dfdx::prelude::{NoneTape, Rank0, Tensor};

/// The device of all tensors: the CPU, or CUDA with the cargo feature `cuda`.
#[cfg(not(feature = "cuda"))]
pub type Dev = dfdx::tensor::Cpu;
/// The device of all tensors: the CPU, or CUDA with the cargo feature `cuda`.
#[cfg(feature = "cuda")]
pub type Dev = dfdx::tensor::Cuda;

/// Whether [`Dev`] is CUDA.
pub const CUDA: bool = cfg!(feature = "cuda");

/// A matrix without gradient tracking: parameters, data.
pub type Mat = Tensor<(usize, usize), f32, Dev, NoneTape>;
/// A matrix that may be tracked; see [`SwitchTape`].
pub type Var = Tensor<(usize, usize), f32, Dev, SwitchTape>;
/// A vector that may be tracked, usually one value per token.
pub type VarVec = Tensor<(usize,), f32, Dev, SwitchTape>;
/// A scalar that may be tracked: losses.
pub type Scalar = Tensor<Rank0, f32, Dev, SwitchTape>;

/// The device handle: one per thread, because a CUDA stream belongs to its thread.
///
/// On the CPU its cache of buffers is on: a training step uses some 100 MB of buffers, and taking them from the system anew in
/// every step would cost a page fault per 4 KiB. What stays in the cache is what the largest step so far has used.
///
/// On CUDA the handle is never dropped: that of the main thread would be when the driver has already shut down, and its destructor
/// panics then.
pub fn device() -> Dev {
    thread_local! {
        static DEVICE: Kept = Kept::new(cached_device());
    }
    DEVICE.with(|kept| Dev::clone(kept))
}

#[cfg(not(feature = "cuda"))]
type Kept = Box<Dev>;
#[cfg(feature = "cuda")]
type Kept = std::mem::ManuallyDrop<Dev>;

fn cached_device() -> Dev {
    let device = Dev::default();
    #[cfg(not(feature = "cuda"))]
    dfdx::tensor::Cache::enable_cache(&device);
    device
}

/// A tensor with these values, of which there must be as many as the shape has.
///
/// On the CPU the values are copied into a buffer of the cache. A vector that is moved into a tensor would go to the cache in the
/// end and never come out of it: memory would grow with every step.
pub(crate) fn filled<S: dfdx::shapes::Shape>(
    op: &'static str,
    values: Vec<f32>,
    shape: S,
) -> Result<Tensor<S, f32, Dev>> {
    if values.len() != shape.num_elements() {
        return Err(TensorError::shape(
            op,
            format!("{} values", shape.num_elements()),
            values.len().to_string(),
        ));
    }
    #[cfg(not(feature = "cuda"))]
    {
        use dfdx::prelude::ZerosTensor;
        let mut tensor = device().try_zeros_like(&shape).map_err(|e| TensorError::device(op, e))?;
        tensor.copy_from(&values);
        Ok(tensor)
    }
    #[cfg(feature = "cuda")]
    {
        use dfdx::prelude::TensorFromVec;
        device().try_tensor_from_vec(values, shape).map_err(|e| TensorError::device(op, e))
    }
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
    filled("mat", values, (rows, cols))
}

/// A matrix as a constant: no gradient is computed for it.
///
/// On CUDA, where the operations are `dfdx`'s own, it is a copy with an identity of its own: those add to the gradients of both
/// operands, tracked or not, and a constant must not add to that of the same matrix used elsewhere as a leaf.
pub fn constant(m: &Mat) -> Var {
    use dfdx::prelude::PutTape;
    #[cfg(feature = "cuda")]
    use dfdx::prelude::{HasShape, Shape};
    // A kernel cannot run over no values.
    #[cfg(feature = "cuda")]
    let own = if m.shape().num_elements() == 0 { m.clone() } else { m.clone() * 1.0 };
    #[cfg(not(feature = "cuda"))]
    let own = m.clone();
    own.put_tape(SwitchTape::Off)
}

/// A matrix as a tracked leaf (while a recording is active).
pub fn tracked(m: &Mat) -> Var {
    m.retaped::<SwitchTape>()
}

/// A vector of constants.
pub fn constant_vec(values: Vec<f32>) -> Result<VarVec> {
    use dfdx::prelude::PutTape;
    let n = values.len();
    Ok(filled("constant_vec", values, (n,))?.put_tape(SwitchTape::Off))
}

/// A constant scalar.
pub fn constant_scalar(value: f32) -> Result<Scalar> {
    use dfdx::prelude::PutTape;
    Ok(filled("constant_scalar", vec![value], ())?.put_tape(SwitchTape::Off))
}
