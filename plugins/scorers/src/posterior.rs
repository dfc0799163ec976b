//! The posterior over classes, its entropy and its temperature.

/// The mean of `H(q) / ln K` that [`choose_temperature`] aims at.
pub const TARGET_ENTROPY: f64 = 0.1;

/// Entropy `H(q)` in nats of `q = softmax(l / tau)` over classes, between 0 and `ln K`.
///
/// With `d_y = (l_y - max l) / tau <= 0` and `Z = sum exp(d_y) >= 1`, `H = ln Z - sum exp(d_y) d_y / Z`: nothing overflows.
/// No class or one class gives 0.
pub fn entropy(log_likelihoods: impl Iterator<Item = f64> + Clone, tau: f64) -> f64 {
    let max = log_likelihoods.clone().fold(f64::NEG_INFINITY, f64::max);
    let (mut z, mut weighted) = (0.0, 0.0);
    for l in log_likelihoods {
        let d = (l - max) / tau;
        let e = d.exp();
        if e > 0.0 {
            z += e;
            weighted += e * d;
        }
    }
    if z > 0.0 { (z.ln() - weighted / z).max(0.0) } else { 0.0 }
}

/// The temperature at which the mean of `H / ln K` over all tokens of `tables` is [`TARGET_ENTROPY`]; a table is
/// `[class][token]`. Found by bisection on `ln tau`, as the entropy grows with the temperature.
///
/// `None` where no temperature does it: fewer than two classes, no tokens, or too many tokens that all classes find equally
/// likely.
pub fn choose_temperature(tables: &[&[Vec<f32>]]) -> Option<f64> {
    let tokens: usize = tables.iter().map(|t| length(t)).sum();
    if tokens == 0 || tables.iter().any(|t| t.len() < 2) {
        return None;
    }
    let column = |t: &'_ [Vec<f32>], n: usize| t.iter().map(move |c| f64::from(c[n])).collect::<Vec<f64>>();
    let columns: Vec<Vec<f64>> = tables.iter().flat_map(|t| (0..length(t)).map(|n| column(t, n))).collect();
    let spread = |c: &Vec<f64>| {
        let (low, high) =
            c.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(*v), b.max(*v)));
        high - low
    };
    let widest = columns.iter().map(spread).fold(0.0, f64::max);
    let excess = |tau: f64| {
        let sum: f64 = columns.iter().map(|c| entropy(c.iter().copied(), tau) / (c.len() as f64).ln()).sum();
        sum / tokens as f64 - TARGET_ENTROPY
    };
    // At the upper end every token's classes are within a thousandth: H / ln K is nearly 1.
    let (mut low, mut high) = (widest * 1e-12, widest * 1e3);
    if !(widest.is_finite() && low > 0.0 && excess(low) < 0.0) {
        return None;
    }
    while high / low > 1.0 + 1e-12 {
        let middle = (low * high).sqrt();
        if middle <= low || middle >= high {
            break;
        }
        if excess(middle) < 0.0 { low = middle } else { high = middle }
    }
    Some((low * high).sqrt())
}

/// Tokens of a table: those that every class has.
fn length(table: &[Vec<f32>]) -> usize {
    table.iter().map(Vec::len).min().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_abs_diff_eq;

    #[test]
    fn equal_classes_have_the_full_entropy_and_one_class_has_none() {
        assert_abs_diff_eq!(entropy([7.0; 5].into_iter(), 2.0), 5f64.ln(), epsilon = 1e-12);
        assert_eq!(entropy([7.0].into_iter(), 2.0), 0.0);
        assert_eq!(entropy(std::iter::empty(), 2.0), 0.0);
    }

    #[test]
    fn two_classes_have_the_binary_entropy() {
        let q = 1.0 / (1.0 + (-0.75f64).exp());
        let h = -(q * q.ln() + (1.0 - q) * (1.0 - q).ln());
        assert_abs_diff_eq!(entropy([3.0, 1.5].into_iter(), 2.0), h, epsilon = 1e-12);
    }

    #[test]
    fn huge_differences_give_zero_not_nan() {
        assert_eq!(entropy([-1e30, 0.0, 1e30].into_iter(), 1e-3), 0.0);
    }

    #[test]
    fn the_chosen_temperature_gives_the_target() {
        let table: Vec<Vec<f32>> =
            (0..3).map(|c| (0..50).map(|t| ((t * 7 + c * 13) % 17) as f32).collect()).collect();
        let tau = choose_temperature(&[&table]).unwrap();
        let mean: f64 =
            (0..50).map(|t| entropy(table.iter().map(|c| f64::from(c[t])), tau) / 3f64.ln()).sum::<f64>();
        assert_abs_diff_eq!(mean / 50.0, TARGET_ENTROPY, epsilon = 1e-9);
    }

    #[test]
    fn where_no_temperature_helps_there_is_none() {
        assert_eq!(choose_temperature(&[&[vec![1.0, 2.0]]]), None);
        assert_eq!(choose_temperature(&[&[vec![1.0, 2.0], vec![1.0, 2.0]]]), None);
        assert_eq!(choose_temperature(&[&[vec![], vec![]]]), None);
        assert_eq!(choose_temperature(&[]), None);
    }
}
