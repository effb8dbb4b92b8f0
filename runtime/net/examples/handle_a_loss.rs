//! Three workers, of which one leaves: the other two notice, form a group of their own and go on.
//!
//! A group never shrinks. After one failure nothing in it succeeds any more, on no rank, so that no two
//! ranks can disagree about what did; whoever is left forms the next generation. Who that is has to be known
//! to all of them alike: here it is whoever was not lost, in a real job its coordinator says.
//!
//! Run it with `cargo run -p hcrun-net --example handle_a_loss`.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::thread;

use hcrun_kernels::host_buffers::HostBuffers;
use hcrun_net::collective::Options;
use hcrun_net::group::{LaneListener, LaneSettings, Member};
use hcrun_protocol::{Generation, Rank};

mod members;

const LEAVES: Rank = Rank(2);

fn main() -> anyhow::Result<()> {
    let (workers, members) = members::workers(3)?;
    thread::scope(|scope| {
        let work = |(rank, worker)| {
            let members = members.clone();
            scope.spawn(move || work(Rank(rank), worker, members))
        };
        let workers: Vec<_> = (0..).zip(workers).map(work).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("no worker panics"))
    })
}

fn work(me: Rank, (identity, listener): members::Worker, members: Vec<Member>) -> anyhow::Result<()> {
    let communicator = members::form(listener, Generation(1), me, members.clone())?;
    if me == LEAVES {
        println!("{me} leaves");
        return Ok(());
    }

    // A buffer in place is lost with its collective, unless a copy is kept.
    let options = Options { preserve: true, ..Options::default() };
    let own = vec![f32::from(me.0) + 1.0; 100_000];
    let pending = communicator.all_reduce(HostBuffers::new(own), &options)?;
    // Without a word from it, a lost rank is noticed after `LaneSettings::silence`; one that leaves says so.
    let failed = pending.wait().expect_err("a rank has left");
    println!("{me}: {failed}: {}", failed.cause);
    assert_eq!(failed.peer(), Some(LEAVES));
    let own = failed.preserved.expect("the options ask for it");

    // Closes the links and frees the ports, which are bound again: the others know them.
    drop(communicator);
    let lanes = members[me.index()].lanes.clone();
    let listener = LaneListener::bind_at(&identity, &lanes, &LaneSettings::default())?;
    let mut rest: Vec<Member> = members.into_iter().filter(|member| member.rank != LEAVES).collect();
    // Ranks are dense, so they may change; slots stay.
    for (index, member) in rest.iter_mut().enumerate() {
        member.rank = Rank::from_index(index);
    }
    let me = rest.iter().find(|member| member.peer() == identity.me).expect("this one stays").rank;
    let communicator = members::form(listener, Generation(2), me, rest)?;
    let sum = communicator.all_reduce(own, &Options::default())?.wait()?;
    let sum: Vec<f32> = sum.into_vec().expect("f32 went in");
    assert!(sum.iter().all(|value| *value == 3.0));
    println!("{me}: 1 + 2 = {} without {LEAVES}", sum[0]);
    Ok(())
}

#[test]
fn the_example_runs() {
    main().unwrap();
}
