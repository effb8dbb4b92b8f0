//! How long a step takes on which devices with which local batch, between what was measured.

use std::collections::BTreeMap;

/// Of one step, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StepTime {
    /// All of it.
    pub step: f64,
    /// The part that waits for the other replicas; micro-batches that are only accumulated do without it.
    pub sync: f64,
}

impl StepTime {
    fn between(self, other: StepTime, share: f64) -> StepTime {
        let mix = |a: f64, b: f64| a + (b - a) * share;
        StepTime { step: mix(self.step, other.step), sync: mix(self.sync, other.sync) }
    }
}

/// One row of a profile.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    pub nodes: u32,
    pub replicas: u32,
    /// Replicas on each node, if that was written down.
    pub per_node: Option<Vec<u32>>,
    /// Samples per replica and step.
    pub local_batch: u32,
    pub time: StepTime,
}

/// Step times by devices and local batch.
///
/// A placement that was measured is looked up, without regard to the order of its nodes. Others lie between the
/// measured numbers of nodes and, on those, between the measured numbers of replicas per node. Beyond what was measured
/// the nearest value counts.
#[derive(Debug, Clone, Default)]
pub struct StepTimes {
    placements: BTreeMap<Vec<u32>, Curve>,
    /// By nodes, then by replicas.
    grid: BTreeMap<u32, BTreeMap<u32, Curve>>,
}

impl StepTimes {
    pub fn new(measured: &[Measured]) -> StepTimes {
        let (mut placements, mut grid) = (BTreeMap::new(), BTreeMap::new());
        for point in measured {
            if let Some(per_node) = &point.per_node {
                let mut sorted = per_node.clone();
                sorted.sort_unstable_by(|a, b| b.cmp(a));
                placements.entry(sorted).or_insert_with(Vec::new).push(point);
            }
            let nodes: &mut BTreeMap<u32, Vec<&Measured>> = grid.entry(point.nodes).or_default();
            nodes.entry(point.replicas).or_default().push(point);
        }
        let curves = |points: BTreeMap<u32, Vec<&Measured>>| {
            points.into_iter().map(|(replicas, points)| (replicas, Curve::mean(&points))).collect()
        };
        StepTimes {
            placements: placements.into_iter().map(|(key, points)| (key, Curve::mean(&points))).collect(),
            grid: grid.into_iter().map(|(nodes, points)| (nodes, curves(points))).collect(),
        }
    }

    /// The step times on one placement (`per_node`: most first) by local batch.
    pub fn on(&self, per_node: &[u32]) -> OnDevices<'_> {
        if let Some(curve) = self.placements.get(per_node) {
            return OnDevices { curves: [(curve, 1.0); 4] };
        }
        let nodes = per_node.iter().filter(|devices| **devices > 0).count();
        let nodes = u32::try_from(nodes.max(1)).unwrap_or(u32::MAX);
        let density = f64::from(per_node.iter().sum::<u32>()) / f64::from(nodes);
        let below = self.grid.range(..=nodes).next_back();
        let above = self.grid.range(nodes..).next();
        let (below, above) = (below.or(above), above.or(below));
        let (Some((low, on_low)), Some((high, on_high))) = (below, above) else {
            unreachable!("a profile has measurements: Profile::new")
        };
        let share = share(f64::from(*low), f64::from(*high), f64::from(nodes));
        let [low, high] =
            [(*low, on_low), (*high, on_high)].map(|(nodes, on)| at_density(nodes, on, density));
        let weigh = |(curve, weight), factor: f64| (curve, weight * factor);
        OnDevices {
            curves: [
                weigh(low[0], 1.0 - share),
                weigh(low[1], 1.0 - share),
                weigh(high[0], share),
                weigh(high[1], share),
            ],
        }
    }

    /// The smallest and the largest local batch that was measured anywhere.
    pub fn local_batches(&self) -> Option<(u32, u32)> {
        let curves = || self.grid.values().flat_map(BTreeMap::values);
        let min = curves().filter_map(|curve| curve.0.first()).map(|point| point.0).min();
        let max = curves().filter_map(|curve| curve.0.last()).map(|point| point.0).max();
        min.zip(max)
    }
}

