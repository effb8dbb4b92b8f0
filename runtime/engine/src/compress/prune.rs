//! Pruning by magnitude.
//!
//! Each matrix loses the same share. One threshold for all would empty the layers that start small: residual
//! projections of a GPT are drawn from a distribution narrower than the others' by the root of the depth.

/// Sets the `count` smallest magnitudes to zero, the first of equals first.
pub(super) fn prune(values: &mut [f32], count: usize) {
    if count == 0 {
        return;
    }
    let mut order: Vec<usize> = (0..values.len()).collect();
    let (below, last, _) =
        order.select_nth_unstable_by_key(count - 1, |index| (values[*index].abs().to_bits(), *index));
    below.iter().chain([&*last]).for_each(|index| values[*index] = 0.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_go_and_the_first_of_equals_first() {
        let pruned = |count| {
            let mut values = [0.5, -0.1, 0.3, 0.1, -0.0, 0.1];
            prune(&mut values, count);
            values
        };
        assert_eq!(pruned(0), [0.5, -0.1, 0.3, 0.1, 0.0, 0.1]);
        assert_eq!(pruned(3), [0.5, 0.0, 0.3, 0.0, 0.0, 0.1]);
        assert_eq!(pruned(6), [0.0; 6]);
    }
}
