//! Connected components of a mask, in time linear in the number of pixels.
//!
//! Pixels outside the mask cost one comparison in blocks. Mask pixels are taken as horizontal runs. The runs
//! of a row that touch a run of the next row are consecutive, so two rows with m and n runs have less than
//! m + n adjacencies; a graph search visits each twice.

use std::ops::Range;

use crate::error::MetricsError;

/// Which pixels count as neighbours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Connectivity {
    /// The four that share an edge.
    Four,
    /// Also the four that share only a corner. The convention of AUPRO.
    #[default]
    Eight,
}

/// Connected components of one mask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regions {
    /// `[height, width]`, row-major: 0 outside the mask, else the region, 1 for the one whose first pixel
    /// comes first in reading order, and so on.
    pub labels: Vec<u32>,
    /// Pixels of region i + 1.
    pub sizes: Vec<u32>,
}

impl Regions {
    /// Number of regions.
    #[must_use]
    pub fn count(&self) -> usize {
        self.sizes.len()
    }
}

/// Labels the connected components of `mask`, `[height, width]`, row-major.
///
/// # Errors
///
/// [`MetricsError::SizeMismatch`] if the mask does not have height x width elements,
/// [`MetricsError::TooLarge`] if that number does not fit in 32 bits.
pub fn label_regions(
    height: usize,
    width: usize,
    mask: &[bool],
    connectivity: Connectivity,
) -> Result<Regions, MetricsError> {
    if height.checked_mul(width) != Some(mask.len()) {
        return Err(MetricsError::SizeMismatch { what: "mask", height, width, found: mask.len() });
    }
    let Runs { runs, sizes } = find_runs(width, mask, connectivity)?;
    let mut labels = vec![0; mask.len()];
    for run in runs {
        labels[run.pixels].fill(run.region + 1);
    }
    Ok(Regions { labels, sizes })
}

/// The mask as runs.
pub(crate) struct Runs {
    /// In reading order.
    pub(crate) runs: Vec<Run>,
    /// Pixels of every region, in the order of their first pixels.
    pub(crate) sizes: Vec<u32>,
}

/// Neighbouring mask pixels of one row.
pub(crate) struct Run {
    /// Their indices in the mask.
    pub(crate) pixels: Range<usize>,
    /// Their region, from 0.
    pub(crate) region: u32,
    /// The runs that touch this one in the row above and in the row below.
    touching: [Range<usize>; 2],
}

/// Not yet reached by the search.
const UNSEEN: u32 = u32::MAX;

/// The runs and regions of a mask whose length is a multiple of `width`.
pub(crate) fn find_runs(
    width: usize,
    mask: &[bool],
    connectivity: Connectivity,
) -> Result<Runs, MetricsError> {
    // one less, so that no region is called `UNSEEN`
    if mask.len() >= UNSEEN as usize {
        return Err(MetricsError::TooLarge { what: "pixels of a map" });
    }
    let mut runs = touching_runs(width, mask, connectivity);
    let mut sizes = Vec::new();
    let mut waiting = Vec::new();
    for seed in 0..runs.len() {
        if runs[seed].region != UNSEEN {
            continue;
        }
        let region = sizes.len() as u32;
        let mut size = 0;
        runs[seed].region = region;
        waiting.push(seed);
        while let Some(run) = waiting.pop() {
            size += runs[run].pixels.len() as u32;
            for next in runs[run].touching.clone().into_iter().flatten() {
                if runs[next].region == UNSEEN {
                    runs[next].region = region;
                    waiting.push(next);
                }
            }
        }
        sizes.push(size);
    }
    Ok(Runs { runs, sizes })
}

/// The runs with their neighbours; regions are still unseen.
fn touching_runs(width: usize, mask: &[bool], connectivity: Connectivity) -> Vec<Run> {
    let reach = usize::from(connectivity == Connectivity::Eight);
    let mut runs: Vec<Run> = Vec::new();
    let (mut row, mut row_begin) = (0, 0);
    // runs of the row above that do not lie left of the current run
    let mut above = 0..0;
    let mut start = next(mask, 0, true);
    while start < mask.len() {
        let this_row = start / width;
        let pixels = start..next(&mask[..(this_row + 1) * width], start, false);
        if this_row != row {
            let begin = if this_row == row + 1 { row_begin } else { runs.len() };
            above = begin..runs.len();
            (row, row_begin) = (this_row, runs.len());
        }
        while !above.is_empty() && runs[above.start].pixels.end + width + reach <= pixels.start {
            above.start += 1;
        }
        let mut touching = above.start..above.start;
        while touching.end < above.end && runs[touching.end].pixels.start + width < pixels.end + reach {
            let index = runs.len();
            let below = &mut runs[touching.end].touching[1];
            *below = if below.start == below.end { index..index + 1 } else { below.start..index + 1 };
            touching.end += 1;
        }
        start = next(mask, pixels.end, true);
        runs.push(Run { pixels, region: UNSEEN, touching: [touching, 0..0] });
    }
    runs
}