/// Step times on one placement: a weighted mean of curves, or one curve alone.
#[derive(Debug, Clone, Copy)]
pub struct OnDevices<'a> {
    curves: [(&'a Curve, f64); 4],
}

impl OnDevices<'_> {
    pub fn at(&self, local_batch: u32) -> StepTime {
        if self.curves[0].1 >= 1.0 {
            return self.curves[0].0.at(local_batch);
        }
        let parts = self.curves.iter().filter(|part| part.1 > 0.0);
        parts.fold(StepTime::default(), |sum, (curve, weight)| {
            let time = curve.at(local_batch);
            StepTime { step: sum.step + weight * time.step, sync: sum.sync + weight * time.sync }
        })
    }
}

/// By local batch, which rises.
#[derive(Debug, Clone, Default)]
struct Curve(Vec<(u32, StepTime)>);

impl Curve {
    /// Points of one local batch are averaged.
    fn mean(points: &[&Measured]) -> Curve {
        let mut sums = BTreeMap::<u32, (StepTime, f64)>::new();
        for point in points {
            let (sum, count) = sums.entry(point.local_batch).or_default();
            sum.step += point.time.step;
            sum.sync += point.time.sync;
            *count += 1.0;
        }
        let mean =
            |(sum, count): (StepTime, f64)| StepTime { step: sum.step / count, sync: sum.sync / count };
        Curve(sums.into_iter().map(|(local_batch, sum)| (local_batch, mean(sum))).collect())
    }

    fn at(&self, local_batch: u32) -> StepTime {
        let next = self.0.partition_point(|(measured, _)| *measured < local_batch);
        match (next.checked_sub(1).map(|before| self.0[before]), self.0.get(next)) {
            (Some((low, before)), Some((high, after))) => {
                before.between(*after, share(f64::from(low), f64::from(*high), f64::from(local_batch)))
            }
            (Some((_, last)), None) => last,
            (None, Some((_, first))) => *first,
            (None, None) => StepTime::default(),
        }
    }
}

/// The two curves around `density` replicas per node, with their weights.
fn at_density(nodes: u32, by_replicas: &BTreeMap<u32, Curve>, density: f64) -> [(&Curve, f64); 2] {
    let per_node = |replicas: u32| f64::from(replicas) / f64::from(nodes);
    let below = by_replicas.iter().rfind(|(replicas, _)| per_node(**replicas) <= density);
    let above = by_replicas.iter().find(|(replicas, _)| per_node(**replicas) >= density);
    let (Some(low), Some(high)) = (below.or(above), above.or(below)) else {
        unreachable!("each number of nodes in the grid has a measurement")
    };
    let share = share(per_node(*low.0), per_node(*high.0), density);
    [(low.1, 1.0 - share), (high.1, share)]
}

/// How far `at` lies on the way from `low` to `high`, within 0..=1.
fn share(low: f64, high: f64, at: f64) -> f64 {
    if high > low { ((at - low) / (high - low)).clamp(0.0, 1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(per_node: &[u32], local_batch: u32, step: f64) -> Measured {
        let nodes = u32::try_from(per_node.len()).unwrap();
        let (replicas, time) = (per_node.iter().sum(), StepTime { step, sync: step / 4.0 });
        Measured { nodes, replicas, per_node: Some(per_node.to_vec()), local_batch, time }
    }

    #[test]
    fn what_was_measured_is_looked_up_and_the_rest_lies_between() {
        let mut points = vec![measured(&[1], 8, 1.0), measured(&[1], 16, 2.0), measured(&[4], 8, 2.0)];
        points.push(measured(&[1, 2], 8, 7.0));
        points.push(measured(&[2, 1], 8, 9.0));
        let far = |replicas, step| Measured { per_node: None, replicas, ..measured(&[1; 8], 8, step) };
        points.extend([far(8, 10.0), far(16, 20.0)]);
        let times = StepTimes::new(&points);
        let at = |per_node: &[u32], local_batch| times.on(per_node).at(local_batch).step;
        assert_eq!(at(&[1], 12), 1.5);
        assert_eq!(at(&[1], 64), 2.0, "the nearest value beyond what was measured");
        assert_eq!(at(&[2, 1], 8), 8.0, "the order of nodes does not matter");
        assert!((at(&[3], 8) - (1.0 + 2.0 / 3.0)).abs() < 1e-12);
        assert_eq!(at(&[2, 2, 2, 1, 1, 1, 1, 2], 8), 15.0);
        assert_eq!(at(&[2; 64], 8), 20.0);
        let five = at(&[2, 2, 2, 1, 1], 8);
        assert!((8.0..16.0).contains(&five), "between two and eight nodes: {five}");
        assert_eq!(times.on(&[4]).at(8).sync, 0.5);
    }
}
