//! A tape that is switched on and off at run time.
//!
//! In `dfdx` the tape is a type parameter, so a function that works for training and scoring is generic and a trait with
//! it is not object-safe. Here the tape of a tensor is a flag; the operations themselves go to the recording that is
//! active in the current thread. So a tracked tensor can be used any number of times, cloned and stored, and no operation
//! is lost.

use crate::{Dev, Mat, Result, Scalar, TensorError};
use dfdx::prelude::{Backward, Gradients, Merge, NoneTape, OwnedTape, PutTape, SplitTape, Storage, Tape};
use std::cell::RefCell;

thread_local! {
    static RECORDINGS: RefCell<Vec<OwnedTape<f32, Dev>>> = const { RefCell::new(Vec::new()) };
}

/// Whether gradients flow to and through a tensor.
///
/// `On` tensors need a gradient; `Off` tensors are constants, and own operations skip the work of their gradients.
/// The default (what `dfdx` uses for `retaped` and `with_empty_tape`) is `On` inside [`gradients`] and `Off` elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwitchTape {
    /// A constant.
    Off,
    /// A tensor that needs a gradient.
    On,
}

impl SwitchTape {
    /// True for [`SwitchTape::On`].
    pub fn is_on(self) -> bool {
        self == SwitchTape::On
    }
}

impl Default for SwitchTape {
    fn default() -> Self {
        if is_recording() { SwitchTape::On } else { SwitchTape::Off }
    }
}

impl Merge<SwitchTape> for SwitchTape {
    fn merge(self, other: SwitchTape) -> Self {
        if self.is_on() { self } else { other }
    }
}

impl Merge<NoneTape> for SwitchTape {
    fn merge(self, _: NoneTape) -> Self {
        self
    }
}

impl Tape<f32, Dev> for SwitchTape {
    const OWNS_TAPE: bool = true;
    fn add_backward_op<F>(&mut self, operation: F)
    where
        F: 'static + FnOnce(&mut Gradients<f32, Dev>) -> Result<(), <Dev as dfdx::prelude::HasErr>::Err>,
    {
        if self.is_on() {
            RECORDINGS.with_borrow_mut(|r| {
                if let Some(tape) = r.last_mut() {
                    tape.add_backward_op(operation);
                }
            });
        }
    }
}

/// True while [`gradients`] runs its closure in this thread.
pub fn is_recording() -> bool {
    RECORDINGS.with_borrow(|r| !r.is_empty())
}

/// Ends a recording also when the closure fails or panics.
struct Recording;

impl Recording {
    fn start() -> Self {
        RECORDINGS.with_borrow_mut(|r| r.push(OwnedTape::default()));
        Recording
    }
    fn take(&self) -> Option<OwnedTape<f32, Dev>> {
        RECORDINGS.with_borrow_mut(|r| r.last_mut().map(std::mem::take))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        RECORDINGS.with_borrow_mut(|r| r.pop());
    }
}

/// Runs `loss` with recording on, then computes the gradients of the scalar it returns.
/// The closure may return more than the loss: its second value is handed through.
///
/// ```
/// use ccnf_tensor::{gradients, mat, tracked};
/// use dfdx::prelude::*;
/// let w = mat(vec![1.0, 2.0], 1, 2)?;
/// let (value, (), mut grads) = gradients(|| Ok((tracked(&w).square().sum(), ())))?;
/// assert_eq!(value, 5.0);
/// assert_eq!(grads.of(&w)?, vec![2.0, 4.0]);
/// # Ok::<(), ccnf_tensor::TensorError>(())
/// ```
pub fn gradients<T, E: From<TensorError>>(
    loss: impl FnOnce() -> std::result::Result<(Scalar, T), E>,
) -> std::result::Result<(f32, T, Grads), E> {
    let recording = Recording::start();
    let (loss, extra) = loss()?;
    let tape = recording.take().ok_or(TensorError::NotRecording)?;
    drop(recording);
    let value = loss.as_vec().first().copied().unwrap_or(f32::NAN);
    let grads =
        loss.split_tape().0.put_tape(tape).try_backward().map_err(|e| TensorError::device("backward", e))?;
    Ok((value, extra, Grads(grads)))
}

/// Gradients by tensor.
pub struct Grads(pub(crate) Gradients<f32, Dev>);

impl Grads {
    /// The gradient of a leaf, row-major; zeros when the loss does not depend on it.
    pub fn of(&mut self, leaf: &Mat) -> Result<Vec<f32>> {
        self.0.try_alloc_for(leaf).map_err(|e| TensorError::device("gradient", e))?;
        Ok(self.0.get(leaf).as_vec())
    }

