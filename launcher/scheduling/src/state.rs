//! The course of all jobs on a fleet: what waits, what runs where since when, what is done.
//!
//! Drivers (the simulator, a live queue) change it by the methods named after what happened; strategies read it.
//! Work and devices are conserved: [`State::check`] compares every count with the sum of its parts.

mod leaving;
mod live;
mod sending;

use std::collections::BTreeSet;
use std::sync::Arc;

use hcrun_protocol::time::{Span, Time};

use crate::fleet::{Fleet, NodeIndex, PoolSet, ZoneIndex};
use crate::free::{Allocation, Free};
use crate::job::{JobIndex, JobSpec, Shape, Workload};
use crate::work::{Rate, Work};

use leaving::Leaving;
pub use live::Past;
use sending::{Run, Sent};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Not yet submitted.
    Future,
    Waiting,
    /// Holds devices.
    Running,
    Done,
    /// Not admitted, or withdrawn.
    Refused,
}

/// Why a job gives its devices back before it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Its strategy wants the devices for another job. A checkpoint is written first.
    Preempted,
    /// Its strategy gives it other devices. A checkpoint is written first.
    Moved,
    /// A node is gone: what was done since the last checkpoint is lost.
    Lost,
}

/// One job's course. What each decision reads of each running job comes first, so that it shares few cache lines.
#[derive(Debug, Clone)]
#[repr(C)]
pub struct Job {
    /// As of `counted`.
    done: Work,
    rate: Rate,
    counted: Time,
    /// When the devices it holds make, or made, their first step.
    ready: Time,
    pub phase: Phase,
    /// What it holds; empty unless it runs.
    pub allocation: Allocation,
    pub spec: JobSpec,
    /// Pools that may run it.
    pub pools: PoolSet,
    pub first_start: Option<Time>,
    pub ended: Option<Time>,
    pub starts: u32,
    pub preemptions: u32,
    pub losses: u32,
    /// Work that was done and lost again.
    pub lost: Work,
    /// Since when it waits or holds its devices.
    pub since: Time,
    shape: Option<Shape>,
    rate_until: Option<Work>,
    /// Work at the start of this run: the last checkpoint, if none was written since.
    resumed: Work,
    /// Device time of runs that ended.
    attained: u128,
    /// Zones that have had its data sent to them, as bits.
    fetched: u64,
}

impl Job {
    fn new(spec: JobSpec) -> Job {
        Job {
            spec,
            phase: Phase::Future,
            pools: PoolSet::NONE,
            allocation: Allocation::default(),
            first_start: None,
            ended: None,
            starts: 0,
            preemptions: 0,
            losses: 0,
            lost: Work::ZERO,
            since: Time::ZERO,
            ready: Time::ZERO,
            shape: None,
            rate: Rate::ZERO,
            rate_until: None,
            done: Work::ZERO,
            counted: Time::ZERO,
            resumed: Work::ZERO,
            attained: 0,
            fetched: 0,
        }
    }

    /// Work done by `now`.
    pub fn done(&self, now: Time) -> Work {
        if self.phase != Phase::Running {
            return self.done;
        }
        let worked = now.since(self.counted.max(self.ready));
        Work(self.spec.work.0.min(self.done.0 + Work::of(worked, self.rate).0))
    }

    /// What a strategy may know to be left: by the estimate, and never nothing before the job is done.
    pub fn estimated_left(&self, now: Time) -> Work {
        Work(self.spec.estimate.0.saturating_sub(self.done(now).0).max(1))
    }

    /// Device microseconds held so far.
    pub fn attained(&self, now: Time) -> u128 {
        match self.phase {
            Phase::Running => {
                self.attained + u128::from(now.since(self.since).0) * u128::from(self.allocation.devices())
            }
            _ => self.attained,
        }
    }

    /// The speed on the devices it holds.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// When the devices it holds make, or made, their first step.
    pub fn ready(&self) -> Time {
        self.ready
    }

    /// When it will be done, or its speed may change, if it keeps its devices.
    pub fn next_change(&self) -> Option<Time> {
        if self.phase != Phase::Running || self.rate == Rate::ZERO {
            return None;
        }
        let target = self.rate_until.map_or(self.spec.work, |until| until.min(self.spec.work));
        let from = self.counted.max(self.ready);
        Some(from + target.saturating_sub(self.done).time_at(self.rate))
    }

    pub fn is_complete(&self, now: Time) -> bool {
        self.done(now) >= self.spec.work
    }

    /// What a loss at `now` leaves, announced `notice` before: all that was done by then, or the last checkpoint.
    pub fn kept(&self, now: Time, notice: Span) -> Work {
        let announced = if notice == Span(0) { self.resumed } else { self.done(now - notice) };
        self.checkpointed(now).max(announced).max(self.resumed)
    }

