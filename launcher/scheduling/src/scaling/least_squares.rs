//! Least squares with non-negative constants, for a handful of columns.

/// Constants, none negative, whose sum of `columns` comes closest to `wanted`. Columns that say nothing get zero.
///
/// The best choice of columns whose unconstrained constants are all positive is the constrained optimum; with at most
/// three columns all choices are tried.
pub(super) fn non_negative(columns: &[Vec<f64>], wanted: &[f64]) -> Vec<f64> {
    let mut best = vec![0.0; columns.len()];
    let mut least = misfit(columns, &best, wanted);
    for bits in 1..1usize << columns.len() {
        let chosen: Vec<usize> = (0..columns.len()).filter(|index| bits >> index & 1 == 1).collect();
        let Some(solution) = solve(columns, &chosen, wanted) else { continue };
        if solution.iter().any(|constant| *constant <= 0.0) {
            continue;
        }
        let mut constants = vec![0.0; columns.len()];
        chosen.iter().zip(solution).for_each(|(index, constant)| constants[*index] = constant);
        let misfit = misfit(columns, &constants, wanted);
        if misfit < least {
            (best, least) = (constants, misfit);
        }
    }
    best
}

fn misfit(columns: &[Vec<f64>], constants: &[f64], wanted: &[f64]) -> f64 {
    let row = |index: usize| {
        let sum: f64 = columns.iter().zip(constants).map(|(column, constant)| column[index] * constant).sum();
        (sum - wanted[index]) * (sum - wanted[index])
    };
    (0..wanted.len()).map(row).sum()
}

/// Without bounds, by Gram and Schmidt: normal equations would square what rounding loses. None where a column follows
/// from those before it.
fn solve(columns: &[Vec<f64>], chosen: &[usize], wanted: &[f64]) -> Option<Vec<f64>> {
    let mut basis: Vec<Vec<f64>> = Vec::new();
    let mut upper: Vec<Vec<f64>> = Vec::new();
    for index in chosen {
        let mut column = columns[*index].clone();
        let length = dot(&column, &column).sqrt();
        let mut above = Vec::new();
        for unit in &basis {
            let along = dot(unit, &column);
            column.iter_mut().zip(unit).for_each(|(value, unit)| *value -= along * unit);
            above.push(along);
        }
        let left = dot(&column, &column).sqrt();
        if left <= length * DEPENDENT {
            return None;
        }
        column.iter_mut().for_each(|value| *value /= left);
        above.push(left);
        basis.push(column);
        upper.push(above);
    }
    let mut solution: Vec<f64> = basis.iter().map(|unit| dot(unit, wanted)).collect();
    for last in (0..solution.len()).rev() {
        solution[last] /= upper[last][last];
        for before in 0..last {
            solution[before] -= upper[last][before] * solution[last];
        }
    }
    Some(solution)
}

fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

/// What is left of a column, as a part of it, when it counts as following from others.
const DEPENDENT: f64 = 1e-9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_constant_becomes_zero_and_the_others_are_fitted_again() {
        let columns = [vec![1.0, 1.0, 1.0], vec![1.0, 2.0, 4.0]];
        let exact = non_negative(&columns, &[3.0, 5.0, 9.0]);
        assert!((exact[0] - 1.0).abs() < 1e-12 && (exact[1] - 2.0).abs() < 1e-12, "{exact:?}");
        // The line through these begins at -1: through the origin, 1*0 + 2*1 + 4*3 = 14 over 21.
        let bounded = non_negative(&columns, &[0.0, 1.0, 3.0]);
        assert_eq!(bounded[0], 0.0);
        assert!((bounded[1] - 14.0 / 21.0).abs() < 1e-12, "{bounded:?}");
    }

    #[test]
    fn columns_that_say_nothing_get_zero() {
        assert_eq!(non_negative(&[vec![0.0, 0.0]], &[1.0, 2.0]), [0.0]);
        let same = non_negative(&[vec![1.0, 2.0], vec![2.0, 4.0]], &[2.0, 4.0]);
        assert_eq!(same.iter().filter(|constant| **constant > 0.0).count(), 1);
        assert_eq!(non_negative(&[vec![1.0]], &[-1.0]), [0.0]);
    }
}
