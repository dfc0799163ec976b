//! Pseudo-classes of the first stage: clusters of the images of a class.

use crate::init::prototype;
use crate::level::LevelFlow;
use ccnf::prelude::*;
use ccnf::rand::Rng;

/// A stage's images once more, cut into clusters that are trained on like classes.
pub(crate) struct Pseudo {
    /// The classes of the stage, then their clusters, called `CLASS/NUMBER`.
    pub(crate) view: TrainView,
    /// For every class of `view` the class of the stage that it is or is part of.
    pub(crate) parents: Vec<usize>,
}

/// Rounds of k-means: more than it takes with the images of a class.
const ROUNDS: usize = 50;

impl Pseudo {
    /// Clusters the images of each class of `view` as the flow of `level` sees them: k-means (Lloyd 1982, started by k-means++) on the mean
    /// tokens of the images, with `k` clusters or as many as there are images. It follows from images and seed alone.
    pub(crate) fn new(level: &LevelFlow, view: &TrainView, k: usize, streams: &Streams) -> Result<Pseudo> {
        let source = level.source(view)?;
        let d = source.view.levels()[source.level].channels;
        let mut classes = source.view.classes().to_vec();
        let mut parents: Vec<usize> = (0..classes.len()).collect();
        for (c, class) in source.view.classes().iter().enumerate() {
            let mut means = Vec::with_capacity(class.len());
            for i in 0..class.len() {
                let mut tokens = Vec::new();
                source.standard.push(&class.image(i, source.level)?, &mut tokens);
                means.push(mean(tokens.chunks_exact(d), d));
            }
            let mut rng = streams.stream(&format!("pseudo.level{}.{}", level.number, class.name()), 0);
            let clusters = k_means(&means, k.min(class.len()), &mut rng);
            if clusters.len() < 2 {
                continue;
            }
            for (j, members) in clusters.into_iter().enumerate() {
                let images = members.into_iter().map(|i| class.images()[i].clone()).collect();
                classes.push(TrainClass::new(format!("{}/{j}", class.name()), images));
                parents.push(c);
            }
        }
        let levels = source.view.levels().to_vec();
        Ok(Pseudo { view: TrainView::new(view.stage(), levels, classes), parents })
    }

    /// The clusters.
    pub(crate) fn clusters(&self) -> impl Iterator<Item = &TrainClass> {
        let cut = |(i, _): &(usize, &TrainClass)| self.parents[*i] != *i;
        self.view.classes().iter().enumerate().filter(cut).map(|(_, c)| c)
    }
}

impl LevelFlow {
    /// Cuts the first stage's images into `k` clusters per class (fewer than 2: nothing is cut) and gives each a row, unless a checkpoint has
    /// brought them.
    pub(crate) fn cluster(
        &mut self,
        view: &TrainView,
        k: usize,
        grow: bool,
        streams: &Streams,
    ) -> Result<()> {
        if k < 2 || self.flow.is_identity() {
            return Ok(());
        }
        let pseudo = Pseudo::new(self, view, k, streams)?;
        let clusters = pseudo.clusters().cloned().collect::<Vec<_>>();
        self.pseudo = Some(pseudo);
        for cluster in clusters.iter().filter(|_| grow) {
            let row = match self.flow.conditioner().wants_prototype() {
                true => RowInit::Values(prototype(self, view, cluster)?),
                false => RowInit::Random,
            };
            self.grow_cluster(cluster.name(), &row)?;
        }
        Ok(())
    }

    /// Gives a cluster a row.
    pub(crate) fn grow_cluster(&mut self, name: &str, row: &RowInit) -> Result<()> {
        self.flow.conditioner_mut().grow(name, row)?;
        self.pseudo_rows.push(name.to_owned());
        Ok(())
    }

    /// Takes the rows of all clusters away.
    pub(crate) fn drop_clusters(&mut self) -> Result<()> {
        self.pseudo = None;
        let rows = std::mem::take(&mut self.pseudo_rows);
        rows.iter().try_for_each(|name| self.flow.conditioner_mut().forget(name))
    }
}