    fn checkpointed(&self, now: Time) -> Work {
        let interval = self.spec.checkpoint_interval;
        if interval == Span(0) {
            return self.done(now);
        }
        let run = now.since(self.ready).0;
        let behind = Work::of(Span(run % interval.0), self.rate);
        self.done(now).saturating_sub(behind).max(self.resumed)
    }
}

/// What happened to a job, in order, since the strategy looked last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    pub job: JobIndex,
    pub phase: Phase,
}

#[derive(Debug, Clone)]
pub struct State {
    pub fleet: Arc<Fleet>,
    now: Time,
    free: Free,
    /// All that is there, as if nobody held anything; a lost node has nothing.
    capacity: Free,
    jobs: Vec<Job>,
    running: BTreeSet<JobIndex>,
    waiting: usize,
    used: u64,
    changes: Vec<Change>,
    /// Jobs whose speed changed because of their neighbours, since [`Self::take_disturbed`].
    disturbed: Vec<JobIndex>,
    /// Device microseconds of runs that ended, by pool, as providers bill them.
    billed: Vec<u128>,
    /// Jobs that were stopped and are not gone yet.
    leaving: Leaving,
    /// Of jobs that name their bytes.
    sent: Sent,
}

impl State {
    pub fn new(fleet: Arc<Fleet>, workload: Workload) -> State {
        State {
            now: Time::ZERO,
            free: Free::all(&fleet),
            capacity: Free::all(&fleet),
            jobs: workload.into_jobs().into_iter().map(Job::new).collect(),
            running: BTreeSet::new(),
            waiting: 0,
            used: 0,
            changes: Vec::new(),
            disturbed: Vec::new(),
            billed: vec![0; fleet.pools.len()],
            leaving: Leaving::default(),
            sent: Sent::default(),
            fleet,
        }
    }

    pub fn now(&self) -> Time {
        self.now
    }

    pub fn free(&self) -> &Free {
        &self.free
    }

    pub fn job(&self, job: JobIndex) -> &Job {
        &self.jobs[job.index()]
    }

