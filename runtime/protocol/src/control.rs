//! What workers and coordinator say to each other beside tensors.
//!
//! Closed enums, no maps, no recursion, no zero-sized elements: bincode's traps are kept out by the shape
//! of the types (docs/adr/0002-bincode.md). No message carries a data row.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::frame::FrameClass;
use crate::ids::{Generation, JobId, NodeId, Rank, SlotId, Step, ZoneId};
use crate::manifest::ShardManifest;
use crate::time::Span;

/// Raised by any change to a message, a frame or the meaning of either.
pub const PROTOCOL_VERSION: u32 = 4;

/// A worker and its coordinator have to be the same program; versions name both sides of a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    pub protocol: u32,
    /// Version and source revision.
    pub program: String,
}

/// From a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToCoordinator {
    /// First message on a control link. Slot and zone are the certificate's, never claimed here.
    Hello {
        build: Build,
        node: NodeId,
        cpu_features: String,
    },
    /// Data opened and checked, model built, lane bound.
    Loaded {
        /// Where its lanes listen, in their order.
        lanes: Vec<SocketAddr>,
        samples: u64,
        held_out: u64,
        /// Where its device has a library that can sum among the devices of a node.
        node_group: Option<NodeGroupOffer>,
    },
    /// Every link of the generation is up and probed.
    Linked {
        links: Vec<LinkReport>,
    },
    /// Sent by a thread that computes nothing.
    Heartbeat {
        progress: u64,
        activity: Activity,
    },
    /// A step was applied here, whole. One digest per bucket.
    StepDone {
        step: Step,
        digests: Vec<u64>,
        report: StepReport,
    },
    Evaluated {
        step: Step,
        sums: EvaluationSums,
    },
    /// Sums over the training rows of all zones, from one worker of the checkpoint zone.
    Statistics {
        sums: Vec<f64>,
    },
    /// All frames of this rank's part of the checkpoint after `step` are on the link.
    StateSent {
        step: Step,
    },
    /// Trained to the end, or to the step of a graceful stop.
    Finished {
        steps: u64,
        stopped: bool,
        sent: Vec<SentBytes>,
        samples: u64,
    },
    Failed(FailureReport),
}

/// From the coordinator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToWorker {
    Welcome(Box<Assignment>),
    Refused {
        reason: Refusal,
    },
    /// All workers are loaded: connect to the other members.
    Form {
        generation: Generation,
        members: Vec<MemberAddress>,
        nodes: NodeGroups,
    },
    /// All links stand: train from `step`. With `state`, its frames follow on this link first.
    Start {
        step: Step,
        state: Vec<StateArena>,
    },
    Heartbeat,
    /// Vote for a stop at the next step, write a checkpoint, finish.
    Stop,
    /// Everything of the worker has arrived and is on disk: leave.
    Release,
    Abort {
        cause: String,
    },
}

/// Everything a worker has to know. It receives only the manifests assigned to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    pub job: JobId,
    pub generation: Generation,
    /// [`crate::job::Job::canonical_json`].
    pub job_json: String,
    /// [`crate::job::Job::digest`].
    pub job_digest: String,
    pub rank: Rank,
    /// In rank order.
    pub workers: Vec<AssignedWorker>,
    /// Shards this worker opens.
    pub manifests: Vec<ShardManifest>,
    /// Residency classes of the whole job, in order: who may hold how many samples.
    pub classes: Vec<AssignedClass>,
    /// Columns of the job's tables; empty for text.
    pub columns: Vec<crate::manifest::Column>,
    /// Zones as this job knows them, so that the worker can check its shards by itself.
    pub zones: Vec<AssignedZone>,
    /// Statistics of a resumed model as JSON; empty where they are still to be gathered, and for text.
    pub statistics_json: String,
    pub listen_ports: Option<[u16; 2]>,
    pub link: crate::link::LinkSpec,
    /// How long the coordinator, and a peer on its link, may be silent: [`crate::coordinator::silence_limit`].
    pub silence_limit: Span,
    /// The zone whose workers hand their state to the coordinator at a checkpoint.
    pub checkpoint_zone: ZoneId,
}

