//! Links that cannot be made: named before the first step.

use std::net::UdpSocket;
use std::time::Duration;

use hcrun_tests::netns::Network;
use hcrun_tests::{Job, lab};

use crate::party::Party;

#[test]
fn a_blocked_port_is_named_with_the_pair_and_the_direction() {
    let Some(network) = Network::new(&["l", "a", "b"]) else { return };
    for port in [7_100, 7_101] {
        network.block("b", port);
    }
    let address = network.address("b");
    // The hidden private pool dials out, although its ranks are the lower ones.
    let job = Job::tables().train("steps = 3");
    let party = Party::wait(lab!(), Some(network), &job, "reachable = false", "listen_ports = [7100, 7101]");
    let workers = party.join();
    let (launcher, workers, run, _lab) = party.end(workers);
    assert_eq!(launcher.code(), Some(4), "{launcher}");
    let place = format!("UDP {address}:710");
    for word in ["HC4001", "in zone `private` dials `public-", &place, "UDP passes in this direction"] {
        assert!(launcher.stderr.contains(word), "{word} is missing: {launcher}");
    }
    assert!(run.steps() == 0 && launcher.took < Duration::from_secs(25), "{launcher}");
    assert!(workers.iter().all(|worker| matches!(worker.code(), Some(4 | 75))), "{workers:?}");
}

#[test]
fn an_address_outside_of_the_host_is_told_to_the_others() {
    let Some(network) = Network::new(&["l", "a", "b"]) else { return };
    let job = Job::tables().train("steps = 3");
    let party = Party::wait(lab!(), Some(network), &job, "reachable = false", "listen_ports = [7100, 7101]");
    let worker = |slot, host| party.worker(slot, host).start();
    let mut workers = vec![worker("private-0", "a"), worker("private-1", "a"), worker("public-0", "b")];
    // Nobody translates this one.
    let outside = party.worker("public-1", "b").args(["--address", "10.77.0.99"]).start();
    workers.push(outside);
    let (launcher, ..) = party.end(workers);
    assert_eq!(launcher.code(), Some(4), "{launcher}");
    assert!(
        launcher.stderr.contains("dials `public-1` in zone `public` at UDP 10.77.0.99:710"),
        "{launcher}"
    );
}

#[test]
fn a_port_in_use_is_named_with_its_range() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let lines = format!("listen_ports = [{port}, {port}]");
    let party = Party::wait(lab!(), None, &Job::tables().train("steps = 3"), &lines, "");
    let workers = party.join();
    let (launcher, ..) = party.end(workers);
    assert_eq!(launcher.code(), Some(4), "{launcher}");
    for word in ["HC4002", "private-", &format!("UDP ports {port}-{port} of 127.0.0.1"), "listen_ports"] {
        assert!(launcher.stderr.contains(word), "{word} is missing: {launcher}");
    }
}