fn mean<'a>(rows: impl Iterator<Item = &'a [f32]>, d: usize) -> Vec<f64> {
    let (mut sum, mut n) = (vec![0.0f64; d], 0usize);
    for row in rows {
        sum.iter_mut().zip(row).for_each(|(s, v)| *s += f64::from(*v));
        n += 1;
    }
    sum.iter_mut().for_each(|s| *s /= n.max(1) as f64);
    sum
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// The members of at most `k` clusters of `points`, none of them empty.
fn k_means(points: &[Vec<f64>], k: usize, rng: &mut impl Rng) -> Vec<Vec<usize>> {
    if points.is_empty() || k == 0 {
        return vec![];
    }
    let mut centres = vec![points[rng.gen_range(0..points.len())].clone()];
    while centres.len() < k {
        let nearest = |p: &Vec<f64>| centres.iter().map(|c| distance(p, c)).fold(f64::MAX, f64::min);
        let weights: Vec<f64> = points.iter().map(nearest).collect();
        let mut at = rng.r#gen::<f64>() * weights.iter().sum::<f64>();
        // No distance left: fewer different points than clusters.
        let Some(last) = weights.iter().rposition(|w| *w > 0.0) else { break };
        let chosen = weights.iter().position(|w| {
            at -= w;
            at < 0.0
        });
        centres.push(points[chosen.unwrap_or(last)].clone());
    }
    let mut members: Vec<Vec<usize>> = vec![];
    for _ in 0..ROUNDS {
        let mut next = vec![Vec::new(); centres.len()];
        for (i, p) in points.iter().enumerate() {
            let nearer = |best: usize, c: usize| {
                if distance(p, &centres[c]) < distance(p, &centres[best]) { c } else { best }
            };
            next[(0..centres.len()).fold(0, nearer)].push(i);
        }
        if next == members {
            break;
        }
        for (centre, own) in centres.iter_mut().zip(&next).filter(|(_, own)| !own.is_empty()) {
            for (j, value) in centre.iter_mut().enumerate() {
                *value = own.iter().map(|i| points[*i][j]).sum::<f64>() / own.len() as f64;
            }
        }
        members = next;
    }
    members.retain(|m| !m.is_empty());
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clusters(points: &[Vec<f64>], k: usize, seed: u64) -> Vec<Vec<usize>> {
        k_means(points, k, &mut Streams::new(seed).stream("k", 0))
    }

    #[test]
    fn separate_heaps_are_found_whatever_the_start() {
        let centres = [[0.0, 0.0], [20.0, 0.0], [0.0, 20.0]];
        let noise = Streams::new(1).normal("n", 120);
        let points: Vec<Vec<f64>> = (0..60)
            .map(|i| (0..2).map(|j| centres[i % 3][j] + f64::from(noise[2 * i + j])).collect())
            .collect();
        for seed in 0..20 {
            let mut found = clusters(&points, 3, seed);
            found.sort();
            let heap = |h: usize| (0..20).map(|i| 3 * i + h).collect::<Vec<_>>();
            assert_eq!(found, [heap(0), heap(1), heap(2)], "seed {seed}");
        }
    }

    #[test]
    fn every_point_is_in_one_cluster_and_none_is_empty() {
        let noise = Streams::new(2).normal("n", 90);
        let points: Vec<Vec<f64>> =
            noise.chunks(3).map(|c| c.iter().map(|v| f64::from(*v)).collect()).collect();
        for k in [1, 4, 30] {
            let found = clusters(&points, k, 5);
            assert!(found.len() <= k && found.iter().all(|m| !m.is_empty()), "{k}: {found:?}");
            let mut all = found.concat();
            all.sort_unstable();
            assert_eq!(all, (0..30).collect::<Vec<_>>(), "{k}");
        }
        let same = vec![vec![1.0, 2.0]; 5];
        assert_eq!(clusters(&same, 3, 1), [[0, 1, 2, 3, 4]], "points that are all the same are one cluster");
        assert!(clusters(&[], 3, 1).is_empty());
    }
}
