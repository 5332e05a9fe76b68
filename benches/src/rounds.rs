//! Rounds: ours and the anchor in turn, and what is said of them in the end.

/// How much is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amount {
    pub(crate) rounds: usize,
    pub(crate) calls: usize,
}

/// What one measure gave in every round.
#[derive(Debug, Default, Clone)]
pub(crate) struct Pair {
    ours: Vec<f64>,
    anchor: Vec<f64>,
}

impl Pair {
    pub(crate) fn push(&mut self, ours: f64, anchor: f64) {
        self.ours.push(ours);
        self.anchor.push(anchor);
    }

    /// The medians of both.
    pub(crate) fn medians(&self) -> (f64, f64) {
        (median(self.ours.clone()), median(self.anchor.clone()))
    }

    /// The median of the ratios of the rounds, and the least and greatest of them.
    pub(crate) fn ratio(&self) -> (f64, f64, f64) {
        let ratios: Vec<f64> =
            self.ours.iter().zip(&self.anchor).map(|(ours, anchor)| ours / anchor).collect();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ratios.iter().copied().fold(0.0, f64::max);
        (median(ratios), least, most)
    }
}

/// The value in the middle.
pub(crate) fn median(values: Vec<f64>) -> f64 {
    at(values, 1, 2)
}

/// The value below which `part` of `whole` lie.
pub(crate) fn at(mut values: Vec<f64>, part: usize, whole: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = (values.len() * part / whole).min(values.len().saturating_sub(1));
    values.get(index).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::float_cmp, reason = "these are exact")]
    fn the_middle_of_the_ratios_is_not_the_ratio_of_the_middles() {
        let mut pair = Pair::default();
        for (ours, anchor) in [(10.0, 10.0), (30.0, 20.0), (40.0, 40.0)] {
            pair.push(ours, anchor);
        }
        assert_eq!(pair.medians(), (30.0, 20.0));
        assert_eq!(pair.ratio(), (1.0, 1.0, 1.5));
        assert_eq!(at((1..=100).map(f64::from).collect(), 99, 100), 100.0);
    }
}
