//! Where the main centres of the classes start.

use ccnf::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Where the main centre of a class starts. Both ways put any two centres about 5 apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Centres {
    /// `(5 / sqrt 2) u_k` with the `k`-th vector of a fixed random orthonormal basis: does not depend on how many classes will come, of
    /// which there can be as many as the level has channels.
    Orthonormal,
    /// As released, for `K` classes known in advance: `5 / sqrt(floor(2D / K))` at the dims `k, k + K, k + 2K, ..` of every whole group
    /// of `K` dims, 0 elsewhere.
    Official,
}

/// Distance of two centres.
const DISTANCE: f64 = 5.0;

/// The centres of the classes numbered `which` (in the order of learning) in `dim` dims. `total` is `K` of the official layout; `scope`
/// names the level, and the stream of its basis.
///
/// Fails where the layout has no place for so many classes.
pub fn initial_centres(
    centres: Centres,
    which: Range<usize>,
    total: usize,
    dim: usize,
    (scope, streams): (&str, &Streams),
) -> Result<Vec<Vec<f32>>> {
    if which.is_empty() {
        return Ok(vec![]);
    }
    check_places(centres, which.end, total, dim, scope)?;
    Ok(match centres {
        Centres::Official => {
            let scale = (DISTANCE / ((2 * dim / total) as f64).sqrt()) as f32;
            let whole = dim / total * total;
            let value = |k: usize, j: usize| if j < whole && j % total == k { scale } else { 0.0 };
            which.map(|k| (0..dim).map(|j| value(k, j)).collect()).collect()
        }
        Centres::Orthonormal => {
            let basis = streams.rotation(&format!("{scope}.centres"), dim);
            let scale = (DISTANCE / 2f64.sqrt()) as f32;
            which.map(|k| basis[k * dim..(k + 1) * dim].iter().map(|v| v * scale).collect()).collect()
        }
    })
}

/// Fails where there is no place for the centres of `classes` classes.
pub(crate) fn check_places(
    centres: Centres,
    classes: usize,
    total: usize,
    dim: usize,
    scope: &str,
) -> Result<()> {
    let places = if centres == Centres::Official { total } else { dim };
    if total > dim && centres == Centres::Official {
        return Err(too_many(format!(
            "the official centres are laid out for {total} classes, but `{scope}` has {dim} channels, a whole group of dims needs {total}"
        ))
        .help("use centres = \"orthonormal\", levels with more channels, or fewer classes"));
    }
    if classes <= places {
        return Ok(());
    }
    Err(match centres {
        Centres::Official => too_many(format!(
            "the official centres are laid out for {total} classes, and there are {classes}"
        ))
        .help("set detector.centre_classes to the number of all classes, or use centres = \"orthonormal\""),
        Centres::Orthonormal => too_many(format!(
            "`{scope}` has {dim} channels, so its basis has centres for {dim} classes, and there are {classes}"
        ))
        .help("use levels with more channels, or fewer classes"),
    })
}

fn too_many(message: String) -> Error {
    Error::new(ErrorKind::Config, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn centres(kind: Centres, which: Range<usize>, total: usize, dim: usize) -> Result<Vec<Vec<f32>>> {
        initial_centres(kind, which, total, dim, ("level0", &Streams::new(3)))
    }

    fn distances(all: &[Vec<f32>]) -> Vec<f64> {
        let pairs = (0..all.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
        pairs
            .map(|(i, j)| {
                let squares = all[i].iter().zip(&all[j]).map(|(a, b)| f64::from(a - b).powi(2));
                squares.sum::<f64>().sqrt()
            })
            .collect()
    }

    #[test]
    fn any_two_centres_are_five_apart() {
        for (kind, total, dim) in [(Centres::Official, 15, 200), (Centres::Orthonormal, 0, 12)] {
            let all = centres(kind, 0..12, total, dim).unwrap();
            distances(&all).iter().for_each(|d| assert!((d - 5.0).abs() < 1e-5, "{kind:?}: {d}"));
        }
    }

    #[test]
    fn orthonormal_centres_do_not_depend_on_the_classes_that_come_later() {
        let all = centres(Centres::Orthonormal, 0..6, 0, 8).unwrap();
        assert_eq!(centres(Centres::Orthonormal, 4..6, 0, 8).unwrap(), all[4..]);
    }

    #[test]
    fn left_over_dims_of_the_official_layout_carry_nothing() {
        let all = centres(Centres::Official, 0..3, 3, 8).unwrap();
        assert!(all.iter().all(|c| c[6] == 0.0 && c[7] == 0.0));
        assert_eq!(all[1].iter().filter(|v| **v != 0.0).count(), 2);
    }

    #[test]
    fn more_classes_than_there_are_places_for_is_said() {
        for (kind, which, total, dim, says) in [
            (Centres::Official, 0..9, 9, 8, "9 classes"),
            (Centres::Official, 3..5, 4, 8, "there are 5"),
            (Centres::Orthonormal, 7..9, 0, 8, "there are 9"),
        ] {
            let e = centres(kind, which, total, dim).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Config);
            assert!(e.message().contains(says) && e.advice().is_some(), "{e}");
        }
        assert!(centres(Centres::Orthonormal, 6..8, 0, 8).is_ok());
        assert!(centres(Centres::Official, 0..8, 8, 8).is_ok());
    }
}