    pub fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    pub fn running(&self) -> impl DoubleEndedIterator<Item = JobIndex> + '_ {
        self.running.iter().copied()
    }

    pub fn waiting_count(&self) -> usize {
        self.waiting
    }

    pub fn running_count(&self) -> usize {
        self.running.len()
    }

    /// Devices that jobs hold.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// What is there, held or not.
    pub fn capacity(&self) -> &Free {
        &self.capacity
    }

    /// Device microseconds that runs which have ended are billed for, by pool: each run is rounded as its pool's provider does.
    pub fn billed(&self) -> &[u128] {
        &self.billed
    }

    /// Bytes that left a zone in a month, by month, of runs that have ended and of what all runs were given at their starts.
    /// Months have 30 days and are counted from the start.
    pub fn sent(&self) -> Vec<(ZoneIndex, u32, u64)> {
        self.sent.totals()
    }

    /// What has happened since [`Self::forget_changes`].
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    pub fn forget_changes(&mut self) {
        self.changes.clear();
    }

    pub fn advance(&mut self, now: Time) {
        assert!(now >= self.now, "time goes forward");
        self.now = now;
    }

    pub fn submit(&mut self, index: JobIndex) {
        let job = &mut self.jobs[index.index()];
        assert_eq!(job.phase, Phase::Future, "a job is submitted once");
        // A rule that makes no sense allows no pool; admission says which it is.
        job.pools = job.spec.allowed_pools(&self.fleet).unwrap_or(PoolSet::NONE);
        job.since = self.now;
        job.phase = Phase::Waiting;
        self.waiting += 1;
        self.changes.push(Change { job: index, phase: Phase::Waiting });
    }

    /// Takes a waiting job out of the queue for good.
    pub fn refuse(&mut self, index: JobIndex) {
        let now = self.now;
        let job = &mut self.jobs[index.index()];
        assert_eq!(job.phase, Phase::Waiting, "only a waiting job is refused");
        job.phase = Phase::Refused;
        job.ended = Some(now);
        self.waiting -= 1;
        self.changes.push(Change { job: index, phase: Phase::Refused });
    }

    pub fn start(&mut self, index: JobIndex, allocation: Allocation) {
        let fleet = Arc::clone(&self.fleet);
        self.free.take(&fleet, &allocation);
        let now = self.now;
        let clear = self.leaving.clear(now, &self.free, index, &allocation);
        let job = &mut self.jobs[index.index()];
        assert_eq!(job.phase, Phase::Waiting, "only a waiting job is started");
        let pools = allocation.parts().iter().map(|(node, _)| fleet.node(*node).pool);
        // Second place at which residency is enforced: no strategy can talk its way past it.
        assert!(pools.clone().all(|pool| job.pools.contains(pool)), "a job is placed where it may not be");
        let provisioning = pools.map(|pool| fleet.pool(pool).provisioning).max().unwrap_or(Span(0));
        if job.spec.names_bytes() {
            self.sent.start(now, &fleet, job, &allocation);
        }
        job.phase = Phase::Running;
        job.since = now;
        job.ready = clear + provisioning + job.spec.start_overhead;
        job.first_start.get_or_insert(now);
        job.starts += 1;
        job.counted = now;
        job.resumed = job.done;
        job.shape = job.spec.speed.is_some().then(|| shape(&fleet, &allocation));
        job.allocation = allocation;
        self.waiting -= 1;
        self.used += u64::from(self.jobs[index.index()].allocation.devices());
        self.running.insert(index);
        self.set_rate(index);
        self.disturb(&self.job(index).allocation.clone());
        self.changes.push(Change { job: index, phase: Phase::Running });
    }

    /// A running job gives its devices back and waits again.
    pub fn stop(&mut self, index: JobIndex, why: Stop) {
        let (now, job) = (self.now, self.job(index));
        let kept = if why == Stop::Lost { job.kept(now, Span(0)) } else { job.done(now) };
        self.stop_keeping(index, why, kept);
    }

    fn stop_keeping(&mut self, index: JobIndex, why: Stop, kept: Work) {
        let now = self.now;
        let job = &mut self.jobs[index.index()];
        assert_eq!(job.phase, Phase::Running, "only a running job is stopped");
        let done = job.done(now);
        job.lost += done - kept;
        match why {
            Stop::Preempted => job.preemptions += 1,
            Stop::Lost => job.losses += 1,
            Stop::Moved => {}
        }
        if why != Stop::Lost && job.spec.stop_overhead > Span(0) {
            self.leaving.add(now + job.spec.stop_overhead, index, job.allocation.clone());
        }
        self.release(index, kept, Phase::Waiting, Some(why));
        self.waiting += 1;
    }

    /// A running job has done all its work.
    pub fn complete(&mut self, index: JobIndex) {
        let work = self.job(index).spec.work;
        assert!(self.job(index).is_complete(self.now), "a job is done when its work is done");
        self.release(index, work, Phase::Done, None);
        self.jobs[index.index()].ended = Some(self.now);
    }

    /// A running job has reached work at which its speed may change.
    pub fn set_rate(&mut self, index: JobIndex) {
        let now = self.now;
        let lost = if self.is_disturbed(index) { self.fleet.interference } else { 0.0 };
        let job = &mut self.jobs[index.index()];
        job.done = job.done(now);
        job.counted = now;
        (job.rate, job.rate_until) = match (&job.spec.speed, &job.shape) {
            (Some(speed), Some(shape)) => {
                let stretch = speed.stretch(job.done, shape);
                (stretch.rate, stretch.until.filter(|until| *until > job.done))
            }
            _ => (Rate::ONE, None),
        };
        if lost > 0.0 {
            job.rate = Rate::from_f64(job.rate.as_f64() * (1.0 - lost));
        }
    }

    /// Running jobs that became faster or slower because another one started or ended: what was known of their ends no
    /// longer holds.
    pub fn take_disturbed(&mut self) -> Vec<JobIndex> {
        std::mem::take(&mut self.disturbed)
    }

    /// Whether it shares a node with another job, both being on several, and nodes suffer from that.
    fn is_disturbed(&self, index: JobIndex) -> bool {
        self.fleet.interference > 0.0
            && self.distributed_on(&self.job(index).allocation).any(|other| other != index)
    }

    /// Distributed jobs on the nodes of an allocation that is distributed itself.
    fn distributed_on<'a>(&'a self, allocation: &'a Allocation) -> impl Iterator<Item = JobIndex> + 'a {
        let on = |part: &(NodeIndex, u32)| allocation.parts().iter().any(|other| other.0 == part.0);
        let distributed = allocation.parts().len() > 1;
        self.running.iter().copied().filter(move |index| {
            let parts = self.job(*index).allocation.parts();
            distributed && parts.len() > 1 && parts.iter().any(on)
        })
    }

    /// The neighbours of a job that started or ended on `allocation` run at another speed from now on.
    fn disturb(&mut self, allocation: &Allocation) {
        if self.fleet.interference > 0.0 {
            let neighbours: Vec<JobIndex> = self.distributed_on(allocation).collect();
            for index in neighbours {
                self.set_rate(index);
                self.disturbed.push(index);
            }
        }
    }

    /// A node has `devices` from now on, as was announced `notice` before. Jobs that there is no room for any more, last
    /// submitted first, are lost: they keep what they had written by their last checkpoint, or could write upon the notice.
    pub fn change_node(&mut self, node: NodeIndex, devices: u32, notice: Span) {
        let mut used = self.capacity.on(node) - self.free.on(node);
        for index in self.on_node(node).into_iter().rev() {
            if used <= devices {
                break;
            }
            let parts = self.job(index).allocation.parts().iter();
            used -= parts.filter(|part| part.0 == node).map(|part| part.1).sum::<u32>();
            let kept = self.job(index).kept(self.now, notice);
            self.stop_keeping(index, Stop::Lost, kept);
        }
        self.set_up(node, devices);
    }

    /// A node loses or gains devices. Jobs on it must have been stopped if it has fewer than they hold.
    pub fn set_up(&mut self, node: NodeIndex, devices: u32) {
        let used = self.capacity.on(node) - self.free.on(node);
        let free = devices.checked_sub(used).expect("devices go that a job still holds");
        let fleet = Arc::clone(&self.fleet);
        self.free.set(&fleet, node, free);
        self.capacity.set(&fleet, node, devices);
    }

    /// Running jobs with a part on `node`.
    pub fn on_node(&self, node: NodeIndex) -> Vec<JobIndex> {
        let holds = |job: &&JobIndex| self.job(**job).allocation.parts().iter().any(|part| part.0 == node);
        self.running.iter().filter(holds).copied().collect()
    }

    fn release(&mut self, index: JobIndex, done: Work, phase: Phase, stop: Option<Stop>) {
        let (now, fleet) = (self.now, Arc::clone(&self.fleet));
        let job = &mut self.jobs[index.index()];
        if job.spec.names_bytes() {
            let (from, worked) = (job.ready.min(now), job.done(now).saturating_sub(job.resumed));
            let run = Run { allocation: &job.allocation, from, to: now, worked, stop };
            self.sent.end(&fleet, &job.spec, &run);
        }
        job.attained = job.attained(now);
        job.phase = phase;
        job.done = done;
        job.counted = now;
        let held = now.since(job.since);
        job.since = now;
        let allocation = std::mem::take(&mut job.allocation);
        for (node, devices) in allocation.parts() {
            let pool = fleet.node(*node).pool;
            self.billed[pool.index()] += u128::from(fleet.costs.billed(pool, held).0) * u128::from(*devices);
        }
        self.used -= u64::from(allocation.devices());
        self.free.give_back(&fleet, &allocation);
        self.running.remove(&index);
        self.disturb(&allocation);
        self.changes.push(Change { job: index, phase });
    }

    /// Compares the counts that are kept with each other. Cheap: for each event.
    ///
    /// # Panics
    /// If devices appeared or vanished.
    pub fn check_totals(&self) {
        assert_eq!(self.used + self.free.total(), self.capacity.total(), "devices are conserved");
    }

    /// Compares every count with the sum of its parts, and every job with its limits.
    ///
    /// # Panics
    /// If anything does not add up.
    pub fn check(&self) {
        self.check_totals();
        let mut used = vec![0; self.fleet.nodes.len()];
        let (mut running, mut waiting) = (0, 0);
        for job in &self.jobs {
            running += usize::from(job.phase == Phase::Running);
            waiting += usize::from(job.phase == Phase::Waiting);
            assert_eq!(
                job.phase == Phase::Running,
                !job.allocation.is_empty(),
                "only running jobs hold devices"
            );
            assert!(job.done(self.now) <= job.spec.work, "no more is done than there is to do");
            for (node, devices) in job.allocation.parts() {
                used[node.index()] += devices;
            }
        }
        assert_eq!((running, waiting), (self.running.len(), self.waiting));
        for (node, used) in (0..).map(NodeIndex).zip(used) {
            assert_eq!(used + self.free.on(node), self.capacity.on(node), "devices of a node are conserved");
        }
    }
}

/// What a job's speed depends on: a gang is as slow as its slowest device, whose model names the shape.
fn shape(fleet: &Fleet, allocation: &Allocation) -> Shape {
    let kind = allocation.parts().iter().map(|(node, _)| fleet.node(*node).kind).max();
    let mut per_node: Vec<u32> = allocation.parts().iter().map(|part| part.1).collect();
    per_node.sort_unstable_by(|a, b| b.cmp(a));
    Shape { kind: kind.expect("an allocation has devices"), per_node }
}
