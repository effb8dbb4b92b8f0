//! NCCL that is missing, wrong or fake, each met by a process of its own: this test program once more, with the fake's
//! modes in its environment.

use std::fs;
use std::sync::mpsc;

use hcrun_kernels::nccl::{Cause, Communicator, Group, Operation, Owned, UniqueId, find};
use hcrun_protocol::dtype::ReduceOp;
use hcrun_protocol::ids::Rank;

#[path = "nccl/fake.rs"]
mod fake_nccl;
#[path = "nccl/ranks.rs"]
mod ranks;

use fake_nccl::{FakeNccl, is_child, said};
use ranks::{LONG, Memory, SHORT, Stream, alone, fake, on_threads};

fn all_reduce(memory: &Memory) -> Operation {
    Operation::AllReduce { from: memory.span(), to: memory.span(), op: ReduceOp::Sum }
}

#[test]
fn child_find() {
    if is_child().is_none() {
        return;
    }
    match find() {
        Ok(nccl) => println!("said: {} in {}", nccl.version(), nccl.file().display()),
        Err(reason) => println!("said: {}: {reason}", reason.code()),
    }
}

#[test]
fn nccl_is_looked_for_where_it_was_named_then_where_the_system_and_pythons_have_it() {
    let (named, of_system, of_python) = (FakeNccl::new(&[]), FakeNccl::new(&[]), FakeNccl::new(&[]));
    let python = of_python.path().join("lib/python3.11/site-packages/nvidia/nccl/lib");
    fs::create_dir_all(&python).unwrap();
    fs::copy(of_python.shared_object(), python.join("libnccl.so.2")).unwrap();
    let says = |name: Option<&FakeNccl>, system: Option<&FakeNccl>| {
        let mut child = of_python.child("child_find");
        child.env("VIRTUAL_ENV", of_python.path()).env("HCRUN_NCCL", "");
        if let Some(name) = name {
            child.env("HCRUN_NCCL", name.path());
        }
        if let Some(system) = system {
            child.env("LD_LIBRARY_PATH", system.path());
        }
        said(&child.output().unwrap())
    };
    let found = |file: &std::path::Path| format!("2.19.1 in {}", file.canonicalize().unwrap().display());
    assert_eq!(says(Some(&named), Some(&of_system)), found(&named.shared_object()));
    assert_eq!(says(None, Some(&of_system)), found(&of_system.shared_object()));
    // What cannot be opened is passed over.
    let broken = FakeNccl::with_file(b"no library");
    assert_eq!(says(None, Some(&broken)), found(&python.join("libnccl.so.2")));
    // What was named is not.
    let text = says(Some(&broken), Some(&of_system));
    let file = broken.shared_object();
    assert!(text.starts_with("no-nccl: no NCCL that can be used: "), "{text}");
    assert!(text.contains(&format!("{} cannot be opened (", file.display())), "{text}");
    assert!(!text.contains(python.to_str().unwrap()) && text.contains("HCRUN_NCCL"), "{text}");
}

#[test]
fn a_library_that_cannot_be_used_says_why() {
    let whole = FakeNccl::new(&[]);
    let file = whole.shared_object().display().to_string();
    let says = |mode| whole.says("child_find", &[("FAKE_NCCL", mode)]);
    let text = says("old");
    assert!(text.starts_with("old-nccl: "), "{text}");
    assert!(text.contains(&format!("{file} is NCCL 2.17.6, and 2.18.1 or newer is needed")), "{text}");
    let text = says("no-version");
    assert!(text.starts_with("nccl-failed: "), "{text}");
    assert!(text.contains("ncclGetVersion answered 3"), "{text}");

    let lacking = FakeNccl::new(&["-DWITHOUT_BROADCAST"]);
    let text = lacking.says("child_find", &[]);
    assert!(text.starts_with("missing-symbol: "), "{text}");
    assert!(text.contains(&format!("{} lacks ncclBroadcast", lacking.shared_object().display())), "{text}");
    // An old one that lacks it is called old.
    let text = lacking.says("child_find", &[("FAKE_NCCL", "old")]);
    assert!(text.starts_with("old-nccl"), "{text}");
}

