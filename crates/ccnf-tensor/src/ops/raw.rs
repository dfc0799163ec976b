//! Access to the buffers of CPU tensors. `dfdx` offers no slice of a tensor, only an index operator.
#![allow(unsafe_code, reason = "dfdx gives no slice of a tensor; each block says why it is sound")]

use crate::{Dev, Result, TensorError, Var, device};
use dfdx::prelude::{HasErr, HasShape, Storage, Tensor, TryAdd};
use dfdx::shapes::Shape;

/// A buffer of the device, such as a gradient.
pub(super) type Buffer = <Dev as Storage<f32>>::Vec;

/// Checks that an `[m, n]` matrix (`m, n >= 1`) is row-major and contiguous.
fn check_contiguous<T>(t: &Tensor<(usize, usize), f32, Dev, T>, (m, n): (usize, usize)) -> Result<()> {
    let first: &f32 = &t[[0, 0]];
    let byte = |r: &f32| std::ptr::from_ref(r) as usize;
    let column_step = if n > 1 { byte(&t[[0, 1]]).wrapping_sub(byte(first)) } else { 4 };
    let row_step = if m > 1 { byte(&t[[1, 0]]).wrapping_sub(byte(first)) } else { 4 * n };
    if column_step != 4 || row_step != 4 * n {
        return Err(TensorError::shape(
            "slice",
            "a contiguous tensor",
            format!("byte steps {row_step}, {column_step}"),
        ));
    }
    // The index operator checks the bounds: the buffer reaches to the last element.
    let _last: &f32 = &t[[m - 1, n - 1]];
    Ok(())
}

/// A tensor whose buffer is row-major and contiguous; everything the own operations make is.
pub(super) fn slice<T>(t: &Tensor<(usize, usize), f32, Dev, T>) -> Result<&[f32]> {
    let (m, n) = *t.shape();
    if m == 0 || n == 0 {
        return Ok(&[]);
    }
    check_contiguous(t, (m, n))?;
    let first: &f32 = &t[[0, 0]];
    // SAFETY: `first` points to element 0 of the tensor's Vec<f32>; the steps between neighbouring elements are those of
    // a contiguous row-major [m, n] array and dfdx's index operator has bounds-checked [m-1, n-1] (both in
    // `check_contiguous`), so the Vec holds at least m * n elements from `first`; the borrow of `t` keeps the Vec alive and
    // unchanged for the lifetime of the slice.
    Ok(unsafe { std::slice::from_raw_parts(first, m * n) })
}

/// The matrix, copied where its buffer is not row-major and contiguous; that of a broadcast one is not.
pub(super) fn row_major(x: &Var) -> Result<Var> {
    if slice(x).is_ok() {
        return Ok(x.clone());
    }
    let (rows, cols) = *x.shape();
    x.clone().try_add(zeros(rows, cols)?).map_err(|e| TensorError::device("add", e))
}

/// The values of a tensor that shares its buffer with no other (of a shared one, `dfdx` makes a copy first).
pub(super) fn slice_mut(t: &mut Tensor<(usize, usize), f32, Dev>) -> Result<&mut [f32]> {
    let (m, n) = *t.shape();
    if m == 0 || n == 0 {
        return Ok(&mut []);
    }
    check_contiguous(t, (m, n))?;
    let first: &mut f32 = &mut t[[0, 0]];
    // SAFETY: as in `slice`; the mutable index operator has made the buffer unique (Arc::make_mut, which keeps length and
    // layout), and the mutable borrow of `t` keeps it so for the lifetime of the slice.
    Ok(unsafe { std::slice::from_raw_parts_mut(first, m * n) })
}

/// A tensor with these values.
pub(super) fn tensor<S: Shape>(values: Vec<f32>, shape: S) -> Result<Tensor<S, f32, Dev>> {
    crate::filled("tensor", values, shape)
}

/// A matrix of zeros, to be filled through [`slice_mut`].
pub(super) fn zeros(rows: usize, cols: usize) -> Result<Tensor<(usize, usize), f32, Dev>> {
    use dfdx::prelude::ZerosTensor;
    device().try_zeros_like(&(rows, cols)).map_err(|e| TensorError::device("zeros", e))
}

/// Takes a gradient out; an empty one stays. (A plain `mem::take` of the inner vector would lose the buffer for the cache.)
pub(super) fn take(gradient: &mut Buffer) -> std::result::Result<Buffer, <Dev as HasErr>::Err> {
    Ok(std::mem::replace(gradient, device().try_alloc_len(0)?))
}

/// A buffer of `n` values that the caller overwrites before reading.
pub(super) fn scratch(n: usize) -> Vec<f32> {
    vec![0.0; n]
}

/// Values of a tensor that the forward pass has already read successfully.
pub(super) fn read(t: &Tensor<(usize, usize), f32, Dev>) -> &[f32] {
    slice(t).unwrap_or_else(|e| unreachable!("{e}"))
}
