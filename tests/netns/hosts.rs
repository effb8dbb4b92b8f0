//! A whole run over hosts of their own.

use hcrun_tests::netns::Network;
use hcrun_tests::{Job, lab};
use serde_json::Value;

use crate::party::{Party, SLOTS};

#[test]
fn a_job_trains_over_four_hosts_of_which_one_has_a_narrow_path() {
    let Some(network) = Network::new(&["l", "a", "b", "c"]) else { return };
    network.narrow("c", 1_300);
    let job = Job::tables().train("steps = 12");
    let party = Party::wait(lab!(), Some(network), &job, "", "listen_ports = [7100, 7103]");
    let workers = party.join();
    let (launcher, workers, run, _lab) = party.end(workers);
    assert_eq!(launcher.code(), Some(0), "{launcher}");
    for worker in workers {
        assert_eq!(worker.code(), Some(0), "{worker}");
    }

    let summary = run.summary();
    assert_eq!((summary["status"].as_str(), summary["steps"].as_u64()), (Some("done"), Some(12)));
    let slots: Vec<&str> =
        summary["workers"].as_array().unwrap().iter().filter_map(|worker| worker["slot"].as_str()).collect();
    assert_eq!(slots, SLOTS);
    assert!(summary["egress_bytes"]["private->public"]["gradient-sum"].as_u64() > Some(0), "{summary}");
    assert_eq!(summary["egress_bytes"], summary["planned_egress_bytes"]);

    let links: Vec<Value> = run.events().into_iter().filter(|event| event["event"] == "link").collect();
    assert_eq!(links.len(), 12, "each of four workers reports three links");
    for link in links {
        let (slot, detail) = (link["slot"].as_str().unwrap(), link["detail"].as_str().unwrap());
        // Ethernet's 1,500 bytes hold a datagram of 1,452; 1,300 hold one of 1,272 with IPv4 and UDP.
        let narrow = slot == "public-1" || detail.contains("to public-1:");
        let (_, after) = detail.split_once("us, ").unwrap();
        let bytes: u16 = after.split_once(' ').unwrap().0.parse().unwrap();
        assert!(if narrow { (1_200..=1_272).contains(&bytes) } else { bytes == 1_452 }, "{slot} {detail}");
        assert!(detail.contains("round trip") && detail.contains("clock"), "{detail}");
    }
}

#[test]
fn the_launcher_starts_the_workers_of_its_own_host() {
    let Some(network) = Network::new(&["l", "b"]) else { return };
    let job = Job::tables().train("steps = 3");
    let party = Party::wait(lab!(), Some(network), &job, "backend = \"local\"", "");
    assert!(!party.launcher.stderr().contains("private-0.json"), "{}", party.launcher.stderr());
    let workers = SLOTS[2..].iter().map(|slot| party.worker(slot, "b").start()).collect();
    let (launcher, workers, run, _lab) = party.end(workers);
    assert_eq!(launcher.code(), Some(0), "{launcher}");
    assert!(workers.iter().all(|worker| worker.code() == Some(0)), "{workers:?}");
    assert_eq!(run.summary()["steps"], 3);
}
