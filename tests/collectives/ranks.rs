//! Ranks that form groups, and what all of them do at once.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hcrun_kernels::host_buffers::HostBuffers;
use hcrun_net::collective::Communicator;
use hcrun_net::group::{FormSpec, LaneListener, LaneSettings, Member};
use hcrun_net::identity::{Authority, Identity, PeerName, ThrowAwayAuthority, ZoneRoots};
use hcrun_protocol::{Generation, JobId, Rank, SlotId, ZoneId};

pub(crate) type Comm = Communicator<HostBuffers>;

const JOB: JobId = JobId(0xc011);
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Ranks submit in different orders in some tests; what comes early may wait.
const STAGING_BYTES: usize = 16 << 20;
/// The longest segment of any case.
pub(crate) const SEGMENT_BYTES: usize = 1 << 20;

/// One group as all its members see it.
pub(crate) struct Ranks {
    pub(crate) communicators: Vec<Comm>,
    /// Who they are, for forming anew.
    pub(crate) parties: Vec<Party>,
    settings: LaneSettings,
    generation: Generation,
}

#[derive(Clone)]
pub(crate) struct Party {
    identity: Identity,
    slot: SlotId,
    lanes: Vec<SocketAddr>,
}

impl Ranks {
    pub(crate) fn new(count: usize, lanes: usize) -> Ranks {
        let zone = ZoneId::new("private").unwrap();
        let authority = ThrowAwayAuthority::new(zone, JOB).unwrap();
        let roots = Arc::new(ZoneRoots::of([&authority as &dyn Authority]).unwrap());
        // A test may keep both cores from a lane for long.
        let settings = LaneSettings { lanes, silence: Duration::from_secs(60), ..LaneSettings::default() };
        let party = |index: usize| {
            let slot = SlotId::parse(&format!("private-{index}")).unwrap();
            let identity = Identity::issue(&authority, PeerName::Slot(slot.clone()), roots.clone()).unwrap();
            let listener = LaneListener::bind(&identity, LOOPBACK, None, &settings).unwrap();
            let lanes = listener.addresses().to_vec();
            (listener, Party { identity, slot, lanes })
        };
        let (listeners, parties): (Vec<_>, Vec<_>) = (0..count).map(party).unzip();
        Ranks::form(listeners, parties, settings, Generation(1))
    }

    /// The next generation, of the same parties at the same addresses without `lost`. The old group is closed
    /// before.
    pub(crate) fn anew_without(mut self, lost: Rank) -> Ranks {
        close(std::mem::take(&mut self.communicators));
        let (mut parties, settings) = (self.parties.clone(), self.settings.clone());
        let generation = self.generation;
        parties.remove(lost.index());
        let bind = |party: &Party| LaneListener::bind_at(&party.identity, &party.lanes, &settings).unwrap();
        let listeners = parties.iter().map(bind).collect();
        Ranks::form(listeners, parties, settings, Generation(generation.0 + 1))
    }

    fn form(
        listeners: Vec<LaneListener>,
        parties: Vec<Party>,
        settings: LaneSettings,
        generation: Generation,
    ) -> Ranks {
        let member = |(index, party): (usize, &Party)| Member {
            rank: Rank::from_index(index),
            slot: party.slot.clone(),
            zone: ZoneId::new("private").unwrap(),
            lanes: party.lanes.clone(),
            reachable: true,
        };
        let members: Vec<Member> = parties.iter().enumerate().map(member).collect();
        let communicators = thread::scope(|scope| {
            let form = |(index, listener): (usize, LaneListener)| {
                let members = members.clone();
                let link = settings.link;
                scope.spawn(move || {
                    let group = listener.form(FormSpec {
                        job: JOB,
                        generation,
                        me: Rank::from_index(index),
                        members,
                        deadline: Duration::from_secs(60),
                        staging_bytes: STAGING_BYTES,
                        segment_bytes: SEGMENT_BYTES,
                    });
                    Communicator::new(group.unwrap(), &link).unwrap()
                })
            };
            let forming: Vec<_> = listeners.into_iter().enumerate().map(form).collect();
            forming.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        Ranks { communicators, parties, settings, generation }
    }

    pub(crate) fn count(&self) -> usize {
        self.communicators.len()
    }

    /// What every rank, by its index, does at once.
    pub(crate) fn each<R: Send>(&self, act: impl Fn(usize, &Comm) -> R + Sync) -> Vec<R> {
        each(&self.communicators, act)
    }
}

impl Drop for Ranks {
    fn drop(&mut self) {
        close(std::mem::take(&mut self.communicators));
    }
}

/// As [`Ranks::each`], for communicators of some of them.
pub(crate) fn each<R: Send>(communicators: &[Comm], act: impl Fn(usize, &Comm) -> R + Sync) -> Vec<R> {
    thread::scope(|scope| {
        let act = &act;
        let start = |(index, communicator)| scope.spawn(move || act(index, communicator));
        let running: Vec<_> = communicators.iter().enumerate().map(start).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// All at once: a link is closed in order only while both ends live.
fn close(communicators: Vec<Comm>) {
    thread::scope(|scope| {
        communicators.into_iter().for_each(|communicator| drop(scope.spawn(move || drop(communicator))));
    });
}