#[test]
fn child_sums() {
    if is_child().is_none() {
        return;
    }
    for ranks in [1u32, 2, 3] {
        let (nccl, id) = fake();
        let results = on_threads(ranks, |rank| {
            let stream = Box::new(Stream::default());
            let mut communicator = Communicator::init(&nccl, stream, &id, rank, ranks, LONG).unwrap();
            let whole = Memory::new(&[1.0 + rank as f32, 10.0, 100.0 * rank as f32]);
            let parts: Vec<f32> = (0..2 * ranks).map(|element| (element * (rank + 1)) as f32).collect();
            let (parts, part) = (Memory::new(&parts), Memory::new(&[0.0, 0.0]));
            let gathered = Memory::new(&vec![0.0; 2 * ranks as usize]);
            let scatter = Operation::ReduceScatter { from: parts.span(), to: part.span(), op: ReduceOp::Sum };
            communicator.run(&[all_reduce(&whole), scatter], LONG).unwrap();
            let gather = Operation::AllGather { from: part.span(), to: gathered.span() };
            communicator.enqueue(&[gather], LONG).unwrap();
            communicator.wait(LONG).unwrap();
            communicator.finish(LONG).unwrap();
            (whole.values(), part.values(), gathered.values())
        });
        // 1 + … + ranks
        let total = (ranks * (ranks + 1) / 2) as f32;
        let expected: Vec<f32> = (0..2 * ranks).map(|element| element as f32 * total).collect();
        for (rank, (whole, part, gathered)) in results.into_iter().enumerate() {
            assert_eq!(whole, [total, 10.0 * ranks as f32, 100.0 * (total - ranks as f32)]);
            assert_eq!(part, expected[2 * rank..2 * rank + 2]);
            assert_eq!(gathered, expected);
        }
    }
    println!("said: done");
}

#[test]
fn ranks_sum_scatter_and_gather_also_if_calls_are_slow() {
    for mode in ["", "busy=3"] {
        let nccl = FakeNccl::new(&[]);
        assert_eq!(nccl.says("child_sums", &[("FAKE_NCCL", mode)]), "done");
        // 1 + 2 + 3 ranks.
        assert_eq!((nccl.calls("init"), nccl.calls("finalize"), nccl.calls("destroy")), (6, 6, 6));
        assert_eq!(nccl.calls("abort"), 0);
    }
}

/// Rank 5 is the second of the node's three; sizes are odd, and the parts uneven in the second case.
#[test]
fn child_group() {
    if is_child().is_none() {
        return;
    }
    let ranks = [Rank(3), Rank(5), Rank(8)];
    let value = |rank: u32, element: usize| (element as f32 + 0.1) * (rank as f32 + 0.7) / 3.0;
    let even = [(Rank(3), 0..5), (Rank(5), 5..10), (Rank(8), 10..15)];
    let uneven = [(Rank(8), 0..4), (Rank(3), 4..5), (Rank(5), 5..15)];
    for owners in [even, uneven] {
        let owned: Owned = owners.iter().map(|(rank, range)| (*rank, vec![range.clone()])).collect();
        let (nccl, id) = fake();
        let results = on_threads(3, |index| {
            let own = ranks[index as usize];
            let mut group = Group::join(&nccl, Box::new(Stream::default()), &id, &ranks, own, LONG).unwrap();
            let values: Vec<f32> = (0..15).map(|element| value(index, element)).collect();
            let bucket = Memory::new(&values);
            group.reduce_scatter(bucket.span(), &owned, LONG).unwrap();
            let scattered = bucket.values();
            for (element, found) in scattered.iter().enumerate() {
                if !owned[&own][0].contains(&element) {
                    assert_eq!(*found, values[element], "rank {own:?} owns no element {element}");
                }
            }
            group.all_gather(bucket.span(), &owned, LONG).unwrap();
            group.finish(LONG).unwrap();
            (scattered, bucket.values())
        });
        let gathered = &results[0].1;
        for (index, (scattered, all)) in results.iter().enumerate() {
            let range = owned[&ranks[index]][0].clone();
            assert_eq!(scattered[range.clone()], gathered[range]);
            // The same bits on all ranks.
            assert_eq!(all, gathered);
        }
        for (element, found) in gathered.iter().enumerate() {
            // In the order of a zone, from the owner's successor round to the owner; NCCL has its own.
            let owner = owners.iter().find(|(_, range)| range.contains(&element)).unwrap().0;
            let owner = (0..3u32).find(|index| ranks[*index as usize] == owner).unwrap();
            let host = (1..=3).map(|step| value((owner + step) % 3, element)).reduce(|a, b| a + b).unwrap();
            assert!((host - found).abs() <= 2.0 * f32::EPSILON * host, "element {element}: {host} {found}");
        }
    }
    println!("said: done");
}