/// The first index from `from` on where the mask is `value`, or its length.
fn next(mask: &[bool], from: usize, value: bool) -> usize {
    let rest = &mask[from..];
    // whole blocks are compared in vector registers
    let (blocks, _) = rest.as_chunks::<64>();
    let without = |block: &&[bool; 64]| !block.iter().fold(false, |any, &pixel| any | (pixel == value));
    let skipped = 64 * blocks.iter().take_while(without).count();
    let found = rest[skipped..].iter().position(|&pixel| pixel == value);
    found.map_or(mask.len(), |index| from + skipped + index)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mask(rows: &[&str]) -> (usize, usize, Vec<bool>) {
        let pixels = rows.iter().flat_map(|row| row.bytes().map(|byte| byte == b'#')).collect();
        (rows.len(), rows.first().map_or(0, |row| row.len()), pixels)
    }

    #[test]
    fn diagonal_neighbours_join_only_with_eight() -> Result<(), MetricsError> {
        let (height, width, pixels) = mask(&["#..#", ".##.", "#..."]);
        let eight = label_regions(height, width, &pixels, Connectivity::Eight)?;
        assert_eq!(eight.sizes, [5]);
        let four = label_regions(height, width, &pixels, Connectivity::Four)?;
        assert_eq!(four.sizes, [1, 1, 2, 1]);
        assert_eq!(four.labels, [1, 0, 0, 2, 0, 3, 3, 0, 4, 0, 0, 0]);
        Ok(())
    }

    #[test]
    fn branches_that_meet_late_are_one_region() -> Result<(), MetricsError> {
        let (height, width, pixels) = mask(&["#.#.#", "#.#.#", "#####"]);
        assert_eq!(label_regions(height, width, &pixels, Connectivity::Four)?.sizes, [11]);
        Ok(())
    }

    #[test]
    fn the_right_edge_does_not_touch_the_next_row() -> Result<(), MetricsError> {
        let (height, width, pixels) = mask(&["..#", "#..", "..."]);
        assert_eq!(label_regions(height, width, &pixels, Connectivity::Eight)?.count(), 2);
        Ok(())
    }

    #[test]
    fn empty_sizes_are_fine_and_wrong_sizes_are_errors() {
        assert_eq!(label_regions(0, 5, &[], Connectivity::Eight).map(|regions| regions.count()), Ok(0));
        assert!(matches!(
            label_regions(2, 2, &[true], Connectivity::Eight),
            Err(MetricsError::SizeMismatch { what: "mask", height: 2, width: 2, found: 1 })
        ));
        assert!(label_regions(usize::MAX, 2, &[true], Connectivity::Eight).is_err());
    }

    /// One region at a time by flood fill, seeds in reading order.
    fn flood_fill(height: usize, width: usize, mask: &[bool], connectivity: Connectivity) -> Regions {
        let mut labels = vec![0; mask.len()];
        let mut sizes = Vec::new();
        for seed in 0..mask.len() {
            if !mask[seed] || labels[seed] != 0 {
                continue;
            }
            let region = sizes.len() as u32 + 1;
            let (mut stack, mut size) = (vec![seed], 0);
            labels[seed] = region;
            while let Some(pixel) = stack.pop() {
                size += 1;
                let (row, column) = ((pixel / width) as isize, (pixel % width) as isize);
                for (down, right) in (-1..=1).flat_map(|down| (-1..=1).map(move |right| (down, right))) {
                    if connectivity == Connectivity::Four && down != 0 && right != 0 {
                        continue;
                    }
                    let (r, c) = (row + down, column + right);
                    if r < 0 || c < 0 || r >= height as isize || c >= width as isize {
                        continue;
                    }
                    let next = r as usize * width + c as usize;
                    if mask[next] && labels[next] == 0 {
                        labels[next] = region;
                        stack.push(next);
                    }
                }
            }
            sizes.push(size);
        }
        Regions { labels, sizes }
    }

    fn any_mask() -> impl Strategy<Value = (usize, usize, Vec<bool>)> {
        (1_usize..14, 1_usize..14, 0.1..0.9_f64).prop_flat_map(|(height, width, density)| {
            let pixels = prop::collection::vec(prop::bool::weighted(density), height * width);
            (Just(height), Just(width), pixels)
        })
    }

    proptest! {
        #[test]
        fn equals_flood_fill((height, width, pixels) in any_mask(), eight in any::<bool>()) {
            let connectivity = if eight { Connectivity::Eight } else { Connectivity::Four };
            let regions = label_regions(height, width, &pixels, connectivity);
            prop_assert_eq!(regions, Ok(flood_fill(height, width, &pixels, connectivity)));
        }
    }
}
