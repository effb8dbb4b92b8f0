//! Three workers form a group and add up their vectors.
//!
//! Here they are threads of one process. As processes on several hosts they would do the same; only the
//! identities and the member list would have to come from somewhere, such as a file or a coordinator
//! (`hcrun_net::identity::IdentityPem` is an identity as text).
//!
//! Run it with `cargo run -p hcrun-net --example all_reduce`.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hcrun_kernels::host_buffers::HostBuffers;
use hcrun_net::collective::{Communicator, Options};
use hcrun_net::group::{FormSpec, LaneListener, LaneSettings, Member};
use hcrun_net::identity::{Authority, Identity, PeerName, ThrowAwayAuthority, ZoneRoots};
use hcrun_protocol::link::LinkSpec;
use hcrun_protocol::{Generation, JobId, Rank, SlotId, ZoneId};

const JOB: JobId = JobId(1);

fn main() -> anyhow::Result<()> {
    // Every link is TLS with certificates on both sides, so somebody has to issue them. A zone is a set of
    // workers that trust each other with their gradients; it has one authority.
    let zone = ZoneId::new("lab")?;
    let authority = ThrowAwayAuthority::new(zone.clone(), JOB)?;
    let roots = Arc::new(ZoneRoots::of([&authority as &dyn Authority])?);

    // Each worker binds its lanes first: then its addresses are known and can be put into the member list,
    // which has to be the same for all.
    let (mut listeners, mut members) = (Vec::new(), Vec::new());
    for index in 0..3 {
        let slot = SlotId::parse(&format!("lab-{index}"))?;
        let identity = Identity::issue(&authority, PeerName::Slot(slot.clone()), roots.clone())?;
        let ip = "127.0.0.1".parse()?;
        let listener = LaneListener::bind(&identity, ip, None, &LaneSettings::default())?;
        members.push(Member {
            rank: Rank(index),
            slot,
            zone: zone.clone(),
            lanes: listener.addresses().to_vec(),
            reachable: true,
        });
        listeners.push(listener);
    }

    thread::scope(|scope| {
        let work = |(rank, listener): (u16, LaneListener)| {
            let members = members.clone();
            scope.spawn(move || work(Rank(rank), members, listener))
        };
        let workers: Vec<_> = (0..).zip(listeners).map(work).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("no worker panics"))
    })
}

/// What each worker does.
fn work(me: Rank, members: Vec<Member>, listener: LaneListener) -> anyhow::Result<()> {
    // Blocks until the links to all members stand.
    let group = listener.form(FormSpec {
        job: JOB,
        generation: Generation(1),
        me,
        members,
        deadline: Duration::from_secs(10),
        staging_bytes: 4 << 20,
        segment_bytes: 256 << 10,
    })?;
    let communicator = Communicator::new(group, &LinkSpec::default())?;

    // The buffer is given away and comes back with the sum in it.
    let own = vec![f32::from(me.0) + 1.0; 100_000];
    let pending = communicator.all_reduce(HostBuffers::new(own), &Options::default())?;
    // Here the worker could compute something else.
    let sum: Vec<f32> = pending.wait()?.into_vec().expect("f32 went in");

    assert!(sum.iter().all(|value| *value == 6.0));
    println!("{me}: 1 + 2 + 3 = {} in {} places", sum[0], sum.len());
    Ok(())
}

#[test]
fn the_example_runs() {
    main().unwrap();
}