#[test]
fn a_node_scatters_a_bucket_to_its_owners_and_gathers_it() {
    assert_eq!(FakeNccl::new(&[]).says("child_group", &[]), "done");
}

#[test]
fn child_errors() {
    if is_child().is_none() {
        return;
    }
    let stop = |what: &str| println!("said: {what}");
    let mut communicator = match alone(Stream::default()) {
        Ok(communicator) => communicator,
        Err(error) => return stop(&error.to_string()),
    };
    let memory = Memory::new(&[1.0, 2.0]);
    let span = memory.span();
    let operations = [
        all_reduce(&memory),
        Operation::ReduceScatter { from: span, to: span, op: ReduceOp::Sum },
        Operation::AllGather { from: span, to: span },
        Operation::Reduce { from: span, to: span, op: ReduceOp::Sum, root: 0 },
        Operation::Broadcast { from: span, to: span, root: 0 },
    ];
    let Err(error) = communicator.run(&operations, LONG) else {
        return match communicator.finish(LONG) {
            Ok(()) => stop("nothing failed"),
            Err(error) => stop(&error.to_string()),
        };
    };
    stop(&error.to_string());
    // It was aborted by then, and says why to all that follow.
    let again = communicator.run(&operations, LONG).unwrap_err();
    assert!(matches!(again.cause, Cause::Aborted { .. }), "{again}");
    stop(&again.to_string());
    assert_eq!(communicator.abort_handle().abort("once more", LONG), Ok(()));
    let last = communicator.finish(LONG).unwrap_err();
    assert!(matches!(last.cause, Cause::Aborted { .. }), "{last}");
}

#[test]
fn errors_name_the_call_with_its_code_and_nccls_words() {
    let nccl = FakeNccl::new(&[]);
    assert_eq!(nccl.says("child_errors", &[]), "nothing failed");
    assert_eq!(nccl.calls("abort"), 0);
    let at_run = [
        ("ncclGroupStart", "starting operations"),
        ("ncclGroupEnd", "starting operations"),
        ("ncclAllReduce", "starting operations"),
        ("ncclReduceScatter", "starting operations"),
        ("ncclAllGather", "starting operations"),
        ("ncclReduce", "starting operations"),
        ("ncclBroadcast", "starting operations"),
    ];
    for (call, during) in at_run {
        let nccl = FakeNccl::new(&[]);
        let text = nccl.says("child_errors", &[("FAKE_NCCL_FAILS", &format!("{call}=4"))]);
        let cause = format!("{during}: {call} answered 4 (invalid argument): words of the last error");
        let expected = format!("NCCL, rank 0 of 1, {cause}");
        let again = format!("NCCL, rank 0 of 1, {during}: the communicator was aborted: {cause}");
        assert_eq!(text, format!("{expected}\n{again}"));
        assert_eq!((nccl.calls("init"), nccl.calls("abort"), nccl.calls("finalize")), (1, 1, 0), "{call}");
    }
    for (call, during) in [
        ("ncclCommInitRankConfig", "meeting the other ranks"),
        ("ncclCommGetAsyncError", "meeting the other ranks"),
        ("ncclCommFinalize", "finishing"),
        ("ncclCommDestroy", "finishing"),
    ] {
        let text = nccl.says("child_errors", &[("FAKE_NCCL_FAILS", &format!("{call}=2"))]);
        let expected = format!("NCCL, rank 0 of 1, {during}: {call} answered 2 (another error): words");
        assert!(text.starts_with(&expected), "{text}");
    }
}

