//! Hosts and cables that fail while a job trains: nobody watches a process here, only silence tells.

#![expect(clippy::print_stdout, reason = "how long it took is shown where a test fails")]

use std::time::{Duration, Instant};

use hcrun_tests::netns::Network;
use hcrun_tests::{Ended, Job, Signal, Started, lab};

use crate::party::{LAUNCHER, Party, SLOTS};

/// `detect_within_s` of the jobs, which is the default.
const DETECT: Duration = Duration::from_secs(5);
/// For the processes to end on a machine that does other things too.
const MARGIN: Duration = Duration::from_millis(1_500);

fn training() -> Option<(Party, Vec<Started>)> {
    let network = Network::new(&["l", "a", "b"])?;
    let job = Job::tables().train("steps = 1000000");
    let mut party = Party::wait(lab!(), Some(network), &job, "", "");
    let workers = party.join();
    let run = party.run.clone();
    run.wait_steps(&mut party.launcher, 3);
    Some((party, workers))
}

/// The ends of all, which come in time.
#[track_caller]
fn ends(party: Party, workers: Vec<Started>, since: Instant) -> (Ended, Vec<Ended>) {
    let limit = DETECT + 4 * MARGIN;
    let launcher = party.launcher.end_within(limit);
    println!("{launcher}\nlauncher ended after {:?}", since.elapsed());
    let mut ended = Vec::new();
    for (slot, worker) in SLOTS.into_iter().zip(workers) {
        ended.push(worker.end_within(limit));
        println!("{slot} ended after {:?}", since.elapsed());
    }
    let workers = ended;
    assert!(since.elapsed() < DETECT + MARGIN, "ended after {:?}: {launcher}", since.elapsed());
    (launcher, workers)
}

#[test]
fn a_killed_worker_is_found_by_its_silence() {
    let Some((party, workers)) = training() else { return };
    let since = Instant::now();
    workers[3].signal(Signal::KILL);
    let (launcher, workers) = ends(party, workers, since);
    assert_eq!(launcher.code(), Some(75), "{launcher}");
    assert!(launcher.stderr.contains("worker public-1 on node"), "{launcher}");
    assert!(workers[..3].iter().all(|worker| worker.code() == Some(75)), "{workers:?}");
}

#[test]
fn a_cut_between_two_zones_names_a_pair_across_it() {
    let Some((party, workers)) = training() else { return };
    let since = Instant::now();
    party.network.as_ref().unwrap().cut(["a", "b"]);
    let (launcher, workers) = ends(party, workers, since);
    assert_eq!(launcher.code(), Some(75), "{launcher}");
    let pair = ["private-0", "private-1"].iter().any(|private| {
        ["public-0", "public-1"].iter().any(|public| {
            let names = |lost: &str, witness: &str| {
                launcher.stderr.contains(&format!("worker {lost} on node"))
                    && launcher.stderr.contains(&format!("{witness} reports"))
            };
            names(private, public) || names(public, private)
        })
    });
    assert!(pair && launcher.stderr.contains("HC8004"), "{launcher}");
    assert!(workers.iter().all(|worker| worker.code() == Some(75)), "{workers:?}");
}

#[test]
fn a_cut_between_a_host_and_the_launcher_names_a_worker_there() {
    let Some((party, workers)) = training() else { return };
    let since = Instant::now();
    party.network.as_ref().unwrap().cut([LAUNCHER, "b"]);
    let (launcher, workers) = ends(party, workers, since);
    assert_eq!(launcher.code(), Some(75), "{launcher}");
    assert!(launcher.stderr.contains("worker public-"), "{launcher}");
    assert!(workers.iter().all(|worker| worker.code() == Some(75)), "{workers:?}");
}

#[test]
fn workers_leave_when_the_launcher_is_killed() {
    let Some((party, workers)) = training() else { return };
    let since = Instant::now();
    party.launcher.signal(Signal::KILL);
    let (_, workers) = ends(party, workers, since);
    assert!(workers.iter().all(|worker| worker.code() == Some(75)), "{workers:?}");
    assert!(workers.iter().any(|worker| worker.stderr.contains("coordinator lost")), "{workers:?}");
}
