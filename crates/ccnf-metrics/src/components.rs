//! Connected components of a mask: two passes with union-find, linear in the number of pixels.

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
    if u32::try_from(mask.len()).is_err() {
        return Err(MetricsError::TooLarge { what: "pixels of a map" });
    }
    let mut labels = vec![0; mask.len()];
    let sizes = label_into(width, mask, connectivity, &mut labels);
    Ok(Regions { labels, sizes })
}

/// The two passes. `labels` is zeroed and as long as `mask`, a multiple of `width` that fits in 32 bits.
fn label_into(width: usize, mask: &[bool], connectivity: Connectivity, labels: &mut [u32]) -> Vec<u32> {
    // parent[i] <= i; a provisional label is its own root until it meets a smaller one
    let mut parent = vec![0_u32];
    for index in (0..mask.len()).filter(|&index| mask[index]) {
        let column = index % width;
        let mut label = if column > 0 { labels[index - 1] } else { 0 };
        if index >= width {
            let above = index - width;
            let corners = connectivity == Connectivity::Eight;
            let neighbours = [
                (corners && column > 0).then(|| above.wrapping_sub(1)),
                Some(above),
                (corners && column + 1 < width).then_some(above + 1),
            ];
            for neighbour in neighbours.into_iter().flatten() {
                label = merge(&mut parent, label, labels[neighbour]);
            }
        }
        if label == 0 {
            label = parent.len() as u32;
            parent.push(label);
        }
        labels[index] = label;
    }

    let mut sizes = Vec::new();
    let mut final_label = vec![0_u32; parent.len()];
    for label in labels.iter_mut().filter(|label| **label != 0) {
        let root = find(&mut parent, *label);
        let region = &mut final_label[root as usize];
        if *region == 0 {
            sizes.push(0);
            *region = sizes.len() as u32;
        }
        *label = *region;
        sizes[*region as usize - 1] += 1;
    }
    sizes
}

/// The root of a label, halving the path on the way.
fn find(parent: &mut [u32], mut label: u32) -> u32 {
    while parent[label as usize] != label {
        let grandparent = parent[parent[label as usize] as usize];
        parent[label as usize] = grandparent;
        label = grandparent;
    }
    label
}

/// Joins two labels, 0 being "none", and returns the root of both.
fn merge(parent: &mut [u32], a: u32, b: u32) -> u32 {
    if a == 0 || b == 0 || a == b {
        return a.max(b);
    }
    let (a, b) = (find(parent, a), find(parent, b));
    let (low, high) = (a.min(b), a.max(b));
    parent[high as usize] = low;
    low
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
