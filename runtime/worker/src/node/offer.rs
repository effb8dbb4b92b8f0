//! What a worker needs to sum with others of its node, found while it prepares.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use hcrun_kernels::cuda::{CudaStream, probe};
use hcrun_kernels::nccl::{self, Nccl, UniqueId};
use hcrun_protocol::Rank;
use hcrun_protocol::control::{Assignment, NodeGroupId, NodeGroupOffer, NodeGroups};
use hcrun_protocol::job::Job;
use hcrun_protocol::prng::hash_bytes;

use super::{NodeError, NodeGroup};

/// NCCL is here, and the coordinator is told so.
#[derive(Debug)]
pub(crate) struct Offered {
    nccl: Nccl,
    gpu: u32,
    offer: NodeGroupOffer,
}

impl Offered {
    /// None where nobody could be summed with, and where NCCL cannot be used: the links do the same.
    pub(crate) fn new(job: &Job, assignment: &Assignment) -> Option<Offered> {
        let gpu = assignment.gpu_beside_others().filter(|_| job.exchange.sums_by_nccl())?;
        let nccl = match nccl::find() {
            Ok(nccl) => nccl,
            Err(reason) => {
                tracing::info!(%reason, "the GPUs of this node exchange over links");
                return None;
            }
        };
        match UniqueId::new(&nccl, ANSWERS_WITHIN) {
            Ok(id) => {
                let version = format!("NCCL {}", nccl.version());
                let offer =
                    NodeGroupOffer { version, place: place(), id: NodeGroupId(id.as_bytes().to_vec()) };
                Some(Offered { nccl, gpu, offer })
            }
            Err(reason) => {
                tracing::warn!(%reason, "NCCL makes no id: the GPUs of this node exchange over links");
                None
            }
        }
    }

    pub(crate) fn offer(&self) -> NodeGroupOffer {
        self.offer.clone()
    }

    /// Meets the group that the coordinator has formed, if this worker is of one. All of it do so now.
    ///
    /// # Errors
    /// If not all come, or the device or NCCL fails.
    pub(crate) fn join(self, me: Rank, nodes: &NodeGroups) -> Result<Option<NodeGroup>, NodeError> {
        let Some(ranks) = nodes.groups.iter().find(|ranks| ranks.contains(&me)) else { return Ok(None) };
        let id = nodes.id.as_ref().and_then(|id| <[u8; UniqueId::BYTES]>::try_from(&*id.0).ok());
        let id = UniqueId::from_bytes(id.ok_or(NodeError::NoId)?);
        let stream = CudaStream::open(&probe()?, self.gpu)?;
        tracing::info!(ranks = ?ranks, version = self.offer.version, "meeting the other GPUs of this node");
        let group = nccl::Group::join(&self.nccl, Box::new(stream), &id, ranks, me, MEETS_WITHIN)?;
        Ok(Some(NodeGroup::new(group)?))
    }
}

/// For an id: NCCL opens a socket.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
/// For all to come and NCCL to look at the machine, which takes seconds where there are many GPUs.
const MEETS_WITHIN: Duration = Duration::from_secs(120);

/// Of the boot of this host, the loopback and the shared memory that this process sees. A hash: the parts are nobody
/// else's business.
fn place() -> u64 {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let loopback = std::fs::read_link("/proc/self/ns/net").unwrap_or_default();
    let memory = std::fs::metadata("/dev/shm").map(|folder| folder.dev()).unwrap_or_default();
    hash_bytes(format!("{boot} {} {memory}", loopback.display()).as_bytes())
}
