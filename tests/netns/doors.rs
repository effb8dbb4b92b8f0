//! Who is let in: one worker per bundle, once, of the same build, with its data.

use std::time::Duration;

use hcrun_net::control::{ControlLink, Frame};
use hcrun_net::join::{JoinBundle, redeem};
use hcrun_protocol::control::{Build, PROTOCOL_VERSION, Refusal, ToCoordinator, ToWorker};
use hcrun_protocol::{NodeId, control_codec};
use hcrun_tests::{Job, lab};

use crate::party::{Party, SLOTS};

#[test]
fn a_bundle_lets_one_worker_in_once_and_refusals_leave_the_run_alone() {
    let job = Job::tables().train("steps = 3");
    let mut party = Party::wait(lab!(), None, &job, "", "");

    let bundle = party.bundle("private-0");
    let text = std::fs::read_to_string(&bundle).unwrap();
    let token =
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["token"].as_str().unwrap().to_owned();
    let forged = party.lab.path().join("forged.json");
    std::fs::copy(&bundle, &forged).unwrap();
    std::fs::write(&forged, text.replace(&token, &"0".repeat(token.len()))).unwrap();
    let args = ["worker", "--bundle", "forged.json", "--data-root", "private"];
    let refused = party.lab.hcrun(args).fail(6);
    assert!(
        refused.stderr.contains("HC6003") && refused.stderr.contains("the token is unknown"),
        "{refused}"
    );

    let mut workers = vec![party.worker("private-0", "").start()];
    party.run.wait_event(&mut party.launcher, "joined");
    let again = party.worker("private-0", "").fail(6);
    assert!(again.stderr.contains("HC6003") && again.stderr.contains("was used before"), "{again}");

    workers.extend(SLOTS[1..].iter().map(|slot| party.worker(slot, "").start()));
    let (launcher, workers, run, _lab) = party.end(workers);
    assert_eq!(launcher.code(), Some(0), "{launcher}");
    assert!(workers.iter().all(|worker| worker.code() == Some(0)), "{workers:?}");
    let refusals = run.events().into_iter().filter(|event| event["event"] == "certificate-refused");
    let refusals: Vec<String> = refusals.map(|event| event["detail"].as_str().unwrap().to_owned()).collect();
    assert_eq!(refusals.len(), 2, "{refusals:?}");
    assert!(refusals.iter().all(|text| text.contains("`private-0` in zone `private`")), "{refusals:?}");
}

#[test]
fn a_bundle_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let lab = lab!();
    let bundle = lab.write("bundle.json", "{}");
    std::fs::set_permissions(&bundle, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = lab.hcrun(["worker", "--bundle", "bundle.json"]).fail(6);
    assert!(refused.stderr.contains("HC6006") && refused.stderr.contains("chmod 600"), "{refused}");
}

#[test]
fn a_worker_without_its_shard_ends_the_run_with_id_and_places() {
    let party = Party::wait(lab!(), None, &Job::tables().train("steps = 3"), "", "");
    let mut workers: Vec<_> = SLOTS[..3].iter().map(|slot| party.worker(slot, "").start()).collect();
    workers.push(party.worker_with("public-1", "", "elsewhere").start());
    let (launcher, mut workers, _run, _lab) = party.end(workers);
    let worker = workers.pop().unwrap();
    for ended in [&launcher, &worker] {
        assert_eq!(ended.code(), Some(2), "{ended}");
        for word in ["`open`", "--data-root"] {
            assert!(ended.stderr.contains(word), "{word} is missing: {ended}");
        }
    }
    assert!(launcher.stderr.contains("public-1"), "{launcher}");
    // Where it looked is the host's own affair.
    assert!(worker.stderr.contains("elsewhere/open.csv"), "{worker}");
    assert!(!launcher.stderr.contains("elsewhere"), "{launcher}");
}

#[test]
fn a_worker_of_another_build_is_refused_and_both_are_named() {
    let party = Party::wait(lab!(), None, &Job::tables().train("steps = 3"), "", "");
    let bundle = JoinBundle::read(&party.bundle("public-0")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let within = Duration::from_secs(20);
    let answer = runtime.block_on(async {
        let joined = redeem(&bundle, within).await.unwrap();
        let zone = &joined.coordinator_zone;
        let mut link = ControlLink::connect(&joined.identity, joined.control, zone, within).await.unwrap();
        let build = Build { protocol: PROTOCOL_VERSION, program: "hcrun 0.0.1-elsewhere".to_owned() };
        let node = NodeId::new("elsewhere").unwrap();
        let hello = ToCoordinator::Hello { build, node, cpu_features: String::new() };
        link.send_message(&control_codec::encode(&hello).unwrap()).await.unwrap();
        match link.recv().await.unwrap() {
            Frame::Message(bytes) => control_codec::decode::<ToWorker>(&bytes).unwrap(),
            other => panic!("{other:?}"),
        }
    });
    let ToWorker::Refused { reason: Refusal::Build { worker, .. } } = answer else { panic!("{answer:?}") };
    assert!(worker.contains("0.0.1-elsewhere"), "{worker}");
    let (launcher, ..) = party.end(Vec::new());
    assert_eq!(launcher.code(), Some(6), "{launcher}");
    for word in ["HC6004", "public-0", "worker runs hcrun 0.0.1-elsewhere", "coordinator runs hcrun "] {
        assert!(launcher.stderr.contains(word), "{word} is missing: {launcher}");
    }
}
