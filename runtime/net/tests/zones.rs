//! Communicators over several zones, and what may cross their borders.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hcrun_kernels::host_buffers::HostBuffers;
use hcrun_net::collective::{CallError, Communicator, Options};
use hcrun_net::group::{FormSpec, LaneListener, LaneSettings, Member};
use hcrun_net::identity::{Authority, Identity, PeerName, ThrowAwayAuthority, ZoneRoots};
use hcrun_protocol::frame::FrameClass;
use hcrun_protocol::link::LinkSpec;
use hcrun_protocol::{BitsPerSec, Generation, JobId, Rank, SlotId, ZoneId};

const JOB: JobId = JobId(7);

/// A zone for each number of ranks; rank i says that its link has `rates[i]`, if it is there.
fn zones(sizes: &[usize], rates: &[u64]) -> Vec<Communicator<HostBuffers>> {
    let names = ["private", "public", "third"];
    let zone = |index: usize| ZoneId::new(names[index]).unwrap();
    let authorities: Vec<_> =
        (0..sizes.len()).map(|index| ThrowAwayAuthority::new(zone(index), JOB).unwrap()).collect();
    let roots = Arc::new(ZoneRoots::of(authorities.iter().map(|a| a as &dyn Authority)).unwrap());
    let (mut listeners, mut members) = (Vec::new(), Vec::new());
    for (index, size) in sizes.iter().enumerate() {
        for number in 0..*size {
            let slot = SlotId::parse(&format!("{}-{number}", names[index])).unwrap();
            let name = PeerName::Slot(slot.clone());
            let identity = Identity::issue(&authorities[index], name, roots.clone()).unwrap();
            let settings = LaneSettings::default();
            let listener = LaneListener::bind(&identity, [127, 0, 0, 1].into(), None, &settings).unwrap();
            members.push(Member {
                rank: Rank::from_index(members.len()),
                slot,
                zone: zone(index),
                lanes: listener.addresses().to_vec(),
                reachable: true,
            });
            listeners.push(listener);
        }
    }
    let form = |(index, listener): (usize, LaneListener)| {
        let spec = FormSpec {
            job: JOB,
            generation: Generation(1),
            me: Rank::from_index(index),
            members: members.clone(),
            deadline: Duration::from_secs(20),
            staging_bytes: 4 << 20,
            segment_bytes: 64 << 10,
        };
        let link = LinkSpec { rate: rates.get(index).copied().map(BitsPerSec), ..LinkSpec::default() };
        move || Communicator::new(listener.form(spec).unwrap(), &link).unwrap()
    };
    thread::scope(|scope| {
        let forming: Vec<_> =
            listeners.into_iter().enumerate().map(|entry| scope.spawn(form(entry))).collect();
        forming.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn each<T: Send>(
    ranks: &[Communicator<HostBuffers>],
    call: impl Fn(&Communicator<HostBuffers>) -> T + Sync,
) -> Vec<T> {
    thread::scope(|scope| {
        let calling: Vec<_> = ranks.iter().map(|rank| scope.spawn(|| call(rank))).collect();
        calling.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn a_sum_of_too_few_workers_is_refused_whatever_was_allowed_before() {
    let ranks = zones(&[2, 2], &[]);
    for (min_contributors, allowed) in [(3, false), (2, true), (3, false), (1, true), (2, true)] {
        let options = Options { min_contributors, ..Options::default() };
        let outcomes =
            each(&ranks, |rank| match rank.all_reduce(HostBuffers::new(vec![1.0_f32; 1_000]), &options) {
                Ok(pending) => pending.wait().unwrap().into_vec::<f32>().unwrap() == vec![4.0; 1_000],
                Err(CallError::Violation(_)) => false,
                Err(other) => panic!("{other}"),
            });
        assert_eq!(outcomes, [allowed; 4], "{min_contributors} contributors");
    }
}

#[test]
fn what_ranks_agree_on_is_control_even_where_a_zone_has_one_worker() {
    let ranks = zones(&[1, 1], &[]);
    each(&ranks, |rank| rank.barrier(&Options::default()).unwrap());
    let options = Options { min_contributors: 2, ..Options::default() };
    let refused = ranks[0].all_reduce(HostBuffers::new(vec![1.0_f32; 10]), &options);
    assert!(matches!(refused, Err(CallError::Violation(_))));
    for rank in &ranks {
        let sent = rank.group().counters().snapshot();
        assert!(sent.iter().any(|row| row.sent > 0));
        assert!(sent.iter().all(|row| row.class == FrameClass::Control || row.sent == 0), "{sent:?}");
    }
}

#[test]
fn ranks_that_know_other_rates_choose_one_algorithm() {
    // For the first alone, one hop would be the fastest; for the others two.
    let ranks = zones(&[3], &[100_000_000_000_000, 1_000_000, 1_000_000]);
    let sums = each(&ranks, |rank| {
        let pending = rank.all_reduce(HostBuffers::new(vec![1.0_f32; 10_000]), &Options::default());
        pending.unwrap().wait().unwrap().into_vec::<f32>().unwrap()
    });
    assert!(sums.iter().all(|sum| *sum == vec![3.0; 10_000]));
}
