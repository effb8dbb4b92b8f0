//! A whole job without numbers: one coordinator and its workers, from joining to release.
//!
//! What a worker computes is a pause, what it exchanges is one token to each other worker per step. The
//! machines are the real ones, and so is every message between them.

use std::collections::BTreeMap;
use std::fmt;

use hcrun_protocol::control::{
    Activity, AssignedDevice, AssignedWorker, Assignment, Build, FailureClass, FailureReport, StepReport,
    ToCoordinator, ToWorker,
};
use hcrun_protocol::coordinator::{self, Coordinator, Event, Outcome, Settings};
use hcrun_protocol::member::{self, Command, End, Member};
use hcrun_protocol::{Generation, JobId, NodeId, PoolId, Prng, Rank, SlotId, Span, Step, Time, ZoneId};

use crate::world::{Node, Outbox};

/// What travels between the parties.
#[derive(Clone)]
pub enum Message {
    /// A worker's connect, and the coordinator's end of it.
    Dial,
    Accept,
    ToCoordinator(ToCoordinator),
    ToWorker(ToWorker),
    /// A worker's part of the exchange of a step, and whether it votes for a stop.
    Token {
        step: Step,
        stop: bool,
    },
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::Dial => write!(f, "Dial"),
            Message::Accept => write!(f, "Accept"),
            Message::ToCoordinator(message) => write!(f, "{message:?}"),
            // The assignment is long and always the same.
            Message::ToWorker(ToWorker::Welcome(assignment)) => write!(f, "Welcome {}", assignment.rank),
            Message::ToWorker(message) => write!(f, "{message:?}"),
            Message::Token { step, stop } => write!(f, "Token {step} {stop}"),
        }
    }
}

/// What is rehearsed. Rank `r` has index `r` in the world, the coordinator comes last.
#[derive(Debug, Clone)]
pub struct Job {
    pub workers: usize,
    pub steps: u64,
    pub checkpoint_every: u64,
    pub detect_within: Span,
    /// Longest time of one step's computing.
    pub longest_step: Span,
    /// This rank stops computing in this step, while its heartbeats go on.
    pub stalls: Option<(Rank, Step)>,
    /// This rank ends this step with other parameters.
    pub diverges: Option<(Rank, Step)>,
    /// The user asks for a graceful stop.
    pub stop_at: Option<Time>,
}

/// One whose digest is always the same, and one that may diverge.
const BUCKETS: usize = 2;
const CHECKPOINT_ZONE: &str = "private";
const STORE_TIME: Span = Span::from_millis(40);
/// How late timers are: a fast worker has much to say before it is told the time.
const TIMER: Span = Span::from_millis(1);

impl Job {
    pub fn parties(&self, seed: u64) -> Vec<Party> {
        let coordinator = Party::Coordinator(Box::new(Launcher::new(self)));
        let worker = |rank| Party::Worker(Box::new(Worker::new(self, rank, seed)));
        (0..self.workers).map(worker).chain([coordinator]).collect()
    }

    pub fn slot(rank: usize) -> SlotId {
        let pool = PoolId::new("pool").expect("a literal name");
        SlotId { pool, index: Rank::from_index(rank).0 }
    }

    /// The first half of the workers is in the checkpoint zone.
    fn zone(&self, rank: usize) -> ZoneId {
        let name = if rank * 2 < self.workers { CHECKPOINT_ZONE } else { "public" };
        ZoneId::new(name).expect("a literal name")
    }

    fn build() -> Build {
        Build { protocol: hcrun_protocol::control::PROTOCOL_VERSION, program: "rehearsal".to_owned() }
    }

