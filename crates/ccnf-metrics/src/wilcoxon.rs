//! The signed-rank test of Wilcoxon, and the correction of Holm for several tests.

use crate::metric::Metric;

/// Two-sided p of the Wilcoxon signed-rank test (Wilcoxon 1945) that paired differences are symmetric about 0.
///
/// Differences of exactly 0 are dropped; equal absolute differences share the mean of their ranks. The distribution is exact, ties included:
/// all 2^n choices of signs, counted by their rank sum. Undefined without a difference other than 0, and where one is not finite. The
/// smallest p that n differences can give is 2^(1-n): 5 or fewer are never significant at 0.05.
pub fn wilcoxon_signed_rank(differences: &[f64]) -> Metric {
    if differences.iter().any(|d| !d.is_finite()) {
        return Metric::undefined("a difference is not finite");
    }
    let mut d: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    if d.is_empty() {
        return Metric::undefined("all differences are 0");
    }
    d.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    // Twice the rank, so that the mean of tied ranks is whole.
    let mut ranks = vec![0usize; d.len()];
    let mut start = 0;
    while start < d.len() {
        let end = start + d[start..].iter().take_while(|v| v.abs() == d[start].abs()).count();
        ranks[start..end].fill(start + 1 + end);
        start = end;
    }
    let total: usize = ranks.iter().sum();
    let positive: usize = d.iter().zip(&ranks).filter(|(d, _)| **d > 0.0).map(|(_, r)| r).sum();
    // probability[s]: that the positive ranks sum to s.
    let mut probability = vec![0.0f64; total + 1];
    probability[0] = 1.0;
    let mut reached = 0;
    for r in &ranks {
        reached += r;
        for s in (0..=reached).rev() {
            let with = if s >= *r { probability[s - r] } else { 0.0 };
            probability[s] = 0.5 * (probability[s] + with);
        }
    }
    let tail: f64 = probability[..=positive.min(total - positive)].iter().sum();
    Metric::of((2.0 * tail).min(1.0))
}

/// The p values of several tests, corrected so that the chance of any false rejection among them is at most the level they are compared
/// with (Holm 1979): sorted ascending, the i-th of m is multiplied by m - i, and none is below one before it. Undefined values stay so and
/// do not count.
pub fn holm(p: &[Metric]) -> Vec<Metric> {
    let mut order: Vec<(usize, f64)> =
        p.iter().enumerate().filter_map(|(i, p)| Some((i, p.value()?))).collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut out = p.to_vec();
    let (m, mut least) = (order.len(), 0.0f64);
    for (rank, (i, p)) in order.into_iter().enumerate() {
        least = least.max((p * (m - rank) as f64).min(1.0));
        out[i] = Metric::of(least);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_abs_diff_eq;

    fn p(d: &[f64]) -> f64 {
        wilcoxon_signed_rank(d).value().unwrap()
    }

    /// Every choice of signs, one after the other.
    fn by_enumeration(d: &[f64]) -> f64 {
        let mut abs: Vec<f64> = d.iter().filter(|d| **d != 0.0).map(|d| d.abs()).collect();
        let given: Vec<f64> = d.iter().copied().filter(|d| *d != 0.0).collect();
        abs.sort_by(f64::total_cmp);
        let rank = |v: f64| {
            let places: Vec<f64> =
                (0..abs.len()).filter(|i| abs[*i] == v.abs()).map(|i| (i + 1) as f64).collect();
            places.iter().sum::<f64>() / places.len() as f64
        };
        let ranks: Vec<f64> = given.iter().map(|v| rank(*v)).collect();
        let total: f64 = ranks.iter().sum();
        let sum = |chosen: &dyn Fn(usize) -> bool| -> f64 {
            (0..ranks.len()).filter(|i| chosen(*i)).map(|i| ranks[i]).sum()
        };
        let seen = sum(&|i| given[i] > 0.0);
        let seen = seen.min(total - seen);
        let all = 1u32 << ranks.len();
        let as_far = (0..all).filter(|s| {
            let w = sum(&|i| s >> i & 1 == 1);
            w.min(total - w) <= seen + 1e-9
        });
        as_far.count() as f64 / f64::from(all)
    }

    #[test]
    fn the_exact_distribution_is_that_of_all_signs_with_and_without_ties() {
        for d in [
            &[1.0, -2.0, 3.0, 4.0, -0.5, 6.0][..],
            &[1.0, 1.0, -1.0, 2.0, -2.0, 3.0, 3.0],
            &[0.5, 0.0, -0.25, 0.0, 1.0, 2.0, 4.0, 8.0],
            &[-3.0],
        ] {
            assert_abs_diff_eq!(p(d), by_enumeration(d), epsilon = 1e-12);
        }
    }

    #[test]
    fn all_of_one_sign_give_the_smallest_p() {
        assert_abs_diff_eq!(
            p(&[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
            2.0 / 1024.0,
            epsilon = 1e-15
        );
        // scipy.stats.wilcoxon([1, 2, 3, 4, 5, -6, 7, 8], mode="exact").pvalue
        assert_abs_diff_eq!(p(&[1.0, 2.0, 3.0, 4.0, 5.0, -6.0, 7.0, 8.0]), 0.109375, epsilon = 1e-12);
    }

    #[test]
    fn no_difference_and_a_nan_have_no_p() {
        assert_eq!(wilcoxon_signed_rank(&[0.0, 0.0]).reason(), Some("all differences are 0"));
        assert!(!wilcoxon_signed_rank(&[1.0, f64::NAN]).is_defined());
    }

    #[test]
    fn holm_multiplies_by_what_is_left_and_never_falls() {
        let p = [Metric::of(0.01), Metric::undefined("no"), Metric::of(0.04), Metric::of(0.03)];
        let h: Vec<Option<f64>> = holm(&p).iter().map(Metric::value).collect();
        assert_abs_diff_eq!(h[0].unwrap(), 0.03, epsilon = 1e-12);
        assert_eq!(h[1], None);
        assert_abs_diff_eq!(h[3].unwrap(), 0.06, epsilon = 1e-12);
        assert_abs_diff_eq!(h[2].unwrap(), 0.06, epsilon = 1e-12);
    }
}
