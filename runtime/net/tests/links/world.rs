//! Ranks of one process, and what they should end with.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use hcrun_kernels::host_buffers::HostBuffers;
use hcrun_net::collective::{Communicator, Failed, Options, Pending};
use hcrun_net::group::{FormSpec, Group, LaneListener, LaneSettings, Member};
use hcrun_net::identity::{Authority, Identity, PeerName, ThrowAwayAuthority, ZoneRoots};
use hcrun_net::socket::Emulation;
use hcrun_protocol::dtype::DType;
use hcrun_protocol::job::Algorithm;
use hcrun_protocol::link::LinkSpec;
use hcrun_protocol::{Generation, JobId, Prng, Rank, SlotId, ZoneId};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const JOB: JobId = JobId(7);

/// Lanes that are bound, each place with its own identity.
pub(crate) struct World {
    seats: Vec<Seat>,
    pub(crate) staging_bytes: usize,
    pub(crate) segment_bytes: usize,
}

struct Seat {
    identity: Identity,
    settings: LaneSettings,
    listener: Option<LaneListener>,
    addresses: Vec<SocketAddr>,
}

/// One per rank.
pub(crate) type Ranks = Vec<Communicator<HostBuffers>>;

impl World {
    /// A rank for each of the settings.
    pub(crate) fn new(settings: Vec<LaneSettings>) -> World {
        let authority = ThrowAwayAuthority::new(ZoneId::new("here").unwrap(), JOB).unwrap();
        let roots = Arc::new(ZoneRoots::of([&authority as &dyn Authority]).unwrap());
        let seat = |(place, settings): (usize, LaneSettings)| {
            let identity = Identity::issue(&authority, PeerName::Slot(slot(place)), roots.clone()).unwrap();
            let listener = LaneListener::bind(&identity, LOOPBACK, None, &settings).unwrap();
            let addresses = listener.addresses().to_vec();
            Seat { identity, settings, listener: Some(listener), addresses }
        };
        let seats = settings.into_iter().enumerate().map(seat).collect();
        World { seats, staging_bytes: 8 << 20, segment_bytes: 64 << 10 }
    }

    /// Ranks whose links do the same, each with chances of its own.
    pub(crate) fn over(ranks: usize, link: LinkSpec, emulation: &Emulation) -> World {
        let settings = |rank: u64| LaneSettings {
            link,
            emulation: Some(Emulation { seed: emulation.seed + rank, ..emulation.clone() }),
            ..LaneSettings::default()
        };
        World::new((0..).map(settings).take(ranks).collect())
    }

    /// All of them.
    pub(crate) fn form(&mut self) -> Ranks {
        self.form_of(&(0..self.seats.len()).collect::<Vec<_>>(), Generation(1))
    }

