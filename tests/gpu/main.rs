//! Runs whose workers compute on GPUs: the driver is a fake one, behind which the emulator runs the kernels. Processes,
//! machine code, copies and errors take the way that they take to a GPU.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use hcrun_emulator::LIBRARIES;
use hcrun_engine::checkpoint;
use hcrun_tests::{Command, Job, Lab, Run, lab};

#[path = "../../kernels/tests/nccl/fake.rs"]
mod fake_nccl;
#[path = "../../kernels/tests/cuda/folder.rs"]
mod folder;
mod nccl;

use folder::Folder;

/// One private pool on the CPU and one on GPUs.
const CLUSTER: &str = "\
zone = [{ name = \"private\", trust = \"private\", owner = \"us\" }]
pool = [
    { name = \"processors\", zone = \"private\", slots = 2 },
    { name = \"gpus\", zone = \"private\", slots = 2, device = \"h100\", devices_per_node = 1 },
]
";

/// A job and the machine that it runs on.
struct Scene {
    lab: Lab,
    driver: Folder,
}

impl Scene {
    fn new(mut job: Job) -> Scene {
        let lab = lab!();
        job.head.push_str("policy = { min_rows = 10 }\n");
        job.write(&lab);
        lab.hcrun(["shard", "index", "job.toml", "--min-contributors", "1", "--min-rows", "10"]).succeed();
        lab.write("cluster.toml", CLUSTER);
        let driver = Folder::with_emulator(LIBRARIES);
        driver.add_compiler();
        Scene { lab, driver }
    }

    /// `hcrun` where the driver is found.
    fn hcrun(&self, arguments: &[&str]) -> Command {
        let path = |name: &str| self.driver.path().join(name).to_str().unwrap().to_owned();
        self.lab
            .hcrun(arguments)
            .env("LD_LIBRARY_PATH", &path(""))
            .env("HCRUN_NVRTC", &path("libnvrtc.so.12"))
            .env("HCRUN_CACHE", &path("cache"))
            .env("HCRUN_CUBLASLT", "none")
            .env("HCRUN_NCCL", "/none")
    }

    fn run(&self, processors: u32, gpus: u32, settings: &[&str]) -> Command {
        let (processors, gpus) = (format!("workers.processors={processors}"), format!("workers.gpus={gpus}"));
        let mut arguments = vec!["run", "job.toml", "--cluster", "cluster.toml", "--quiet"];
        let workers = [processors.as_str(), gpus.as_str()];
        arguments.extend(workers.iter().chain(settings).flat_map(|setting| ["--set", *setting]));
        self.hcrun(&arguments)
    }

    /// From now on the driver behaves so.
    fn driver_is(&self, mode: &str) {
        let cache = self.driver.path().join("cache");
        std::fs::create_dir_all(&cache).unwrap();
        std::fs::write(cache.join("fake-cuda"), mode).unwrap();
    }
}

fn losses(run: &Run) -> Vec<f64> {
    let rows = run.metrics().into_iter().filter(|row| row["kind"] == "step");
    rows.map(|row| row["loss"].as_f64().unwrap()).collect()
}

fn assert_close(left: &[f64], right: &[f64]) {
    assert_eq!(left.len(), right.len());
    for (step, (left, right)) in left.iter().zip(right).enumerate() {
        assert!((left - right).abs() < 0.02 * left.abs(), "step {}: {left} and {right}", step + 1);
    }
}

fn text() -> Job {
    let mut job = Job::text().train("steps = 4\nevaluate_every = 4\ncheckpoint_every = 2\nmatmul = \"bf16\"");
    job.head = job
        .head
        .replace("workers = { private = 2, public = 2 }\n", "workers = { processors = 1, gpus = 1 }\n");
    // Each window that is evaluated is emulated.
    job.shards.iter_mut().for_each(|shard| shard.contents.truncate(3_000));
    job
}

fn table() -> Job {
    let mut job =
        Job::tables().train("steps = 12\nevaluate_every = 6\ncheckpoint_every = 4\nmatmul = \"bf16\"");
    job.head = job
        .head
        .replace("workers = { private = 2, public = 2 }\n", "workers = { processors = 1, gpus = 1 }\n");
    job
}

/// A step is committed only if the digests of all ranks are equal: a worker on the CPU and one on a GPU keep the same
/// bits, sharded and not, whether the processor or the GPU packs and adds.
#[test]
fn workers_on_processors_and_on_gpus_keep_the_same_bits() {
    for job in [table(), text()] {
        let steps = if job.head.contains("gpt") { 4 } else { 12 };
        let scene = Scene::new(job);
        scene.run(2, 0, &[]).succeed();
        let on_processors = losses(&scene.lab.run());
        for (processors, gpus, sharded, codec) in
            [(1, 1, "true", "none"), (1, 1, "false", "int8"), (0, 2, "true", "bf16")]
        {
            let (sharded, codec) = (format!("exchange.sharded={sharded}"), format!("exchange.codec={codec}"));
            scene.run(processors, gpus, &[&sharded, &codec]).succeed();
            let run = scene.lab.run();
            assert_eq!(run.summary()["steps"], steps, "{}", run.summary());
            assert_close(&on_processors, &losses(&run));
        }
    }
}

/// A checkpoint of a run on GPUs is one as any other: a run on processors goes on from it, and back.
#[test]
fn a_run_goes_on_on_other_devices() {
    let scene = Scene::new(table());
    scene.run(0, 2, &["train.steps=12"]).succeed();
    assert_eq!(scene.lab.run().summary()["workers"][0]["device"], "h100");
    let whole = losses(&scene.lab.run());
    scene.run(0, 2, &["train.steps=8"]).succeed();
    let resume = ["resume", "latest", "--quiet", "--set", "train.steps=12"];
    let on_processors = ["--set", "workers.processors=2", "--set", "workers.gpus=0"];
    scene.hcrun(&[&resume[..], &on_processors].concat()).succeed();
    assert_close(&whole, &losses(&scene.lab.run()));
}

#[test]
fn what_is_computed_does_not_silently_depend_on_the_device() {
    let scene = Scene::new(table());
    let refused = scene.run(1, 1, &["train.matmul=f32"]).fail(5);
    assert!(refused.stderr.contains("train.matmul"), "{refused}");
}

#[test]
fn without_a_driver_the_reason_is_named() {
    let scene = Scene::new(table());
    let empty = tempfile::tempdir().unwrap();
    let failed = scene.run(1, 1, &[]).env("LD_LIBRARY_PATH", empty.path().to_str().unwrap()).fail(75);
    assert!(failed.stderr.contains("HC8008"), "{failed}");
    assert!(failed.stderr.contains("libcuda.so.1"), "{failed}");
}

/// Each leaves a checkpoint to go on from, and says what the driver said.
#[test]
fn a_gpu_that_fails_ends_the_job_with_its_words_and_a_checkpoint() {
    // In a launch of the exchange as in one of the training.
    for (mode, words) in [
        ("ecc-after:700", "CUDA_ERROR_ECC_UNCORRECTABLE"),
        ("ecc-after:721", "CUDA_ERROR_ECC_UNCORRECTABLE"),
        ("gone-after:701", "CUDA_ERROR_UNKNOWN"),
    ] {
        let scene = Scene::new(table());
        scene.driver_is(mode);
        let failed = scene.run(1, 1, &["train.steps=1000000"]).fail(75);
        assert!(failed.stderr.contains("HC8008") && failed.stderr.contains(words), "{mode}: {failed}");
        let run = scene.lab.run();
        assert!(checkpoint::latest_good(&run.file("checkpoints")).is_ok(), "{mode}");
        scene.driver_is("none");
        let steps = format!("train.steps={}", run.steps() + 3);
        scene.hcrun(&["resume", "latest", "--quiet", "--set", &steps]).succeed();
    }
}

#[test]
fn a_gpu_without_room_is_named_with_what_to_do() {
    let scene = Scene::new(table());
    scene.driver_is("out-of-memory-after:9");
    let failed = scene.run(1, 1, &[]).fail(75);
    assert!(failed.stderr.contains("HC8008") && failed.stderr.contains("has no room for"), "{failed}");
    assert!(failed.stderr.contains("batch"), "{failed}");
}
