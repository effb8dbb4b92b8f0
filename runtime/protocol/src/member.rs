//! The membership machine of one worker: when to load, link, train, stop and give up.
//!
//! It owns the heartbeat and the judgement that the coordinator is gone. What the training thread does is
//! told to it as inputs; what it should do comes out as commands.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::control::{
    Activity, Assignment, Build, FailureReport, MemberAddress, NodeGroups, Refusal, StateArena,
    ToCoordinator, ToWorker,
};
use crate::ids::{Generation, NodeId, Step};
use crate::time::{Span, Time};

/// Fine enough that a lost one costs little of the 5 s in which a loss has to be seen.
pub const HEARTBEAT_INTERVAL: Span = Span::from_millis(250);

/// How long a worker waits to be welcomed; the welcome says how long it waits from then on.
const JOIN_LIMIT: Span = Span::from_secs(4);

/// It is woken at every heartbeat; this late, the process was stopped or starved.
const NAP: Span = Span::from_millis(1_000);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Input {
    /// The control link stands.
    Connected,
    Message(ToWorker),
    /// A frame of the resumed state came; heartbeats wait behind many of them.
    StateArrived,
    /// The training thread has something to say.
    Say(ToCoordinator),
    /// The control link is gone.
    Disconnected {
        cause: String,
    },
    /// The coordinator sent something that cannot be read.
    Broken {
        what: String,
    },
    /// The moment of [`Member::next_deadline`] has come, however much else there is to hear; with what the training
    /// thread shows of itself at that moment.
    Tick {
        progress: u64,
        activity: Activity,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Output {
    Send(ToCoordinator),
    Command(Command),
}

/// What the training thread is to do next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Command {
    Load(Box<Assignment>),
    Form {
        generation: Generation,
        members: Vec<MemberAddress>,
        nodes: NodeGroups,
    },
    Start {
        step: Step,
        state: Vec<StateArena>,
    },
    Stop,
    Release,
    /// Leave now. The worker's exit code follows from the cause.
    End(End),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum End {
    #[error("refused by the coordinator: {0}")]
    Refused(Refusal),
    #[error("stopped by the coordinator: {cause}")]
    Aborted { cause: String },
    #[error("coordinator lost: {cause}")]
    CoordinatorLost { cause: String },
    #[error("coordinator broke the protocol: {what}")]
    Protocol { what: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting,
    Joining,
    Loading,
    Linking,
    Ready,
    Training,
    Finished,
    Ended,
}

/// One worker's view of its membership.
#[derive(Debug)]
pub struct Member {
    state: State,
    build: Build,
    node: NodeId,
    cpu_features: String,
    silence_limit: Span,
    heard: Time,
    awake: Time,
    next_heartbeat: Time,
    outputs: VecDeque<Output>,
}

impl Member {
    pub fn new(now: Time, build: Build, node: NodeId, cpu_features: String) -> Member {
        Member {
            state: State::Connecting,
            build,
            node,
            cpu_features,
            silence_limit: JOIN_LIMIT,
            heard: now,
            awake: now,
            next_heartbeat: now + HEARTBEAT_INTERVAL,
            outputs: VecDeque::new(),
        }
    }

    /// Feeds one input. Drain [`Self::poll_output`] before feeding the next.
    pub fn handle(&mut self, now: Time, input: Input) {
        if self.state == State::Ended {
            return;
        }
        self.wake(now);
        match input {
            Input::Connected => self.on_connected(now),
            Input::Message(message) => {
                self.heard = now;
                self.on_message(message);
            }
            Input::StateArrived => self.heard = now,
            Input::Say(message) => self.on_say(message),
            Input::Disconnected { cause } => self.end(End::CoordinatorLost { cause }),
            Input::Broken { what } => self.end(End::Protocol { what }),
            Input::Tick { progress, activity } => self.beat(now, progress, activity),
        }
        self.keep_time(now);
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to feed [`Input::Tick`] even if nothing else happens.
    pub fn next_deadline(&self) -> Option<Time> {
        (self.state != State::Ended).then(|| self.next_heartbeat.min(self.heard + self.silence_limit))
    }

    /// Who slept has heard nothing and may not blame the coordinator for it.
    fn wake(&mut self, now: Time) {
        if now.since(self.awake) >= NAP {
            self.heard = now;
        }
        self.awake = now;
    }

    fn on_connected(&mut self, now: Time) {
        self.state = State::Joining;
        self.heard = now;
        let (build, node) = (self.build.clone(), self.node.clone());
        let hello = ToCoordinator::Hello { build, node, cpu_features: self.cpu_features.clone() };
        self.outputs.push_back(Output::Send(hello));
    }

    fn on_message(&mut self, message: ToWorker) {
        match (self.state, message) {
            (_, ToWorker::Heartbeat) => {}
            (_, ToWorker::Abort { cause }) => self.end(End::Aborted { cause }),
            (State::Joining, ToWorker::Refused { reason }) => self.end(End::Refused(reason)),
            (State::Joining, ToWorker::Welcome(assignment)) => {
                self.state = State::Loading;
                self.silence_limit = assignment.silence_limit;
                self.command(Command::Load(assignment));
            }
            (State::Loading, ToWorker::Form { generation, members, nodes }) => {
                self.state = State::Linking;
                self.command(Command::Form { generation, members, nodes });
            }
            (State::Ready, ToWorker::Start { step, state }) => {
                self.state = State::Training;
                self.command(Command::Start { step, state });
            }
            // A stop may cross the worker's own end: then there is nothing left to stop.
            (State::Training, ToWorker::Stop) => self.command(Command::Stop),
            (State::Finished, ToWorker::Stop) => {}
            (State::Finished, ToWorker::Release) => self.command(Command::Release),
            (state, message) => {
                self.end(End::Protocol { what: format!("{} while {state:?}", name(&message)) })
            }
        }
    }

    fn on_say(&mut self, message: ToCoordinator) {
        match message {
            ToCoordinator::Linked { .. } => self.state = State::Ready,
            ToCoordinator::Finished { .. } => self.state = State::Finished,
            _ => {}
        }
        self.outputs.push_back(Output::Send(message));
    }

    /// Only a tick brings what a heartbeat says: other messages may come in between for as long as they like.
    fn beat(&mut self, now: Time, progress: u64, activity: Activity) {
        if now >= self.next_heartbeat {
            self.next_heartbeat = now + HEARTBEAT_INTERVAL;
            if !matches!(self.state, State::Connecting | State::Joining) {
                self.outputs.push_back(Output::Send(ToCoordinator::Heartbeat { progress, activity }));
            }
        }
    }

    fn keep_time(&mut self, now: Time) {
        if self.state != State::Ended && now >= self.heard + self.silence_limit {
            let cause = format!("silent for {}", now.since(self.heard));
            self.end(End::CoordinatorLost { cause });
        }
    }

    fn command(&mut self, command: Command) {
        self.outputs.push_back(Output::Command(command));
    }

    fn end(&mut self, end: End) {
        self.state = State::Ended;
        self.command(Command::End(end));
    }
}

/// A worker's own failure, on its way out.
pub fn failed(report: FailureReport) -> Input {
    Input::Say(ToCoordinator::Failed(report))
}

fn name(message: &ToWorker) -> &'static str {
    match message {
        ToWorker::Welcome(_) => "welcome",
        ToWorker::Refused { .. } => "refusal",
        ToWorker::Form { .. } => "form",
        ToWorker::Start { .. } => "start",
        ToWorker::Heartbeat => "heartbeat",
        ToWorker::Stop => "stop",
        ToWorker::Release => "release",
        ToWorker::Abort { .. } => "abort",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{JobId, Rank, ZoneId};

    fn member() -> Member {
        let build = Build { protocol: 1, program: "test".into() };
        let node = NodeId::new("here").unwrap();
        Member::new(Time::ZERO, build, node, String::new())
    }

    fn welcome(silence_limit: Span) -> ToWorker {
        ToWorker::Welcome(Box::new(Assignment {
            job: JobId(1),
            generation: Generation(1),
            job_json: String::new(),
            job_digest: String::new(),
            rank: Rank(0),
            workers: vec![],
            manifests: vec![],
            classes: vec![],
            columns: vec![],
            zones: vec![],
            statistics_json: String::new(),
            listen_ports: None,
            link: crate::link::LinkSpec::default(),
            silence_limit,
            checkpoint_zone: ZoneId::new("private").unwrap(),
        }))
    }

    /// Lets time pass until the worker ends.
    fn run_out(member: &mut Member) -> (Time, Vec<Output>) {
        let mut now = Time::ZERO;
        while let Some(deadline) = member.next_deadline() {
            now = deadline;
            member.handle(now, tick());
        }
        (now, outputs(member))
    }

    fn tick() -> Input {
        Input::Tick { progress: 0, activity: Activity::Preparing }
    }

    fn outputs(member: &mut Member) -> Vec<Output> {
        std::iter::from_fn(|| member.poll_output()).collect()
    }

    #[test]
    fn says_hello_first_and_nothing_before_the_welcome() {
        let mut member = member();
        member.handle(Time::ZERO, Input::Connected);
        member.handle(Time(1_000_000), tick());
        let said = outputs(&mut member);
        assert!(matches!(said[..], [Output::Send(ToCoordinator::Hello { .. })]), "{said:?}");
    }

    #[test]
    fn a_silent_coordinator_ends_the_worker_when_the_welcome_says() {
        for limit in [Span::from_millis(1_400), Span::from_millis(4_400)] {
            let mut member = member();
            member.handle(Time::ZERO, Input::Connected);
            member.handle(Time::ZERO, Input::Message(welcome(limit)));
            let (ended, said) = run_out(&mut member);
            assert_eq!(ended, Time::ZERO + limit);
            let last = said.last();
            assert!(
                matches!(last, Some(Output::Command(Command::End(End::CoordinatorLost { .. })))),
                "{last:?}"
            );
        }
    }

    #[test]
    fn a_worker_that_is_never_welcome_leaves() {
        let mut member = member();
        member.handle(Time::ZERO, Input::Connected);
        assert_eq!(run_out(&mut member).0, Time::ZERO + JOIN_LIMIT);
    }

    /// The coordinator's heartbeats wait unread while the worker stands still.
    #[test]
    fn a_worker_that_slept_gives_the_coordinator_a_fresh_chance() {
        let mut member = member();
        member.handle(Time::ZERO, Input::Connected);
        member.handle(Time(60_000_000), tick());
        assert_eq!(member.state, State::Joining);
        while let Some(deadline) = member.next_deadline() {
            member.handle(deadline, tick());
        }
        assert_eq!(member.state, State::Ended);
    }

    #[test]
    fn a_message_out_of_order_is_named() {
        let mut member = member();
        member.handle(Time::ZERO, Input::Connected);
        member.handle(Time::ZERO, Input::Message(ToWorker::Start { step: Step(0), state: vec![] }));
        let said = outputs(&mut member);
        let Some(Output::Command(Command::End(End::Protocol { what }))) = said.last() else {
            panic!("{said:?}")
        };
        assert_eq!(what, "start while Joining");
    }
}
