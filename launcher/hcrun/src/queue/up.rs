//! The process that runs a queue's jobs: real time and real ends go into scheduling's state, its strategy's decisions
//! come out as processes.
//!
//! A decision takes effect in the state at once. In the world a stopped job first writes its checkpoint: a job that was
//! given its devices is launched when they are really free.

mod ends;
mod explain;

use std::collections::{BTreeMap, BTreeSet};
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hcrun_protocol::cluster::Cluster;
use hcrun_protocol::time::{Span, Time};
use hcrun_scheduling::free::{Allocation, Free};
use hcrun_scheduling::state::{Phase, Stop};
use hcrun_scheduling::strategy::{Action, Pace};
use hcrun_scheduling::traces::hcrun::fleet_words;
use hcrun_scheduling::{Decision, Fleet, JobIndex, State, Strategy, Workload};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::child::{self, Child};
use super::course;
use super::dir::{QueueDir, unwritable};
use super::live::{self, Costs};
use super::record;
use super::store::{Ending, JobRow, JobState, Store};
use super::submission::wall_clock;
use crate::codes;
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::run_dir::{RunDir, files};

/// What a queue is run with.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) cluster: Cluster,
    pub(crate) strategy: Strategy,
    /// End as soon as no job waits or runs.
    pub(crate) until_idle: bool,
}

/// Before a run that somebody still holds is looked at again.
const CLEARED: Span = Span::from_millis(200);
/// The longest wait without a look at the database.
const LOOK: Duration = Duration::from_secs(30);

