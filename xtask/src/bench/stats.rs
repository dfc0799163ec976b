//! Times of one side.

/// Seconds, one per counted turn, ascending.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, seconds: f64) {
        let at = self.0.partition_point(|s| *s < seconds);
        self.0.insert(at, seconds);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value below which the share `q` of the samples lies, in milliseconds; interpolated.
    pub(crate) fn quantile_ms(&self, q: f64) -> f64 {
        let Some(last) = self.0.len().checked_sub(1) else { return f64::NAN };
        let position = q * last as f64;
        let (low, high) = (position.floor() as usize, position.ceil() as usize);
        1e3 * (self.0[low] + (self.0[high] - self.0[low]) * (position - low as f64))
    }

    pub(crate) fn median_ms(&self) -> f64 {
        self.quantile_ms(0.5)
    }

    pub(crate) fn min_ms(&self) -> f64 {
        self.quantile_ms(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_interpolated() {
        let mut s = Samples::default();
        [0.004, 0.001, 0.003, 0.002].into_iter().for_each(|v| s.push(v));
        assert!((s.median_ms() - 2.5).abs() < 1e-9);
        assert!((s.min_ms() - 1.0).abs() < 1e-9);
        assert!((s.quantile_ms(1.0) - 4.0).abs() < 1e-9);
    }
}
