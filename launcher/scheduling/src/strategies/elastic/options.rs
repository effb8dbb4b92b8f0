//! The configurations that a job may run in, with its speed in each.

use crate::fleet::{Fleet, PoolIndex, PoolSet};
use crate::goodput::packed;
use crate::job::{JobIndex, Shape};
use crate::state::{Job, State};
use crate::work::Work;

/// Devices of one pool: a power of two within a node, whole nodes beyond, or what the job asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Choice {
    pub pool: PoolIndex,
    pub devices: u32,
    /// In units of the speed that the job's work is stated at.
    pub rate: f64,
}

/// The configurations of all jobs. Speeds are asked for again when a job has come to where they may change.
#[derive(Debug, Clone, Default)]
pub(crate) struct Configurations {
    jobs: Vec<Option<Known>>,
}

#[derive(Debug, Clone)]
struct Known {
    choices: Vec<Choice>,
    until: Option<Work>,
    pools: PoolSet,
}

impl Configurations {
    /// Those of one job on `pools`, fewest devices first within a pool.
    pub(crate) fn of(&mut self, state: &State, index: JobIndex, job: &Job, pools: PoolSet) -> &[Choice] {
        if self.jobs.len() <= index.index() {
            self.jobs.resize(index.index() + 1, None);
        }
        let done = job.done(state.now());
        let slot = &mut self.jobs[index.index()];
        let fresh = |known: &Known| known.pools == pools && known.until.is_none_or(|until| done < until);
        if !slot.as_ref().is_some_and(fresh) {
            *slot = Some(ask(&state.fleet, job, done, pools));
        }
        slot.as_ref().map_or(&[], |known| &known.choices)
    }
}

fn ask(fleet: &Fleet, job: &Job, done: Work, pools: PoolSet) -> Known {
    let mut known = Known { choices: Vec::new(), until: None, pools };
    for pool in fleet.pool_indices().filter(|pool| pools.contains(*pool)) {
        let about = fleet.pool(pool);
        for devices in sizes(job, about.devices_per_node, about.nodes) {
            let mut rate = 1.0;
            if let Some(speed) = &job.spec.speed {
                let shape = Shape { kind: about.kind, per_node: packed(devices, about.devices_per_node) };
                let stretch = speed.stretch(done, &shape);
                rate = stretch.rate.as_f64();
                known.until = match (known.until, stretch.until) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
            }
            if rate > 0.0 {
                known.choices.push(Choice { pool, devices, rate });
            }
        }
    }
    known
}

/// Numbers of devices worth trying on nodes of `on_node` each. A job whose speed is not known keeps to its request.
fn sizes(job: &Job, on_node: u32, nodes: u32) -> Vec<u32> {
    let range = job.spec.devices;
    if job.spec.speed.is_none() || range.min == range.max {
        return Vec::from_iter(
            Some(range.requested).filter(|devices| *devices <= on_node.saturating_mul(nodes)),
        );
    }
    let mut sizes = vec![range.min, range.requested, on_node];
    sizes.extend((0..32).map(|power| 1 << power).take_while(|size| *size < on_node));
    let mut whole = 1;
    while whole <= nodes && whole * on_node <= range.max {
        sizes.push(whole * on_node);
        // Beyond some size the next node makes little difference.
        whole += whole / 16 + 1;
    }
    sizes.sort_unstable();
    sizes.dedup();
    let largest = range.max.min(on_node.saturating_mul(nodes));
    sizes.retain(|size| (range.min..=largest).contains(size));
    sizes
}