#[test]
fn a_code_of_a_newer_nccl_is_kept_as_a_number() {
    let nccl = FakeNccl::new(&[]);
    let text = nccl.says("child_errors", &[("FAKE_NCCL_FAILS", "ncclReduceScatter=99")]);
    assert!(text.contains("ncclReduceScatter answered 99 (unknown result code)"), "{text}");
    let text = nccl.says("child_errors", &[("FAKE_NCCL", "breaks=77@0")]);
    assert!(text.contains("failed later: ncclCommGetAsyncError answered 77 (unknown result code)"), "{text}");
}

#[test]
fn an_error_that_comes_later_is_seen_while_waiting() {
    let nccl = FakeNccl::new(&[]);
    // The first poll is that of the start.
    let text = nccl.says("child_errors", &[("FAKE_NCCL", "breaks=6@1")]);
    let expected = "NCCL, rank 0 of 1, waiting for operations: it failed later: ncclCommGetAsyncError answered 6 \
                    (remote process exited or there was a network error): words of the last error";
    assert!(text.starts_with(expected), "{text}");
    assert_eq!(nccl.calls("abort"), 1);
}

#[test]
fn child_lonely() {
    let Some(folder) = is_child() else { return };
    let aborts = || fs::read_to_string(folder.join("log")).unwrap().matches("abort").count();
    let (nccl, id) = fake();
    let init = |rank, ranks| Communicator::init(&nccl, Box::new(Stream::default()), &id, rank, ranks, SHORT);
    let error = init(1, 3).unwrap_err();
    assert_eq!(error.cause, Cause::Late { within: SHORT });
    println!("said: {error}");
    assert_eq!(aborts(), 1);

    // Both come, one asks for nothing.
    let (nccl, id) = fake();
    let mut communicators = on_threads(2, |rank| {
        Communicator::init(&nccl, Box::new(Stream::default()), &id, rank, 2, LONG).unwrap()
    });
    let memory = Memory::new(&[1.0]);
    let error = communicators[0].run(&[all_reduce(&memory)], SHORT).unwrap_err();
    println!("said: {error}");
    assert_eq!(error.cause, Cause::Late { within: SHORT });
    assert_eq!(aborts(), 2);
    let again = communicators[0].run(&[all_reduce(&memory)], SHORT).unwrap_err();
    assert!(matches!(again.cause, Cause::Aborted { .. }), "{again}");
    // The other one cannot finish alone.
    let error = communicators.pop().unwrap().finish(SHORT).unwrap_err();
    println!("said: {error}");
    assert_eq!(aborts(), 3);
    drop(communicators);
    assert_eq!(aborts(), 3);
}

#[test]
fn a_rank_that_never_comes_is_given_up_at_the_deadline_and_the_communicator_aborted() {
    let nccl = FakeNccl::new(&[]);
    let text = nccl.says("child_lonely", &[]);
    let late = "it has not ended within 50ms: another rank has not come, has ended or cannot be reached; see its log";
    let expected = [
        format!("NCCL, rank 1 of 3, meeting the other ranks: {late}"),
        format!("NCCL, rank 0 of 2, waiting for operations: {late}"),
        format!("NCCL, rank 1 of 2, finishing: {late}"),
    ];
    assert_eq!(text, expected.join("\n"));
}

