//! Several all-reduces at once, begun in a different order by each of two workers.
//!
//! Calls without a tag are matched by their order, which all workers then have to keep. With tags they need
//! not: the layers of a model, say, may finish in any order.
//!
//! Run it with `cargo run -p hcrun-net --example tags`.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::thread;

use hcrun_kernels::host_buffers::HostBuffers;
use hcrun_net::collective::{CallError, Communicator, Options};
use hcrun_protocol::dtype::ReduceOp;
use hcrun_protocol::{Generation, Rank};

mod members;

/// Tags are the caller's own, from 1.
const LOSSES: u32 = 1;
const LARGEST: u32 = 2;
const COUNTS: u32 = 3;

fn main() -> anyhow::Result<()> {
    let (workers, members) = members::workers(2)?;
    thread::scope(|scope| {
        let work = |(rank, (_, listener)): (u16, members::Worker)| {
            let members = members.clone();
            scope.spawn(move || work(&members::form(listener, Generation(1), Rank(rank), members)?))
        };
        let workers: Vec<_> = (0..).zip(workers).map(work).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("no worker panics"))
    })
}

fn work(communicator: &Communicator<HostBuffers>) -> anyhow::Result<()> {
    let me = communicator.group().me();
    // Types and operations may differ from tag to tag; for one tag all ranks have to agree.
    let buffers = |tag| match tag {
        LOSSES => HostBuffers::new(vec![f64::from(me.0) + 0.5; 1_000]),
        LARGEST => HostBuffers::new(vec![i32::from(me.0) - 7; 50_000]).op(ReduceOp::Max),
        _ => HostBuffers::new(vec![u64::from(me.0) + 1; 10]),
    };
    let order = if me == Rank(0) { [LOSSES, LARGEST, COUNTS] } else { [COUNTS, LOSSES, LARGEST] };
    let mut running = Vec::new();
    for tag in order {
        running.push((tag, communicator.all_reduce(buffers(tag), &Options::tag(tag))?));
    }

    // A tag is free again once its collective was waited for.
    let again = communicator.all_reduce(buffers(COUNTS), &Options::tag(COUNTS));
    assert!(matches!(again, Err(CallError::TagInUse { tag: COUNTS })));

    for (tag, pending) in running {
        let result = pending.wait()?;
        match tag {
            LOSSES => assert_eq!(result.into_vec::<f64>().expect("f64 went in")[0], 2.0),
            LARGEST => assert_eq!(result.into_vec::<i32>().expect("i32 went in")[0], -6),
            _ => assert_eq!(result.into_vec::<u64>().expect("u64 went in")[0], 3),
        }
        println!("{me}: tag {tag} is done");
    }
    Ok(())
}

#[test]
fn the_example_runs() {
    main().unwrap();
}
