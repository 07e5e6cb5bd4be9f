//! Medians and ratios of measured figures.

/// The value in the middle; of an even number of values, the mean of the two in the middle. NaN if there is none.
pub fn median(figures: &[f64]) -> f64 {
    quantile(figures, 0.5)
}

/// The value below which `share` (0 to 1) of the figures lie, interpolated between the two nearest. NaN if there is none.
pub fn quantile(figures: &[f64], share: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let position = share.clamp(0.0, 1.0) * last as f64;
    let below = position.floor() as usize;
    let above = position.ceil() as usize;
    sorted[below] + (sorted[above] - sorted[below]) * (position - below as f64)
}

/// The ratio within each pair: figures that were measured right after one another, so under much the same load.
pub fn pairwise_ratios(figures: &[f64], references: &[f64]) -> Vec<f64> {
    figures.iter().zip(references).map(|(figure, reference)| figure / reference).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_odd_number_is_the_one_in_the_middle() {
        assert_eq!(median(&[9.0, 1.0, 2.0]), 2.0);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), 3.0);
    }

    #[test]
    fn nothing_has_no_median() {
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_quarter_of_five_figures_is_the_second_smallest() {
        assert_eq!(quantile(&[5.0, 1.0, 4.0, 2.0, 3.0], 0.25), 2.0);
    }

    #[test]
    fn ratios_are_taken_pair_by_pair() {
        assert_eq!(pairwise_ratios(&[2.0, 9.0], &[4.0, 3.0]), [0.5, 3.0]);
    }
}
