//! Restricted rows stay where they may be: what public workers see of them, and what leaves a zone.

use std::path::Path;
use std::time::Duration;

use hcrun_protocol::control::FailureClass;
use hcrun_protocol::manifest::sha256_hex;
use hcrun_tests::{Job, Process, Shard, Signal, Started, lab, until};
use serde_json::Value;

use crate::forged;
use crate::watch::Watch;

const LIMIT: Duration = Duration::from_secs(30);

/// Every public worker has a copy of the restricted file within reach, and none of them looks at it.
#[test]
fn public_workers_never_open_a_restricted_file_even_if_they_have_one() {
    let lab = lab!();
    let job = Job::tables().train("steps = 100000");
    job.write(&lab);
    let copy = |folder: &str, shard: &Shard| lab.write(&format!("{folder}/{}", shard.file), &shard.contents);
    let (held, trap) = (copy("private", &job.shards[0]), copy("public", &job.shards[0]));
    let open = ["private", "public"].map(|folder| copy(folder, &job.shards[1]));
    let watch = Watch::new(&[&held, &trap, &open[0], &open[1]]);

    let args = ["run", "job.toml", "--wait-for-workers", "--listen", "127.0.0.1", "--quiet"];
    let mut launcher = lab.hcrun(args).start();
    let run = launcher.run();
    let mut workers: Vec<(&str, Started)> = Vec::new();
    for (slot, root) in
        [("private-0", "private"), ("private-1", "private"), ("public-0", "public"), ("public-1", "public")]
    {
        let bundle = run.file("bundles").join(format!("{slot}.json"));
        until("a join bundle", LIMIT, || bundle.is_file().then_some(()));
        let args = ["worker", "--bundle", bundle.to_str().unwrap(), "--data-root", root];
        workers.push((slot, lab.hcrun(args).start()));
    }
    run.wait_steps(&mut launcher, 1);
    for (slot, worker) in workers.iter().filter(|(slot, _)| slot.starts_with("public")) {
        assert_unaware(slot, worker.process(), "secret");
    }
    launcher.signal(Signal::INT);
    let ended = launcher.end_within(LIMIT);
    assert_eq!(ended.code(), Some(130), "{ended}");
    for (slot, worker) in workers {
        let ended = worker.end_within(LIMIT);
        assert!(ended.status.success(), "{slot}: {ended}");
    }
    let opened = watch.opened();
    assert!(!opened.contains(&trap), "a public worker opened {}", trap.display());
    assert_eq!(opened.len(), 3, "the watch is blind: all others were opened, it saw {opened:?}");
}

/// The local backend tells a public worker no path but those of shards that its zone may hold, and gives
/// it no environment to find one in.
#[test]
fn public_workers_started_by_the_launcher_know_no_restricted_path() {
    let lab = lab!();
    Job::tables().train("steps = 100000").write(&lab);
    let mut launcher = lab.hcrun(["run", "job.toml", "--quiet"]).env("DATA", "secret.csv").start();
    let run = launcher.run();
    run.wait_steps(&mut launcher, 1);
    for slot in ["public-0", "public-1"] {
        assert_unaware(slot, run.worker(slot), "secret");
    }
    let told = run.worker("private-0").command_line();
    assert!(contains(&told, b"secret.csv"), "the look at command lines is blind");
    launcher.signal(Signal::INT);
    launcher.end_within(LIMIT);
}

/// The worker judges by the zone that its certificate proves and by the manifest that it is given: whatever
/// a launcher says of it, it opens no shard that the manifest keeps from its zone.
///
/// What it cannot notice is a lie in the manifest itself, or about which zones are private: of both it knows
/// what it is told. Against these stand that a zone's nodes do not have the files of others, and that a
/// manifest is written in the shard's home.
#[test]
fn a_forged_assignment_is_refused_by_the_worker_itself() {
    let lab = lab!();
    let job = Job::tables().train("steps = 2");
    job.write(&lab);
    let [trap, _] = [0, 1]
        .map(|index| lab.write(&format!("public/{}", job.shards[index].file), &job.shards[index].contents));
    for forgery in forged::all(&lab) {
        let watch = Watch::new(&[&trap]);
        let told = forged::tell(&lab, &forgery.assignment);
        let opened = watch.opened();
        if forgery.unnoticeable {
            assert_eq!((told.failure, opened.len()), (None, 1), "{}", forgery.lie);
            continue;
        }
        assert!(opened.is_empty(), "{}: opened", forgery.lie);
        let failure = told.failure.unwrap_or_else(|| panic!("taken although {}", forgery.lie));
        assert_eq!(failure.class, FailureClass::Policy, "{}: {failure:?}", forgery.lie);
        assert_eq!(told.ended.code(), Some(6), "{}: {}", forgery.lie, told.ended);
        assert!(told.ended.stderr.contains("HC6002"), "{}: {}", forgery.lie, told.ended);
    }
}

/// A row that cannot be used stops the job; its value is in the log of its own zone and nowhere else.
#[test]
fn a_value_of_a_restricted_row_stays_in_its_zone() {
    const CANARY: &str = "Kanarienvogel4711";
    for row in [format!("0.5,{CANARY},no"), format!("0.5,0.5,{CANARY}"), format!("0.5,0.5,no,{CANARY}")] {
        let lab = lab!();
        let job = Job::tables().train("steps = 2");
        job.write(&lab);
        let mut lines: Vec<&str> = job.shards[0].contents.lines().collect();
        lines[200] = &row;
        let spoilt = lines.join("\n");
        lab.write("secret.csv", &spoilt);
        // `hcrun shard index` would not let it pass.
        let path = lab.path().join("manifests/secret.json");
        let mut manifest: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        manifest["bytes"] = spoilt.len().into();
        manifest["sha256"] = sha256_hex(spoilt.as_bytes()).into();
        lab.write("manifests/secret.json", manifest.to_string());

        let ended = lab.hcrun(["run", "job.toml"]).fail(2);
        assert!(ended.stderr.contains("line 201"), "{row}: {ended}");
        assert!(!ended.to_string().contains(CANARY), "{row}: {ended}");
        let (mut inside, mut outside) = (0, 0);
        for (path, contents) in files(&lab.run().path) {
            if path.starts_with(lab.run().file("logs")) {
                inside += usize::from(contains(&contents, CANARY.as_bytes()));
            } else {
                outside += 1;
                assert!(!contains(&contents, CANARY.as_bytes()), "{row}: it is in {}", path.display());
            }
        }
        assert!(outside >= 5, "the look at the run directory is blind: {outside} files");
        // Fields too many are not read, so they are in no log at all.
        let read = !row.starts_with("0.5,0.5,no");
        assert_eq!(inside > 0, read, "{row}: the zone's own log says the value");
    }
}

fn assert_unaware(slot: &str, worker: Process, name: &str) {
    let (command_line, environment) = (worker.command_line(), worker.environment());
    assert!(contains(&command_line, b"--bundle"), "{slot} has ended too early to be looked at");
    for (what, text) in [("command line", command_line), ("environment", environment)] {
        assert!(!contains(&text, name.as_bytes()), "{slot} has {name} in its {what}");
    }
    for path in worker.open_files() {
        assert!(!path.to_string_lossy().contains(name), "{slot} has {} open", path.display());
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn files(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: std::path::PathBuf| {
        if path.is_dir() { files(&path) } else { vec![(path.clone(), std::fs::read(&path).unwrap())] }
    };
    entries.flat_map(read).collect()
}
