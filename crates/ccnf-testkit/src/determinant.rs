//! Determinants of numeric Jacobians.

/// `ln |det a|` of a square matrix given by its rows, by elimination with pivots; minus infinity for a singular one.
pub fn log_abs_det(mut a: Vec<Vec<f64>>) -> f64 {
    let n = a.len();
    let mut sum = 0.0;
    for k in 0..n {
        let pivot = (k..n).max_by(|i, j| a[*i][k].abs().total_cmp(&a[*j][k].abs())).unwrap_or(k);
        a.swap(k, pivot);
        if a[k][k] == 0.0 {
            return f64::NEG_INFINITY;
        }
        sum += a[k][k].abs().ln();
        let (done, rest) = a.split_at_mut(k + 1);
        for row in rest {
            let factor = row[k] / done[k][k];
            row.iter_mut().zip(&done[k]).for_each(|(v, p)| *v -= factor * p);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_that_needs_pivots_and_a_singular_one() {
        // The determinant is -1.
        let a = vec![vec![0.0, 2.0, 1.0], vec![-3.0, 0.0, 1.0], vec![1.0, 1.0, 0.0]];
        assert!(log_abs_det(a).abs() < 1e-12);
        assert_eq!(log_abs_det(vec![vec![1.0, 2.0], vec![2.0, 4.0]]), f64::NEG_INFINITY);
    }
}
