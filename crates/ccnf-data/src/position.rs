//! The position code that the flows' subnets see.

use ccnf_core::{Error, ErrorKind, Result};

/// No code has more channels.
const MOST: usize = 16384;

/// The sine and cosine code of an `h` x `w` grid, `[h * w][channels]`, cells row-major.
///
/// With Q = P/2, j = 0 … Q/2 - 1 and ω_j = 10000^(-2j/Q), the cell in row r and column c gets
///
/// ```text
/// channel 2j     = sin(c ω_j)    channel Q + 2j     = sin(r ω_j)
/// channel 2j + 1 = cos(c ω_j)    channel Q + 2j + 1 = cos(r ω_j)
/// ```
///
/// Rows and columns count from 0 and are not normalised. `channels` (P) is a multiple of 4, at most 16384.
///
/// ```
/// let code = ccnf_data::position_code(2, 3, 8)?;
/// assert_eq!(code.len(), 2 * 3 * 8);
/// assert_eq!(&code[..8], [0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0]);
/// # Ok::<(), ccnf_core::Error>(())
/// ```
pub fn position_code(h: usize, w: usize, channels: usize) -> Result<Vec<f32>> {
    if channels == 0 || channels > MOST || !channels.is_multiple_of(4) {
        return Err(Error::new(
            ErrorKind::Config,
            format!("a position code cannot have {channels} channels"),
        )
        .help(format!(
            "the number must be a multiple of 4 (sine and cosine, for rows and columns), at most {MOST}"
        )));
    }
    let half = channels / 2;
    let frequencies: Vec<f64> =
        (0..half / 2).map(|j| 10_000f64.powf(-2.0 * j as f64 / half as f64)).collect();
    let line = |n: usize| -> Vec<f32> {
        (0..n)
            .flat_map(|i| {
                frequencies.iter().flat_map(move |omega| {
                    let (sin, cos) = (i as f64 * omega).sin_cos();
                    [sin as f32, cos as f32]
                })
            })
            .collect()
    };
    let (rows, columns) = (line(h), line(w));
    let mut code = Vec::with_capacity(h * w * channels);
    for row in rows.chunks_exact(half) {
        for column in columns.chunks_exact(half) {
            code.extend_from_slice(column);
            code.extend_from_slice(row);
        }
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_must_be_a_multiple_of_four() {
        for channels in [0, 2, 6] {
            assert!(position_code(2, 2, channels).is_err(), "{channels}");
        }
    }

    #[test]
    fn columns_come_before_rows() {
        let code = position_code(2, 2, 4).unwrap();
        let one = (1f32.sin(), 1f32.cos());
        assert_eq!(&code[4..8], [one.0, one.1, 0.0, 1.0]);
        assert_eq!(&code[8..12], [0.0, 1.0, one.0, one.1]);
    }
}
