//! The speed of a job whose application was measured.

use std::collections::BTreeMap;
use std::sync::Arc;

use hcrun_protocol::time::Span;

use super::{BatchLimits, NoiseScale, Split, StepTime, StepTimes};
use crate::job::{Shape, Speed, Stretch};
use crate::work::{Rate, Work};

/// All that was measured of one application.
#[derive(Debug, Clone)]
pub struct Profile {
    limits: BatchLimits,
    times: StepTimes,
    noise: NoiseScale,
    /// Splits worth trying, by replicas.
    candidates: Vec<Vec<Split>>,
    /// Goodput at the best batch by epoch, on full nodes and a rest: what strategies ask for most.
    known: BTreeMap<Vec<u32>, Vec<f64>>,
}

/// How the batch of a job is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Batch {
    /// By its owner.
    Given(u32),
    /// The one of the highest goodput on the devices it has, anew in each epoch.
    Tuned,
}

impl Profile {
    /// `limits` lie within what was measured; `devices_per_node` is the most that was measured on one node.
    pub fn new(limits: BatchLimits, times: StepTimes, noise: NoiseScale, devices_per_node: u32) -> Profile {
        let most = (limits.max / limits.local_min.max(1)).clamp(1, MAX_DEVICES);
        let candidates = (0..=most).map(|replicas| limits.candidates(replicas)).collect();
        let mut profile = Profile { limits, times, noise, candidates, known: BTreeMap::new() };
        for devices in 1..=most {
            let per_node = packed(devices, devices_per_node.max(1));
            let by_epoch = (0..profile.epochs()).map(|epoch| profile.tuned(&per_node, epoch)).collect();
            profile.known.insert(per_node, by_epoch);
        }
        profile
    }

    pub fn limits(&self) -> BatchLimits {
        self.limits
    }

    /// The most devices that the batch can be dealt to.
    pub fn max_devices(&self) -> u32 {
        u32::try_from(self.candidates.len() - 1).expect("at most MAX_DEVICES")
    }

    pub fn epochs(&self) -> usize {
        self.noise.ends().len()
    }

    /// Iterations at the smallest batch until training has ended.
    pub fn iterations(&self) -> f64 {
        self.noise.ends().last().copied().unwrap_or(0.0)
    }

    /// Progress in iterations at the smallest batch per second, on `per_node` devices of each node, most first; zero if
    /// the batch cannot be dealt to so many.
    pub fn goodput(&self, per_node: &[u32], batch: Batch, epoch: usize) -> f64 {
        match batch {
            Batch::Given(batch) => {
                let replicas = per_node.iter().sum();
                let split = self.limits.split(batch, replicas);
                let time = self.times.on(per_node).at(split.local);
                self.noise.gain(split.batch(replicas), epoch) / step_seconds(time, split)
            }
            Batch::Tuned => {
                let known = self.known.get(per_node);
                known.map_or_else(|| self.tuned(per_node, epoch), |by_epoch| by_epoch[epoch])
            }
        }
    }

    fn tuned(&self, per_node: &[u32], epoch: usize) -> f64 {
        let replicas: u32 = per_node.iter().sum();
        let Some(candidates) = self.candidates.get(replicas as usize) else { return 0.0 };
        let times = self.times.on(per_node);
        let goodput = |split: &Split| {
            self.noise.gain(split.batch(replicas), epoch) / step_seconds(times.at(split.local), *split)
        };
        candidates.iter().map(goodput).fold(0.0, f64::max)
    }

    /// Seconds of training from start to end without a stop.
    fn seconds(&self, per_node: &[u32], batch: Batch) -> f64 {
        let mut begin = 0.0;
        let epochs = self.noise.ends().iter().enumerate();
        let each = epochs.map(|(epoch, end)| {
            let iterations = end - std::mem::replace(&mut begin, *end);
            iterations / self.goodput(per_node, batch, epoch)
        });
        each.sum()
    }
}

/// A job of a profiled application. Its work is the time that it takes as its owner asked for it.
#[derive(Debug, Clone)]
pub struct ProfiledSpeed {
    profile: Arc<Profile>,
    batch: Batch,
    /// The owner's batch.
    given: u32,
    /// Iterations per second at [`Rate::ONE`].
    unit: f64,
    /// Work at the end of each epoch.
    ends: Arc<[Work]>,
}

impl ProfiledSpeed {
    /// A job asked for with `given` samples per step on `per_node` devices (most first), that runs with `batch`.
    pub fn new(profile: &Arc<Profile>, per_node: &[u32], given: u32, batch: Batch) -> ProfiledSpeed {
        let unit = profile.iterations() / profile.seconds(per_node, Batch::Given(given));
        let ends = profile.noise.ends().iter().map(|end| work(end / unit)).collect();
        ProfiledSpeed { profile: Arc::clone(profile), batch, given, unit, ends }
    }

    /// All there is to do.
    pub fn work(&self) -> Work {
        self.ends.last().copied().unwrap_or(Work::ZERO)
    }
}

impl Speed for ProfiledSpeed {
    fn stretch(&self, done: Work, shape: &Shape) -> Stretch {
        let epoch = self.ends.partition_point(|end| *end <= done).min(self.ends.len() - 1);
        let goodput = self.profile.goodput(&shape.per_node, self.batch, epoch);
        Stretch { rate: Rate::from_f64(goodput / self.unit), until: self.ends.get(epoch).copied() }
    }

    fn as_requested(&self) -> Option<Arc<dyn Speed>> {
        Some(Arc::new(ProfiledSpeed { batch: Batch::Given(self.given), ..self.clone() }))
    }
}

fn work(seconds: f64) -> Work {
    Work::taking(Span::from_secs(1)).scaled(seconds)
}

fn step_seconds(time: StepTime, split: Split) -> f64 {
    time.step + (time.step - time.sync) * f64::from(split.accumulated)
}

/// `devices` on as few nodes as possible.
pub fn packed(devices: u32, devices_per_node: u32) -> Vec<u32> {
    let full = (0..devices / devices_per_node).map(|_| devices_per_node);
    full.chain(Some(devices % devices_per_node).filter(|rest| *rest > 0)).collect()
}

/// Of one job; bounds what a profile is computed for.
const MAX_DEVICES: u32 = 64;
