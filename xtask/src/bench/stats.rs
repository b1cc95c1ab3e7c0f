//! Medians and spreads of a few repeated measurements.
//!
//! There are five or so samples on a machine that does other things, too. So the middle one counts, and the distance
//! between the outer two says how much it may be trusted; a mean or a standard deviation would pretend to know more.

/// Repeated measurements of one thing, in the order in which they were taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(Vec<f64>);

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(samples: I) -> Samples {
        Samples(samples.into_iter().collect())
    }
}

impl Samples {
    pub(super) fn as_slice(&self) -> &[f64] {
        &self.0
    }

    /// The middle sample, or halfway between the two middle ones; NaN of none.
    pub(super) fn median(&self) -> f64 {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        }
    }

    /// The least and the greatest sample.
    pub(super) fn range(&self) -> (f64, f64) {
        let sorted = self.sorted();
        (sorted.first().copied().unwrap_or(f64::NAN), sorted.last().copied().unwrap_or(f64::NAN))
    }

    /// The range as a fraction of the median.
    pub(super) fn spread(&self) -> f64 {
        let (least, greatest) = self.range();
        (greatest - least) / self.median()
    }

    /// Sample by sample relative to `base`. What disturbs a round disturbs both, so a ratio is steadier than its parts.
    pub(super) fn over(&self, base: &Samples) -> Samples {
        self.0.iter().zip(&base.0).map(|(sample, base)| sample / base).collect()
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_outliers() {
        let samples: Samples = [3.0, 100.0, 1.0, 2.0, 4.0].into_iter().collect();
        assert_eq!(samples.median(), 3.0);
        assert_eq!(samples.range(), (1.0, 100.0));
        assert_eq!(samples.spread(), 33.0);
        assert_eq!([1.0, 2.0].into_iter().collect::<Samples>().median(), 1.5);
        assert!(Samples::default().median().is_nan());
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let slow: Samples = [2.0, 20.0].into_iter().collect();
        let fast: Samples = [1.0, 10.0].into_iter().collect();
        assert_eq!(slow.over(&fast).as_slice(), [2.0, 2.0]);
    }
}
