//! Workers on several GPUs of a node, which sum among themselves by a fake NCCL whose ranks are these processes.

use std::fs;
use std::time::Duration;

use hcrun_engine::checkpoint;
use hcrun_tests::{Command, Job, Signal, signal, until};
use serde_json::Value;

use super::fake_nccl::FakeNccl;
use super::{Scene, assert_close, losses, table, text};

/// A node with four GPUs in a private zone, and processors there and in a public one.
const CLUSTER: &str = "\
zone = [
    { name = \"private\", trust = \"private\", owner = \"us\" },
    { name = \"public\", trust = \"public\", owner = \"them\" },
]
pool = [
    { name = \"processors\", zone = \"private\", slots = 2 },
    { name = \"gpus\", zone = \"private\", slots = 4, device = \"h100\" },
    { name = \"rented\", zone = \"public\", slots = 2 },
]
";

/// A node with GPUs and NCCL.
struct Node {
    scene: Scene,
    nccl: FakeNccl,
}

impl Node {
    fn new(job: Job) -> Node {
        let scene = Scene::new(job);
        scene.lab.write("cluster.toml", CLUSTER);
        let nccl = FakeNccl::new(&[]);
        let log = nccl.path().join("log");
        fs::write(nccl.path().join("FAKE_NCCL_LOG"), log.to_str().unwrap()).unwrap();
        // It makes no id where it could be reached from elsewhere.
        fs::write(nccl.path().join("FAKE_NCCL_HOME"), "only").unwrap();
        Node { scene, nccl }
    }

    /// From now on NCCL behaves so.
    fn nccl_is(&self, setting: &str, mode: &str) {
        fs::write(self.nccl.path().join(setting), mode).unwrap();
    }

    fn with_nccl(&self, command: Command) -> Command {
        let library = self.nccl.shared_object();
        command.env("HCRUN_NCCL", library.to_str().unwrap()).env("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    }

    fn run(&self, workers: &[(&str, u32)], settings: &[&str]) -> Command {
        let pools = ["processors", "gpus", "rented"].map(|pool| {
            let count = workers.iter().find(|(name, _)| *name == pool).map_or(0, |(_, count)| *count);
            format!("workers.{pool}={count}")
        });
        let mut arguments = vec!["run", "job.toml", "--cluster", "cluster.toml", "--quiet"];
        arguments.extend(
            pools.iter().map(String::as_str).chain(settings.iter().copied()).flat_map(|s| ["--set", s]),
        );
        self.with_nccl(self.scene.hcrun(&arguments))
    }

    fn node_groups(&self) -> Vec<String> {
        let events = self.scene.lab.run().events().into_iter().filter(|event| event["event"] == "node-group");
        events.map(|event| event["detail"].as_str().unwrap().to_owned()).collect()
    }
}

/// Every step is committed, so all ranks hold the same bits, whoever sums by what; and losses are those of processors.
#[test]
fn the_gpus_of_a_node_sum_among_themselves() {
    for job in [table(), text().exchange("bucket_bytes = \"16KiB\"")] {
        let node = Node::new(job);
        node.run(&[("processors", 2)], &[]).succeed();
        let on_processors = losses(&node.scene.lab.run());
        assert!(node.node_groups().is_empty());
        for (processors, gpus, sharded, codec) in
            [(0, 2, "true", "none"), (0, 3, "false", "int8"), (1, 3, "true", "bf16")]
        {
            let before = ["init", "finalize", "abort"].map(|call| node.nccl.calls(call));
            let (sharded, codec) = (format!("exchange.sharded={sharded}"), format!("exchange.codec={codec}"));
            node.run(&[("processors", processors), ("gpus", gpus)], &[&sharded, &codec]).succeed();
            assert_close(&on_processors, &losses(&node.scene.lab.run()));
            let slots: Vec<String> = (0..gpus).map(|index| format!("gpus-{index}")).collect();
            assert_eq!(
                node.node_groups(),
                [format!("{} sum among themselves by NCCL 2.19.1", slots.join(", "))]
            );
            let after = ["init", "finalize", "abort"].map(|call| node.nccl.calls(call));
            let gpus = usize::try_from(gpus).unwrap();
            assert_eq!(after, [before[0] + gpus, before[1] + gpus, before[2]], "all ended in agreement");
        }
        node.run(&[("gpus", 2)], &["exchange.nccl=false"]).succeed();
        assert!(node.node_groups().is_empty());
        assert_close(&on_processors, &losses(&node.scene.lab.run()));
    }
}

/// What crosses the border is what was planned, to the byte, and a zone's sum is one over all of its workers.
#[test]
fn what_leaves_the_zone_does_not_depend_on_nccl() {
    let mut job = table().exchange("bucket_bytes = \"16KiB\"\nsegment_bytes = \"4KiB\"");
    job.head = job.head.replace("hidden = [16]", "hidden = [96, 64]");
    let node = Node::new(job);
    let workers = [("processors", 1), ("gpus", 3), ("rented", 2)];
    let bytes = |settings: &[&str]| -> Value {
        node.run(&workers, settings).succeed();
        let summary = node.scene.lab.run().summary();
        assert_eq!(summary["egress_bytes"], summary["planned_egress_bytes"], "{summary}");
        summary["egress_bytes"].clone()
    };
    let by_nccl = bytes(&[]);
    assert_eq!(node.node_groups().len(), 1);
    assert_eq!(by_nccl, bytes(&["exchange.nccl=false"]));
    assert!(node.node_groups().is_empty());
}

/// A worker whose part of the batch is empty has all buckets at once, and sums them in the order of the others. With one
/// sample a step every sum has one part that is not zero, so that it has the same bits in whatever order.
#[test]
fn a_worker_without_samples_sums_in_the_order_of_the_others() {
    let node = Node::new(text().exchange("bucket_bytes = \"8KiB\""));
    let digest = |settings: &[&str]| -> Value {
        node.run(&[("gpus", 3)], &[&["train.batch=1"], settings].concat()).succeed();
        node.scene.lab.run().summary()["parameter_digest"].clone()
    };
    let by_nccl = digest(&[]);
    assert_eq!(node.node_groups().len(), 1);
    assert_eq!(by_nccl, digest(&["exchange.nccl=false"]));
    assert!(by_nccl.is_string() && node.node_groups().is_empty());
}

#[test]
fn a_node_that_cannot_meet_says_what_nccl_said_and_what_to_do() {
    let node = Node::new(table());
    node.nccl_is("FAKE_NCCL_FAILS", "ncclCommInitRankConfig=4");
    let failed = node.run(&[("gpus", 2)], &[]).fail(75);
    for words in ["HC8008", "ncclCommInitRankConfig answered 4 (invalid argument)", "exchange.nccl = false"] {
        assert!(failed.stderr.contains(words), "{words}: {failed}");
    }
    // Who makes no id exchanges over links.
    node.nccl_is("FAKE_NCCL_FAILS", "ncclGetUniqueId=2");
    node.run(&[("gpus", 2)], &[]).succeed();
    assert!(node.node_groups().is_empty());
    let events = node.scene.lab.run().events();
    let told = events.iter().find(|event| event["event"] == "without-nccl").expect("a word of it");
    assert!(told["detail"].as_str().unwrap().starts_with("gpus-0, gpus-1 are on one node"), "{told}");
}

/// It leaves a checkpoint, from which the run goes on without NCCL.
#[test]
fn an_error_of_nccl_in_the_middle_ends_the_job_with_its_words_and_a_checkpoint() {
    let node = Node::new(table());
    node.nccl_is("FAKE_NCCL", "breaks=6@200");
    let failed = node.run(&[("gpus", 2)], &["train.steps=1000000"]).fail(75);
    assert!(failed.stderr.contains("HC8008"), "{failed}");
    assert!(
        failed.stderr.contains("it failed later: ncclCommGetAsyncError answered 6 (remote process"),
        "{failed}"
    );
    let run = node.scene.lab.run();
    assert!(checkpoint::latest_good(&run.file("checkpoints")).is_ok());
    let steps = format!("train.steps={}", run.steps() + 3);
    let said = |settings: &[&str]| {
        let resume = [&["resume", "latest", "--quiet", "--set"], settings].concat();
        node.with_nccl(node.scene.hcrun(&resume)).succeed();
        let events = node.scene.lab.run().events().into_iter();
        let said = events.filter(|event| event["event"] == "node-groups-differ");
        said.map(|event| event["detail"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let differ = said(&[&steps, "--set", "exchange.nccl=false"]);
    assert!(matches!(&differ[..], [text] if text.contains("by NCCL 2.19.1, now none")), "{differ:?}");
    // Nothing differs from the last checkpoint any more.
    let steps = format!("train.steps={}", run.steps() + 6);
    assert_eq!(said(&[&steps, "--set", "exchange.nccl=false"]), differ);
}

/// NCCL does not notice, and would wait for ever.
#[test]
fn a_worker_that_dies_does_not_leave_its_node_waiting() {
    let node = Node::new(table());
    let mut launcher = node.run(&[("gpus", 3)], &["train.steps=1000000"]).start();
    let run = launcher.run();
    run.wait_steps(&mut launcher, 5);
    signal(run.worker("gpus-1"), Signal::KILL);
    let failed = launcher.end_within(Duration::from_secs(20));
    assert_eq!(failed.code(), Some(75), "{failed}");
    assert!(failed.stderr.contains("gpus-1") && failed.stderr.contains("signal 9"), "{failed}");
    assert!(run.workers().is_empty());
}

/// What runs on the GPUs does not end, NCCL does not come back from its abort, and the driver not from giving memory back.
#[test]
fn an_error_is_told_before_anything_that_may_not_return() {
    let node = Node::new(table());
    let mut launcher = node.run(&[("gpus", 2)], &["train.steps=1000000"]).start();
    let run = launcher.run();
    run.wait_steps(&mut launcher, 5);
    fs::write(node.scene.driver.path().join("cache/busy"), "").unwrap();
    node.nccl_is("FAKE_NCCL_BLOCKS", "ncclCommAbort");
    node.nccl_is("FAKE_NCCL", "breaks=6@200");
    let failed = launcher.end_within(Duration::from_secs(30));
    assert_eq!(failed.code(), Some(75), "{failed}");
    assert!(failed.stderr.contains("ncclCommGetAsyncError answered 6 (remote process"), "{failed}");
    assert!(run.workers().is_empty());
}

/// Nobody kills a worker that was started by hand.
#[test]
fn a_worker_by_hand_leaves_whatever_runs_on_its_gpu() {
    let node = Node::new(table());
    node.scene.lab.write("cluster.toml", CLUSTER.replace("\"h100\"", "\"h100\", backend = \"manual\""));
    let arguments =
        ["run", "job.toml", "--cluster", "cluster.toml", "--wait-for-workers", "--listen", "127.0.0.1"];
    let settings = ["workers.processors=1", "workers.gpus=1", "workers.rented=0", "train.steps=1000000"];
    let settings = settings.iter().flat_map(|setting| ["--set", *setting]);
    let mut launcher = node.scene.hcrun(&arguments.into_iter().chain(settings).collect::<Vec<_>>()).start();
    let run = launcher.run();
    let bundle = run.file("bundles/gpus-0.json");
    until("a bundle", Duration::from_secs(30), || bundle.exists().then_some(()));
    let arguments = ["worker", "--bundle", bundle.to_str().unwrap(), "--data-root", "."];
    let worker = node.with_nccl(node.scene.hcrun(&arguments)).env("FAKE_CUDA", "never-ends").start();
    // Its first kernel comes within the seconds that it takes to notice the end of the launcher.
    until("the GPU", Duration::from_secs(30), || worker.stderr().contains("computes on a GPU").then_some(()));
    signal(launcher.process(), Signal::KILL);
    let left = worker.end_within(Duration::from_secs(20));
    assert_eq!(left.code(), Some(75), "{left}");
}

/// What driver and NCCL say may name files of their node.
#[test]
fn words_of_a_library_stay_in_their_zone() {
    let node = Node::new(table());
    let cluster = CLUSTER.replace("\"gpus\", zone = \"private\"", "\"gpus\", zone = \"public\"");
    node.scene.lab.write("cluster.toml", cluster);
    let workers = [("processors", 2), ("gpus", 2)];
    let told = |command: Command| {
        let failed = command.fail(75);
        assert!(failed.stderr.contains("HC8008") && failed.stderr.contains("own log says why"), "{failed}");
        let run = node.scene.lab.run();
        let log = fs::read_to_string(run.file("logs/gpus-0.log")).unwrap();
        (format!("{failed} {:?}", run.events()), log)
    };
    let secret = "/home/alice/secret/libnvrtc.so.12";
    let (outside, log) =
        told(node.run(&workers, &[]).env("HCRUN_NVRTC", secret).env("HCRUN_CACHE", "/home/alice/secret"));
    assert!(!outside.contains("alice") && log.contains("alice"), "{outside}\n{log}");
    node.nccl_is("FAKE_NCCL_FAILS", "ncclCommInitRankConfig=4");
    let (outside, log) = told(node.run(&workers, &[]));
    assert!(!outside.contains("words of the last error") && log.contains("words of the last error"), "{log}");
}

/// The others wait for its part of a sum.
#[test]
fn a_gpu_that_fails_among_others_is_named_with_the_drivers_words() {
    for mode in ["ecc-after:700", "gone-after:711"] {
        let node = Node::new(table());
        node.scene.driver_is(mode);
        let failed = node.run(&[("gpus", 3)], &["train.steps=1000000"]).fail(75);
        assert!(failed.stderr.contains("HC8008") && failed.stderr.contains("CUDA_ERROR"), "{mode}: {failed}");
        let run = node.scene.lab.run();
        assert!(checkpoint::latest_good(&run.file("checkpoints")).is_ok(), "{mode}");
        assert!(run.workers().is_empty());
    }
}