#[test]
fn child_watchdog() {
    let Some(folder) = is_child() else { return };
    let (nccl, id) = fake();
    let mut ranks = on_threads(2, |rank| {
        Communicator::init(&nccl, Box::new(Stream::default()), &id, rank, 2, LONG).unwrap()
    });
    let memory = Memory::new(&[1.0]);
    let mut waiting = ranks.remove(0);
    waiting.enqueue(&[all_reduce(&memory)], LONG).unwrap();
    let watchdog = waiting.abort_handle();
    let (sender, result) = mpsc::channel();
    let waits = std::thread::spawn(move || {
        sender.send(waiting.wait(LONG)).unwrap();
        waiting
    });
    watchdog.abort("the control thread saw rank 1 die", LONG).unwrap();
    let error = result.recv_timeout(LONG).unwrap().unwrap_err();
    let why = "the control thread saw rank 1 die".to_owned();
    assert_eq!(error.cause, Cause::Aborted { why: why.clone() });
    let mut waiting = waits.join().unwrap();
    assert_eq!(waiting.wait(LONG).unwrap_err().cause, Cause::Aborted { why });
    assert_eq!(waiting.abort_handle().abort("again", LONG), Ok(()));
    let log = || fs::read_to_string(folder.join("log")).unwrap();
    assert_eq!(log().matches("abort 0").count(), 1);
    // Dropping one that works ends it too.
    drop(ranks);
    assert_eq!(log().matches("abort 1").count(), 1);
    drop(waiting);
    assert_eq!(watchdog.abort("it is gone", LONG), Ok(()));
    assert_eq!(log().matches("abort").count(), 2);
    println!("said: done");
}

#[test]
fn a_watchdog_ends_what_another_thread_waits_for() {
    assert_eq!(FakeNccl::new(&[]).says("child_watchdog", &[]), "done");
}

#[test]
fn child_stream() {
    if is_child().is_none() {
        return;
    }
    let fails = Stream { fails: Some("an illegal address"), ..Stream::default() };
    let memory = Memory::new(&[1.0]);
    let error = alone(fails).unwrap().run(&[all_reduce(&memory)], LONG).unwrap_err();
    println!("said: {error}");
}

#[test]
fn a_device_that_fails_ends_the_communicator() {
    let nccl = FakeNccl::new(&[]);
    let text = nccl.says("child_stream", &[]);
    assert_eq!(text, "NCCL, rank 0 of 1, waiting for operations: the device failed: an illegal address");
    assert_eq!(nccl.calls("abort"), 1);
}

#[test]
fn child_stuck() {
    if is_child().is_none() {
        return;
    }
    let (nccl, id) = match find().map(|nccl| (nccl, UniqueId::new(&nccl, SHORT))) {
        Ok((nccl, Ok(id))) => (nccl, id),
        Ok((_, Err(cause))) => return println!("said: {cause}"),
        Err(error) => return println!("said: {error}"),
    };
    let mut communicator = Communicator::init(&nccl, Box::new(Stream::default()), &id, 0, 1, LONG).unwrap();
    let memory = Memory::new(&[1.0]);
    let error = communicator.run(&[all_reduce(&memory)], SHORT).unwrap_err();
    println!("said: {error}");
    // It is not asked again, and an abort has a deadline of its own.
    assert!(matches!(communicator.wait(LONG).unwrap_err().cause, Cause::Stuck { .. }));
    let error = communicator.abort_handle().abort("it hangs", SHORT).unwrap_err();
    assert_eq!(error.cause, Cause::Stuck { within: SHORT });
}

#[test]
fn a_call_that_never_returns_holds_nobody_for_ever() {
    let nccl = FakeNccl::new(&[]);
    let text = nccl.says("child_stuck", &[("FAKE_NCCL_BLOCKS", "ncclGetUniqueId")]);
    assert_eq!(text, "a call into NCCL has not returned within 50ms: this process has to end");
    let text = nccl.says("child_stuck", &[("FAKE_NCCL_BLOCKS", "ncclGroupEnd")]);
    assert_eq!(
        text,
        "NCCL, rank 0 of 1, starting operations: a call into NCCL has not returned within 5.05s: this process has to end"
    );
    assert_eq!(nccl.calls("abort"), 0);
}