    fn settings(&self) -> Settings {
        let workers: Vec<AssignedWorker> = (0..self.workers)
            .map(|rank| AssignedWorker {
                slot: Job::slot(rank),
                zone: self.zone(rank),
                reachable: true,
                device: AssignedDevice::Cpu,
            })
            .collect();
        let assignment = |rank| Assignment {
            job: JobId(1),
            generation: Generation(1),
            job_json: String::new(),
            job_digest: String::new(),
            rank: Rank::from_index(rank),
            workers: workers.clone(),
            manifests: Vec::new(),
            classes: Vec::new(),
            columns: Vec::new(),
            zones: Vec::new(),
            statistics_json: String::new(),
            listen_ports: None,
            link: hcrun_protocol::link::LinkSpec::default(),
            silence_limit: coordinator::silence_limit(self.detect_within),
            checkpoint_zone: ZoneId::new(CHECKPOINT_ZONE).expect("a literal name"),
        };
        Settings {
            build: Job::build(),
            assignments: (0..self.workers).map(assignment).collect(),
            workers,
            start: Step(0),
            state: Vec::new(),
            buckets: BUCKETS,
            detect_within: self.detect_within,
            join_within: Span::from_secs(30),
            prepare_within: Span::from_secs(30),
        }
    }
}

pub enum Party {
    Coordinator(Box<Launcher>),
    Worker(Box<Worker>),
}

impl Party {
    pub fn launcher(&self) -> Option<&Launcher> {
        match self {
            Party::Coordinator(launcher) => Some(launcher),
            Party::Worker(_) => None,
        }
    }

    pub fn worker(&self) -> Option<&Worker> {
        match self {
            Party::Worker(worker) => Some(worker),
            Party::Coordinator(_) => None,
        }
    }
}

/// The coordinator and its disk.
pub struct Launcher {
    job: Job,
    machine: Coordinator,
    /// Checkpoints on their way to disk.
    storing: Vec<(Time, Step)>,
    stop_at: Option<Time>,
    pub events: Vec<Event>,
    pub ended: Option<(Time, Outcome)>,
}

impl Launcher {
    fn new(job: &Job) -> Launcher {
        let machine = Coordinator::new(Time::ZERO, job.settings());
        let (storing, events) = (Vec::new(), Vec::new());
        Launcher { job: job.clone(), machine, storing, stop_at: job.stop_at, events, ended: None }
    }

    fn feed(&mut self, now: Time, input: coordinator::Input, out: &mut Outbox<Message>) {
        self.machine.handle(now, input);
        while let Some(output) = self.machine.poll_output() {
            match output {
                coordinator::Output::Send { slot, message } => {
                    out.send(usize::from(slot.index), Message::ToWorker(message));
                }
                coordinator::Output::Store { step } => self.storing.push((now + STORE_TIME, step)),
                coordinator::Output::Event(event) => self.events.push(event),
                coordinator::Output::End(outcome) => self.ended = Some((now, outcome)),
                coordinator::Output::SendState { .. } | coordinator::Output::Discard { .. } => {}
            }
        }
    }
}

/// A worker's membership and what stands for its training.
pub struct Worker {
    job: Job,
    rank: Rank,
    machine: Member,
    prng: Prng,
    /// The next thing the training thread does by itself.
    todo: Option<(Time, Todo)>,
    step: Step,
    progress: u64,
    activity: Activity,
    stop_wanted: bool,
    tokens: BTreeMap<(Step, Rank), bool>,
    finished: bool,
    pub left: Option<(Time, Leave)>,
}

/// Why a worker left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leave {
    Released,
    Ended(End),
    /// It lost a peer and said so.
    PeerLost(Rank),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Todo {
    Load,
    Link,
    Compute,
}

impl Worker {
    fn new(job: &Job, rank: usize, seed: u64) -> Worker {
        let node = NodeId::new(format!("node-{rank}")).expect("a short name");
        Worker {
            machine: Member::new(Time::ZERO, Job::build(), node, String::new()),
            prng: Prng::keyed(&[seed, 9, rank as u64]),
            rank: Rank::from_index(rank),
            todo: None,
            step: Step(0),
            progress: 0,
            activity: Activity::Preparing,
            stop_wanted: false,
            tokens: BTreeMap::new(),
            finished: false,
            left: None,
            job: job.clone(),
        }
    }

