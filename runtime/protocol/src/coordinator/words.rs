//! What the coordinator is told, and what it says.

use serde::{Deserialize, Serialize};

use super::Failure;
use crate::control::{
    AssignedWorker, Assignment, Build, EvaluationSums, LinkReport, Refusal, SentBytes, StateArena,
    StepReport, ToCoordinator, ToWorker,
};
use crate::ids::{NodeId, SlotId, Step, ZoneId};
use crate::time::Span;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Input {
    /// An authenticated link of this slot; slot and zone are the certificate's.
    Connected {
        slot: SlotId,
        zone: ZoneId,
    },
    Message {
        slot: SlotId,
        message: ToCoordinator,
    },
    /// A frame of state came; heartbeats wait behind many of them.
    StateArrived {
        slot: SlotId,
    },
    Disconnected {
        slot: SlotId,
        cause: String,
    },
    /// The worker sent something that cannot be read.
    Broken {
        slot: SlotId,
        what: String,
    },
    /// A backend saw the worker's process end.
    ProcessExited {
        slot: SlotId,
        exit: Exit,
    },
    /// The checkpoint after `step` is on disk and synced.
    Stored {
        step: Step,
    },
    StoreFailed {
        step: Step,
        cause: String,
    },
    /// A graceful stop: checkpoint at the next step boundary.
    Stop,
    /// An immediate end.
    Kill,
    Tick,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Output {
    Send {
        slot: SlotId,
        message: ToWorker,
    },
    /// Send the resumed state's frames to this worker, after the `Start` that announced them.
    SendState {
        slot: SlotId,
    },
    /// All parts of the state after `step` have arrived and the step is committed: store it.
    Store {
        step: Step,
    },
    /// The state after `step` is not stored: a newer one is complete.
    Discard {
        step: Step,
    },
    Event(Event),
    End(Outcome),
}

/// What happened, for the run's log and for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    Joined {
        slot: SlotId,
        zone: ZoneId,
        node: NodeId,
        cpu_features: String,
    },
    Refused {
        slot: SlotId,
        reason: Refusal,
    },
    Loaded {
        slot: SlotId,
        samples: u64,
        held_out: u64,
    },
    /// These workers of a node sum among themselves.
    NodeGroup {
        slots: Vec<SlotId>,
        version: String,
    },
    Linked {
        slot: SlotId,
        links: Vec<LinkReport>,
    },
    Started {
        step: Step,
    },
    /// The digest of all parameters, and reports in rank order.
    Committed {
        step: Step,
        digest: u64,
        reports: Vec<StepReport>,
    },
    Evaluated {
        step: Step,
        sums: EvaluationSums,
    },
    /// Sums over the training rows of all zones.
    Statistics {
        sums: Vec<f64>,
    },
    Stored {
        step: Step,
    },
    /// Its disk is slower than checkpoints come.
    Discarded {
        step: Step,
    },
    StopRequested,
    WorkerFinished {
        slot: SlotId,
        steps: u64,
        samples: u64,
        sent: Vec<SentBytes>,
    },
    Failing {
        slot: Option<SlotId>,
        sign: String,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    Done {
        steps: u64,
    },
    /// Ended early by a graceful stop; the checkpoint after the last step is stored.
    Stopped {
        steps: u64,
    },
    Killed,
    Failed(Failure),
}

/// What the coordinator is told at its start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    pub build: Build,
    /// In rank order; `assignments` likewise.
    pub workers: Vec<AssignedWorker>,
    pub assignments: Vec<Assignment>,
    /// Steps already in the state that the job starts from.
    pub start: Step,
    pub state: Vec<StateArena>,
    /// Of the exchange: how many digests a step has.
    pub buckets: usize,
    /// From a worker's fault to the stop of all processes.
    pub detect_within: Span,
    /// From one worker's coming to the next one's, until all have joined.
    pub join_within: Span,
    /// For files to be read and checked and links to be made, each.
    pub prepare_within: Span,
}
