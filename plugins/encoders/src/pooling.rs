//! The mean pooling that smooths feature maps before a detector sees them.

use ccnf::data::pool_features;
use ccnf::prelude::*;

/// The window of a level must be odd so that it has a centre.
pub(crate) fn check_window<S>(build: &Build<'_, S>, key: &str, window: usize) -> Result<()> {
    if window % 2 == 1 {
        return Ok(());
    }
    Err(build
        .error(key, format!("the pooling window is {window}, but it must be odd"))
        .help("1 switches pooling off; 3 means a window of 3 x 3 cells"))
}

/// Mean pooling with stride 1 that keeps the size; cells outside the map are not counted.
pub(crate) fn pool(map: Vec<f32>, level: &LevelSpec, window: usize) -> Result<Vec<f32>> {
    if window == 1 {
        return Ok(map);
    }
    let mut out = vec![0.0; map.len()];
    pool_features(&map, &mut out, level.height, level.width, level.channels, window)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(height: usize, width: usize, channels: usize) -> LevelSpec {
        LevelSpec { name: "l".into(), height, width, channels }
    }

    #[test]
    fn the_edge_averages_only_cells_inside() {
        let map: Vec<f32> = (1..=9).map(|v| v as f32).collect();
        let pooled = pool(map.clone(), &level(3, 3, 1), 3).unwrap();
        assert_eq!(pooled[4], 5.0, "the centre sees all nine");
        assert_eq!(pooled[0], 3.0, "a corner sees 1, 2, 4 and 5");
        assert_eq!(pooled[1], 3.5, "an edge sees 1 to 6");
        assert_eq!(pool(map.clone(), &level(3, 3, 1), 1).unwrap(), map);
    }

    #[test]
    fn a_window_larger_than_the_map_gives_its_mean_per_channel() {
        let map = vec![1.0, 10.0, 3.0, 30.0];
        assert_eq!(pool(map, &level(1, 2, 2), 7).unwrap(), [2.0, 20.0, 2.0, 20.0]);
    }
}