    fn feed(&mut self, now: Time, input: member::Input, out: &mut Outbox<Message>) {
        if self.left.is_some() {
            return;
        }
        self.machine.handle(now, input);
        while let Some(output) = self.machine.poll_output() {
            match output {
                member::Output::Send(message) => out.send(self.job.workers, Message::ToCoordinator(message)),
                member::Output::Command(command) => self.obey(now, command),
            }
        }
    }

    fn obey(&mut self, now: Time, command: Command) {
        match command {
            Command::Load(_) => self.plan(now, Todo::Load, Span::from_millis(500)),
            Command::Form { .. } => self.plan(now, Todo::Link, Span::from_millis(200)),
            Command::Start { step, .. } => {
                self.step = step;
                self.compute(now);
            }
            Command::Stop => self.stop_wanted = true,
            Command::Release => self.left = Some((now, Leave::Released)),
            Command::End(end) => self.left = Some((now, Leave::Ended(end))),
        }
    }

    fn plan(&mut self, now: Time, todo: Todo, longest: Span) {
        self.todo = Some((now + Span(1 + self.prng.below(longest.0)), todo));
    }

    fn compute(&mut self, now: Time) {
        self.activity = Activity::Computing;
        if self.job.stalls != Some((self.rank, self.step)) {
            self.plan(now, Todo::Compute, self.job.longest_step);
        }
    }

    fn act(&mut self, now: Time, todo: Todo, out: &mut Outbox<Message>) {
        let say = member::Input::Say;
        match todo {
            Todo::Load => {
                let lanes = vec![std::net::SocketAddr::from(([127, 0, 0, 1], 1))];
                self.feed(
                    now,
                    say(ToCoordinator::Loaded { lanes, samples: 1, held_out: 1, node_group: None }),
                    out,
                );
            }
            Todo::Link => self.feed(now, say(ToCoordinator::Linked { links: Vec::new() }), out),
            Todo::Compute => {
                self.progress += 1;
                self.activity = Activity::Waiting;
                let (step, stop) = (self.step, self.stop_wanted);
                self.tokens.insert((step, self.rank), stop);
                for peer in (0..self.job.workers).filter(|peer| *peer != self.rank.index()) {
                    out.send(peer, Message::Token { step, stop });
                }
                self.exchange(now, out);
            }
        }
    }

    /// Ends the step once every token of it has come.
    fn exchange(&mut self, now: Time, out: &mut Outbox<Message>) {
        let step = self.step;
        let of_step = self.tokens.range((step, Rank(0))..(step.next(), Rank(0)));
        let votes: Vec<bool> = of_step.map(|(_, stop)| *stop).collect();
        if votes.len() < self.job.workers || self.finished {
            return;
        }
        self.tokens.retain(|(of, _), _| *of > step);
        let digest = 1_000 + step.0 + u64::from(self.job.diverges == Some((self.rank, step)));
        let done = ToCoordinator::StepDone { step, digests: vec![7, digest], report: StepReport::default() };
        self.feed(now, member::Input::Say(done), out);
        self.step = step.next();
        let stopped = votes.contains(&true);
        let last = stopped || self.step.0 == self.job.steps;
        if self.is_in_checkpoint_zone() && (last || self.step.0.is_multiple_of(self.job.checkpoint_every)) {
            self.feed(now, member::Input::Say(ToCoordinator::StateSent { step }), out);
        }
        if last {
            self.finished = true;
            let stopped = stopped && self.step.0 < self.job.steps;
            let (steps, sent) = (self.step.0, Vec::new());
            let finished = ToCoordinator::Finished { steps, stopped, sent, samples: 1 };
            self.feed(now, member::Input::Say(finished), out);
        } else {
            self.compute(now);
        }
    }

    fn is_in_checkpoint_zone(&self) -> bool {
        self.job.zone(self.rank.index()).as_str() == CHECKPOINT_ZONE
    }
}

impl Node for Party {
    type Message = Message;