    /// Some of them, at the addresses that all know.
    pub(crate) fn form_of(&mut self, places: &[usize], generation: Generation) -> Ranks {
        let member = |(index, place): (usize, &usize)| Member {
            rank: Rank::from_index(index),
            slot: slot(*place),
            zone: ZoneId::new("here").unwrap(),
            lanes: self.seats[*place].addresses.clone(),
            reachable: true,
        };
        let members: Vec<Member> = places.iter().enumerate().map(member).collect();
        let (staging_bytes, segment_bytes) = (self.staging_bytes, self.segment_bytes);
        let spec = |me: Rank| FormSpec {
            job: JOB,
            generation,
            me,
            members: members.clone(),
            deadline: Duration::from_secs(20),
            staging_bytes,
            segment_bytes,
        };
        let seats = self.seats.iter_mut().enumerate().filter(|(place, _)| places.contains(place));
        thread::scope(|scope| {
            let forming = seats.zip(&members).map(|((_, seat), member)| {
                let spec = spec(member.rank);
                scope.spawn(move || {
                    let bind =
                        || LaneListener::bind_at(&seat.identity, &seat.addresses, &seat.settings).unwrap();
                    let listener = seat.listener.take().unwrap_or_else(bind);
                    let group: Group<HostBuffers> = listener.form(spec).unwrap();
                    Communicator::new(group, &seat.settings.link).unwrap()
                })
            });
            forming.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }
}

fn slot(place: usize) -> SlotId {
    SlotId::parse(&format!("here-{place}")).unwrap()
}

/// What a rank contributes.
pub(crate) fn own(rank: Rank, elems: usize) -> Vec<f32> {
    let mut prng = Prng::keyed(&[3, u64::from(rank.0)]);
    #[expect(clippy::cast_possible_truncation, reason = "any float does")]
    let values = (0..elems).map(|_| prng.normal() as f32).collect();
    values
}

/// Begins an all-reduce on one rank.
pub(crate) fn begin(
    communicator: &Communicator<HostBuffers>,
    elems: usize,
    options: &Options,
) -> Pending<HostBuffers> {
    let own = own(communicator.group().me(), elems);
    communicator.all_reduce(HostBuffers::new(own), options).unwrap()
}

/// Begins an all-reduce on all ranks.
pub(crate) fn begin_all(ranks: &Ranks, elems: usize, options: &Options) -> Vec<Pending<HostBuffers>> {
    ranks.iter().map(|communicator| begin(communicator, elems, options)).collect()
}

/// What all ranks should end with: each element's values are added from its owner's successor round to its
/// owner (docs/adr/0003).
fn expected(ranks: &Ranks, elems: usize) -> Vec<f32> {
    let owns: Vec<Vec<f32>> = (0..ranks.len()).map(|rank| own(Rank::from_index(rank), elems)).collect();
    let options = Options { algorithm: Some(Algorithm::Direct), ..Options::default() };
    let mut sum = vec![0.0; elems];
    for (owner, communicator) in ranks.iter().enumerate() {
        for index in communicator.part(elems, DType::F32, &options).unwrap().into_iter().flatten() {
            let order = (1..=ranks.len()).map(|after| (owner + after) % ranks.len());
            sum[index] = order.map(|rank| owns[rank][index]).reduce(|sum, value| sum + value).unwrap();
        }
    }
    sum
}

/// All ranks hold the same bits, those of a sum in the fixed order.
#[track_caller]
pub(crate) fn assert_exact(ranks: &Ranks, pending: Vec<Pending<HostBuffers>>, elems: usize) {
    let expected = expected(ranks, elems);
    for (rank, pending) in pending.into_iter().enumerate() {
        let result: Vec<f32> = pending.wait().map_err(chain).unwrap().into_vec().unwrap();
        let other = (0..elems).find(|index| result[*index].to_bits() != expected[*index].to_bits());
        assert_eq!(other, None, "rank {rank}: the first element that differs");
    }
}

/// All-reduces on all ranks and looks at the bits.
#[track_caller]
pub(crate) fn all_reduce(ranks: &Ranks, elems: usize, options: &Options) {
    assert_exact(ranks, begin_all(ranks, elems, options), elems);
}

/// An error with what is behind it.
pub(crate) fn chain(error: Failed<HostBuffers>) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

/// Waits for what the lanes' threads do. The only place where these tests let time pass.
#[track_caller]
pub(crate) fn until(what: &str, mut seen: impl FnMut() -> bool) {
    let started = Instant::now();
    while !seen() {
        assert!(started.elapsed() < Duration::from_secs(30), "waited in vain until {what}");
        thread::sleep(Duration::from_micros(200));
    }
}

/// Frame bytes that a rank has received so far.
pub(crate) fn received(communicator: &Communicator<HostBuffers>) -> u64 {
    communicator.group().counters().snapshot().iter().map(|row| row.received).sum()
}

/// Frame bytes that a rank has handed to its links so far.
pub(crate) fn sent(communicator: &Communicator<HostBuffers>) -> u64 {
    communicator.group().counters().snapshot().iter().map(|row| row.sent).sum()
}