impl Assignment {
    /// The worker's GPU, if another worker of its zone has another one: they may be of one node.
    pub fn gpu_beside_others(&self) -> Option<u32> {
        let me = self.workers.get(self.rank.index())?;
        let AssignedDevice::Gpu { index: own } = me.device else { return None };
        let has_another = |worker: &AssignedWorker| {
            worker.zone == me.zone && matches!(worker.device, AssignedDevice::Gpu { index } if index != own)
        };
        self.workers.iter().any(has_another).then_some(own)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignedZone {
    pub name: ZoneId,
    pub private: bool,
    pub owner: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignedWorker {
    pub slot: SlotId,
    pub zone: ZoneId,
    pub reachable: bool,
    pub device: AssignedDevice,
}

/// What a worker computes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AssignedDevice {
    Cpu,
    /// A GPU of its node, by the driver's number.
    Gpu {
        index: u32,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignedClass {
    /// In the order in which their samples are numbered.
    pub shards: Vec<AssignedShard>,
    pub zones: Vec<ZoneId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignedShard {
    pub id: crate::ids::ShardId,
    pub samples: u64,
    pub held_out: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberAddress {
    pub rank: Rank,
    pub lanes: Vec<SocketAddr>,
}

/// A worker that could sum with others of its node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeGroupOffer {
    /// Of the library that sums, with its name; all of a group have the same.
    pub version: String,
    /// Stands for what the library's processes have to share, as far as that can be told from inside: equal where they do.
    pub place: u64,
    /// Made by this worker; of a group, the first's is used.
    pub id: NodeGroupId,
}

impl NodeGroupOffer {
    /// A name for people to read, and an id of a length that such libraries have.
    pub fn is_sound(&self) -> bool {
        let is_name = !self.version.is_empty() && self.version.len() <= 64;
        is_name && self.version.chars().all(|c| c.is_ascii_graphic() || c == ' ') && self.id.0.len() <= 256
    }
}

/// What the ranks of a node group find each other by. Whoever has it and is on the node can take a rank's place, so
/// it is told to nobody else and never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeGroupId(pub Vec<u8>);

impl std::fmt::Debug for NodeGroupId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NodeGroupId({} bytes)", self.0.len())
    }
}

/// Who sums among themselves ([`NodeGroup`](crate::schedule::NodeGroup)), as one worker is told.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeGroups {
    /// All of the generation.
    pub groups: Vec<Vec<Rank>>,
    /// Of the receiver's own group, if it is in one.
    pub id: Option<NodeGroupId>,
}

/// One arena of a resumed state, sent as segment frames: parameters, then optimizer states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateArena {
    pub name: String,
    pub elems: u64,
}

/// What a worker is at, for the coordinator's judgement of silence and standstill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activity {
    /// Opening files, building the model, connecting: has limits of its own.
    Preparing,
    Computing,
    /// Blocked on other workers: standing still is not this worker's fault.
    Waiting,
}

/// A link as probed before step 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkReport {
    pub peer: Rank,
    pub round_trip: Span,
    /// UDP payload that has passed.
    pub mtu: u16,
    /// The peer's clock less this worker's, in microseconds, give or take half the round trip.
    pub skew_micros: i64,
}

/// One step as one worker saw it. Loss, weight and samples are global and equal on all ranks.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StepReport {
    pub loss_sum: f64,
    pub weight: f64,
    pub learning_rate: f64,
    /// Global norm of the mean gradient before clipping.
    pub gradient_norm: f64,
    /// The gradient was not finite and no parameter changed.
    pub skipped: bool,
    pub samples: u64,
    /// This worker's part of `samples`.
    pub own_samples: u64,
    pub compute: Span,
    /// Blocked on the exchange, not covered by computing.
    pub exchange: Span,
    pub update: Span,
    /// Frame bytes sent over zone borders so far, tensor classes.
    pub sent: Vec<SentBytes>,
}

/// Sums over held-out rows of all workers that may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct EvaluationSums {
    pub loss_sum: f64,
    pub weight: f64,
    pub correct: f64,
    pub squared_error: f64,
    pub rows: f64,
}

/// Frame bytes of one class sent to one zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentBytes {
    pub to_zone: ZoneId,
    pub class: FrameClass,
    pub bytes: u64,
}

/// Why a worker is not welcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    #[error("worker runs {worker}, coordinator runs {coordinator}")]
    Build { worker: String, coordinator: String },
    #[error("slot {slot} is not part of this job")]
    UnknownSlot { slot: SlotId },
    #[error("slot {slot} belongs to zone `{expected}`, the certificate is of zone `{got}`")]
    Zone { slot: SlotId, expected: ZoneId, got: ZoneId },
    #[error("slot {slot} is taken by a live worker")]
    Taken { slot: SlotId },
}

/// Where the fault lies; decides the launcher's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureClass {
    /// A file of the worker's node is missing or not what its manifest says.
    Data,
    /// A link could not be made or probed.
    Preflight,
    /// The worker cannot listen where it should.
    Address,
    /// The worker refuses what it was told, by policy.
    Policy,
    /// Another worker is lost or misbehaves.
    Peer,
    /// The training itself: a replica differs, nothing is finite.
    Training,
    /// A broken invariant.
    Internal,
    /// The worker's GPU cannot be used, or failed.
    Device,
}

/// A failure as it may leave the worker's zone: class, place and allow-listed text, never a data value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureReport {
    pub class: FailureClass,
    /// The peer that is blamed, if it is one.
    pub peer: Option<Rank>,
    pub step: Option<Step>,
    pub text: String,
}