    fn start(&mut self, now: Time, out: &mut Outbox<Message>) {
        match self {
            Party::Coordinator(launcher) => launcher.feed(now, coordinator::Input::Tick, out),
            Party::Worker(worker) => out.send(worker.job.workers, Message::Dial),
        }
    }

    fn on_message(&mut self, now: Time, from: usize, message: Message, out: &mut Outbox<Message>) {
        match (self, message) {
            (Party::Coordinator(launcher), Message::Dial) => {
                out.send(from, Message::Accept);
                let (slot, zone) = (Job::slot(from), launcher.job.zone(from));
                launcher.feed(now, coordinator::Input::Connected { slot, zone }, out);
            }
            (Party::Coordinator(launcher), Message::ToCoordinator(message)) => {
                launcher.feed(now, coordinator::Input::Message { slot: Job::slot(from), message }, out);
            }
            (Party::Worker(worker), Message::Accept) => worker.feed(now, member::Input::Connected, out),
            (Party::Worker(worker), Message::ToWorker(message)) => {
                worker.feed(now, member::Input::Message(message), out);
            }
            (Party::Worker(worker), Message::Token { step, stop }) => {
                worker.tokens.insert((step, Rank::from_index(from)), stop);
                worker.exchange(now, out);
            }
            (_, message) => unreachable!("{message:?} sent to the wrong party"),
        }
    }

    fn on_lost(&mut self, now: Time, peer: usize, out: &mut Outbox<Message>) {
        let cause = "link lost".to_owned();
        match self {
            Party::Coordinator(launcher) => {
                let slot = Job::slot(peer);
                launcher.feed(now, coordinator::Input::Disconnected { slot, cause }, out);
            }
            Party::Worker(worker) if peer == worker.job.workers => {
                worker.feed(now, member::Input::Disconnected { cause }, out);
            }
            // Before the links are made and after the last exchange nobody misses a peer.
            Party::Worker(worker) if worker.progress == 0 || worker.finished => {}
            Party::Worker(worker) => {
                let peer = Rank::from_index(peer);
                let step = Some(worker.step);
                let report = FailureReport { class: FailureClass::Peer, peer: Some(peer), step, text: cause };
                worker.feed(now, member::failed(report), out);
                worker.left.get_or_insert((now, Leave::PeerLost(peer)));
            }
        }
    }

    fn on_tick(&mut self, now: Time, out: &mut Outbox<Message>) {
        match self {
            Party::Coordinator(launcher) => {
                let due: Vec<Step> =
                    launcher.storing.iter().filter(|(at, _)| *at <= now).map(|(_, step)| *step).collect();
                launcher.storing.retain(|(at, _)| *at > now);
                for step in due {
                    launcher.feed(now, coordinator::Input::Stored { step }, out);
                }
                if launcher.stop_at.take_if(|at| *at <= now).is_some() {
                    launcher.feed(now, coordinator::Input::Stop, out);
                }
                launcher.feed(now, coordinator::Input::Tick, out);
            }
            Party::Worker(worker) => {
                if let Some((_, todo)) = worker.todo.take_if(|(at, _)| *at <= now) {
                    worker.act(now, todo, out);
                }
                let (progress, activity) = (worker.progress, worker.activity);
                worker.feed(now, member::Input::Tick { progress, activity }, out);
            }
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        match self {
            Party::Coordinator(launcher) => {
                let storing = launcher.storing.iter().map(|(at, _)| *at);
                let machine = launcher.machine.next_deadline().into_iter();
                machine.chain(launcher.stop_at).chain(storing).min()
            }
            Party::Worker(worker) => {
                let todo = worker.todo.map(|(at, _)| at);
                let machine = worker.machine.next_deadline().map(|at| at + TIMER);
                machine.into_iter().chain(todo).min()
            }
        }
    }

    fn has_left(&self) -> bool {
        match self {
            Party::Coordinator(launcher) => launcher.ended.is_some(),
            Party::Worker(worker) => worker.left.is_some(),
        }
    }
}
