//! Non-negative least squares, exactly: of every subset of the columns the unbounded solution, and of those without a
//! negative cost the one with the least sum of squares. With nine columns that is 512 small systems and no iteration.

/// Sums of squares closer to the least than this share of the whole explain the rows equally well.
const SAME: f64 = 1e-12;

/// A pivot below this share of its column's square: the column is, to the digits there are, made of others.
const DEPENDENT: f64 = 1e-10;

/// Costs `c ≥ 0` with the least sum of squares of `rows · c − targets`. Nothing without rows.
pub(crate) fn non_negative<const N: usize>(rows: &[[f64; N]], targets: &[f64]) -> Option<[f64; N]> {
    assert_eq!(rows.len(), targets.len(), "a target for each row");
    if rows.is_empty() {
        return None;
    }
    let system = System::of(rows, targets);
    let mut best: Option<(f64, u32, [f64; N])> = None;
    for subset in 0..1_u32 << N {
        let Some(costs) = system.solve(subset) else { continue };
        let rest = system.rest(&costs);
        let closer = match &best {
            None => true,
            Some((least, terms, _)) => {
                let same = SAME * system.square;
                rest < least - same || (rest < least + same && subset.count_ones() < *terms)
            }
        };
        if closer {
            best = Some((rest, subset.count_ones(), costs));
        }
    }
    let (_, _, mut costs) = best?;
    for (cost, scale) in costs.iter_mut().zip(system.scales) {
        *cost = if scale > 0.0 { *cost / scale } else { 0.0 };
    }
    Some(costs)
}

/// The normal equations, each column scaled to length 1.
struct System<const N: usize> {
    scales: [f64; N],
    products: [[f64; N]; N],
    with_targets: [f64; N],
    square: f64,
}

impl<const N: usize> System<N> {
    fn of(rows: &[[f64; N]], targets: &[f64]) -> Self {
        let mut scales = [0.0; N];
        for (column, scale) in scales.iter_mut().enumerate() {
            *scale = rows.iter().map(|row| row[column] * row[column]).sum::<f64>().sqrt();
        }
        let (mut products, mut with_targets) = ([[0.0; N]; N], [0.0; N]);
        for (row, target) in rows.iter().zip(targets) {
            for one in 0..N {
                if scales[one] == 0.0 {
                    continue;
                }
                let value = row[one] / scales[one];
                with_targets[one] += value * target;
                for other in (0..N).filter(|other| scales[*other] > 0.0) {
                    products[one][other] += value * row[other] / scales[other];
                }
            }
        }
        let square = targets.iter().map(|target| target * target).sum();
        Self { scales, products, with_targets, square }
    }

    /// The solution over the columns of `subset` (by bits), if they are independent and no cost is negative.
    fn solve(&self, subset: u32) -> Option<[f64; N]> {
        let chosen: Vec<usize> = (0..N).filter(|column| (subset >> column) & 1 == 1).collect();
        let size = chosen.len();
        // Cholesky: lower · lowerᵀ = products.
        let mut lower = [[0.0; N]; N];
        for row in 0..size {
            for column in 0..=row {
                let known: f64 = (0..column).map(|k| lower[row][k] * lower[column][k]).sum();
                let left = self.products[chosen[row]][chosen[column]] - known;
                if row == column {
                    if left < DEPENDENT {
                        return None;
                    }
                    lower[row][row] = left.sqrt();
                } else {
                    lower[row][column] = left / lower[column][column];
                }
            }
        }
        let mut between = [0.0; N];
        for row in 0..size {
            let known: f64 = (0..row).map(|k| lower[row][k] * between[k]).sum();
            between[row] = (self.with_targets[chosen[row]] - known) / lower[row][row];
        }
        let mut found = [0.0; N];
        for row in (0..size).rev() {
            let known: f64 = (row + 1..size).map(|k| lower[k][row] * found[k]).sum();
            found[row] = (between[row] - known) / lower[row][row];
        }
        let mut costs = [0.0; N];
        for (place, column) in chosen.iter().enumerate() {
            if found[place] < 0.0 {
                return None;
            }
            costs[*column] = found[place];
        }
        Some(costs)
    }

    /// The sum of squares that scaled `costs` leave.
    fn rest(&self, costs: &[f64; N]) -> f64 {
        let mut rest = self.square;
        for one in 0..N {
            rest -= 2.0 * costs[one] * self.with_targets[one];
            for other in 0..N {
                rest += costs[one] * self.products[one][other] * costs[other];
            }
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers from 0 to 1 that are the same each time.
    fn chance(state: &mut u64) -> f64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 11) as f64 / (1_u64 << 53) as f64
    }

    #[test]
    fn costs_that_made_the_targets_are_found_though_columns_differ_by_orders() {
        let truth = [0.5, 0.0, 3000.0, 2e-4];
        let mut state = 7;
        let rows: Vec<[f64; 4]> = (0..12)
            .map(|_| {
                let mut next = || chance(&mut state);
                [next(), next() * 10.0, next() * 1e-4, next() * 1e4]
            })
            .collect();
        let targets: Vec<f64> =
            rows.iter().map(|row| row.iter().zip(truth).map(|(value, cost)| value * cost).sum()).collect();
        let found = non_negative(&rows, &targets).unwrap();
        for (found, truth) in found.iter().zip(truth) {
            assert!((found - truth).abs() <= 1e-6 * truth.max(1e-6), "{found} is not {truth}");
        }
    }

    #[test]
    fn a_cost_that_would_be_negative_is_none_and_the_rest_is_the_best_without_it() {
        // Without the bound: 2 and −1. With it the first stands alone: (1·1 + 2·1) / (1·1 + 2·2).
        let rows = [[1.0, 1.0], [2.0, 3.0], [0.0, 1.0]];
        let targets = [1.0, 1.0, -1.0];
        let found = non_negative(&rows, &targets).unwrap();
        assert!((found[0] - 0.6).abs() < 1e-12, "{found:?}");
        assert!(found[1].abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn columns_that_are_one_are_counted_once() {
        let rows = [[1.0, 2.0, 0.0], [2.0, 4.0, 0.0], [3.0, 6.0, 0.0]];
        let found = non_negative(&rows, &[5.0, 10.0, 15.0]).unwrap();
        let first = found[0] * rows[0][0] + found[1] * rows[0][1];
        assert!((first - 5.0).abs() < 1e-9, "{found:?}");
        assert!(found.iter().filter(|cost| **cost > 0.0).count() == 1, "{found:?}");
    }

    #[test]
    fn nothing_is_fitted_to_nothing() {
        assert!(non_negative::<3>(&[], &[]).is_none());
    }
}
