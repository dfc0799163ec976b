//! How well classes are separated, measured where they are and not in a picture of them.

use crate::part::number;
use ccnf_engine::Number;
use rayon::prelude::*;

/// All Euclidean distances of `n` points, `[n][n]`.
pub(crate) struct Distances {
    n: usize,
    values: Vec<f64>,
}

impl Distances {
    /// The distances of rows `[n][dim]`.
    pub(crate) fn of(rows: &[f32], dim: usize) -> Distances {
        let points: Vec<&[f32]> = rows.chunks_exact(dim.max(1)).collect();
        let distance = |a: &[f32], b: &[f32]| {
            let squares = a.iter().zip(b).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2));
            squares.sum::<f64>().sqrt()
        };
        let row = |a: &&[f32]| points.iter().map(|b| distance(a, b)).collect::<Vec<_>>();
        Distances { n: points.len(), values: points.par_iter().flat_map_iter(row).collect() }
    }

    /// The number of points.
    pub(crate) fn points(&self) -> usize {
        self.n
    }

    fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.n..(i + 1) * self.n]
    }

    /// The `k` nearest other points of every point, nearest first; the smaller number first where two are as near.
    pub(crate) fn nearest(&self, k: usize) -> Vec<Vec<(usize, f64)>> {
        let of = |i: usize| {
            let mut others: Vec<(usize, f64)> =
                self.row(i).iter().copied().enumerate().filter(|(j, _)| *j != i).collect();
            others.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
            others.truncate(k);
            others
        };
        (0..self.n).into_par_iter().map(of).collect()
    }

    /// The fraction of points whose class is the most frequent one among their `k` nearest other points; of classes as frequent the one with
    /// the nearest point.
    pub(crate) fn accuracy(&self, class: &[usize], k: usize) -> Number {
        if self.n < 2 {
            return Number::undefined("fewer than two points");
        }
        let vote = |(i, nearest): (usize, &Vec<(usize, f64)>)| {
            let votes = |c: usize| nearest.iter().filter(|(j, _)| class[*j] == c).count();
            // The first of the most frequent: neighbours are sorted by distance.
            let mut best = class[nearest[0].0];
            for (j, _) in nearest {
                if votes(class[*j]) > votes(best) {
                    best = class[*j];
                }
            }
            best == class[i]
        };
        let right = self.nearest(k).iter().enumerate().filter(|p| vote(*p)).count();
        number(right as f64 / self.n as f64)
    }

    /// The mean silhouette (Rousseeuw 1987): `(b - a) / max(a, b)` with the mean distance `a` to the other points of the own class and the
    /// smallest mean distance `b` to those of another one; 0 for a class of one point.
    pub(crate) fn silhouette(&self, class: &[usize]) -> Number {
        let mut names: Vec<usize> = class.to_vec();
        names.sort_unstable();
        names.dedup();
        if names.len() < 2 {
            return Number::undefined("fewer than two classes");
        }
        let of = |i: usize| {
            let mean_to = |c: usize| {
                let of_class = || (0..self.n).filter(|j| *j != i && class[*j] == c);
                let sum: f64 = of_class().map(|j| self.row(i)[j]).sum();
                let n = of_class().count();
                (n > 0).then(|| sum / n as f64)
            };
            let Some(own) = mean_to(class[i]) else { return 0.0 };
            let other = names
                .iter()
                .filter(|c| **c != class[i])
                .filter_map(|c| mean_to(*c))
                .fold(f64::INFINITY, f64::min);
            let largest = own.max(other);
            if largest > 0.0 { (other - own) / largest } else { 0.0 }
        };
        let all: Vec<f64> = (0..self.n).into_par_iter().map(of).collect();
        number(all.iter().sum::<f64>() / self.n as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two classes on a line: 0, 1 and 10, 12.
    fn line() -> Distances {
        Distances::of(&[0.0, 1.0, 10.0, 12.0], 1)
    }

    #[test]
    fn the_silhouette_is_the_hand_computed_one() {
        // a: 1, 1, 2, 2; b: 11, 10, 9.5, 11.5.
        let expected = (10.0 / 11.0 + 9.0 / 10.0 + 7.5 / 9.5 + 9.5 / 11.5) / 4.0;
        let found = line().silhouette(&[0, 0, 1, 1]).value.unwrap();
        assert!((found - expected).abs() < 1e-12, "{found} against {expected}");
        // A class of one point counts 0: a: 1, 1, -; b of the first class with the two others alone.
        let three = Distances::of(&[0.0, 1.0, 10.0], 1);
        let expected = (9.0 / 10.0 + 8.0 / 9.0) / 3.0;
        assert!((three.silhouette(&[0, 0, 1]).value.unwrap() - expected).abs() < 1e-12);
        assert_eq!(line().silhouette(&[3; 4]).value, None);
    }

    #[test]
    fn a_point_s_own_class_is_voted_for_by_the_others_only() {
        let d = line();
        assert_eq!(d.accuracy(&[0, 0, 1, 1], 1).value, Some(1.0));
        // Two neighbours: a tie of 1 and 1, the nearer one decides.
        assert_eq!(d.accuracy(&[0, 0, 1, 1], 2).value, Some(1.0));
        // Three neighbours: one of the own class against two of the other.
        assert_eq!(d.accuracy(&[0, 0, 1, 1], 3).value, Some(0.0));
        assert_eq!(d.accuracy(&[0, 1, 0, 1], 1).value, Some(0.0));
        assert_eq!(Distances::of(&[1.0], 1).accuracy(&[0], 3).value, None);
    }

    #[test]
    fn neighbours_come_in_order_and_ties_by_number() {
        let d = Distances::of(&[0.0, 1.0, -1.0, 3.0], 1);
        assert_eq!(d.nearest(2)[0], [(1, 1.0), (2, 1.0)]);
        assert_eq!(d.nearest(9)[3], [(1, 2.0), (0, 3.0), (2, 4.0)]);
    }
}
