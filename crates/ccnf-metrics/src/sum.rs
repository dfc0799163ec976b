//! Sums of many small terms.

/// Neumaier's compensated sum: millions of small terms without loss.
#[derive(Default)]
pub(crate) struct CompensatedSum {
    sum: f64,
    lost: f64,
}

impl CompensatedSum {
    pub(crate) fn add(&mut self, term: f64) {
        let next = self.sum + term;
        self.lost +=
            if self.sum.abs() >= term.abs() { (self.sum - next) + term } else { (term - next) + self.sum };
        self.sum = next;
    }

    pub(crate) fn value(&self) -> f64 {
        self.sum + self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_terms_survive_a_large_one() {
        let mut sum = CompensatedSum::default();
        [1e16, 1.0, 1.0, -1e16].into_iter().for_each(|term| sum.add(term));
        assert_eq!(sum.value(), 2.0);
    }
}
