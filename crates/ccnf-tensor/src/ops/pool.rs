//! Buffers that are used again. A training step uses some 100 MB of buffers; taking them from the system anew in every step would
//! cost a page fault per 4 KiB.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// Free buffers, the least recently used first.
static FREE: Mutex<Vec<Vec<f32>>> = Mutex::new(Vec::new());
/// Free buffers that are kept; more are given back to the system.
const KEPT: usize = 512;

/// A buffer of `f32` values that goes back to the pool when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Buffer(Vec<f32>);

impl Buffer {
    /// `len` values that the caller overwrites before reading: zeros, or what an earlier user left.
    pub(super) fn scratch(len: usize) -> Buffer {
        let mut values = take(len);
        values.resize(len, 0.0);
        Buffer(values)
    }

    /// `len` zeros.
    pub(super) fn zeros(len: usize) -> Buffer {
        let mut values = take(len);
        values.clear();
        values.resize(len, 0.0);
        Buffer(values)
    }
}

/// The smallest free buffer that is large enough and not wastefully large.
fn take(len: usize) -> Vec<f32> {
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    let fits = |b: &Vec<f32>| b.capacity() >= len && b.capacity() / 2 <= len;
    let best = free.iter().enumerate().filter(|(_, b)| fits(b)).min_by_key(|(_, b)| b.capacity());
    match best.map(|(i, _)| i) {
        Some(i) => free.swap_remove(i),
        None => Vec::with_capacity(len),
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        if buffer.capacity() == 0 {
            return;
        }
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() >= KEPT {
            free.swap_remove(0);
        }
        free.push(buffer);
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_zeros_also_in_a_used_buffer() {
        for len in [1000, 1500, 900] {
            Buffer::scratch(len).fill(7.0);
            let zeros = Buffer::zeros(len);
            assert_eq!(zeros.len(), len);
            assert!(zeros.iter().all(|v| *v == 0.0));
        }
    }

    #[test]
    fn a_buffer_has_the_length_asked_for() {
        drop(Buffer::scratch(100));
        assert_eq!(Buffer::scratch(60).len(), 60);
        assert_eq!(Buffer::scratch(0).len(), 0);
    }
}
