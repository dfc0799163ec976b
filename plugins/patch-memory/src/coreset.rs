//! Which tokens of a class are kept.

use ccnf::rand::Rng;
use ccnf::rand::seq::index::sample;
use rayon::prelude::*;

/// Tokens whose distances are updated at once by one thread.
const CHUNK: usize = 1024;

/// `count` of `0..n`, drawn without repetition, in rising order; all of them where there are no more.
pub(crate) fn random(n: usize, count: usize, rng: &mut impl Rng) -> Vec<usize> {
    let mut chosen = sample(rng, n, count.min(n)).into_vec();
    chosen.sort_unstable();
    chosen
}

/// Greedy k-center selection (Gonzalez 1985, as PatchCore uses it): begins with the token nearest to the mean, then takes the token
/// that is farthest from all taken ones, `count` times; ties go to the first. `tokens` are `[n, dim]`. Stops early when every token equals
/// a taken one.
pub(crate) fn greedy(tokens: &[f32], dim: usize, count: usize) -> Vec<usize> {
    let n = tokens.len() / dim.max(1);
    if n <= count {
        return (0..n).collect();
    }
    let mut mean = vec![0.0f64; dim];
    for token in tokens.chunks_exact(dim) {
        mean.iter_mut().zip(token).for_each(|(m, v)| *m += f64::from(*v) / n as f64);
    }
    let mean: Vec<f32> = mean.iter().map(|m| *m as f32).collect();
    let mut nearest = vec![f32::INFINITY; n];
    let update = |nearest: &mut [f32], centre: &[f32]| {
        nearest.par_chunks_mut(CHUNK).zip(tokens.par_chunks(CHUNK * dim)).for_each(|(nearest, tokens)| {
            for (d, token) in nearest.iter_mut().zip(tokens.chunks_exact(dim)) {
                *d = d.min(squared_distance(token, centre));
            }
        });
    };
    update(&mut nearest, &mean);
    let first = (0..n).fold(0, |best, i| if nearest[i] < nearest[best] { i } else { best });
    nearest.fill(f32::INFINITY);
    let mut chosen = vec![first];
    while chosen.len() < count {
        let last = chosen[chosen.len() - 1];
        update(&mut nearest, &tokens[last * dim..(last + 1) * dim]);
        let farthest = (0..n).fold(0, |best, i| if nearest[i] > nearest[best] { i } else { best });
        if nearest[farthest] <= 0.0 {
            break;
        }
        chosen.push(farthest);
    }
    chosen.sort_unstable();
    chosen
}

/// `|a - b|^2`, summed in eight lanes.
fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    let (mut lanes, (a8, a), (b8, b)) = ([0.0f32; 8], a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a8.iter().zip(b8) {
        for k in 0..8 {
            lanes[k] += (a[k] - b[k]) * (a[k] - b[k]);
        }
    }
    lanes.iter().sum::<f32>() + a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnf::prelude::Streams;

    #[test]
    fn greedy_takes_the_centre_then_the_farthest() {
        // On a line: the mean is 3.2, the nearest token 3, the farthest from it 10, then 0; 1 and 2 are equally far from the taken ones.
        let tokens = [0.0, 1.0, 3.0, 2.0, 10.0];
        assert_eq!(greedy(&tokens, 1, 1), [2]);
        assert_eq!(greedy(&tokens, 1, 2), [2, 4]);
        assert_eq!(greedy(&tokens, 1, 3), [0, 2, 4]);
        assert_eq!(greedy(&tokens, 1, 4), [0, 1, 2, 4]);
        assert_eq!(greedy(&tokens, 1, 9), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn greedy_keeps_no_token_twice() {
        let tokens = [[1.0; 3], [1.0; 3], [2.0; 3], [1.0; 3]].concat();
        assert_eq!(greedy(&tokens, 3, 3).len(), 2);
    }

    #[test]
    fn greedy_covers_better_than_chance() {
        let dim = 12;
        let tokens = Streams::new(1).normal("tokens", 3000 * dim);
        let radius = |chosen: &[usize]| {
            let to_nearest = |t: &[f32]| {
                let distances = chosen.iter().map(|c| squared_distance(t, &tokens[c * dim..(c + 1) * dim]));
                distances.fold(f32::INFINITY, f32::min)
            };
            tokens.chunks(dim).map(to_nearest).fold(0.0, f32::max)
        };
        let chance = random(3000, 100, &mut Streams::new(1).stream("chance", 0));
        assert!(radius(&greedy(&tokens, dim, 100)) < 0.8 * radius(&chance));
    }

    #[test]
    fn chance_draws_without_repetition() {
        let chosen = random(50, 20, &mut Streams::new(1).stream("chance", 0));
        assert_eq!(chosen.len(), 20);
        assert!(chosen.windows(2).all(|w| w[0] < w[1]) && chosen[19] < 50);
        assert_eq!(random(3, 20, &mut Streams::new(1).stream("chance", 0)), [0, 1, 2]);
    }
}