    /// The sum of squares of a leaf's gradient, accumulated in f64.
    pub fn sum_of_squares(&mut self, leaf: &Mat) -> Result<f64> {
        #[cfg(not(feature = "cuda"))]
        {
            Ok(self.buffer(leaf)?.iter().map(|v| f64::from(*v) * f64::from(*v)).sum())
        }
        #[cfg(feature = "cuda")]
        {
            Ok(self.of(leaf)?.iter().map(|v| f64::from(*v) * f64::from(*v)).sum())
        }
    }

    /// Multiplies a leaf's gradient by `factor`.
    pub fn scale(&mut self, leaf: &Mat, factor: f32) -> Result<()> {
        #[cfg(not(feature = "cuda"))]
        {
            self.buffer(leaf)?.iter_mut().for_each(|v| *v *= factor);
            Ok(())
        }
        #[cfg(feature = "cuda")]
        {
            let scaled = self.of(leaf)?.iter().map(|v| v * factor).collect();
            let mut scaled = device_buffer(leaf, scaled)?;
            std::mem::swap(self.buffer(leaf)?, scaled.buffer(leaf)?);
            Ok(())
        }
    }

    /// Adds `values`, row-major, to a leaf's gradient.
    pub fn add(&mut self, leaf: &Mat, values: &[f32]) -> Result<()> {
        #[cfg(not(feature = "cuda"))]
        {
            let gradient = self.buffer(leaf)?;
            if gradient.len() != values.len() {
                return Err(TensorError::shape(
                    "Grads::add",
                    gradient.len().to_string(),
                    values.len().to_string(),
                ));
            }
            gradient.iter_mut().zip(values).for_each(|(g, v)| *g += v);
            Ok(())
        }
        #[cfg(feature = "cuda")]
        {
            let sum = self.of(leaf)?.iter().zip(values).map(|(g, v)| g + v).collect();
            let mut sum = device_buffer(leaf, sum)?;
            std::mem::swap(self.buffer(leaf)?, sum.buffer(leaf)?);
            Ok(())
        }
    }

    pub(crate) fn buffer(&mut self, leaf: &Mat) -> Result<&mut <Dev as Storage<f32>>::Vec> {
        self.0.get_or_alloc_mut(leaf).map_err(|e| TensorError::device("gradient", e))
    }
}

/// Gradients that hold `values` for `leaf`: those of `sum(leaf * values)`. A buffer on a CUDA device cannot be written from outside
/// `dfdx`; this is the way to get values into one.
#[cfg(any(test, feature = "cuda"))]
pub(crate) fn device_buffer(leaf: &Mat, values: Vec<f32>) -> Result<Grads> {
    use dfdx::prelude::{HasShape, Rank0, SumTo, Trace, TryMul};
    let (rows, cols) = *leaf.shape();
    let values = crate::mat(values, rows, cols)?;
    let failed = |e| TensorError::device("device_buffer", e);
    let product = leaf.leaky_trace().try_mul(values).map_err(failed)?;
    let sum = product.try_sum::<Rank0, _>().map_err(failed)?;
    Ok(Grads(sum.try_backward().map_err(failed)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{constant, mat, tracked};
    use dfdx::prelude::*;

    #[test]
    fn a_device_buffer_holds_what_it_was_given_whatever_the_leaf_holds() {
        let leaf = mat(vec![f32::INFINITY, -0.0, 3.0, f32::MIN_POSITIVE, 5.0, f32::MAX], 2, 3).unwrap();
        let values = vec![1e-38, 0.1, -3.1e38, f32::MIN_POSITIVE, 1.0 / 3.0, 7.0];
        let mut held = device_buffer(&leaf, values.clone()).unwrap();
        assert_eq!(held.of(&leaf).unwrap(), values);
        assert!(device_buffer(&leaf, vec![1.0; 5]).is_err());
    }

    #[test]
    fn a_tracked_tensor_may_be_used_many_times() {
        let w = mat(vec![3.0], 1, 1).unwrap();
        let (value, (), mut g) = gradients(|| {
            let v = tracked(&w);
            let a = v.clone().square();
            let b = v.with_empty_tape() * 2.0;
            Ok::<_, TensorError>(((a + b).sum(), ()))
        })
        .unwrap();
        assert_eq!(value, 15.0);
        assert_eq!(g.of(&w).unwrap(), vec![8.0]);
    }

    #[test]
    fn constants_and_outside_recordings_get_no_gradient() {
        let w = mat(vec![3.0], 1, 1).unwrap();
        let (_, (), mut g) = gradients(|| Ok::<_, TensorError>((constant(&w).square().sum(), ()))).unwrap();
        assert_eq!(g.of(&w).unwrap(), vec![0.0]);
        assert_eq!(tracked(&w).split_tape().1, SwitchTape::Off);
    }

    #[test]
    fn an_error_ends_the_recording() {
        let r = gradients(|| Err::<(Scalar, ()), _>(TensorError::NotRecording));
        assert!(r.is_err());
        assert!(!is_recording());
    }
}
