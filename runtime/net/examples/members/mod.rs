//! Members that have bound their lanes; `all_reduce.rs` explains the steps.

use std::sync::Arc;
use std::time::Duration;

use hcrun_kernels::host_buffers::HostBuffers;
use hcrun_net::collective::Communicator;
use hcrun_net::group::{FormSpec, LaneListener, LaneSettings, Member};
use hcrun_net::identity::{Authority, Identity, PeerName, ThrowAwayAuthority, ZoneRoots};
use hcrun_protocol::link::LinkSpec;
use hcrun_protocol::{Generation, JobId, Rank, SlotId, ZoneId};

const JOB: JobId = JobId(1);

/// Who a worker is, and its lanes.
pub(crate) type Worker = (Identity, LaneListener);

/// So many workers, and the list of them.
pub(crate) fn workers(count: u16) -> anyhow::Result<(Vec<Worker>, Vec<Member>)> {
    let zone = ZoneId::new("lab")?;
    let authority = ThrowAwayAuthority::new(zone.clone(), JOB)?;
    let roots = Arc::new(ZoneRoots::of([&authority as &dyn Authority])?);
    let (mut workers, mut members) = (Vec::new(), Vec::new());
    for index in 0..count {
        let slot = SlotId::parse(&format!("lab-{index}"))?;
        let identity = Identity::issue(&authority, PeerName::Slot(slot.clone()), roots.clone())?;
        let ip = "127.0.0.1".parse()?;
        let listener = LaneListener::bind(&identity, ip, None, &LaneSettings::default())?;
        let (rank, lanes, zone) = (Rank(index), listener.addresses().to_vec(), zone.clone());
        members.push(Member { rank, slot, zone, lanes, reachable: true });
        workers.push((identity, listener));
    }
    Ok((workers, members))
}

/// Links a worker to all members.
pub(crate) fn form(
    listener: LaneListener,
    generation: Generation,
    me: Rank,
    members: Vec<Member>,
) -> anyhow::Result<Communicator<HostBuffers>> {
    let group = listener.form(FormSpec {
        job: JOB,
        generation,
        me,
        members,
        deadline: Duration::from_secs(10),
        staging_bytes: 4 << 20,
        segment_bytes: 256 << 10,
    })?;
    Ok(Communicator::new(group, &LinkSpec::default())?)
}