/// Runs the queue in this process until it is told to end.
pub(crate) fn up(queue: &QueueDir, settings: Settings, output: &Output) -> Result<ExitCode> {
    let lock = queue.lock()?;
    let fleet = Fleet::of(&settings.cluster).map_err(|error| {
        Failure::new(&codes::CLUSTER_INVALID, "the queue cannot use this cluster").caused_by(&error)
    })?;
    let store = Store::open(queue)?;
    let cluster = toml::to_string(&settings.cluster).expect("a cluster has string keys");
    RunDir { path: queue.path.clone() }.write(files::CLUSTER, cluster.as_bytes())?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    if fleet.devices() > cores {
        output.note(&format!(
            "the cluster has {} slots, this machine {cores} cores: jobs that fill them share cores",
            fleet.devices()
        ));
    }
    store.set("strategy", settings.strategy.name)?;
    store.set("fleet", &fleet_words(&fleet))?;
    store.lose_runs()?;
    let costs = record::costs(&store)?;
    let internal = |error: std::io::Error| Failure::new(&codes::INTERNAL, "no event loop").caused_by(&error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(internal)?;
    let ended = runtime.block_on(async {
        let listener = queue.listen().and_then(UnixListener::from_std);
        let listener = listener.map_err(|error| unwritable(&queue.path, &error))?;
        let (exited, mut exits) = unbounded_channel();
        let mut up = Up {
            queue,
            store,
            output,
            state: State::new(Arc::new(fleet.clone()), Workload::default()),
            strategy: settings.strategy,
            costs,
            held: Free::all(&fleet),
            jobs: BTreeMap::new(),
            pending: Vec::new(),
            later: Vec::new(),
            aside: BTreeSet::new(),
            clock: Clock { base: wall_clock(), since: Instant::now() },
            wake: None,
            decided: None,
            exited,
            ending: false,
        };
        let ended = up.run(listener, &mut exits, settings.until_idle).await;
        if ended.is_err() {
            up.leave_all(&mut exits).await;
        }
        ended
    });
    queue.remove_socket();
    drop(lock);
    ended.map(|()| ExitCode::SUCCESS)
}

/// The wall clock when the queue came up, and from then on a clock that nobody sets.
struct Clock {
    base: Time,
    since: Instant,
}

impl Clock {
    fn now(&self) -> Time {
        self.base + Span(u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

struct Up<'a> {
    queue: &'a QueueDir,
    store: Store,
    output: &'a Output,
    state: State,
    strategy: Strategy,
    costs: Costs,
    /// What no process holds.
    held: Free,
    /// All that wait, run, or are on their way out.
    jobs: BTreeMap<JobIndex, Active>,
    /// Jobs that have devices in the state but no process yet, in the order of decisions.
    pending: Vec<JobIndex>,
    /// Jobs that are tried again at a time.
    later: Vec<(Time, i64)>,
    /// Jobs that cannot run as the queue is run now; they wait for the next time it comes up.
    aside: BTreeSet<i64>,
    clock: Clock,
    wake: Option<Time>,
    /// When the strategy was asked last.
    decided: Option<Time>,
    exited: UnboundedSender<(JobIndex, ExitStatus)>,
    ending: bool,
}

struct Active {
    id: i64,
    name: String,
    failures: u32,
    /// What its strategy gave it, and why.
    given: Option<(Allocation, String)>,
    process: Option<Process>,
    /// Why its process was told to stop.
    asked: Option<Asked>,
    reason: String,
    /// In full, as it is kept.
    why: Option<String>,
}

struct Process {
    child: Child,
    run: i64,
    /// With a run that an earlier process began.
    goes_on: bool,
    allocation: Allocation,
    /// Where its events begin.
    events_from: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Preempted,
    Cancelled,
    /// The queue ends.
    Ending,
}

impl Up<'_> {
    async fn run(
        &mut self,
        listener: UnixListener,
        exits: &mut UnboundedReceiver<(JobIndex, ExitStatus)>,
        until_idle: bool,
    ) -> Result<()> {
        let failed = |error: std::io::Error| {
            Failure::new(&codes::INTERNAL, "signals cannot be watched").caused_by(&error)
        };
        let mut interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminations = signal(SignalKind::terminate()).map_err(failed)?;
        self.output.note(&format!("queue {} is up under {}", self.queue.path.display(), self.strategy.name));
        loop {
            self.state.advance(self.clock.now());
            if !self.ending {
                self.look()?;
                self.decide()?;
            }
            self.launch()?;
            let running = self.jobs.values().any(|job| job.process.is_some());
            let idle = until_idle && self.jobs.is_empty() && self.later.is_empty();
            if (self.ending && !running) || idle {
                self.tell_of_those_aside();
                return Ok(());
            }
            tokio::select! {
                Some((job, status)) = exits.recv() => {
                    self.state.advance(self.clock.now());
                    self.on_exit(job, status)?;
                }
                _ = listener.accept() => {}
                _ = interrupts.recv() => self.end()?,
                _ = terminations.recv() => self.end()?,
                () = tokio::time::sleep(self.wait()) => {}
            }
        }
    }

    fn wait(&self) -> Duration {
        let now = self.clock.now();
        let next = self.later.iter().map(|(at, _)| *at).chain(self.wake).min();
        next.map_or(LOOK, |next| Duration::from(next.since(now)).min(LOOK))
    }

    /// Takes in what others wrote into the database.
    fn look(&mut self) -> Result<()> {
        let now = self.state.now();
        let known: BTreeMap<i64, JobIndex> = self.jobs.iter().map(|(index, job)| (job.id, *index)).collect();
        for row in self.store.unfinished()? {
            let known = known.get(&row.id).copied();
            let due = self.later.iter().find(|(_, id)| *id == row.id).map(|(at, _)| *at);
            match (known, due) {
                (Some(index), _) if row.cancel => self.cancel(index)?,
                (Some(_), _) => {}
                (None, Some(at)) if at > now && !row.cancel => {}
                (None, None) if self.aside.contains(&row.id) && !row.cancel => {}
                _ => {
                    self.aside.remove(&row.id);
                    self.later.retain(|(_, id)| *id != row.id);
                    self.take_in(&row)?;
                }
            }
        }
        Ok(())
    }

    fn take_in(&mut self, row: &JobRow) -> Result<()> {
        let now = self.state.now();
        if row.cancel {
            return self.store.withdraw(row.id, now);
        }
        let run = child::run(self.queue, row.id);
        // Processes of a queue that was killed are not all gone at the same instant.
        if run.as_ref().is_some_and(RunDir::is_live) {
            self.later.push((now + CLEARED, row.id));
            return Ok(());
        }
        // It may have come to its end when nobody looked.
        if run.as_ref().is_some_and(child::is_done) {
            return self.store.set_end(row.id, JobState::Done, now, Some(0), "done");
        }
        let spec = match live::spec(row, &self.state.fleet, self.costs) {
            Ok(spec) => spec,
            Err(why) => return self.set_aside(row.id, &row.name, &why),
        };
        let measured = course::measured(&self.store.runs(row.id)?);
        let course = measured.course(spec.devices.requested);
        let index = self.state.add(spec, course);
        if row.state != JobState::Waiting {
            self.store.set_state(row.id, JobState::Waiting, now, "its run was cut off with the queue")?;
        }
        let active = Active {
            id: row.id,
            name: row.name.clone(),
            failures: row.failures,
            given: None,
            process: None,
            asked: None,
            reason: row.reason.clone(),
            why: None,
        };
        self.jobs.insert(index, active);
        Ok(())
    }

    fn decide(&mut self) -> Result<()> {
        let now = self.state.now();
        let is_round = self.wake.is_some_and(|wake| wake <= now);
        if is_round || !matches!(self.strategy.pace, Pace::Rounds(_)) {
            self.ask_strategy()?;
            self.decided = Some(now);
        }
        let active = self.state.running_count() > 0 || self.state.waiting_count() > 0;
        self.wake = if active { self.strategy.next_wake(&self.state) } else { None };
        self.explain()
    }

    fn ask_strategy(&mut self) -> Result<()> {
        let decisions = self.strategy.decide(&self.state);
        self.state.forget_changes();
        // What one job gives back another may take.
        for decision in &decisions {
            self.release(decision)?;
        }
        decisions.into_iter().try_for_each(|decision| self.apply(decision))
    }

    fn release(&mut self, decision: &Decision) -> Result<()> {
        let why = match decision.action {
            Action::Stop => Stop::Preempted,
            Action::Move(_) => Stop::Moved,
            Action::Refuse | Action::Start(_) => return Ok(()),
        };
        let reason = decision.reason.in_words(&self.state);
        self.state.stop(decision.job, why);
        self.take_back(decision.job, &reason)
    }

    fn apply(&mut self, decision: Decision) -> Result<()> {
        let Decision { job, action, reason } = decision;
        let reason = reason.in_words(&self.state);
        match action {
            Action::Refuse => {
                self.state.refuse(job);
                match self.jobs.remove(&job) {
                    Some(job) => self.set_aside(job.id, &job.name, &reason),
                    None => Ok(()),
                }
            }
            Action::Stop => Ok(()),
            Action::Start(allocation) | Action::Move(allocation) => {
                self.state.start(job, allocation.clone());
                self.give(job, allocation, reason);
                Ok(())
            }
        }
    }

    /// A job cannot run on this cluster, or not under this strategy. Either may be a mistake: it waits for others.
    fn set_aside(&mut self, id: i64, name: &str, why: &str) -> Result<()> {
        let reason = format!("it cannot run on this cluster under {}: {why}", self.strategy.name);
        self.output.warn(&format!("job {id} ({name}) waits for another `hcrun up`: {reason}"));
        self.aside.insert(id);
        self.store.set_whys(&[(id, reason, None)])
    }

    fn tell_of_those_aside(&self) {
        if !self.aside.is_empty() {
            let jobs: Vec<String> = self.aside.iter().map(i64::to_string).collect();
            self.output.note(&format!(
                "still waiting, for another cluster or strategy: {}; `hcrun ps` says why",
                jobs.join(", ")
            ));
        }
    }

    fn give(&mut self, index: JobIndex, allocation: Allocation, reason: String) {
        if let Some(job) = self.jobs.get_mut(&index) {
            job.given = Some((allocation, reason));
            self.pending.push(index);
        }
    }

    /// A job loses its devices: before it was launched, or by a checkpoint.
    fn take_back(&mut self, index: JobIndex, reason: &str) -> Result<()> {
        self.pending.retain(|pending| *pending != index);
        if let Some(job) = self.jobs.get_mut(&index) {
            job.given = None;
        }
        self.ask_to_stop(index, Asked::Preempted, reason)
    }

    fn ask_to_stop(&mut self, index: JobIndex, why: Asked, reason: &str) -> Result<()> {
        let now = self.state.now();
        let Some(job) = self.jobs.get_mut(&index) else { return Ok(()) };
        let Some(process) = &job.process else { return Ok(()) };
        // A second signal would mean at once.
        if job.asked.replace(why).is_none() {
            child::ask_to_stop(process.child.pid);
            self.store.ask_to_stop(process.run, now, reason)?;
            self.store.set_state(job.id, JobState::Stopping, now, reason)?;
            self.output.note(&format!("job {} ({}): told to stop, {reason}", job.id, job.name));
        }
        Ok(())
    }

    fn cancel(&mut self, index: JobIndex) -> Result<()> {
        let Some(job) = self.jobs.get(&index) else { return Ok(()) };
        if job.asked == Some(Asked::Cancelled) {
            return Ok(());
        }
        let runs = job.process.is_some();
        self.pending.retain(|pending| *pending != index);
        if is_in(&self.state, index) {
            self.state.withdraw(index);
        }
        if runs {
            self.ask_to_stop(index, Asked::Cancelled, "cancelled")
        } else {
            self.close(index, JobState::Cancelled, None, "cancelled")
        }
    }

    /// Launches whoever has devices that are really free.
    fn launch(&mut self) -> Result<()> {
        for index in std::mem::take(&mut self.pending) {
            let Some(job) = self.jobs.get(&index) else { continue };
            let Some((allocation, reason)) = &job.given else { continue };
            if self.ending || job.process.is_some() || !self.held.has(allocation) {
                self.pending.push(index);
                continue;
            }
            let (allocation, reason) = (allocation.clone(), reason.clone());
            self.start(index, allocation, &reason)?;
        }
        Ok(())
    }

    fn start(&mut self, index: JobIndex, allocation: Allocation, reason: &str) -> Result<()> {
        let now = self.clock.now();
        let Some(job) = self.jobs.get_mut(&index) else { return Ok(()) };
        let goes_on = child::run(self.queue, job.id).filter(child::has_checkpoint);
        let events_from = goes_on.as_ref().map_or(0, course::events_length);
        let run = self.store.launch(job.id, now, reason)?;
        match child::start(self.queue, job.id, goes_on.as_ref(), index, &self.exited) {
            Ok(child) => {
                self.output.note(&format!("job {} ({}): starts, {reason}", job.id, job.name));
                self.held.take(&self.state.fleet, &allocation);
                let goes_on = goes_on.is_some();
                job.process = Some(Process { child, run, goes_on, allocation, events_from });
                (job.asked, job.given, job.why) = (None, None, None);
                job.reason.clear();
                Ok(())
            }
            Err(error) => {
                self.store.end_run(run, None, now, Ending::Failed)?;
                self.infrastructure_failed(index, None, &format!("its process cannot be started: {error}"))
            }
        }
    }
}

fn is_in(state: &State, index: JobIndex) -> bool {
    matches!(state.job(index).phase, Phase::Waiting | Phase::Running)
}
