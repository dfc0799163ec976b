//! Access to the buffers of CPU tensors. `dfdx` offers no slice of a tensor, only an index operator.
#![allow(unsafe_code, reason = "dfdx gives no slice of a tensor; each block says why it is sound")]

use crate::{Dev, Result, TensorError, device};
use dfdx::prelude::{HasShape, Tensor, TensorFromVec};
use dfdx::shapes::Shape;

/// A tensor whose buffer is row-major and contiguous; everything the own operations make is.
pub(super) fn slice<T>(t: &Tensor<(usize, usize), f32, Dev, T>) -> Result<&[f32]> {
    let (m, n) = *t.shape();
    if m == 0 || n == 0 {
        return Ok(&[]);
    }
    let first: &f32 = &t[[0, 0]];
    let byte = |r: &f32| std::ptr::from_ref(r) as usize;
    let column_step = if n > 1 { byte(&t[[0, 1]]).wrapping_sub(byte(first)) } else { 4 };
    let row_step = if m > 1 { byte(&t[[1, 0]]).wrapping_sub(byte(first)) } else { 4 * n };
    if column_step != 4 || row_step != 4 * n {
        return Err(TensorError::shape("slice", "a contiguous tensor", format!("byte steps {row_step}, {column_step}")));
    }
    // SAFETY: `first` points to element 0 of the tensor's Vec<f32>; the steps between neighbouring elements are those of
    // a contiguous row-major [m, n] array (checked above, and dfdx's index operator has bounds-checked [m-1, n-1] below),
    // so the Vec holds at least m * n elements from `first`; the borrow of `t` keeps the Vec alive and unchanged for the
    // lifetime of the slice.
    let _last: &f32 = &t[[m - 1, n - 1]];
    Ok(unsafe { std::slice::from_raw_parts(first, m * n) })
}

/// Moves a vector into a tensor.
pub(super) fn tensor<S: Shape>(values: Vec<f32>, shape: S) -> Result<Tensor<S, f32, Dev>> {
    device().try_tensor_from_vec(values, shape).map_err(|e| TensorError::device("tensor", e))
}

/// A buffer of `n` values that the caller overwrites before reading.
pub(super) fn scratch(n: usize) -> Vec<f32> {
    vec![0.0; n]
}
